"""Heads kept as far as they agree: dynamic routing between capsules (arXiv 1710.09829)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Block, Index, param
from engine.contract.learned import Fidelity, Learned
from engine.contract.views import Routing
from engine.kernels import dense, selection
from engine.kernels.composed import Composed
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax


@dataclass(frozen=True)
class Capsule(Mechanism):
    """Softmax attention whose rows are scaled by routing the heads' outputs to parent capsules.

    For each token the children are the head outputs u_i (through W_O, where the layer has one, so
    that heads share a space; over their root mean square length in the layer). Child i predicts
    parent j as û_ij = J (p_j·u_i) p_j, a projection on the parent's direction p_j; J, the number
    of parents, undoes the 1/J of even couplings. Then as in the paper: c_i = softmax over
    *parents* of b_i, s_j = Σ_i c_ij û_ij, v_j = squash(s_j), b_ij += û_ij·v_j; the first couplings
    are 1/J.

    Effective weights are head i's softmax weights times r_i = Σ_j c_ij |v_j|, the head's share of
    parents that are there: between 0 and 1, so that a row sums to r_i and what a head says that
    no other head supports is turned down. Directions, which the paper learns as matrices W_ij,
    are k-means++ seeds among the head outputs; random directions are the contrast.
    """

    key: ClassVar[str] = "capsule"
    family: ClassVar[str] = "routing"
    paper: ClassVar[str] = "arXiv 1710.09829"
    complexity: ClassVar[str] = "n² + n·heads·capsules·iterations"
    blocks_at_once: ClassVar[int] = 6
    by_head: ClassVar[bool] = True

    capsules: int = param(4, low=1, high=256, slider=(1, 12))
    iterations: int = param(3, low=1, high=200, slider=(1, 10))
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def learn(self, qkv: QKV) -> Learned:
        """Parents' directions (J D); fidelity: the mass that rows keep."""
        return self._learn(children(qkv, _full(qkv).output))

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        return {"directions": (self.capsules, _width(qkv))}

    def _learn(self, u: Float[Tensor, "n h D"]) -> Learned:
        points = selection.unit(u).flatten(0, 1)[selection.sample(u.shape[0] * u.shape[1], 4096)]
        said = (points.norm(dim=-1) > 0).to(points)
        found = selection.seeds(points[None], said, self.capsules, self.seed)[0]
        draw = torch.Generator().manual_seed(self.seed)
        chance = torch.randn(found.shape, generator=draw, dtype=torch.float64).to(found.device)
        value, random = (
            kept(*agree(u, p, self.iterations)).mean(1).float()
            for p in (found, selection.unit(chance))
        )
        return Learned({"directions": found}, Fidelity("captured_mass", value, random))

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        full = _full(qkv)
        u = children(qkv, full.output)
        learned = self.learned or self._learn(u)
        directions = learned.weights["directions"].to(qkv.device)
        att = Agreed(qkv, full, *agree(u, directions, self.iterations))
        att.fidelity = learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        learned = self.learned or self.fit(qkv).learned
        assert learned is not None
        directions = learned.weights["directions"].to(qkv.device)
        full, count = dense.softmax(qkv), self.capsules
        u = full @ dense.per_head(qkv.v, qkv)  # (h n e)
        if _mixes(qkv):
            assert qkv.layer is not None and qkv.layer.w_o is not None
            w = qkv.layer.w_o.double().unflatten(1, (qkv.heads, -1))  # (D h e)
            u = torch.einsum("hne,Dhe->hnD", u, w)
        square = u.square().sum(-1)  # (h n)
        for i in range(qkv.n):
            some = square[:, : i + 1] if qkv.causal else square
            u[:, i] = u[:, i] / some.mean().sqrt().clamp_min(1e-30)
        said = count * (u @ directions.T)[..., None] * directions  # (h n J D)
        b, v = torch.zeros_like(said[..., 0]), torch.zeros_like(said[0])
        for _ in range(self.iterations):
            b = b + (said * v).sum(-1)  # nothing yet at the first step
            s = (b.softmax(-1)[..., None] * said).sum(0)  # (n J D)
            length = s.norm(dim=-1, keepdim=True)
            v = length * s / (1 + length**2)
        share = (b.softmax(-1) * v.norm(dim=-1)).sum(-1)  # (h n)
        return full * share[..., None]

    def held(self, qkv: QKV) -> int:
        """Head outputs in float64, several times over, and couplings of every step."""
        wide = qkv.heads * qkv.n
        return 8 * wide * (6 * _width(qkv) + (self.iterations + 4) * self.capsules)

    def flops(self, qkv: QKV) -> int:
        """Full attention, W_O by heads, projections, and the steps' sums and agreements."""
        h, n, j, wide = qkv.heads, qkv.n, self.capsules, _width(qkv)
        through = qkv.v.shape[-1] * wide if _mixes(qkv) else 0
        routed = through + wide * j + (2 * self.iterations - 1) * j + j
        return Softmax().flops(qkv) + 2 * n * h * routed


def _full(qkv: QKV) -> Composed:
    """Full attention in float32 at least, since seeds jump."""
    half = qkv.dtype in (torch.float16, torch.bfloat16)
    return Softmax().attend(qkv.to(dtype=torch.float32) if half else qkv)


def _mixes(qkv: QKV) -> bool:
    w = None if qkv.layer is None else qkv.layer.w_o
    return w is not None and w.shape[1] == qkv.heads * qkv.v.shape[-1]


def _width(qkv: QKV) -> int:
    """Of the space that the heads' outputs share."""
    if not _mixes(qkv):
        return qkv.v.shape[-1]
    assert qkv.layer is not None and qkv.layer.w_o is not None
    return qkv.layer.w_o.shape[0]


def children(qkv: QKV, output: Float[Tensor, "h n e"]) -> Float[Tensor, "n h D"]:
    """Head outputs of each token in one space, over their root mean square length; causally, over
    that of the tokens so far."""
    u = output.double()
    if _mixes(qkv):
        assert qkv.layer is not None and qkv.layer.w_o is not None
        w = qkv.layer.w_o.double().unflatten(1, (qkv.heads, -1))
        u = torch.einsum("hne,Dhe->hnD", u, w)
    square = u.square().sum(-1).mean(0)  # (n)
    count = torch.arange(1, qkv.n + 1, device=u.device)
    length = (square.cumsum(0) / count if qkv.causal else square.mean()).sqrt()
    return (u / length.clamp_min(1e-30).view(-1, 1)).transpose(0, 1)


def agree(
    u: Float[Tensor, "n h D"], directions: Float[Tensor, "J D"], iterations: int
) -> tuple[Float[Tensor, "t h n J"], Float[Tensor, "n J"]]:
    """Couplings of every step, and the parents' lengths after the last.

    All predictions of a parent lie along its direction, so that a signed length says each.
    """
    count = len(directions)
    said = count * (u.double() @ directions.T)  # (n h J)
    b = torch.zeros_like(said)
    steps = []
    v = torch.zeros_like(said[:, 0])
    for step in range(iterations):
        if step:
            b = b + said * v[:, None]
        steps.append(b.softmax(-1))
        s = (steps[-1] * said).sum(1)
        v = s * s.abs() / (1 + s * s)
    return torch.stack(steps).transpose(1, 2), v.abs()


def kept(steps: Float[Tensor, "t h n J"], presence: Float[Tensor, "n J"]) -> Float[Tensor, "h n"]:
    """Each head's mean length of parents, weighted by its couplings."""
    return (steps[-1] * presence).sum(-1)


class Agreed(Attention):
    """Full attention with every head's rows scaled by how far it agrees with others."""

    row_kind = "substochastic"

    def __init__(
        self,
        qkv: QKV,
        full: Composed,
        steps: Float[Tensor, "t h n J"],
        presence: Float[Tensor, "n J"],
    ) -> None:
        super().__init__(qkv.frame, views=lambda own: (own._view(),))
        self.qkv, self.full, self.coupling, self.presence = qkv, full, steps, presence
        self.share = kept(steps, presence)

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    def weighted(self) -> Tensor:
        return (self.full.output * self.share[..., None].to(self.full.output)).to(self.qkv.v)

    def blocks(self, rows: Index | None = None) -> Iterator[Block]:
        for block in self.full.blocks(rows):
            share = self.share[:, block.rows, None].to(block.weights)
            yield Block(block.rows, block.cols, block.weights * share)

    def _view(self) -> Routing:
        last = self.coupling[-1]
        labels = last.argmax(-1) if self.qkv.n == self.qkv.m else None
        return Routing(
            kind="capsules", load=last.mean(1), probabilities=last, iterations=self.coupling,
            presence=self.presence, labels=labels,
        )  # fmt: skip
