"""What a window leaves of full attention, and what its sinks hold."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from engine.figures.base.picture import Context, Picture
from engine.figures.structure.segments import lost, outlined, pooled, sampled
from engine.mechanisms.window import Window


def pictures(context: Context) -> Iterator[Picture]:
    """The band over full attention, what each query lost, the text; none for other mechanisms."""
    mechanism, frame, look, t = context.mechanism, context.att.frame, context.look, context.t
    if not isinstance(mechanism, Window) or context.qkv is None:
        return
    window, sinks = mechanism.window, min(mechanism.sinks, frame.m)
    full = context.full()
    rows, cols = sampled(frame.n), torch.arange(frame.m)
    near, first, whole = (torch.zeros(len(rows)) for _ in range(3))

    def each(part: slice, w: Float[Tensor, "r m"]) -> None:
        inside = ((rows[part] + frame.offset)[:, None] - cols).abs() < window
        near[part] = (w * inside).sum(1)
        first[part] = (w * (~inside & (cols < sinks))).sum(1)
        whole[part] = w.sum(1)

    cells = pooled(full, rows, each)
    gone = (whole - near - first).clamp_min(0)
    total = whole.sum().clamp_min(1e-9)
    notes = ""
    if len(rows) < frame.n:
        notes = t("segments.sampled", rows=len(rows), n=frame.n)
    facts = {
        "notes": notes, "window": window, "sinks": sinks, "lost": float(gone.sum() / total),
        "near": float(near.sum() / total), "first": float(first.sum() / total),
    }  # fmt: skip
    xs, ys = band(context, window, sinks)
    yield Picture("window_cut", outlined(cells, xs, ys, (frame.n, frame.m), look=look, t=t), facts)
    worst = int(gone.argmax())
    yield Picture(
        "window_lost",
        lost(rows, {"window": near, "sinks": first, "lost": gone}, look=look, t=t),
        facts | {"most": float(gone[worst]), "at": int(rows[worst])},
    )
    here = context.row + frame.offset
    label = torch.where((cols - here).abs() < window, 0, torch.where(cols < sinks, 1, -1))
    if frame.causal:
        label[cols > here] = -1
    yield Picture(
        "window_text", labels=label.tolist(), wide=True,
        names=[t("segments.window"), t("segments.sinks")],
        facts={
            "row": context.row, "keys": int((label >= 0).sum()),
            "out": int((label[: here + 1] < 0).sum()),
        },
    )  # fmt: skip


def band(
    context: Context, window: int, sinks: int
) -> tuple[list[float | None], list[float | None]]:
    """The outline of the window down the map, and of the sinks beside it."""
    frame = context.att.frame
    at = torch.arange(frame.n) + frame.offset
    left = (at - window + 1).clamp(0, frame.m)
    right = (at + (1 if frame.causal else window)).clamp(0, frame.m)
    # a corner at the top and at the foot of every row
    down = torch.stack([torch.arange(frame.n), torch.arange(frame.n) + 1], 1).flatten() - 0.5
    sides = [(x - 0.5).repeat_interleave(2) for x in (left, right)]
    xs: list[float | None] = [*sides[0].tolist(), *sides[1].flip(0).tolist()]
    ys: list[float | None] = [*down.tolist(), *down.flip(0).tolist()]
    if sinks:
        xs += [None, sinks - 0.5, sinks - 0.5]
        ys += [None, -0.5, frame.n - 0.5]
    return xs, ys
