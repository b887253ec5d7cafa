"""What every component gets: its script, its words, the page's colours, numbers for JSON."""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from engine.figures.base.theme import DARK, LIGHT
from pages.ui.shared.finite import finite

LOOKS = {theme.name: asdict(theme) for theme in (LIGHT, DARK)}

FOLDER = Path(__file__).parent
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?!default )", re.MULTILINE)


def registered(name: str, **made: Any) -> Callable[..., None]:
    """A component as Streamlit registers it, but that numbers of `data` which are not finite are
    gaps: null, in its script."""
    mount = component(name, **made)

    def draw(*, key: str, data: Any, **events: Any) -> None:
        mount(key=key, data=finite(data), **events)

    return draw


def script(file: str) -> str:
    """A component's script with all that it imports, as one module.

    Streamlit takes a component's script as one string, so nothing can be imported in the page.
    """
    parts: dict[str, str] = {}

    def add(file: str) -> None:
        if file in parts:
            return
        text = (FOLDER / file).read_text("utf-8")
        for imported in IMPORT.findall(text):
            add(imported)
        parts[file] = EXPORT.sub("", IMPORT.sub("", text))

    add(file)
    return "\n".join(parts.values())


def words(
    t: Callable[..., str], place: str, keys: Iterable[str], facts: str = ""
) -> dict[str, str]:
    """Words for a component, `component.<place>.<key>`; the script itself puts the facts in."""
    kept = {fact: f"{{{fact}}}" for fact in facts.split()}
    return {key: t(f"component.{place}.{key}", **kept) for key in keys}
