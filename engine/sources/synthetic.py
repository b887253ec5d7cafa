"""Sources that are made: needles at a known gap among Gaussian distractors, and identical keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from engine.contract import QKV, Id, Origin, Refusal, param, params_of
from engine.text.units import group_units

LAYOUTS = ("shared", "paired", "topics")


@dataclass(frozen=True)
class Declared:
    """Checks its declared parameters as it is made."""

    def __post_init__(self) -> None:
        for name, declared in params_of(type(self)).items():
            object.__setattr__(self, name, declared.check(name, getattr(self, name)))

    @property
    def beside(self) -> str:
        """What else than parameters decides what is made, as a digest."""
        return ""

    @property
    def bytes(self) -> int:
        """Of q, k and v, where the parameters alone say how many; 0 elsewhere."""
        return 0


@dataclass(frozen=True)
class Planted(Declared):
    """Needles among distractors, exact in what a query scores.

    For every query the scaled logits of distractors are independent draws from N(0, noise²), and
    its needles' logits are `gap` exactly. Values are N(0, 1).

    Layouts: "shared", all queries look for all needles; "paired", query i for needle i mod
    needles, the other needles being distractors to it; "topics", as paired, but consecutive
    stretches of queries are one topic, share one needle and ask for it in the same words, which is
    what hashing and routing can make use of.

    Raises:
        ValueError: a parameter is out of range; more needles than positions but the first; or, if
            paired or by topics, noise below gap/√dim (roughly), which no such keys can have.
    """

    key: ClassVar[str] = "planted"

    n: int = param(256, low=1, high=2**20, slider=(16, 4096), unit="tokens", log=True)
    heads: int = param(4, low=1, high=256, slider=(1, 16))
    dim: int = param(64, low=2, high=1024, slider=(8, 128), step=8)
    gap: float = param(6.0, low=0.0, high=1000.0, slider=(0.0, 16.0), step=0.25)
    noise: float = param(1.0, low=0.0, high=100.0, slider=(0.0, 4.0), step=0.1)
    needles: int = param(1, low=0, slider=(1, 16))
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))
    causal: bool = param(False)
    layout: str = param("shared", choices=LAYOUTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.needles > self.n - 1:
            raise Refusal(
                "needles must be at most {most}, one fewer than the positions: the first "
                "position is never a needle",
                most=self.n - 1,
            )
        if self.layout != "shared" and self.needles < 1:
            raise Refusal("the {layout} layout needs at least one needle", layout=self._layout)

    @property
    def _layout(self) -> Id:
        return Id(self.layout, f"source.planted.param.layout.{self.layout}")

    @property
    def bytes(self) -> int:
        return 3 * 4 * self.heads * self.n * self.dim

    def make(self) -> QKV:
        """The QKV: q, k and v (heads n dim), float32 on the CPU; same seed, same result."""
        n, h, d = self.n, self.heads, self.dim
        draw = torch.Generator().manual_seed(self.seed)
        needles = torch.randperm(n - 1, generator=draw)[: self.needles].add(1).sort().values
        k = torch.randn(h, n, d, generator=draw)
        q = torch.randn(h, n, d, generator=draw)
        v = torch.randn(h, n, d, generator=draw)
        if self.layout == "shared":
            # one axis belongs to the needles alone, the rest to the noise
            k[..., 0], q[..., 0] = 0, 0
            if self.needles:
                k[:, needles] = 0
                k[:, needles, 0] = self.gap
            q *= self.noise * d**0.5 / q.norm(dim=-1, keepdim=True)
            q[..., 0] = d**0.5
        else:
            q = self._aimed(q, k, needles)
        return QKV(
            q, k, v, causal=self.causal, needles=needles if self.needles else None,
            units=group_units(n),
            origin=Origin("planted", f"gap {self.gap:g} · noise {self.noise:g}, seed {self.seed}"),
        )  # fmt: skip

    def _aimed(self, q: Tensor, k: Tensor, needles: Tensor) -> Tensor:
        """Queries of length noise·√d whose part along their own needle scores the gap."""
        n, d = self.n, self.dim
        turn = torch.arange(n)
        own = turn * len(needles) // n if self.layout == "topics" else turn % len(needles)
        if self.layout == "topics":
            q = q[:, torch.searchsorted(own, own)]  # each topic's first query
        aim = k[:, needles[own]]
        length = aim.norm(dim=-1, keepdim=True)
        along = self.gap * d**0.5 / length  # the part along the needle, in logits·√d
        left = (self.noise**2 * d - along**2).min().item()
        if left < 0:
            least = float((along / d**0.5).max())
            raise Refusal(
                "the {layout} layout with gap {gap:g} in {d} dimensions needs noise of at least "
                "{least:.2f}: a query that points at one key also leans towards all others",
                layout=self._layout,
                gap=self.gap,
                d=d,
                least=least,
            )
        aim = aim / length
        rest = q - (q * aim).sum(-1, keepdim=True) * aim
        rest = rest / rest.norm(dim=-1, keepdim=True)
        return along * aim + (self.noise**2 * d - along**2).sqrt() * rest


@dataclass(frozen=True)
class Identical(Declared):
    """Every key equally relevant: one key throughout, so that full softmax is exactly 1/n."""

    key: ClassVar[str] = "identical"

    n: int = param(256, low=1, high=2**20, slider=(16, 4096), unit="tokens", log=True)
    heads: int = param(1, low=1, high=256, slider=(1, 16))
    dim: int = param(64, low=1, high=1024, slider=(8, 128), step=8)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))
    causal: bool = param(False)

    @property
    def bytes(self) -> int:
        return 3 * 4 * self.heads * self.n * self.dim

    def make(self) -> QKV:
        """The QKV: q, k and v (heads n dim), float32 on the CPU; same seed, same result."""
        draw = torch.Generator().manual_seed(self.seed)
        shape = (self.heads, self.n, self.dim)
        q, v = torch.randn(shape, generator=draw), torch.randn(shape, generator=draw)
        k = torch.randn(self.heads, 1, self.dim, generator=draw).expand(shape).contiguous()
        origin = Origin("identical", f"seed {self.seed}")
        return QKV(q, k, v, causal=self.causal, units=group_units(self.n), origin=origin)
