"""What a mechanism is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from engine.contract import QKV, Learned, Refusal, params_of
from engine.kernels import needle
from engine.kernels.needle import Numbers
from engine.measure.attention import Attention

M = TypeVar("M", bound="Mechanism")


@dataclass(frozen=True)
class Mechanism(ABC):
    """One way to attend. Fields are its parameters, each declared with `param`.

    Class attributes:
        key: file stem and URL id. family: id of the family whose chip it sits under.
        paper: arXiv id or citation. complexity: a formula of n, for words.
        causal_ok: takes causal=True. square_only: needs n = m.
        selection_causal: False where choosing keys reads the future without weighing it.
        grows: the parameter that buys fidelity to full attention with cost, "" if there is none.
        groups: the grouping of keys that its views give, "buckets" or "clusters", "" if none.
        follows_entropy: a row's temperature depends on the entropy of its own softmax.

    Attributes:
        learned: what `fit` found, if it was asked.
    """

    key: ClassVar[str]
    family: ClassVar[str]
    paper: ClassVar[str] = ""
    complexity: ClassVar[str]
    causal_ok: ClassVar[bool] = True
    square_only: ClassVar[bool] = False
    selection_causal: ClassVar[bool] = True
    grows: ClassVar[str] = ""
    groups: ClassVar[str] = ""
    follows_entropy: ClassVar[bool] = False

    learned: Learned | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, declared in params_of(type(self)).items():
            object.__setattr__(self, name, declared.check(name, getattr(self, name)))

    def check(self, qkv: QKV) -> None:
        """Raises ValueError, with the field's name, where this mechanism can't honour the QKV."""
        if qkv.causal and not self.causal_ok:
            raise Refusal(
                "{key} mixes positions before it weighs them: causal must be False", key=self.key
            )
        if self.square_only and qkv.n != qkv.m:
            raise Refusal(
                "{key} needs as many queries as keys, not {n} and {m}",
                key=self.key,
                n=qkv.n,
                m=qkv.m,
            )

    @abstractmethod
    def attend(self, qkv: QKV) -> Attention:
        """Attention of this kind over one layer's Q, K and V.

        Raises:
            ValueError: the QKV holds something that this mechanism can't honour; names it.
        """

    @abstractmethod
    def flops(self, qkv: QKV) -> int:
        """Floating-point operations of the output, 2 a multiply-add, exponentials not counted."""

    def fit(self: M, qkv: QKV) -> M:
        """What the paper learns, fitted here; a mechanism with nothing to learn is its own fit."""
        return self

    # -- what it says of itself, for pages and pictures ------------------------------------------

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
        """With sizes that show something in a text of n tokens; never above those it has."""
        return self
