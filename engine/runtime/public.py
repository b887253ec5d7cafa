"""Whether strangers are served: then nothing of this machine is read that was not put up for them.

The owner says so, in the environment or in a file (`owner.py`), and lists the models that they may
have read beside the project's own, a line or a comma each: `name=folder`, or the name on the hub
of one that is in the cache already.
"""

import re

from engine.runtime.owner import says


def public() -> bool:
    """True where strangers are served."""
    return says("public") not in ("", "0")


def listed() -> dict[str, str]:
    """The models that the owner put up: name -> folder, or name on the hub."""
    found = {}
    for line in filter(None, map(str.strip, re.split(r"[,\n]", says("models")))):
        name, _, folder = line.partition("=")
        found[name.strip()] = (folder or name).strip()
    return found
