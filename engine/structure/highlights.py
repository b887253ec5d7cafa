"""Where to look first, and what a picture shows in numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Frame, Grid, Refusal
from engine.contract.views import Buckets, Routing, Segments
from engine.measure.attention import Attention
from engine.measure.metrics import RowStats
from engine.mechanisms import MECHANISMS
from engine.text.tokens import joined

PROBE = 512
"""Rows by which layers are judged."""
MOST_GROUPS = 512
"""Groups that a picture of mass by group can show."""
LARGEST_SAMPLE = 2**26
"""Weights looked at for mass by group, heads × rows × keys; of longer texts, a sample of rows."""


def sharpness(stats: RowStats, offset: int = 0) -> Float[Tensor, "h n"]:
    """The row's largest weight above an even share × ln(1 + distance), hardly anything on a sink,
    −1 without keys.

    So a long look at one token beats a longer glance at many, a stare at a neighbour, and a row
    with hardly anything to choose from.

    Args:
        offset: position of query 0 on the keys' axis.
    """
    at = torch.arange(stats.argmax.shape[1], device=stats.argmax.device) + offset
    even = 1 / stats.visible.clamp_min(1)
    value = (stats.max_weight - even).clamp_min(0) * (at - stats.argmax).abs().log1p()
    value = torch.where(stats.argmax > 0, value, value * 1e-3)
    return torch.where(stats.visible > 0, value, -1.0)


def sharpest(stats: RowStats, offset: int = 0, head: int | None = None) -> tuple[int, int]:
    """The head and the row that look back most sharply.

    Args:
        head: look at this one only.
    """
    value = sharpness(stats, offset)
    if head is None:
        head = int(value.amax(1).argmax())
    return head, int(value[head].argmax())


def best_layer(layers: Iterable[Attention]) -> int:
    """The layer with the row that looks back most sharply, judged by the first PROBE rows."""
    found = [float(sharpness(att.rows(slice(0, PROBE)), att.frame.offset).max()) for att in layers]
    return max(range(len(found)), key=found.__getitem__)


@dataclass(frozen=True)
class Look:
    """What one row does, in numbers.

    Attributes:
        key: the position with the largest weight, −1 if the row sees nothing. weight: its share.
        second, second_weight: the runner-up, −1 and 0 if there is none.
        back: tokens from query back to key (negative: ahead).
        effective: effective tokens. visible: keys it may see.
        first: share of the first visible key. even: if several keys may be seen and none has more
            than its share, but for a per cent.
    """

    key: int
    weight: float
    second: int
    second_weight: float
    back: int
    effective: float
    visible: int
    first: float
    even: bool


@dataclass(frozen=True)
class Against:
    """One row beside that of full attention.

    Attributes:
        looked, visible: keys with any weight here, and there. held: of full attention's weight,
            what lies on keys with any weight here. lost: what it gives above what is given here.
        more: what is given here above what it gives. total: what the row adds up to.
    """

    looked: int
    visible: int
    held: float
    lost: float
    more: float
    total: float


def against(weights: Float[Tensor, " m"], full: Float[Tensor, " m"]) -> Against:
    """A row's weights set against full attention's."""
    some = weights > 0
    return Against(
        looked=int(some.sum()), visible=int((full > 0).sum()), held=float(full[some].sum()),
        lost=float((full - weights).clamp_min(0).sum()),
        more=float((weights - full).clamp_min(0).sum()), total=float(weights.sum()),
    )  # fmt: skip


def look(weights: Float[Tensor, " m"], stats: RowStats, frame: Frame, head: int, row: int) -> Look:
    """What row `row` of a head does."""
    size = weights.abs()
    best = size.topk(min(2, len(size)))
    key = int(best.indices[0]) if best.values[0] > 0 else -1
    pair = len(size) > 1 and float(best.values[1]) > 0
    visible = int(stats.visible[head, row])
    return Look(
        key=key,
        weight=float(weights[key]) if key >= 0 else 0.0,
        second=int(best.indices[1]) if pair else -1,
        second_weight=float(weights[best.indices[1]]) if pair else 0.0,
        back=row + frame.offset - key,
        effective=float(stats.effective_tokens[head, row]),
        visible=visible,
        first=float(stats.sink_mass[head, row]),
        even=visible > 1 and 0 < float(best.values[0]) * visible <= 1.01 * float(size.sum()),
    )


FOUND = {cls.groups: key for key, cls in MECHANISMS.items() if cls.groups}
"""Groups that differ from head to head, and what finds them where the attention has none."""


def groupings(att: Attention, qkv: QKV | None = None) -> list[str]:
    """The ways in which keys can be grouped and shown: units, segments if it has them, blocks,
    and, its own or those that hashing or clustering finds in this QKV, buckets and clusters."""
    counts = {
        name: len(spans)
        for name, spans in att.frame.units.items()
        if name not in ("tokens", "characters")
    }
    if any(isinstance(view, Segments) for view in att.views):
        counts["segments"] = len(att.view(Segments).bounds)
    units = [name for name, count in counts.items() if count <= MOST_GROUPS]
    return [*units, "blocks", *(kind for kind in FOUND if qkv is not None or _own(att, kind))]


@dataclass(frozen=True, eq=False)
class Grouping:
    """The group of every key, (m), and of every query, (n), −1 for none; what they are called."""

    keys: Int[Tensor, " m"]
    queries: Int[Tensor, " n"]
    names: list[str]


def grouping(
    att: Attention, kind: str, block: int, head: int = 0, qkv: QKV | None = None
) -> Grouping:
    """Keys and queries by unit, segment or block, or by a head's first-round buckets or clusters.

    Args:
        block: tokens in a block. qkv: in which to look for buckets and clusters, with the default
            parameters, if the attention has none of its own.

    Raises:
        ValueError: there is no such grouping.
    """
    frame = att.frame
    if kind not in FOUND:
        label = labels(att, kind, block)
        at = torch.arange(frame.n) + max(0, frame.m - frame.n)
        return Grouping(
            label, label[at.clamp_max(frame.m - 1)], group_names(frame.tokens, label, frame.grid)
        )
    view = _own(att, kind)
    if view is None:
        if qkv is None:
            raise Refusal(
                "keys can be grouped by {allowed}, not by '{kind}'",
                allowed=", ".join(groupings(att)),
                kind=kind,
            )
        view = _own(MECHANISMS[FOUND[kind]]().attend(qkv), kind)
    if isinstance(view, Buckets):
        count, keys, queries = view.count, view.ids[head, 0], view.queries[head, 0]
    else:
        assert view is not None and view.labels is not None and view.probabilities is not None
        share, nearest = view.probabilities[head].max(-1)
        count, keys = view.load.shape[1], view.labels[head]
        queries = torch.where(share > 0, nearest, -1)
    return Grouping(keys.cpu(), queries.cpu(), [f"{i}" for i in range(count)])


def _own(att: Attention, kind: str) -> Buckets | Routing | None:
    """The attention's own buckets or clusters."""
    for view in att.views:
        if kind == "buckets" and isinstance(view, Buckets):
            return view
        if kind == "clusters" and isinstance(view, Routing) and view.kind == "clusters":
            return view
    return None


def smallest_block(m: int) -> int:
    """Tokens in a block, so that no more than MOST_GROUPS are needed for m keys."""
    return -(-m // MOST_GROUPS)


def labels(att: Attention, kind: str, block: int) -> Int[Tensor, " m"]:
    """The group of every key: its unit, its segment, or its block of so many tokens.

    Raises:
        ValueError: there is no such grouping.
    """
    m = att.frame.m
    if kind == "blocks":
        return torch.arange(m) // block
    if kind == "segments" and kind in groupings(att):
        spans = att.view(Segments).bounds
    elif kind in att.frame.units:
        spans = att.frame.units[kind]
    else:
        raise Refusal(
            "keys can be grouped by {allowed}, not by '{kind}'",
            allowed=", ".join(groupings(att)),
            kind=kind,
        )
    return torch.bucketize(torch.arange(m), spans[:, 1].cpu().contiguous(), right=True)


def group_names(
    tokens: tuple[str, ...] | None, label: Int[Tensor, " m"], grid: Grid | None = None
) -> list[str]:
    """What the groups are called: their own text; their numbers where there is none; on an image
    their rows and columns from 1, "(1–2,5–8)", or, where they are no rectangle, the first and the
    last of their patches, "(1,1)…(2,5)"."""
    groups = int(label.max()) + 1
    if tokens is None:
        return [f"{i:,}" for i in range(groups)]
    if grid is not None:
        return [
            _on_image(tokens, (label == group).nonzero()[:, 0], grid) for group in range(groups)
        ]
    parts: list[list[str]] = [[] for _ in range(groups)]
    for token, group in zip(tokens, label.tolist(), strict=True):
        if len(parts[group]) < 8:
            parts[group].append(token)
    return [joined(part) for part in parts]


def _on_image(tokens: tuple[str, ...], at: Int[Tensor, " p"], grid: Grid) -> str:
    """The name of the positions `at`, in their order."""
    if not len(at):
        return "–"
    place = grid.place[at].cpu()
    low, high = place.amin(0), place.amax(0)
    if int(low.min()) < 0 or int((high - low + 1).prod()) > len(at):
        first, last = tokens[int(at[0])], tokens[int(at[-1])]
        return first if first == last else f"{first}…{last}"
    spans = zip((low + 1).tolist(), (high + 1).tolist(), strict=True)
    return f"({','.join(f'{a}' if a == b else f'{a}–{b}' for a, b in spans)})"


def group_mass(
    att: Attention,
    label: Int[Tensor, " m"],
    queries: Int[Tensor, " n"] | None = None,
    groups: int = 0,
) -> tuple[Float[Tensor, "h groups groups"], int]:
    """Mean mass that a query of each group gives to each group.

    Args:
        label: each key's group; −1 for none. queries: each query's, if not that of the key at its
            position. groups: how many there are, if some may be empty.

    Returns:
        each head's table, and how many rows were looked at: all, or evenly spaced ones of a long
        text.

    Raises:
        ValueError: there are more groups than can be shown.
    """
    frame, groups = att.frame, max(groups, int(label.max()) + 1)
    if groups > MOST_GROUPS:
        raise Refusal(
            "{groups, plural, one {# group is} other {# groups are}} too many; at most {most} "
            "can be shown",
            groups=groups,
            most=MOST_GROUPS,
        )
    most = max(1, LARGEST_SAMPLE // (frame.heads * frame.m))
    rows = torch.arange(0, frame.n, max(1, -(-frame.n // most)))
    if queries is None:
        at = torch.arange(frame.n) + max(0, frame.m - frame.n)
        queries = label[at.clamp_max(frame.m - 1)]
    mine = torch.where(queries < 0, groups, queries)[rows]  # none: set aside
    mass = att.group(label, rows.to(att.device)).float().cpu()
    total = torch.zeros(frame.heads, groups + 1, groups)
    total[..., : mass.shape[-1]].index_add_(1, mine, mass)
    seen = torch.bincount(mine, minlength=groups + 1).clamp_min(1)
    return (total / seen[:, None])[:, :groups], len(rows)
