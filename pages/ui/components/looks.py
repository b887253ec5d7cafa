"""What every component gets: the page's colours in both themes, and the shared script."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from engine.figures.base.theme import DARK, LIGHT

LOOKS = {look.name: asdict(look) for look in (LIGHT, DARK)}


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
