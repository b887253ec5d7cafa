"""Relative position: what is said of a pair depends on how far apart the two stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Id, Refusal, param
from engine.contract.learned import Learned
from engine.contract.views import Bias
from engine.kernels import dense, places, positions
from engine.kernels.composed import Composed
from engine.kernels.patterns import Everything
from engine.kernels.sdpa import fits_sdpa, sdpa_blocks, sdpa_whole
from engine.kernels.turning import ROTATED, Turning
from engine.mechanisms._distances import (
    LEARNED,
    SCALARS,
    blank,
    content,
    count,
    counted,
    exact,
    features_of,
    fitted,
    named,
    stretched,
    tables,
)
from engine.mechanisms.base import Mechanism, numbers, visible_pairs

KINDS = ("alibi", "rope", "yarn", "prope", "nope", "t5", "shaw", "music", "cope", "fire")
SAMPLED = 256
"""Rows over which the view averages."""
SKEWED = 48
"""Queries of which the skew is shown."""
REACH = 1024
"""Distances that the view tells of, either way; fewer where there are many heads."""
Added = (
    positions.Linear | positions.Planar | positions.Embedded | places.Counted | places.Stretched
)
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
    distance back, 0 from max_distance on and for keys after the query (1809.04281), "cope" q·e for
    an embedding e of how many keys the query counts back to the key, up to max_distance, each as
    σ of its scaled score (2405.18719; keys after the query 0), and "fire" a function, linear
    between 32 values, of ln(curve·distance + 1) over that of the row's furthest key, or of
    `length` in shorter texts (2310.04418): what these learn is fitted to the head's own
    positional part.

    Scores keep the QKV's scale, although T5 has none; a softcap is applied before the bias. Where
    the layer doesn't tell q and k before rotation, they are taken as given.

    On an image "alibi" takes slope·(|Δrow| + |Δcolumn|) off and "nope" knows no positions; the
    other kinds know a line only and are refused.
    """

    key: ClassVar[str] = "relative"
    family: ClassVar[str] = "position"
    paper: ClassVar[str] = (
        "arXiv 2108.12409, 2104.09864, 1910.10683, 1803.02155, 1809.04281, 2405.18719, 2310.04418"
    )
    complexity: ClassVar[str] = "n²"
    by_head: ClassVar[bool] = True

    kind: str = param("alibi", choices=KINDS)
    max_distance: int = param(128, low=1, slider=(8, 512), unit="tokens", log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))
    part: float = param(0.75, low=0.0, high=1.0, slider=(0.0, 1.0), step=0.05, later=True)
    stretch: float = param(4.0, low=1.0, slider=(1.0, 32.0), log=True, later=True)
    length: int = param(1024, low=8, slider=(128, 8192), unit="tokens", log=True, later=True)
    curve: float = param(0.1, low=0.0, open_low=True, slider=(0.001, 10.0), log=True, later=True)

    @property
    def turning(self) -> Turning:
        """How queries and keys turn."""
        return Turning(self.kind, self.part, self.stretch, self.length)

    @property
    def fire(self) -> places.Fire:
        """How FIRE places distances."""
        return places.Fire(self.curve, self.length)

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        on_a_line(qkv, self.kind)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        how = replace(self, learned=self.learned or self.learn(qkv))
        own, made = bias_of_kind(qkv, how), positioned(qkv, how)
        output = None
        if fits_sdpa(made.replace(bias=None)):
            output = lambda att: self._output(att).to(qkv.dtype)  # noqa: E731
        elif made.dtype != qkv.dtype:
            output = lambda _: Composed(made, Everything()).output.to(qkv.dtype)  # noqa: E731
        att = Composed(
            made,
            Everything(),
            output=output,
            views=lambda _: (view(qkv, made, self.turning, own),),
        )
        att.fidelity = how.learned and how.learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        z = plain_logits(qkv, replace(self, learned=self.learned or self.learn(qkv)))
        return dense.masked_softmax(qkv, z, dense.allowed(qkv))

    def _output(self, att: Composed) -> Tensor:
        return sdpa_whole(att) if att.qkv.bias is None else sdpa_blocks(att, 512)

    @property
    def idle(self) -> tuple[str, ...]:
        bears = {
            "seed": LEARNED, "max_distance": ("t5", "shaw", "music", "cope"), "part": ("prope",),
            "stretch": ("yarn",), "length": ("yarn", "fire"), "curve": ("fire",),
        }  # fmt: skip
        return tuple(name for name, kinds in bears.items() if self.kind not in kinds)

    @property
    def formulas(self) -> tuple[str, ...]:
        return (self.kind,)

    def learn(self, qkv: QKV) -> Learned | None:
        """The kind's embeddings, fitted to what position adds to the layer's own scores."""
        if self.kind not in LEARNED:
            return None
        return fitted(qkv, self.kind, self.max_distance, self.seed, self.fire)

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
        if self.kind in SCALARS:
            return total + (1 if self.kind == "t5" else 4) * pairs  # between two numbers
        total += 2 * h * n * count(qkv, self.kind, self.max_distance) * d
        return total + (2 * pairs * d + 4 * pairs if self.kind == "cope" else pairs)


def on_a_line(qkv: QKV, kind: str) -> None:
    """Raises ValueError where a kind tells positions along one line only and these are patches."""
    if qkv.grid is not None and kind not in ("none", "nope", "alibi"):
        raise Refusal(
            "“{kind}” tells positions along one line, and the patches of an image stand in rows "
            "and columns: choose “{alibi}”",
            kind=Id(kind, f"mechanism.relative.param.kind.{kind}"),
            alibi=Id("alibi", "mechanism.relative.param.kind.alibi"),
        )


def positioned(qkv: QKV, how: Relative) -> QKV:
    """The QKV with relative positions in place of the model's own rotation.

    A rotation lifts half precision to float32, since rounded vectors would turn by other angles. A
    bias that the QKV has stays. What `how` has not learned yet is fitted.

    Raises:
        ValueError: what it learned is of other heads or another width.
    """
    q, k, _ = content(qkv)
    if how.kind in ROTATED:
        turns = how.turning.frequencies(q.shape[-1])
        rows, cols = (torch.arange(x, device=qkv.device) for x in (qkv.n, qkv.m))
        q = positions.rotated(q.to(exact(qkv)), rows + qkv.frame.offset, turns)
        return qkv.replace(
            q=q * how.turning.sharpness, k=positions.rotated(k.to(exact(qkv)), cols, turns),
            v=qkv.v.to(exact(qkv)),
        )  # fmt: skip
    bias = bias_of_kind(qkv, how)
    if bias is not None and qkv.bias is not None:
        bias = positions.Sum(qkv.bias, bias)
    return qkv.replace(q=q, k=k, bias=bias)


def plain_logits(qkv: QKV, how: Relative) -> Float[Tensor, "h n m"]:
    """Logits with relative positions, each pair by its distance."""
    q, k, _ = content(qkv)
    q, k = q.double() * qkv.factor, dense.per_head(k, qkv)
    at, cols = dense.positions(qkv)
    far = at - cols  # (n m)
    if (
        how.kind in ROTATED
    ):  # as complex numbers, of which the product turns by distance × frequency
        half, turning = q.shape[-1] // 2, how.turning
        turns = far[..., None] * turning.frequencies(q.shape[-1]).to(q.device)
        a, b = (torch.complex(x[..., :half], x[..., half : 2 * half]) for x in (q, k))
        scores = torch.einsum("hnf,hmf,nmf->hnm", a, b.conj(), torch.exp(1j * turns)).real
        scores = scores + q[..., 2 * half :] @ k[..., 2 * half :].mT
        return dense.biased(qkv, dense.capped(qkv, scores * turning.sharpness))
    scores = q @ k.mT
    z = dense.biased(qkv, dense.capped(qkv, scores))
    if how.kind == "alibi":
        return z - positions.slopes(qkv.heads).to(z)[:, None, None] * dense.steps(qkv).sum(0)
    assert how.learned is not None
    table = how.learned.weights[how.kind].to(z)  # (h L f)
    if how.kind == "t5":
        return z + table[:, positions.buckets(far, qkv.causal, how.max_distance), 0]
    if how.kind == "fire":
        return z + _unit_by_unit(qkv, how, table[..., 0], far)
    total, most = table.shape[1], table.shape[1] // 2
    products = q @ table.mT
    if how.kind == "cope":
        gates = torch.sigmoid(scores) * (dense.allowed(qkv) & (far >= 0))
        count = gates.flip(-1).cumsum(-1).flip(-1).clamp_max(total - 1)
        low, high = (products.gather(-1, x.long()) for x in (count.floor(), count.ceil()))
        return z + (low + (count - count.floor()) * (high - low)) * (far >= 0)
    name = (most - far).clamp(0, 2 * most) if how.kind == "shaw" else far.clamp(0, total - 1)
    added = products.gather(-1, name.expand(len(q), -1, -1))  # (h n m)
    return z + (added if how.kind == "shaw" else added * ((far >= 0) & (far < total)))


def _unit_by_unit(
    qkv: QKV, how: Relative, values: Float[Tensor, "h L"], far: Int[Tensor, "n m"]
) -> Float[Tensor, "h n m"]:
    """FIRE's function as its paper's network: what each unit max(0, x − t) adds."""
    at = dense.positions(qkv)[0].double()
    longest = (at if qkv.causal else torch.maximum(at, qkv.m - 1 - at)).clamp_min(how.length)
    x = (1 + how.curve * far.abs().double()).log() / (1 + how.curve * longest).log()
    x = x.clamp_max(1) * (values.shape[1] - 1)
    slope = F.pad(values.diff(dim=1), (1, 0)).diff(dim=1)  # what each unit adds to the slope
    units = (by[:, None, None] * (x - t).clamp_min(0) for t, by in enumerate(slope.T))
    return values[:, :1, None] + sum(units)


def bias_of_kind(qkv: QKV, how: Relative) -> Added | None:
    """What a kind adds to scores; None where it rotates."""
    kind, learned = how.kind, how.learned
    if kind in ROTATED:
        return None
    if kind == "alibi":
        slope = positions.slopes(qkv.heads).to(qkv.device, exact(qkv))
        if qkv.grid is not None:
            return positions.Planar(slope, qkv.grid)
        return positions.Linear(slope, qkv.frame.offset)
    known = learned or how.fit(qkv).learned
    assert known is not None
    table = known.weights[kind]
    features = features_of(qkv, kind).to(exact(qkv))
    if (len(table), table.shape[-1]) != (qkv.heads, features.shape[-1]):
        raise Refusal("what {kind} learned belongs to other heads or another width", kind=kind)
    if kind == "cope":
        return counted(qkv, table)
    if kind == "fire":
        return stretched(qkv, table, how.fire)
    names = named(qkv, kind, how.max_distance, table.shape[1])
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
    if isinstance(own, positions.Embedded) and kind == "music":
        return replace(found, skew=skew_of(own, min(SKEWED, qkv.n)))
    if isinstance(own, places.Stretched):
        return replace(found, values=own.values.float())
    if isinstance(own, places.Counted):
        counted = mean_by_distance(qkv, made, own.place, distance, rows)[0]
        return replace(found, counted=counted.masked_fill(distance < 0, torch.nan))
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
    own: Callable[[Tensor, Tensor], Tensor] | None,
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
