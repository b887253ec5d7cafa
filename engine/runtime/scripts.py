"""The browser's modules, joined: where one string is wanted, nothing can be imported."""

import re

from engine.runtime.paths import ROOT

COMPONENTS = ROOT / "pages" / "ui" / "components"
"""Where they are; they come with the app."""
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?!default )", re.MULTILINE)
DEFAULT = re.compile(r"^export default \w+;\n", re.MULTILINE)
"""Of a module that is imported by name, what is not asked for."""


def joined(file: str) -> str:
    """A module with all that it imports, as one.

    Raises:
        OSError: the app's modules are not here.
    """
    parts: dict[str, str] = {}

    def add(file: str) -> None:
        if file in parts:
            return
        text = (COMPONENTS / file).read_text("utf-8")
        for imported in IMPORT.findall(text):
            add(imported)
        parts[file] = EXPORT.sub("", IMPORT.sub("", text))

    add(file)
    parts |= {name: DEFAULT.sub("", text) for name, text in parts.items() if name != file}
    return "\n".join(parts.values())
