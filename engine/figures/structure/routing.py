"""Where queries were sent: paths, capsules, clusters and blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.contract.views import Routing
from engine.figures.base.picture import Context, Picture
from engine.figures.structure import blocks, capsules, clusters, paths

KINDS: dict[str, Callable[[Routing, Context], Iterator[Picture]]] = {
    "paths": paths.pictures,
    "clusters": clusters.pictures,
    "blocks": blocks.pictures,
    "capsules": capsules.pictures,
}


def pictures(view: Routing, context: Context) -> Iterator[Picture]:
    """The pictures of one kind of route, for the head that was chosen."""
    yield from KINDS[view.kind](view, context)
