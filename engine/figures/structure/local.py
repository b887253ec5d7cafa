"""What a window leaves of full attention, and what its sinks hold."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.figures.base.picture import Context, Picture
from engine.figures.structure.segments import lost, outlined
from engine.mechanisms.window import Window
from engine.structure.segments import window_cut

FINEST = 1024
"""Steps of an outline."""


def pictures(context: Context) -> Iterator[Picture]:
    """The band over full attention, what each query lost, the text; none for other mechanisms."""
    frame, theme, t = context.att.frame, context.theme, context.t
    if context.qkv is None or (found := window_cut(context)) is None:
        return
    rows, near, first, gone = found.rows, found.near, found.first, found.lost
    total = (near + first + gone).sum().clamp_min(1e-9)
    assert isinstance(context.mechanism, Window)
    holes = context.mechanism
    notes = t("segments.dilated", step=holes.dilation) if holes.dilation > 1 else ""
    notes += t("segments.random", count=holes.random) if holes.random else ""
    notes += t("segments.whole") if holes.whole and not frame.causal else ""
    if len(rows) < frame.n:
        notes += t("segments.sampled", rows=len(rows), n=frame.n)
    facts = {
        "notes": notes, "window": found.wide, "sinks": found.sinks,
        "lost": float(gone.sum() / total),
        "near": float(near.sum() / total), "first": float(first.sum() / total),
    }  # fmt: skip
    if frame.grid is None:  # else no band along the map
        xs, ys = band(context, found.wide, found.sinks)
        drawn = outlined(found.map, xs, ys, (frame.n, frame.m), theme=theme, t=t)
        yield Picture("window_cut", drawn, facts)
    worst = int(gone.argmax())
    yield Picture(
        "window_lost",
        lost(rows, {"window": near, "sinks": first, "lost": gone}, theme=theme, t=t),
        facts | {"most": float(gone[worst]), "at": int(rows[worst])},
    )
    read = "window_text" if frame.grid is None else "window_image"
    yield Picture(
        read, labels=found.label.tolist(), wide=True,
        names=[t("segments.window"), t("segments.sinks")],
        facts={"row": context.row, "keys": int((found.label >= 0).sum()), "out": found.out},
    )  # fmt: skip


def band(
    context: Context, window: int, sinks: int
) -> tuple[list[float | None], list[float | None]]:
    """The outline of the window down the map, and of the sinks beside it; of a long text, in steps
    of a few rows, which are less than a pixel."""
    frame = context.att.frame
    start = torch.arange(0, frame.n, -(-frame.n // FINEST))
    at = start + frame.offset
    left = (at - window + 1).clamp(0, frame.m)
    right = (at + (1 if frame.causal else window)).clamp(0, frame.m)
    # a corner at the top and at the foot of every step
    foot = torch.cat([start[1:], torch.tensor([frame.n])])
    down = torch.stack([start, foot], 1).flatten() - 0.5
    sides = [(x - 0.5).repeat_interleave(2) for x in (left, right)]
    xs: list[float | None] = [*sides[0].tolist(), *sides[1].flip(0).tolist()]
    ys: list[float | None] = [*down.tolist(), *down.flip(0).tolist()]
    if sinks:
        xs += [None, sinks - 0.5, sinks - 0.5]
        ys += [None, -0.5, frame.n - 0.5]
    return xs, ys
