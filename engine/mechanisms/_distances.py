"""Embeddings of distances: how many a kind has, which pair has which, and how they are fitted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV
from engine.contract.learned import Fidelity, Learned, explained
from engine.kernels import places, positions
from engine.mechanisms import _places

LEARNED = ("t5", "shaw", "music", "cope", "fire")
"""Kinds whose papers learn them: fitted here."""
SCALARS = ("t5", "fire")
"""Of these, the ones that learn a number for each distance and not an embedding."""
PLACED = ("cope", "fire")
"""And the ones whose pairs lie between two embeddings."""
ROWS = 512
"""Rows that a fit looks at, at most."""
PAIRS = 2**21
"""Pairs of a head that a fit looks at, at most; 64 rows if these are more."""
RIDGE = 8.0
"""Pairs of average size that pull an embedding to 0: few pairs are far apart."""
TURNS = 6
"""Turns that shifts of rows and embeddings take."""


def exact(qkv: QKV) -> torch.dtype:
    """What positions are computed in."""
    return torch.float64 if qkv.dtype == torch.float64 else torch.float32


def content(qkv: QKV) -> tuple[Float[Tensor, "h n d"], Float[Tensor, "g m dk"], str]:
    """Queries and keys without the model's own rotation, and what they are.

    "before": before the model rotates them. "given": the model rotates nothing, or there is none.
    "rotated": the model rotates, and what it rotates couldn't be told.
    """
    layer = qkv.layer
    if layer is None or not layer.rotary:
        return qkv.q, qkv.k, "given"
    q, k = layer.q, layer.k
    if q is None or k is None or q.shape != qkv.q.shape or k.shape != qkv.k.shape:
        return qkv.q, qkv.k, "rotated"
    return q.to(qkv.q), k.to(qkv.k), "before"


def count(qkv: QKV, kind: str, max_distance: int) -> int:
    """Embeddings that a kind has; none for distances that the text doesn't hold."""
    if kind in SCALARS:
        return positions.BUCKETS if kind == "t5" else places.POINTS
    most = min(max_distance, max(qkv.n, qkv.m))
    return {"music": most, "cope": most + 1}.get(kind, 2 * most + 1)


def tables(qkv: QKV, kind: str) -> dict[str, tuple[int | None, ...]]:
    """Shape of the embeddings that a kind learns, by its name; of any number of distances."""
    if kind not in LEARNED:
        return {}
    number = places.POINTS if kind == "fire" else None
    return {kind: (qkv.heads, number, 1 if kind in SCALARS else qkv.q.shape[-1])}


def blank(kind: str, max_distance: int, heads: int, width: int) -> dict[str, Tensor]:
    """Embeddings of a kind that is learned, before they are."""
    sizes = {
        "t5": (positions.BUCKETS, 1),
        "shaw": (2 * max_distance + 1, width),
        "music": (max_distance, width),
        "cope": (max_distance + 1, width),
        "fire": (places.POINTS, 1),
    }
    return {kind: Parameter(torch.zeros(heads, *sizes[kind]))} if kind in LEARNED else {}


def named(qkv: QKV, kind: str, max_distance: int, total: int) -> Int[Tensor, " k"]:
    """Embedding of each difference of row and column, from 1 − m on; `total` for none."""
    distance = torch.arange(1 - qkv.m, qkv.n, device=qkv.device) + qkv.frame.offset
    if kind == "t5":
        return positions.buckets(distance, qkv.causal, max_distance)
    if kind == "shaw":  # clip(j − i), from −K at 0
        most = total // 2
        return (most - distance).clamp(0, 2 * most)
    return torch.where((distance >= 0) & (distance < total), distance, total)


def features_of(qkv: QKV, kind: str) -> Float[Tensor, "h n f"]:
    """What meets the embedding: 1 where that is a number, else the scaled query."""
    if kind in SCALARS:
        return qkv.q.new_ones(qkv.heads, qkv.n, 1)
    return content(qkv)[0] * qkv.factor


def positional(qkv: QKV, heads: slice, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
    """What position adds to the scores of rows: those of the layer less those of its content.

    Where nothing is rotated position can't be told apart: the scores themselves then, about the
    mean key, since what all keys share is no one's in a softmax.
    """
    q, k, origin = content(qkv)
    per = qkv.heads // qkv.groups
    start, stop, _ = heads.indices(qkv.heads)
    groups = slice(start // per, (stop - 1) // per + 1)

    def scores(q: Tensor, k: Tensor) -> Tensor:
        part = q[heads, rows].float() * qkv.factor
        keys = k[groups].float().repeat_interleave(len(part) // len(k[groups]), 0)
        return part @ keys.mT

    if origin == "before":
        return scores(qkv.q, qkv.k) - scores(q, k)
    seen = k if qkv.key_mask is None else k[:, qkv.key_mask]
    return scores(q, k - (seen if seen.shape[1] else k).mean(1, keepdim=True))


def counted(qkv: QKV, table: Float[Tensor, "h L d"]) -> places.Counted:
    """CoPE's bias of this table."""
    q, k, _ = content(qkv)
    q, k = (x.to(exact(qkv)) for x in (q * qkv.factor, k))
    return places.Counted(q, k, table.to(q), qkv.frame)


def stretched(qkv: QKV, values: Float[Tensor, "h L 1"], fire: places.Fire) -> places.Stretched:
    """FIRE's bias of these values."""
    values = values[..., 0].to(qkv.device, exact(qkv))
    return places.Stretched(values, fire, qkv.frame.offset, None if qkv.causal else qkv.m - 1)


def fitted(
    qkv: QKV, kind: str, max_distance: int, seed: int, fire: places.Fire | None = None
) -> Learned:
    """Embeddings of distances, by least squares on sampled rows; R² on every fourth, held out.

    Fewer than four rows leave none to hold out, and no R². R² is of differences inside rows: what
    a row's scores share is nothing to a softmax. `fire` says how that kind places distances.
    """
    device, h = qkv.device, qkv.heads
    draw = torch.Generator().manual_seed(seed)
    total = count(qkv, kind, max_distance)
    most = min(qkv.n, ROWS, max(64, PAIRS // qkv.m))
    rows = torch.randperm(qkv.n, generator=draw)[:most].to(device)
    cols = torch.arange(qkv.m, device=device)
    seen = qkv.frame.visible(rows, cols)
    seen = torch.ones(most, qkv.m, dtype=torch.bool, device=device) if seen is None else seen
    if kind in PLACED:
        at, solve, read = _placed(qkv, kind, total, rows, cols, fire), _between, _read_between
    else:
        names = named(qkv, kind, max_distance, total)
        at, solve, read = names[(rows + qkv.m - 1)[:, None] - cols][None], least_squares, _read
    held = torch.arange(most, device=device) % 4 == 3
    learn = ~held
    features = features_of(qkv, kind)[:, rows].float()
    random = torch.randn(h, total, features.shape[-1], generator=draw).to(device)
    tables, found, chance = [], [], []
    for a in range(h):
        target = positional(qkv, slice(a, a + 1), rows)[0] * seen
        phi = features[a]
        where = at[min(a, len(at) - 1)]
        table = solve(phi[learn], target[learn], where[learn], seen[learn], total)
        noise = random[a] * table.square().mean().sqrt()
        tables.append(table)
        for weights, into in ((table, found), (noise, chance)):
            made = read(phi[held] @ weights.mT, where[held])
            into.append(explained(target[held], made, seen[held]))
    weights = {kind: torch.stack(tables)}
    if not bool(held.any()):
        return Learned(weights)
    measure = "r2_position" if content(qkv)[2] == "before" else "r2"
    return Learned(weights, Fidelity(measure, torch.stack(found), torch.stack(chance)))


def _placed(
    qkv: QKV, kind: str, total: int, rows: Tensor, cols: Tensor, fire: places.Fire | None
) -> Float[Tensor, "#h r m"]:
    """Where each pair lies among the embeddings, −1 where nothing is added."""
    if kind == "fire":
        last = None if qkv.causal else qkv.m - 1
        return (fire or places.Fire()).place(rows + qkv.frame.offset, cols, last)[None].float()
    return counted(qkv, qkv.q.new_zeros(qkv.heads, total, qkv.q.shape[-1])).place(rows, cols)


def _read(products: Float[Tensor, "r L"], name: Int[Tensor, "r m"]) -> Float[Tensor, "r m"]:
    return F.pad(products, (0, 1)).gather(1, name)


def _read_between(
    products: Float[Tensor, "r L"], place: Float[Tensor, "r m"]
) -> Float[Tensor, "r m"]:
    return places.between(products[None], place[None])[0]


def _between(
    features: Tensor, target: Tensor, place: Tensor, seen: Tensor, total: int
) -> Float[Tensor, "L f"]:
    return _places.least_squares(features, target, place, seen, total, RIDGE)


def least_squares(
    features: Float[Tensor, "r f"],
    target: Float[Tensor, "r m"],
    name: Int[Tensor, "r m"],
    seen: Bool[Tensor, "r m"],
    total: int,
) -> Float[Tensor, "L f"]:
    """Embeddings for which features · embedding is nearest to the target, up to rows' shifts.

    Given the shifts, each embedding is a least squares of its own, since no pair has two; given
    the embeddings, a shift is a mean: the two take turns.
    """
    r, f = features.shape
    sums, pairs = target.new_zeros(2, r, total + 1).double().unbind(0)
    sums.scatter_add_(1, name, (target * seen).double())
    pairs.scatter_add_(1, name, seen.double())
    x = features.double()
    ridge = RIDGE * x.square().mean().clamp_min(1e-30) * torch.eye(f, dtype=x.dtype).to(x)
    table = x.new_zeros(total, f)
    parts = range(0, total, max(1, 2**22 // (f * f)))
    grams = [
        torch.einsum("rl,rd,re->lde", pairs[:, a : min(a + parts.step, total)], x, x) + ridge
        for a in parts
    ]
    factors = [torch.linalg.cholesky(gram) for gram in grams]
    each = pairs.sum(1).clamp_min(1)
    for turn in range(TURNS):
        made = pairs[:, :total] * (x @ table.T)
        shift = (sums.sum(1) - made.sum(1)) / each
        if turn == 0 and bool((none := pairs[:, total]).any()):  # what has no embedding stays at 0
            shift = torch.where(none > 0, sums[:, total] / none.clamp_min(1), shift)
        right = ((sums - pairs * shift[:, None])[:, :total].T @ x)[..., None]
        table = torch.cat(
            [
                torch.cholesky_solve(right[a : a + parts.step], factor)[..., 0]
                for a, factor in zip(parts, factors, strict=True)
            ]
        )
    return table.float()
