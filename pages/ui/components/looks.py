"""What every component gets: its script, its words, the page's colours, its data as JSON."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from streamlit.components.v2 import component

from engine.figures.base.theme import DARK, LIGHT
from engine.runtime.scripts import COMPONENTS, joined
from pages.ui.shared.encoded import encoded

LOOKS = {theme.name: asdict(theme) for theme in (LIGHT, DARK)}


def registered(name: str, *, html: str, **made: Any) -> Callable[..., None]:
    """A component as Streamlit registers it, but that `data` is encoded here, once and fast; and
    that nobody sees its controls before the script has come, which gives them their names."""
    asleep = html.replace("<div ", '<div style="visibility: hidden" ', 1)
    mount = component(name, html=asleep, **made)

    def draw(*, key: str, data: Any, **more: Any) -> None:
        mount(key=key, data=encoded(data), **more)

    return draw


def script(file: str) -> str:
    """A component's script with all that it imports: Streamlit takes it as one string."""
    return joined(file)


def styles(*files: str) -> str:
    """Style sheets or HTML, one after the other."""
    return "\n".join((COMPONENTS / file).read_text("utf-8") for file in files)


def words(
    t: Callable[..., str], place: str, keys: Iterable[str], facts: str = ""
) -> dict[str, str]:
    """Words for a component, `component.<place>.<key>`; the script itself puts the facts in."""
    kept = {fact: f"{{{fact}}}" for fact in facts.split()}
    return {key: t(f"component.{place}.{key}", **kept) for key in keys}
