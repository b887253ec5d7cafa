"""Relative position: what is said of a pair depends on how far apart the two stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Id, Refusal, one_of, param
from engine.contract.learned import Fidelity, Learned, explained
from engine.contract.views import Bias
from engine.kernels import dense, positions
from engine.kernels.composed import Composed
from engine.kernels.patterns import Everything
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks, sdpa_whole
from engine.mechanisms.base import Mechanism, numbers, visible_pairs

KINDS = ("alibi", "rope", "t5", "shaw", "music")
LEARNED = ("t5", "shaw", "music")
"""Kinds whose papers learn them: fitted here."""
ROWS = 512
"""Rows that a fit looks at, at most."""
PAIRS = 2**21
"""Pairs of a head that a fit looks at, at most; 64 rows if these are more."""
SAMPLED = 256
"""Rows over which the view averages."""
SKEWED = 48
"""Queries of which the skew is shown."""
REACH = 1024
"""Distances that the view tells of, either way; fewer where there are many heads."""
Added = positions.Linear | positions.Planar | positions.Embedded
"""What a kind can add to scores."""
RIDGE = 8.0
"""Pairs of average size that pull an embedding to 0: few pairs are far apart."""
TURNS = 6
"""Turns that shifts of rows and embeddings take."""


@dataclass(frozen=True)
class Relative(Mechanism):
    """Full softmax on q and k as they are before the model rotates them, with positions anew.

    "alibi" takes slope·|i − j| off (arXiv 2108.12409) and "rope" rotates q and k (2104.09864),
    both exactly. "t5" adds a number per head and logarithmic bucket of distance (1910.10683),
    "shaw" q·a for an embedding a of the distance, clipped at max_distance (1803.02155, keys only),
    "music" q·e for an embedding e of each distance back, 0 from max_distance on and for keys after
    the query (1809.04281): what these learn is fitted to the head's own positional part.

    Scores keep the QKV's scale, although T5 has none; a softcap is applied before the bias. Where
    the layer doesn't tell q and k before rotation, they are taken as given.

    On an image "alibi" takes slope·(|Δrow| + |Δcolumn|) off; the other kinds know a line only and
    are refused.
    """

    key: ClassVar[str] = "relative"
    family: ClassVar[str] = "position"
    paper: ClassVar[str] = "arXiv 2108.12409, 2104.09864, 1910.10683, 1803.02155, 1809.04281"
    complexity: ClassVar[str] = "n²"

    kind: str = param("alibi", choices=KINDS)
    max_distance: int = param(128, low=1, slider=(8, 512), unit="tokens", log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        on_a_line(qkv, self.kind)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        own = bias_of_kind(qkv, self.kind, self.max_distance, learned)
        made = positioned(qkv, self.kind, self.max_distance, self.seed, learned)
        output = None
        if fits_sdpa(made.replace(bias=None)):
            output = lambda: self._output(att).to(qkv.dtype)  # noqa: E731
        elif made.dtype != qkv.dtype:
            output = lambda: Composed(made, Everything()).output.to(qkv.dtype)  # noqa: E731
        att = Composed(
            made, Everything(), output=output, views=lambda: (view(qkv, made, self.kind, own),)
        )
        att.fidelity = learned and learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        z = plain_logits(qkv, self.kind, self.max_distance, self.learned or self.learn(qkv))
        return dense.masked_softmax(qkv, z, dense.allowed(qkv))

    def _output(self, att: Composed) -> Tensor:
        return sdpa_whole(att) if att.qkv.bias is None else sdpa_blocks(att, 512)

    @property
    def formulas(self) -> tuple[str, ...]:
        return (self.kind,)

    def learn(self, qkv: QKV) -> Learned | None:
        """The kind's embeddings, fitted to what position adds to the layer's own scores."""
        if self.kind not in LEARNED:
            return None
        return fitted(qkv, self.kind, self.max_distance, self.seed)

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return tables(qkv, self.kind)

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        return blank(self.kind, self.max_distance, heads, width)

    def held(self, qkv: QKV) -> int:
        """Queries and keys rotated, or features of distances."""
        return 3 * 4 * numbers(qkv)

    def flops(self, qkv: QKV) -> int:
        h, g, n, m, d = qkv.heads, qkv.groups, qkv.n, qkv.m, qkv.q.shape[-1]
        pairs = h * visible_pairs(qkv)
        total = 2 * pairs * (d + qkv.v.shape[-1])
        if self.kind == "rope":  # four products and two sums for every two dimensions
            return total + 6 * (d // 2) * (h * n + g * m)
        if self.kind == "alibi":
            return total + 2 * pairs
        table = 1 if self.kind == "t5" else d
        rows = 0 if self.kind == "t5" else h * n * count(qkv, self.kind, self.max_distance)
        return total + pairs + 2 * rows * table


def on_a_line(qkv: QKV, kind: str) -> None:
    """Raises ValueError where a kind tells positions along one line only and these are patches."""
    if qkv.grid is not None and kind not in ("none", "alibi"):
        raise Refusal(
            "“{kind}” tells positions along one line, and the patches of an image stand in rows "
            "and columns: choose “{alibi}”",
            kind=Id(kind, f"mechanism.relative.param.kind.{kind}"),
            alibi=Id("alibi", "mechanism.relative.param.kind.alibi"),
        )


def positioned(
    qkv: QKV, kind: str, max_distance: int = 128, seed: int = 0, learned: Learned | None = None
) -> QKV:
    """The QKV with relative positions of one kind in place of the model's own rotation.

    "none" leaves it as it is. A rotation lifts half precision to float32, since rounded vectors
    would turn by other angles. A bias that the QKV has stays.

    Raises:
        ValueError: no such kind; or `learned` is of other heads or another width.
    """
    if kind == "none":
        return qkv
    one_of("kind", kind, ("none", *KINDS))
    q, k, _ = content(qkv)
    if kind == "rope":
        rows, cols = (torch.arange(x, device=qkv.device) for x in (qkv.n, qkv.m))
        return qkv.replace(
            q=positions.rotated(q.to(exact(qkv)), rows + qkv.frame.offset),
            k=positions.rotated(k.to(exact(qkv)), cols),
            v=qkv.v.to(exact(qkv)),
        )
    if kind in LEARNED and learned is None:
        learned = fitted(qkv, kind, max_distance, seed)
    bias = bias_of_kind(qkv, kind, max_distance, learned)
    if bias is not None and qkv.bias is not None:
        bias = positions.Sum(qkv.bias, bias)
    return qkv.replace(q=q, k=k, bias=bias)


def plain_logits(
    qkv: QKV, kind: str, max_distance: int, learned: Learned | None
) -> Float[Tensor, "h n m"]:
    """Logits with relative positions of one kind or "none", each pair by its distance."""
    q, k = (qkv.q, qkv.k) if kind == "none" else content(qkv)[:2]
    q, k = q.double() * qkv.factor, dense.per_head(k, qkv)
    at, cols = dense.positions(qkv)
    far = at - cols  # (n m)
    if kind == "rope":  # as complex numbers, of which the product turns by distance × frequency
        half = q.shape[-1] // 2
        turns = far[..., None] * positions.frequencies(q.shape[-1]).to(q.device)
        a, b = (torch.complex(x[..., :half], x[..., half : 2 * half]) for x in (q, k))
        scores = torch.einsum("hnf,hmf,nmf->hnm", a, b.conj(), torch.exp(1j * turns)).real
        scores = scores + q[..., 2 * half :] @ k[..., 2 * half :].mT
        return dense.biased(qkv, dense.capped(qkv, scores))
    z = dense.biased(qkv, dense.capped(qkv, q @ k.mT))
    if kind == "none":
        return z
    if kind == "alibi":
        return z - positions.slopes(qkv.heads).to(z)[:, None, None] * dense.steps(qkv).sum(0)
    assert learned is not None
    table = learned.weights[kind].to(z)  # (h L f)
    if kind == "t5":
        return z + table[:, positions.buckets(far, qkv.causal, max_distance), 0]
    total, most = table.shape[1], table.shape[1] // 2
    name = (most - far).clamp(0, 2 * most) if kind == "shaw" else far.clamp(0, total - 1)
    added = (q @ table.mT).gather(-1, name.expand(len(q), -1, -1))  # (h n m)
    return z + (added if kind == "shaw" else added * ((far >= 0) & (far < total)))


def exact(qkv: QKV) -> torch.dtype:
    """What positions are computed in."""
    return torch.float64 if qkv.dtype == torch.float64 else torch.float32


def bias_of_kind(qkv: QKV, kind: str, max_distance: int, learned: Learned | None) -> Added | None:
    """What a kind adds to scores; None where it rotates."""
    if kind == "rope":
        return None
    if kind == "alibi":
        slope = positions.slopes(qkv.heads).to(qkv.device, exact(qkv))
        if qkv.grid is not None:
            return positions.Planar(slope, qkv.grid)
        return positions.Linear(slope, qkv.frame.offset)
    assert learned is not None
    features, table = features_of(qkv, kind).to(exact(qkv)), learned.weights[kind]
    if (len(table), table.shape[-1]) != (qkv.heads, features.shape[-1]):
        raise Refusal("what {kind} learned belongs to other heads or another width", kind=kind)
    names = named(qkv, kind, max_distance, table.shape[1])
    return positions.Embedded(features, table.to(features), names)


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
    if kind == "t5":
        return positions.BUCKETS
    most = min(max_distance, max(qkv.n, qkv.m))
    return most if kind == "music" else 2 * most + 1


def tables(qkv: QKV, kind: str) -> dict[str, tuple[int | None, ...]]:
    """Shape of the embeddings that a kind learns, by its name; of any number of distances."""
    return (
        {kind: (qkv.heads, None, 1 if kind == "t5" else qkv.q.shape[-1])}
        if (kind in LEARNED)
        else {}
    )


def blank(kind: str, max_distance: int, heads: int, width: int) -> dict[str, Tensor]:
    """Embeddings of a kind that is learned, before they are."""
    sizes = {
        "t5": (positions.BUCKETS, 1),
        "shaw": (2 * max_distance + 1, width),
        "music": (max_distance, width),
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
    """What meets the embedding: 1 for T5, else the scaled query."""
    if kind == "t5":
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


def fitted(qkv: QKV, kind: str, max_distance: int, seed: int) -> Learned:
    """Embeddings of distances, by least squares on sampled rows; R² on every fourth, held out.

    Fewer than four rows leave none to hold out, and no R².

    Embeddings of different distances share no pair, so that each is a least squares of its own. R²
    is of differences inside rows: what a row's scores share is nothing to a softmax.
    """
    device, h = qkv.device, qkv.heads
    draw = torch.Generator().manual_seed(seed)
    total = count(qkv, kind, max_distance)
    names = named(qkv, kind, max_distance, total)
    most = min(qkv.n, ROWS, max(64, PAIRS // qkv.m))
    rows = torch.randperm(qkv.n, generator=draw)[:most].to(device)
    cols = torch.arange(qkv.m, device=device)
    name = names[(rows + qkv.m - 1)[:, None] - cols]
    seen = qkv.frame.visible(rows, cols)
    seen = torch.ones_like(name, dtype=torch.bool) if seen is None else seen
    held = torch.arange(most, device=device) % 4 == 3
    learn = ~held
    features = features_of(qkv, kind)[:, rows].float()
    random = torch.randn(h, total, features.shape[-1], generator=draw).to(device)
    tables, found, chance = [], [], []
    for a in range(h):
        target = positional(qkv, slice(a, a + 1), rows)[0] * seen
        phi = features[a]
        table = least_squares(phi[learn], target[learn], name[learn], seen[learn], total)
        noise = random[a] * table.square().mean().sqrt()
        tables.append(table)
        for weights, into in ((table, found), (noise, chance)):
            made = torch.cat([phi[held] @ weights.mT, phi.new_zeros(int(held.sum()), 1)], 1)
            into.append(explained(target[held], made.gather(1, name[held]), seen[held]))
    weights = {kind: torch.stack(tables)}
    if not bool(held.any()):
        return Learned(weights)
    measure = "r2_position" if content(qkv)[2] == "before" else "r2"
    return Learned(weights, Fidelity(measure, torch.stack(found), torch.stack(chance)))


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


def view(qkv: QKV, made: QKV, kind: str, own: Added | None) -> Bias:
    """What position adds by distance, and what each kind is made of."""
    frame = qkv.frame
    rows = torch.linspace(0, qkv.n - 1, min(SAMPLED, qkv.n), dtype=torch.float64).long()
    reach = max(1, min(REACH, 2**14 // qkv.heads))
    low, high = frame.offset + 1 - qkv.m, frame.offset + qkv.n - 1
    low = 0 if qkv.causal or qkv.grid else max(low, -reach)
    if qkv.grid is not None:
        high = qkv.grid.rows + qkv.grid.cols - 2
    distance = torch.arange(low, max(low, min(high, reach)) + 1, device=qkv.device)
    rows = rows.to(qkv.device)
    means = mean_by_distance(qkv, made, own, distance, rows)
    found = Bias(distance, *means, rows, kind, content(qkv)[2])
    if kind == "alibi":
        return replace(found, half_life=log(2) / positions.slopes(qkv.heads).float())
    if kind == "rope":
        return replace(found, decay=positions.decay(qkv.q.shape[-1], distance).float())
    assert isinstance(own, positions.Embedded)
    if kind == "music":
        return replace(found, skew=skew_of(own, min(SKEWED, qkv.n)))
    return found


def mean_by_distance(
    qkv: QKV,
    made: QKV,
    own: Added | None,
    distance: Int[Tensor, " k"],
    rows: Int[Tensor, " r"],
) -> tuple[Float[Tensor, "h k"], Float[Tensor, "h k"], Int[Tensor, " k"]]:
    """Mean of what position adds and of the whole logit, over the pairs that these rows see."""
    q, k, _ = content(qkv)
    after = Composed(made, Everything())
    before = Composed(qkv.replace(q=q, k=k), Everything())
    everyone, frame = slice(0, qkv.heads), qkv.frame
    value, logit = torch.zeros(2, qkv.heads, len(distance), device=qkv.device).double().unbind(0)
    times = torch.zeros(len(distance), device=qkv.device).double()
    everything = torch.arange(qkv.m, device=qkv.device)
    for row in rows.split(1):
        if frame.grid is None:
            cols = row + frame.offset - distance
            at = ((cols >= 0) & (cols < qkv.m)).nonzero()[:, 0]
            cols = cols[at]
        else:  # distances from 0 on, each of several keys
            at, cols = frame.grid.walk(row, everything)[0], everything
            at, cols = at[at < len(distance)], cols[at < len(distance)]
        if len(cols) and (seen := frame.visible(row, cols)) is not None:
            at, cols = at[seen[0]], cols[seen[0]]
        if not len(cols):
            continue
        scores = after.scores(everyone, row, cols)
        added = own(row, cols) if own else scores - before.scores(everyone, row, cols)
        value.index_add_(1, at, added[:, 0].double())
        logit.index_add_(1, at, after.finish(scores, everyone, row, cols)[:, 0].double())
        times.index_add_(0, at, times.new_ones(len(at)))
    return (value / times).float(), (logit / times).float(), times.long()


def skew_of(bias: positions.Embedded, size: int) -> tuple[Tensor, Tensor]:
    """Products of the first queries with the embeddings of distances size − 1 … 0, and skewed."""
    table = bias.table[:, :size]
    table = F.pad(table, (0, 0, 0, size - table.shape[1])).flip(1)
    products = bias.features[:, :size] @ table.mT
    return products, positions.skewed(products)
