"""Relative position: what is said of a pair depends on how far apart the two stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Id, Refusal, one_of, param
from engine.contract.learned import Learned
from engine.contract.views import Bias
from engine.kernels import dense, positions
from engine.kernels.composed import Composed
from engine.kernels.patterns import Everything
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks, sdpa_whole
from engine.kernels.turning import ROTATED, Turning
from engine.mechanisms._distances import (
    LEARNED,
    blank,
    content,
    count,
    exact,
    features_of,
    fitted,
    named,
    tables,
)
from engine.mechanisms.base import Mechanism, numbers, visible_pairs

KINDS = ("alibi", "rope", "yarn", "prope", "nope", "t5", "shaw", "music")
SAMPLED = 256
"""Rows over which the view averages."""
SKEWED = 48
"""Queries of which the skew is shown."""
REACH = 1024
"""Distances that the view tells of, either way; fewer where there are many heads."""
Added = positions.Linear | positions.Planar | positions.Embedded
"""What a kind can add to scores."""


@dataclass(frozen=True)
class Relative(Mechanism):
    """Full softmax on q and k as they are before the model rotates them, with positions anew.

    "alibi" takes slope·|i − j| off (arXiv 2108.12409) and "rope" rotates q and k (2104.09864),
    both exactly. Of the rotation "yarn" slows down the pairs that a longer text would turn too far
    (2309.00071), "prope" leaves the slowest pairs as they are (2410.06205), and "nope" all of
    them (2305.19466), so that causality alone tells positions. "t5" adds a number per head and
    logarithmic bucket of distance (1910.10683), "shaw" q·a for an embedding a of the distance,
    clipped at max_distance (1803.02155, keys only), "music" q·e for an embedding e of each
    distance back, 0 from max_distance on and for keys after the query (1809.04281): what these
    learn is fitted to the head's own positional part.

    Scores keep the QKV's scale, although T5 has none; a softcap is applied before the bias. Where
    the layer doesn't tell q and k before rotation, they are taken as given.

    On an image "alibi" takes slope·(|Δrow| + |Δcolumn|) off and "nope" knows no positions; the
    other kinds know a line only and are refused.
    """

    key: ClassVar[str] = "relative"
    family: ClassVar[str] = "position"
    paper: ClassVar[str] = "arXiv 2108.12409, 2104.09864, 1910.10683, 1803.02155, 1809.04281"
    complexity: ClassVar[str] = "n²"
    by_head: ClassVar[bool] = True

    kind: str = param("alibi", choices=KINDS)
    max_distance: int = param(128, low=1, slider=(8, 512), unit="tokens", log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))
    part: float = param(0.75, low=0.0, high=1.0, slider=(0.0, 1.0), step=0.05, later=True)
    stretch: float = param(4.0, low=1.0, slider=(1.0, 32.0), log=True, later=True)
    length: int = param(1024, low=8, slider=(128, 8192), unit="tokens", log=True, later=True)

    @property
    def turning(self) -> Turning:
        """How queries and keys turn."""
        return Turning(self.kind, self.part, self.stretch, self.length)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        on_a_line(qkv, self.kind)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        own = bias_of_kind(qkv, self.kind, self.max_distance, learned)
        made = positioned(qkv, self.kind, self.max_distance, self.seed, learned, self.turning)
        output = None
        if fits_sdpa(made.replace(bias=None)):
            output = lambda: self._output(att).to(qkv.dtype)  # noqa: E731
        elif made.dtype != qkv.dtype:
            output = lambda: Composed(made, Everything()).output.to(qkv.dtype)  # noqa: E731
        att = Composed(
            made, Everything(), output=output, views=lambda: (view(qkv, made, self.turning, own),)
        )
        att.fidelity = learned and learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        learned = self.learned or self.learn(qkv)
        z = plain_logits(qkv, self.kind, self.max_distance, learned, self.turning)
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
        if self.kind in ROTATED:  # four products and two sums for every two dimensions
            return total + 6 * (d // 2) * (h * n + g * m)
        if self.kind == "alibi":
            return total + 2 * pairs
        table = 1 if self.kind == "t5" else d
        rows = 0 if self.kind == "t5" else h * n * count(qkv, self.kind, self.max_distance)
        return total + pairs + 2 * rows * table


def on_a_line(qkv: QKV, kind: str) -> None:
    """Raises ValueError where a kind tells positions along one line only and these are patches."""
    if qkv.grid is not None and kind not in ("none", "nope", "alibi"):
        raise Refusal(
            "“{kind}” tells positions along one line, and the patches of an image stand in rows "
            "and columns: choose “{alibi}”",
            kind=Id(kind, f"mechanism.relative.param.kind.{kind}"),
            alibi=Id("alibi", "mechanism.relative.param.kind.alibi"),
        )


def positioned(
    qkv: QKV,
    kind: str,
    max_distance: int = 128,
    seed: int = 0,
    learned: Learned | None = None,
    turning: Turning | None = None,
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
    if kind in ROTATED:
        turning = turning or Turning(kind)
        turns = turning.frequencies(q.shape[-1])
        rows, cols = (torch.arange(x, device=qkv.device) for x in (qkv.n, qkv.m))
        q = positions.rotated(q.to(exact(qkv)), rows + qkv.frame.offset, turns)
        return qkv.replace(
            q=q * turning.sharpness, k=positions.rotated(k.to(exact(qkv)), cols, turns),
            v=qkv.v.to(exact(qkv)),
        )  # fmt: skip
    if kind in LEARNED and learned is None:
        learned = fitted(qkv, kind, max_distance, seed)
    bias = bias_of_kind(qkv, kind, max_distance, learned)
    if bias is not None and qkv.bias is not None:
        bias = positions.Sum(qkv.bias, bias)
    return qkv.replace(q=q, k=k, bias=bias)


def plain_logits(
    qkv: QKV,
    kind: str,
    max_distance: int,
    learned: Learned | None,
    turning: Turning | None = None,
) -> Float[Tensor, "h n m"]:
    """Logits with relative positions of one kind or "none", each pair by its distance."""
    q, k = (qkv.q, qkv.k) if kind == "none" else content(qkv)[:2]
    q, k = q.double() * qkv.factor, dense.per_head(k, qkv)
    at, cols = dense.positions(qkv)
    far = at - cols  # (n m)
    if kind in ROTATED:  # as complex numbers, of which the product turns by distance × frequency
        half, turning = q.shape[-1] // 2, turning or Turning(kind)
        turns = far[..., None] * turning.frequencies(q.shape[-1]).to(q.device)
        a, b = (torch.complex(x[..., :half], x[..., half : 2 * half]) for x in (q, k))
        scores = torch.einsum("hnf,hmf,nmf->hnm", a, b.conj(), torch.exp(1j * turns)).real
        scores = scores + q[..., 2 * half :] @ k[..., 2 * half :].mT
        return dense.biased(qkv, dense.capped(qkv, scores * turning.sharpness))
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


def bias_of_kind(qkv: QKV, kind: str, max_distance: int, learned: Learned | None) -> Added | None:
    """What a kind adds to scores; None where it rotates."""
    if kind in ROTATED:
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


def view(qkv: QKV, made: QKV, turning: Turning, own: Added | None) -> Bias:
    """What position adds by distance, and what each kind is made of."""
    kind = turning.kind
    distance, rows = looked_at(qkv)
    means = mean_by_distance(qkv, made, own, distance, rows)
    found = Bias(distance, *means, rows, kind, content(qkv)[2])
    if kind == "alibi":
        return replace(found, half_life=log(2) / positions.slopes(qkv.heads).float())
    if kind in ROTATED:
        turns = turning.frequencies(qkv.q.shape[-1])
        return replace(found, decay=positions.decay(qkv.q.shape[-1], distance, turns).float())
    assert isinstance(own, positions.Embedded)
    if kind == "music":
        return replace(found, skew=skew_of(own, min(SKEWED, qkv.n)))
    return found


def looked_at(qkv: QKV) -> tuple[Int[Tensor, " k"], Int[Tensor, " r"]]:
    """Distances that a view tells of, and the rows that it averages over."""
    frame = qkv.frame
    rows = torch.linspace(0, qkv.n - 1, min(SAMPLED, qkv.n), dtype=torch.float64).long()
    reach = max(1, min(REACH, 2**14 // qkv.heads))
    low, high = frame.offset + 1 - qkv.m, frame.offset + qkv.n - 1
    low = 0 if qkv.causal or qkv.grid else max(low, -reach)
    if qkv.grid is not None:
        high = qkv.grid.rows + qkv.grid.cols - 2
    distance = torch.arange(low, max(low, min(high, reach)) + 1, device=qkv.device)
    return distance, rows.to(qkv.device)


def mean_by_distance(
    qkv: QKV,
    made: QKV,
    own: Added | positions.Decay | None,
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
