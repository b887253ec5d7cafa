"""What a mechanism is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Learned, Refusal, params_of
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
        leaves_out: True if a row that sees keys may be left none by the mechanism: it is 0 then.
        grows: the parameter that buys fidelity to full attention with cost, "" if there is none.

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
    leaves_out: ClassVar[bool] = False
    grows: ClassVar[str] = ""

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
    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        """The weights by the paper's formula, dense and in float64: for reading and for tests.

        n×m is held in the open, and nothing is shared with the way that `attend` goes but what is
        learned, drawn or looked up. The output is these weights @ v. For a QKV that `check` lets
        pass.
        """

    @abstractmethod
    def flops(self, qkv: QKV) -> int:
        """Floating-point operations of the output, 2 a multiply-add, exponentials not counted."""

    def fit(self: M, qkv: QKV) -> M:
        """What the paper learns, fitted here; a mechanism with nothing to learn is its own fit."""
        return self
