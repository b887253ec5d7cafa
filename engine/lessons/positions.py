"""Self-attention and positions: a permuted sentence, position tables, and what it all costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Refusal, one_of
from engine.kernels.positions import BASE, frequencies, rotated
from engine.mechanisms import attend

KINDS = ("none", "sinusoidal", "learned", "rotary")
ORDERS = ("swapped", "reversed", "shuffled")
MOST = 24
"""Words of a sentence that are read."""


def sinusoidal(n: int, width: int) -> Float[Tensor, "n d"]:
    """p[i, 2j] = sin(i ω_j), p[i, 2j+1] = cos(i ω_j), ω_j = 10000^(−2j/d) (arXiv 1706.03762).

    Raises:
        ValueError: there is no position, or the width is odd.
    """
    _check(n, width)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * frequencies(width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).float()


def _check(n: int, width: int) -> None:
    if n < 1:
        raise Refusal("a sequence of no positions has nothing to encode: give at least 1")
    if width < 2 or width % 2:
        raise Refusal(
            "sines and cosines come in pairs: the width must be even, not {width}", width=width
        )


def rotation(width: int, offset: int) -> Float[Tensor, "d d"]:
    """R with p[i + offset] = R p[i] at every i: each pair turns by offset · ω_j.

    Raises:
        ValueError: the width is odd.
    """
    _check(1, width)
    angle = frequencies(width) * offset
    turns = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], -1)
    return torch.block_diag(*turns.unflatten(1, (2, 2))).float()


def rotation_error(n: int, width: int, offset: int) -> float:
    """Largest |p[i + offset] − R p[i]| over the positions, all in float32.

    Raises:
        ValueError: there is no position, or the width is odd.
    """
    _check(n, width)
    p = sinusoidal(n + offset, width)
    return float((p[offset:] - p[:n] @ rotation(width, offset).mT).abs().max())


def learned(n: int, width: int, seed: int = 0) -> Float[Tensor, "n d"]:
    """A table as it is before anything is learned: random, of the sinusoids' variance, 1/2.

    Raises:
        ValueError: there is no position.
    """
    if n < 1:
        raise Refusal("a sequence of no positions has nothing to encode: give at least 1")
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) * 0.5**0.5


def likeness(kind: str, n: int, width: int, seed: int = 0) -> Float[Tensor, "n n"]:
    """How alike two positions are to a dot product, up to a factor.

    For tables p_i · p_j, the mean of its diagonal 1; for "rotary" q · R_{i−j} k of one query and
    one key, drawn and of length 1.

    Raises:
        ValueError: no such kind; there is no position, or an odd width where pairs are needed.
    """
    if kind == "rotary":
        _check(n, width)
        draw = torch.Generator().manual_seed(seed)
        q, k = torch.nn.functional.normalize(torch.randn(2, 1, width, generator=draw), dim=-1)
        at = torch.arange(n)
        turned = [rotated(x[None].expand(1, n, width), at)[0] for x in (q, k)]
        return turned[0] @ turned[1].mT
    tables = {"sinusoidal": sinusoidal, "learned": lambda n, d: learned(n, d, seed)}
    if kind not in tables:
        raise Refusal("kind must be sinusoidal, learned or rotary, not {kind!r}", kind=kind)
    p = tables[kind](n, width)
    return p @ p.mT * (2 / width)


def spread(scores: Float[Tensor, "n n"], offset: int) -> float:
    """Standard deviation along one distance: 0 where only the distance counts."""
    return float(scores.diagonal(-offset).std(correction=0))


@dataclass(frozen=True, eq=False)
class Permuted:
    """A sentence and the same sentence in another order, through one head.

    Attributes:
        order: the permuted sentence is tokens[order]. before: outputs as written.
        after: outputs of the permuted sentence, put back as written.
    """

    order: Int[Tensor, " n"]
    before: Float[Tensor, "n d"]
    after: Float[Tensor, "n d"]

    @property
    def difference(self) -> float:
        """The largest difference of any number: 0 if outputs permute with the words."""
        return float((self.after - self.before).abs().max())


def words(sentence: str) -> tuple[str, ...]:
    """A sentence's words; its characters where nothing parts them, as in Chinese.

    Raises:
        ValueError: there is none.
    """
    found = sentence.split()
    if len(found) == 1 and not found[0].isascii():
        found = list(found[0])
    if not found:
        raise Refusal("a sentence of no words has nothing to attend to: write at least one")
    return tuple(found[:MOST])


def order_of(kind: str, n: int, seed: int = 0) -> Int[Tensor, " n"]:
    """An order: the first and the last word swapped, all reversed, or shuffled."""
    order = torch.arange(n)
    if kind == "reversed":
        return order.flip(0)
    if kind == "shuffled":
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    order[[0, n - 1]] = order[[n - 1, 0]]
    return order


def attended(
    tokens: Sequence[str], kind: str, *, causal: bool, width: int = 16, seed: int = 0
) -> Float[Tensor, "n d"]:
    """One self-attention head over words, each word's vector drawn, the same wherever it stands.

    Raises:
        ValueError: there are no words, or the width is odd where pairs are needed.
    """
    if not tokens:
        raise Refusal("a sentence of no words has nothing to attend to: write at least one")
    draw = torch.Generator().manual_seed(seed)
    names = sorted(set(tokens))
    table = torch.randn(len(names), width, generator=draw)
    w_q, w_k, w_v = torch.randn(3, width, width, generator=draw) * width**-0.5
    x = table[[names.index(token) for token in tokens]]
    if kind == "sinusoidal":
        x = x + sinusoidal(len(x), width)
    elif kind == "learned":
        x = x + learned(len(x), width, seed + 1)
    q, k, v = (x @ w for w in (w_q, w_k, w_v))
    if kind == "rotary":
        _check(len(x), width)
        q, k = (rotated(y[None], torch.arange(len(x)))[0] for y in (q, k))
    return attend(QKV(q[None], k[None], v[None], causal=causal), "softmax").output[0]


def permuted(
    tokens: Sequence[str], order: Int[Tensor, " n"], kind: str, *, causal: bool = False,
    width: int = 16, seed: int = 0,
) -> Permuted:  # fmt: skip
    """A sentence as written, and in another order.

    Raises:
        ValueError: as `attended`.
    """
    places: list[int] = order.tolist()
    moved = [tokens[i] for i in places]
    before = attended(tokens, kind, causal=causal, width=width, seed=seed)
    after = attended(moved, kind, causal=causal, width=width, seed=seed)
    return Permuted(order, before, after[order.argsort()])


@dataclass(frozen=True)
class Cost:
    """What one layer takes: multiply-adds, steps that wait for each other, and the longest path
    between two positions, up to constant factors (arXiv 1706.03762, table 1)."""

    operations: float
    steps: float
    path: float


LAYERS = ("attention", "recurrence", "convolution", "dilated")


def cost(layer: str, n: float, width: int, kernel: int) -> Cost:
    """Of self-attention, recurrence, convolution, or a stack of dilated convolutions.

    Raises:
        ValueError: no such layer; no positions; or a kernel that joins no two positions.
    """
    if n < 1:
        raise Refusal("a sequence of no positions costs nothing: give at least 1")
    if kernel < 2:
        raise Refusal("a kernel joins at least 2 positions, not {kernel}", kernel=kernel)
    if layer == "attention":
        return Cost(n * n * width, 1, 1)
    if layer == "recurrence":
        return Cost(n * width * width, n, n)
    one_of("layer", layer, LAYERS)
    path = n / kernel
    if layer == "dilated":
        path = float(torch.tensor(n, dtype=torch.float64).log()) / float(
            torch.tensor(kernel, dtype=torch.float64).log()
        )
    return Cost(kernel * n * width * width, 1, max(1.0, path))


def code(
    view: str, *, tokens: Sequence[str] = (), order: Sequence[int] = (), kind: str = "none",
    causal: bool = False, n: int = 1, width: int = 16, offset: int = 0, kernel: int = 3,
    seed: int = 0,
) -> str:  # fmt: skip
    """Lines of a notebook that find the same numbers."""
    if view == "cost":
        return (
            "from engine.lessons.positions import LAYERS, cost\n"
            f"found = {{layer: cost(layer, {n}, {width}, {kernel}) for layer in LAYERS}}"
        )
    if view == "encoding":
        return (
            "import torch\n"
            f"n, d, offset = {n}, {width}, {offset}\n"
            f"omega = {BASE:g} ** -(torch.arange(0, d, 2, dtype=torch.float64) / d)\n"
            "angle = torch.arange(n + offset)[:, None] * omega\n"
            "p = torch.stack([angle.sin(), angle.cos()], -1)       # (position, pair, 2)\n"
            "sin, cos = (offset * omega).sin(), (offset * omega).cos()\n"
            "turn = torch.stack([cos, sin, -sin, cos], -1).view(-1, 2, 2)\n"
            'error = (p[offset:] - torch.einsum("jab,ijb->iaj", turn, p[:n]).mT).abs().max()\n'
            "p = p.flatten(1)[:n].float()"
        )
    return (
        "import torch\n"
        "from engine.lessons.positions import permuted\n"
        f"found = permuted({list(tokens)!r}, torch.tensor({list(order)}),\n"
        f"                 {kind!r}, causal={causal}, width={width}, seed={seed})\n"
        "found.difference    # 0: outputs permute with the words"
    )
