"""Additive attention (Bahdanau, Cho, Bengio, arXiv 1409.0473)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, param
from engine.contract.learned import Fidelity, Learned, explained
from engine.kernels import dense
from engine.kernels.composed import Composed
from engine.kernels.patterns import Everything
from engine.kernels.scoring import Additive as Network
from engine.kernels.scoring import Dot
from engine.mechanisms.base import Mechanism, numbers, visible_pairs
from engine.mechanisms.gaussian import refuse_levels

BEND = 0.6585
"""Where tanh bends most: artanh(1/√3)."""
SLOPE, CURVE = 2 / 3, -4 / 27**0.5
"""tanh's first and second derivative there."""
SMALL = 0.05
"""How far one standard deviation of a query or key moves a hidden unit."""
UNIT = 80
"""Operations of a hidden unit for a pair, as multiply-adds go: it takes a division in float64."""
HELD, KEYS = 128, 512
"""Queries held out, at most a quarter of them; keys that R² is taken over."""


@dataclass(frozen=True)
class Additive(Mechanism):
    """softmax(w_v · tanh(W_q q + W_k k + b)): a small network scores each pair.

    The paper learns it with the rest; here it follows the head's own scaled dot products, up to a
    shift of each row, which is nothing to a softmax. Two units and a little curvature make a
    product: tanh(x + y + b) − tanh(x − y + b) ≈ 2 tanh'(b) y + 2 tanh''(b) x y. So `hidden` units
    hold the leading (hidden − 1)/2 directions of q·k, one unit more what only the key decides.
    That takes the biases, which the paper leaves out of its formulae "in order to increase
    readability": without them the score is odd in (q, k), and a product is even.

    Where queries and keys differ in width there is no dot product to follow: weights are random.
    The QKV's scale is in what is followed only and a bias is added to the score; sinks and softcap
    are refused, since the score has no level of its own.
    """

    key: ClassVar[str] = "additive"
    family: ClassVar[str] = "full"
    paper: ClassVar[str] = "arXiv 1409.0473"
    complexity: ClassVar[str] = "n²·hidden"
    grows: ClassVar[str] = "hidden"

    hidden: int = param(32, low=1, high=4096, slider=(1, 128), log=True)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        refuse_levels(self.called, qkv)

    def attend(self, qkv: QKV) -> Composed:
        self.check(qkv)
        learned = self.learned or self.learn(qkv)
        network = Network(**{name: learned.weights[name] for name in ("w_q", "w_k", "b", "w_v")})
        att = Composed(qkv, Everything(), network)
        att.fidelity = learned.fidelity
        return att

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        learned = self.learned or self.fit(qkv).learned
        assert learned is not None
        w_q, w_k, b, w_v = (learned.weights[x].double() for x in ("w_q", "w_k", "b", "w_v"))
        rows = qkv.q.double() @ w_q.mT + b[:, None]  # (h n u)
        cols = dense.per_head(qkv.k, qkv) @ w_k.mT  # (h m u)
        units = torch.tanh(rows[:, :, None] + cols[:, None])  # (h n m u)
        z = dense.biased(qkv, (units * w_v[:, None, None]).sum(-1))
        return dense.masked_softmax(qkv, z, dense.allowed(qkv))

    def learn(self, qkv: QKV) -> Learned:
        """The network of each head, fitted to the head's own scores."""
        return fitted(qkv, self.hidden, self.seed)

    def learns(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        h, u, d, dk = qkv.heads, self.hidden, qkv.q.shape[-1], qkv.k.shape[-1]
        return {"w_q": (h, u, d), "w_k": (h, u, dk), "b": (h, u), "w_v": (h, u)}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(self.seed + layer)
        start = random(heads, width, width, self.hidden, draw)
        return {name: Parameter(x) for name, x in start.items()}

    def held(self, qkv: QKV) -> int:
        """Queries and keys in float64, as they are and whitened, and as the hidden units see
        them."""
        return 2 * 8 * numbers(qkv) + 4 * qkv.heads * self.hidden * (qkv.n + qkv.m)

    def scoring(self, qkv: QKV) -> int:
        return UNIT * self.hidden

    def flops(self, qkv: QKV) -> int:
        u, d, dk, e = self.hidden, qkv.q.shape[-1], qkv.k.shape[-1], qkv.v.shape[-1]
        projections = 2 * u * (qkv.n * d + qkv.m * dk) + qkv.n * u
        return qkv.heads * projections + qkv.heads * visible_pairs(qkv) * (3 * u + 2 * e)


def fitted(qkv: QKV, hidden: int, seed: int) -> Learned:
    """Weights of the network, (h u d), (h u dk), (h u), (h u); R² on a quarter of the queries.

    These are held out; fewer than four queries leave none, and no R².
    `seed` draws these, and the random weights.
    """
    d, dk = qkv.q.shape[-1], qkv.k.shape[-1]
    learn, held, keys = split(qkv, seed)
    chance = random(qkv.heads, d, dk, hidden, torch.Generator().manual_seed(seed))
    chance = {name: x.to(qkv.device) for name, x in chance.items()}
    if d != dk:
        return Learned(chance)
    q, k = qkv.q.float(), qkv.k.float()
    made = following(q[:, learn], k, qkv.factor, hidden)
    weights = {name: x.float().to(qkv.device) for name, x in made.items()}
    if not len(held):
        return Learned(weights)
    target = Dot().scores(qkv, slice(0, qkv.heads), q[:, held], k[:, keys])
    seen = qkv.frame.visible(held, keys)
    if seen is None:
        seen = torch.ones(len(held), len(keys), dtype=torch.bool, device=qkv.device)

    def fidelity(weights: dict[str, Tensor]) -> Float[Tensor, " h"]:
        made = Network(**weights).scores(qkv, slice(0, qkv.heads), q[:, held], k[:, keys])
        return explained(target, made, seen)

    chance["w_v"] = chance["w_v"] * target.std()
    return Learned(weights, Fidelity("r2", fidelity(weights), fidelity(chance)))


def split(qkv: QKV, seed: int) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"], Int[Tensor, " c"]]:
    """Queries that are learned from, those held out, and the keys that these are tried on."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(qkv.n, generator=draw).to(qkv.device)
    keys = torch.randperm(qkv.m, generator=draw)[:KEYS].to(qkv.device)
    count = min(HELD, qkv.n // 4)
    return order[count:], order[:count], keys


def random(h: int, d: int, dk: int, hidden: int, draw: torch.Generator) -> dict[str, Tensor]:
    """Weights before any training."""
    shapes = {"w_q": (h, hidden, d), "w_k": (h, hidden, dk), "b": (h, hidden), "w_v": (h, hidden)}
    return {
        name: torch.randn(shape, generator=draw, device=draw.device) * shape[-1] ** -0.5
        for name, shape in shapes.items()
    }


def following(
    q: Float[Tensor, "h r d"], k: Float[Tensor, "g m d"], scale: float, hidden: int
) -> dict[str, Tensor]:
    """Weights of the network that follows scale · q·k, from the moments of q and k.

    In float64 and on the CPU, so that each device makes the same choice of directions.
    """
    rep = len(q) // len(k)
    mean_q, to_q, from_q = whitening(q)
    mean_k, to_k, from_k = (x.repeat_interleave(rep, 0) for x in whitening(k))
    # between whitened vectors x and y the score is x·(form y) + key·y, and what x alone decides
    form = scale * from_q @ from_k.mT
    key = scale * (from_k @ mean_q[..., None])[..., 0]
    u, s, vh = torch.linalg.svd(form)
    pairs = min((hidden - 1) // 2, s.shape[-1])
    sign = 1 - 2 * (torch.arange(pairs, dtype=s.dtype) % 2)
    share = s[:, :pairs] / (2 * SMALL**2 * CURVE * sign)
    x, y = SMALL * u.mT[:, :pairs], SMALL * vh[:, :pairs]
    key = key - (2 * SLOPE * share[..., None] * y).sum(1)
    size = key.norm(dim=-1, keepdim=True)
    line = SMALL * key / size.clamp_min(1e-30)
    spare = x.new_zeros(len(q), hidden - 2 * pairs - 1, x.shape[-1])
    none = torch.zeros_like(line)[:, None]
    w_q = torch.cat([x, x, none, spare], 1) @ to_q.mT
    w_k = torch.cat([y, -y, line[:, None], spare], 1) @ to_k.mT
    w_v = torch.cat([share, -share, size / SMALL, spare[..., 0]], 1)
    bend = torch.zeros_like(w_v)
    bend[:, : 2 * pairs] = BEND * sign.repeat(2)
    shift = (w_q @ mean_q[..., None] + w_k @ mean_k[..., None])[..., 0]
    return {"w_q": w_q, "w_k": w_k, "b": bend - shift, "w_v": w_v}


def whitening(
    x: Float[Tensor, "h r d"],
) -> tuple[Float[Tensor, "h d"], Float[Tensor, "h d d"], Float[Tensor, "h d d"]]:
    """The mean, and matrices A and B: (x − mean) A has unit variance, and times B is x − mean.

    Directions in which x hardly varies are scaled up by no more than thirty times the largest's.
    """
    x = x.double()
    mean = x.mean(1, keepdim=True)
    moment = ((x - mean).mT @ (x - mean) / x.shape[1]).cpu()
    values, vectors = torch.linalg.eigh(moment)
    size = values.clamp_min(1e-3 * values.amax(-1, keepdim=True)).clamp_min(1e-12).sqrt()
    return mean[:, 0].cpu(), vectors / size[:, None], (vectors * size[:, None]).mT
