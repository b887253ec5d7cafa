"""Relative positions: slopes, rotations, buckets, the skew, and biases made of them.

Distances are query position minus key position, on the keys' axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Bias, Grid, of_heads, of_rows

BASE = 10_000.0
"""Wavelengths of RoPE run from 2π to nearly 2π times this."""
BUCKETS = 32
"""Buckets of T5, both directions together."""


def slopes(heads: int) -> Float[Tensor, " h"]:
    """ALiBi's slope of each head (arXiv 2108.12409): 2^(−8h/H), h = 1 … H.

    Where H is no power of two, the slopes of the largest power P below it come first, then every
    second slope of 2P heads.
    """
    whole = 2 ** (heads.bit_length() - 1)
    found = [2 ** (-8 * h / whole) for h in range(1, whole + 1)]
    found += [2 ** (-8 * h / (2 * whole)) for h in range(1, 2 * whole + 1, 2)]
    return torch.tensor(found[:heads], dtype=torch.float64)


def frequencies(width: int) -> Float[Tensor, " half"]:
    """Angle that each pair of dimensions turns by from one position to the next, in radians."""
    return BASE ** (-torch.arange(width // 2, dtype=torch.float64) * 2 / (width // 2 * 2))


def rotated(
    x: Float[Tensor, "h n d"],
    position: Int[Tensor, " n"],
    turns: Float[Tensor, " half"] | None = None,
) -> Float[Tensor, "h n d"]:
    """RoPE (arXiv 2104.09864): dimension j and j + d/2 turn together, as in Llama.

    The article pairs neighbours, 2j and 2j + 1: the same with dimensions in another order. Where d
    is odd the last dimension stays as it is. Pairs turn by `turns`, RoPE's frequencies if None.
    """
    half = x.shape[-1] // 2
    turns = frequencies(x.shape[-1]) if turns is None else turns
    angle = position.double()[:, None] * turns.to(position.device)
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


def decay(
    width: int, distance: Int[Tensor, " k"], turns: Float[Tensor, " half"] | None = None
) -> Float[Tensor, " k"]:
    """Mean of q · R k over unit q = k that point anywhere: the mean cosine of RoPE's angles."""
    turns = (frequencies(width) if turns is None else turns).to(distance.device)
    return (distance.double()[:, None] * turns).cos().mean(-1)


def buckets(distance: Int[Tensor, "*s"], causal: bool, longest: int) -> Int[Tensor, "*s"]:
    """T5's bucket of a distance (arXiv 1910.10683).

    Bidirectional, half of the 32 buckets are for keys after the query. The first half of a
    direction's buckets hold one distance each, the others grow logarithmically up to `longest`;
    the last takes in all that is further. Where `longest` is within the single ones, the distances
    from it on share its bucket.
    """
    count = BUCKETS if causal else BUCKETS // 2
    after = torch.zeros_like(distance) if causal else (distance < 0).long() * count
    far = distance.clamp_min(0) if causal else distance.abs()
    exact = count // 2
    if longest <= exact:
        return after + far.clamp_max(longest)
    # in float32, as the published code has it, so that edges fall where they fall there
    share = (far.clamp_min(1).float() / exact).log() / log(longest / exact)
    large = (exact + (share * (count - exact)).long()).clamp_max(count - 1)
    return after + torch.where(far < exact, far, large)


def skewed(scores: Float[Tensor, "... n n"]) -> Float[Tensor, "... n n"]:
    """The skew of Music Transformer (arXiv 1809.04281).

    Row i, column c of the argument is of distance n − 1 − c; of the result, row i, column j is of
    distance i − j. Above the diagonal the result holds what was left over, of other rows.
    """
    n = scores.shape[-1]
    padded = F.pad(scores, (1, 0))
    return padded.reshape(*scores.shape[:-2], n + 1, n)[..., 1:, :]


@dataclass(frozen=True, eq=False)
class Linear:
    """−slope · |distance|, ALiBi. Attributes: slope: (h). offset: position of query 0."""

    slope: Float[Tensor, " h"]
    offset: int

    def heads(self, part: slice) -> Linear:
        return Linear(self.slope[part], self.offset)

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        far = ((rows + self.offset)[:, None] - cols).abs().to(self.slope)
        return far * -self.slope[:, None, None]


@dataclass(frozen=True, eq=False)
class Planar:
    """ALiBi on an image: −slope · (|Δrow| + |Δcolumn|), the sum of that along each side.

    Attributes:
        slope: (h). grid: where positions stand.
    """

    slope: Float[Tensor, " h"]
    grid: Grid

    def heads(self, part: slice) -> Planar:
        return Planar(self.slope[part], self.grid)

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        return self.grid.walk(rows, cols).to(self.slope) * -self.slope[:, None, None]


@dataclass(frozen=True, eq=False)
class Decay:
    """What was forgotten since a key: the sum of ln f of the tokens after it up to the row's own.

    Attributes:
        total: (h m) running sums of ln f, float64. offset: position of query 0.
        dtype: what it is given in.
    """

    total: Float[Tensor, "h m"]
    offset: int
    dtype: torch.dtype

    def heads(self, part: slice) -> Decay:
        return Decay(self.total[part], self.offset, self.dtype)

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        at = (rows + self.offset).clamp(0, self.total.shape[1] - 1)
        # from the first row on, so that float32 loses nothing of what is near
        start = self.total[:, at[:1]]
        mine, theirs = ((self.total[:, x] - start).to(self.dtype) for x in (at, cols))
        return mine[..., None] - theirs[:, None]


@dataclass(frozen=True, eq=False)
class Embedded:
    """Inner product of a row's features with the embedding of the distance (T5, Shaw, Music).

    Attributes:
        features: (h n f), the scale in them. table: (h L f) embeddings.
        names: (n+m−1) embedding of each difference of row and column, from 1 − m on; L for none.
    """

    features: Float[Tensor, "h n f"]
    table: Float[Tensor, "h L f"]
    names: Int[Tensor, " k"]

    def heads(self, part: slice) -> Embedded:
        return Embedded(self.features[part], self.table[part], self.names)

    def name(self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]) -> Int[Tensor, "r c"]:
        """Embedding of each pair."""
        before = len(self.names) - self.features.shape[1]  # m − 1
        return self.names[(rows + before)[:, None] - cols]

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        scores = F.pad(self.features[:, rows] @ self.table.mT, (0, 1))  # the last is none
        return scores.gather(-1, self.name(rows, cols).expand(len(scores), -1, -1))


@dataclass(frozen=True, eq=False)
class Sum:
    """Two biases."""

    a: Bias
    b: Bias

    def heads(self, part: slice) -> Sum:
        return Sum(of_heads(self.a, part), of_heads(self.b, part))

    def over(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        a, b = of_rows(self.a, rows), of_rows(self.b, rows)
        return lambda cols: a(cols) + b(cols)

    def __call__(self, rows: Tensor, cols: Tensor) -> Float[Tensor, "h r c"]:
        return self.a(rows, cols) + self.b(rows, cols)
