"""What a mechanism is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from math import inf
from typing import ClassVar, TypeVar

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from engine.contract import QKV, Id, Learned, Refusal, params_of
from engine.kernels import needle
from engine.kernels.needle import Numbers
from engine.kernels.rows import BLOCK
from engine.measure.attention import Attention

M = TypeVar("M", bound="Mechanism")


TALL = 1024
"""Rows, and so keys beside their own, that a pass of rows works out at once, at most."""
LARGEST = 1e20
"""Of scores: what mechanisms make of larger ones leaves what single precision holds."""


@dataclass(frozen=True)
class Mechanism(ABC):
    """One way to attend. Fields are its parameters, each declared with `param`.

    Class attributes:
        key: file stem and URL id. family: id of the family whose chip it sits under.
        paper: arXiv id or citation. complexity: a formula of n, for words.
        causal_ok: takes causal=True. square_only: needs n = m.
        selection_causal: False where choosing keys reads the future without weighing it.
        leaves_out: True if a row that sees keys may be left none by the mechanism: it is 0 then.
        grows: the parameter that buys fidelity to full attention with cost, "" if there is none.
        sizes: parameters that show nothing where they come near the length of the text.
        spans: parameters that, above the text's length, say what they say at it.
        groups: the grouping of keys that its views give, "buckets" or "clusters", "" if none.
        beside_full: its place beside full softmax where nothing else is chosen, 0 for none.
        blocks_at_once: blocks of weights in float32 that a pass holds side by side.
        follows_entropy: a row's temperature depends on the entropy of its own softmax.
        by_head: with its default parameters a head's weights depend on which one of its layer it
            is, or on the others; alone it does not attend as it does among them.

    Attributes:
        learned: what `fit` found, if it was asked, or what training found.
    """

    key: ClassVar[str]
    family: ClassVar[str]
    paper: ClassVar[str] = ""
    complexity: ClassVar[str]
    causal_ok: ClassVar[bool] = True
    square_only: ClassVar[bool] = False
    selection_causal: ClassVar[bool] = True
    leaves_out: ClassVar[bool] = False
    grows: ClassVar[str] = ""
    sizes: ClassVar[tuple[str, ...]] = ()
    spans: ClassVar[tuple[str, ...]] = ()
    groups: ClassVar[str] = ""
    beside_full: ClassVar[int] = 0
    blocks_at_once: ClassVar[int] = 4
    follows_entropy: ClassVar[bool] = False
    by_head: ClassVar[bool] = False

    learned: Learned | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, declared in params_of(type(self)).items():
            object.__setattr__(self, name, declared.check(name, getattr(self, name)))

    def within(self: M, qkv: QKV) -> M:
        """The same with no span longer than the text, so that none costs more than the text."""
        most = max(qkv.n, qkv.m)
        long = {name: most for name in self.spans if getattr(self, name) > most}
        return replace(self, **long) if long else self

    @property
    def called(self) -> Id:
        """Its key, in a refusal; where people read that, its name."""
        return Id(self.key, f"mechanism.{self.key}.name")

    def check(self, qkv: QKV) -> None:
        """Raises ValueError, with the field's name, where this mechanism can't honour the QKV."""
        if qkv.causal and not self.causal_ok:
            raise Refusal(
                "{key} mixes positions before it weighs them, so it can't be causal",
                key=self.called,
            )
        if self.square_only and qkv.n != qkv.m:
            raise Refusal(
                "{key} needs as many queries as keys, not {n} and {m}",
                key=self.called,
                n=qkv.n,
                m=qkv.m,
            )
        if not (most := qkv.largest_score()) <= LARGEST:
            raise Refusal(
                "q, k and scale may make scores of {most:.0e}; up to {largest:.0e} is allowed",
                most=most, largest=LARGEST,
            )  # fmt: skip
        found = {} if self.learned is None else self.learned.weights
        for name, shape in self.takes(qkv).items() if found else ():
            given = tuple(found[name].shape) if name in found else ()
            same = (b is None or a == b for a, b in zip(given, shape, strict=False))
            if len(given) != len(shape) or not all(same):
                raise Refusal(
                    "{key} was fitted to another layer, or with other parameters: its {name} is "
                    "{given}, not {shape}; fit it anew",
                    key=self.called,
                    name=name,
                    given=_sizes(given),
                    shape=_sizes(shape),
                )

    @abstractmethod
    def attend(self, qkv: QKV) -> Attention:
        """Attention of this kind over one layer's Q, K and V.

        Raises:
            ValueError: the QKV holds something that this mechanism can't honour; names it.
        """

    @abstractmethod
    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        """The weights by the paper's formula, dense and in float64: for reading and for tests.

        n×m is held in the open, and nothing is shared with the way that `attend` goes but what is
        learned, drawn or looked up. The output is these weights @ v. For a QKV that `check` lets
        pass.
        """

    def pairs(self, qkv: QKV) -> int:
        """Pairs of a head that are scored, from shapes alone."""
        return visible_pairs(qkv)

    def shown(self, qkv: QKV) -> int:
        """Pairs of a head whose weights are worked out for statistics and maps."""
        return visible_pairs(qkv)

    def scoring(self, qkv: QKV) -> int:
        """Operations that it takes to work out the score of one of these, as multiply-adds go."""
        return 2 * qkv.k.shape[-1]

    def flops(self, qkv: QKV) -> int:
        """Floating-point operations of the output, 2 a multiply-add, exponentials not counted.

        From shapes alone, so that it is known before anything is computed; a hidden key counts.
        Here: scores and weighed values of all `pairs`.
        """
        return 2 * qkv.heads * self.pairs(qkv) * (qkv.k.shape[-1] + qkv.v.shape[-1])

    def bytes_needed(self, qkv: QKV, size: int = 512) -> int:
        """What a summary with maps of size×size cells holds at the worst moment, above its inputs.

        From shapes alone, at most, on one thread: the output, statistics, and maps; what is `held`
        for the whole text; and the weights of `blocks_at_once` blocks.
        """
        h, n, m = qkv.heads, qkv.n, qkv.m
        output = h * n * qkv.v.shape[-1] * qkv.v.element_size()
        rows = 2 * h * n * 14 * 8  # in parts, and put together
        # added up in float64; and how many pairs each cell holds, of all heads alike
        maps = min(n, size) * min(m, size) * (h * (2 * 8 + 3 * 4) + 4 * 8)
        blocks = self.blocks_at_once * 4 * min(BLOCK, h * n * m)
        return 2 * output + rows + maps + blocks + self.held(qkv)

    def held(self, qkv: QKV) -> int:
        """Bytes of what this mechanism alone keeps for the whole text, from shapes, at most."""
        return 0

    def fit(self: M, qkv: QKV) -> M:
        """The mechanism with what its paper learns, fitted to this QKV.

        Always anew, whatever it was fitted to before; with nothing to learn it carries nothing.
        What it carries `attend` and `check` hold to: to other QKVs of the same shapes it is
        applied as it is, others are refused. Without a fit `attend` makes one and doesn't keep it.

        Raises:
            ValueError: the QKV holds something that this mechanism can't honour.
        """
        bare = replace(self, learned=None)
        bare.check(qkv)
        return replace(bare, learned=bare.within(qkv).learn(qkv))

    def learn(self, qkv: QKV) -> Learned | None:
        """What `fit` carries; None where nothing is learned."""
        return None

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        """Names and shapes of the weights that `learn` finds; None for a size that may differ."""
        return {}

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        """Names and shapes of the weights that `learned` may hold: what `learn` finds, or what
        only training finds, in a model that attends this way from the start."""
        return self.learns(qkv)

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """What a model that attends this way from the start brings to a layer besides its
        projections, as it is at first, by the names and in the shapes of `takes`: a `Parameter`
        is trained, any other tensor stays as it is.

        Args:
            heads: of the layer. width: of a query. read: numbers of its input x for each token.
            layer: which it is, from 0.
        """
        return {}

    # -- what it says of itself, for pages and pictures ------------------------------------------

    @property
    def formulas(self) -> tuple[str, ...]:
        """Which formulas say what these parameters compute, in their order: "" for the
        mechanism's plain one (`mechanism.<key>.formula`), x for `mechanism.<key>.<x>.formula`."""
        return ("",)

    @property
    def idle(self) -> tuple[str, ...]:
        """Parameters that change nothing as the others stand, which pages then don't offer."""
        return ()

    def idle_on(self, causal: bool) -> tuple[str, ...]:
        """`idle`, and what changes nothing where attention is causal, or is not."""
        return self.idle

    @property
    def order(self) -> str:
        """What these parameters cost, as `complexity` says it of all."""
        return self.complexity

    @property
    def exact_zeros(self) -> bool:
        """The normaliser may give exactly 0 to a key that it is shown."""
        return False

    @property
    def selects(self) -> bool:
        """A row may be shown fewer keys than causality and masks leave it."""
        return False

    def inverse_temperature(self, n: ArrayLike, entropy: ArrayLike) -> Numbers | None:
        """The factor on the scores of a row; None if rows are no softmax of scaled scores.

        Args:
            n: keys that the row sees. entropy: of softmax over them, nats.
        """
        return None

    def needle_mass(self, n: ArrayLike, gap: ArrayLike) -> Numbers | None:
        """Weight of one key whose score lies `gap` above n − 1 equal others, in closed form; None
        if that alone does not decide it.

        Raises:
            ValueError: n is below 1.
        """
        by = self.inverse_temperature(n, needle.entropy(n, gap))
        return None if by is None else needle.needle_mass(n, by * np.asarray(gap, float))

    @property
    def sets_temperature(self) -> bool:
        """Each row's temperature is the mechanism's own to set, so that to sharpen its scores from
        outside says nothing of it."""
        return self.follows_entropy

    @property
    def holding_gap(self) -> float:
        """The gap above which length alone does not thin a needle out; infinite if there is none.

        As in `needle_mass`: the others are equal.
        """
        return inf

    def row_sum(self, scores: ArrayLike, shift: ArrayLike) -> Numbers | None:
        """What a row of these scores (m) adds up to when `shift` (s) is added to all: (s).

        None where a shift common to all scores changes nothing.
        """
        return None

    def sharpened(self: M, factor: float, n: float) -> M | None:
        """This mechanism with its own parameter set so that over n keys scores count `factor`
        times; None if it has none, and the QKV's scale has to do it."""
        return None

    def suited(self: M, n: int) -> M:
        """The same with `sizes` that show something in a text of n tokens: at most the largest
        power of two in a quarter of it, and never above what they are."""
        most = 1 << max(0, (n // 4).bit_length() - 1)
        smaller = {x: most for x in self.sizes if getattr(self, x) > most}
        return replace(self, learned=None, **smaller) if smaller else self

    def suited_to(self: M, qkv: QKV) -> M:
        """As `suited`, to what is attended."""
        return self.suited(qkv.m)


def by_pair(qkv: QKV) -> Id | None:
    """The name of what is said of pairs of positions, a mask or a bias; None if nothing is."""
    given = (name for name in ("mask", "bias") if getattr(qkv, name) is not None)
    return next((Id(name, f"qkv.{name}") for name in given), None)


def numbers(qkv: QKV) -> int:
    """How many there are in Q, in K and V for every head that reads them."""
    return qkv.heads * (qkv.n * qkv.q.shape[-1] + qkv.m * (qkv.k.shape[-1] + qkv.v.shape[-1]))


def _sizes(shape: tuple[int | None, ...]) -> str | Refusal:
    return " × ".join("n" if x is None else f"{x}" for x in shape) or Refusal("none")


def nearby_pairs(qkv: QKV, pairs: int) -> int:
    """Pairs of a head that are worked out where rows next to each other see keys next to each
    other: those seen, and the rest of the blocks that they lie in, at most."""
    return min(visible_pairs(qkv), pairs + TALL * qkv.n)


def visible_pairs(qkv: QKV) -> int:
    """Pairs that causality leaves."""
    n, m = qkv.n, qkv.m
    if not qkv.causal:
        return n * m
    rows = min(n, m)  # rows before the first key see nothing
    return rows * m - rows * (rows - 1) // 2


def pairs_back(qkv: QKV) -> int:
    """Pairs of a row with its own key and those before it, whether the QKV is causal or not."""
    if qkv.causal:
        return visible_pairs(qkv)
    rows = min(qkv.n, qkv.m)
    return rows * (rows + 1) // 2 + (qkv.n - rows) * qkv.m
