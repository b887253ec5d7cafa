"""A mechanism's own small picture, with its words, as the browser draws it."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from torch import Tensor

from engine.lessons.induction import Picture, Reading, Row
from engine.structure.glance import Bars, Fade, Lanes, Map, Piles, Thin, Tree, Votes

DIGITS = 4


def words_of(
    row: Row, picture: Picture, reading: Reading, t: Callable[..., str]
) -> dict[str, Any]:
    """What glance.js draws (data.d.ts: `Glance`).

    Args:
        t: words, `component.home.glance.*`.
    """
    found = row.glance
    token = picture.tokens[reading.query - reading.n].strip()
    labels: list[str] = []
    own: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    title = type(found).__name__.lower()
    match found:
        case Bars():
            title = "bars" if found.before else "bars_full"
            labels = [t("component.home.glance.others", count=found.others)]
        case Map():
            title = f"map_{found.kind}"
            swatches = ["row", "read", *(["memory"] if found.kind == "memory" else []), "unread"]
            swatches += ["edge"] if found.overlay.edges else []
            labels = [t(f"component.home.glance.{swatch}") for swatch in swatches]
            own = {"swatches": swatches}
        case Piles():
            title = found.kind
            facts = {"count": found.count, "token": token}
            facts |= {"round": found.round + 1, "rounds": found.rounds}
        case Tree():
            labels = [t(f"group.{name}") for name in found.names]
        case Lanes():
            labels = [t(f"route.{name}") for name in found.names]
        case Votes():
            facts = {"kept": found.kept, "head": found.head}
            labels = [t("route.capsule", number=j + 1) for j in range(len(found.length))]
            own = {"heads": [t("head.name", head=h) for h in range(len(found.coupling))]}
        case Fade():
            title = f"fade_{found.kind}"
            labels = [t("component.home.glance.far", back=found.back[-1]), token]
        case Thin():
            facts = {"rank": found.rank, "n": reading.n}
            labels = [t("component.home.glance.rank", rank=found.rank)]
    return _plain(
        {field: value for field, value in asdict(found).items() if field != "kind"}
    ) | own | {
        "kind": type(found).__name__.lower(),
        "title": t(f"component.home.glance.{title}", **facts),
        "labels": labels,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Lists and short numbers."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
