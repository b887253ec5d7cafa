"""Whether strangers are served: then nothing of this machine is read that was not put up for them.

`ATTENTION_EXPLORER_PUBLIC=1` says so. `ATTENTION_EXPLORER_MODELS` lists the models that they may
have read beside the project's own, a line or a comma each: `name=folder`, or the name on the hub
of one that is in the cache already.
"""

import os
import re


def public() -> bool:
    """True where strangers are served."""
    return os.environ.get("ATTENTION_EXPLORER_PUBLIC", "0") not in ("", "0")


def listed() -> dict[str, str]:
    """The models that the owner put up: name -> folder, or name on the hub."""
    said = os.environ.get("ATTENTION_EXPLORER_MODELS", "")
    found = {}
    for line in filter(None, map(str.strip, re.split(r"[,\n]", said))):
        name, _, folder = line.partition("=")
        found[name.strip()] = (folder or name).strip()
    return found
