"""What every component gets: the page's colours in both themes, the shared script, and numbers
that its JSON can hold."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from engine.figures.base.theme import DARK, LIGHT
from pages.ui.shared.finite import finite

LOOKS = {look.name: asdict(look) for look in (LIGHT, DARK)}


def registered(name: str, **made: Any) -> Callable[..., None]:
    """A component as Streamlit registers it, but that numbers of `data` which are not finite are
    gaps: null, in its script."""
    mount = component(name, **made)

    def draw(*, key: str, data: Any, **events: Any) -> None:
        mount(key=key, data=finite(data), **events)

    return draw


def script(*files: str) -> str:
    """The shared script and a component's own, as one."""
    folder = Path(__file__).parent
    return "\n".join((folder / file).read_text("utf-8") for file in ("common.js", *files))


def words(
    t: Callable[..., str], place: str, keys: Iterable[str], facts: str = ""
) -> dict[str, str]:
    """Words for a component, `component.<place>.<key>`; the script itself puts the facts in."""
    kept = {fact: f"{{{fact}}}" for fact in facts.split()}
    return {key: t(f"component.{place}.{key}", **kept) for key in keys}
