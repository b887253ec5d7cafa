"""What a row does, in a sentence: Explore and talks say it alike."""

from __future__ import annotations

from collections.abc import Callable

from engine.contract import RowKind
from engine.structure.highlights import Look
from engine.text import quantities


def sentence(
    seen: Look,
    row: int,
    kind: RowKind,
    called: Callable[[int, str], str],
    t: Callable[..., str],
    *,
    patches: bool = False,
    removed: float | None = None,
) -> str:
    """What the row does, with its numbers.

    Args:
        row: the query's position on the keys' axis. called: a position's name, in the role "query"
            or "key". patches: positions are patches of an image, which no line orders.
        removed: of the row's weight, what hidden keys had; None where none is hidden.
    """
    query = called(row, "query")
    facts = {"weight": quantities.share(seen.weight), "back": abs(seen.back)}
    if seen.key < 0:
        return t("sentence.nothing", query=query)
    if kind == "signed":
        return t("sentence.signed", query=query, key=called(seen.key, "key"), weight=seen.weight)
    if seen.even:
        return t("sentence.even", query=query, visible=seen.visible, **facts)
    way = {0: "self", 1: "previous"}.get(seen.back, "back" if seen.back > 0 else "ahead")
    if patches and way != "self":
        way = "patch"
    parts = [
        t(f"sentence.{way}", query=query, key=called(seen.key, "key"), **facts),
        t("sentence.spread", effective=seen.effective, visible=seen.visible),
    ]
    if seen.key > 0 and seen.first >= 0.005 and not patches:
        parts.append(t("sentence.first", first=quantities.share(seen.first)))
    if removed is not None:
        parts.append(t("sentence.removed", removed=removed))
    return t("sentence.join").join(parts)
