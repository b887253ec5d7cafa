"""The gated delta rule: a memory whose keys erase what they wrote (arXiv 2412.06464)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter

from engine.contract import QKV, Block, Id, Index, Refusal, RowKind, param
from engine.contract.views import Erasure
from engine.kernels import dense
from engine.kernels.backwards import Backwards
from engine.kernels.scoring import same_width
from engine.measure.attention import Attention
from engine.mechanisms import _gates
from engine.mechanisms.base import Mechanism, numbers, pairs_back
from engine.runtime.cached import cached_property
from engine.runtime.threads import alone

CHUNK = 64
"""Keys whose effect on each other is worked out at once."""
LOOKS = 4
"""Chunks after which rows see whether anything of them is left."""


@dataclass(frozen=True)
class Delta(Mechanism):
    """S ← α (I − β k kᵀ) S + β k vᵀ, o = Sᵀ q: a token erases what the memory holds for its key,
    as far as β goes, and writes its value there; all that is held fades by α.

    Unrolled, each pair has a weight of its own, which may be negative (`reference`); a repeated
    key leaves its earlier self (1 − β) of its weight. Queries and keys are brought to length 1, as
    in the paper, so that the QKV's scale plays no part. The paper's short convolutions, its norm
    of each head's output and its output gate are no part of the weights and left out.

    The paper trains α = exp(−rate · softplus(w·x + b)) and β = σ(w·x + b) of each token and head.
    A model that was not trained so has none, and its softmax tells nothing of them: so they are
    parameters. Half is left after `half_life` tokens, and tokens differ: the logit of α lies
    about `spread` above or below, along a direction drawn for each head, in the layer's input, or
    in the keys where that is not known. β is one number. A model trained this way brings its own.

    It looks back only: where the QKV lets a row see keys after it, it gives them nothing. A hidden
    key neither writes nor erases. Masks of pairs, sinks, softcap and biases are refused.
    """

    key: ClassVar[str] = "delta"
    family: ClassVar[str] = "memory"
    paper: ClassVar[str] = "arXiv 2412.06464"
    complexity: ClassVar[str] = "n·d²"
    leaves_out: ClassVar[bool] = True
    by_head: ClassVar[bool] = True

    half_life: float = param(
        64.0, low=0.0, high=1e9, open_low=True, slider=(1.0, 1024.0), unit="tokens", log=True
    )
    beta: float = param(1.0, low=0.0, high=1.0, slider=(0.0, 1.0), step=0.05)
    spread: float = param(1.0, low=0.0, slider=(0.0, 4.0), step=0.1)
    seed: int = param(0, low=0, high=2**31 - 1, slider=(0, 100))

    def check(self, qkv: QKV) -> None:
        super().check(qkv)
        same_width(qkv, Refusal("a dot product"))
        for name in ("sinks", "softcap", "bias"):
            if getattr(qkv, name) is not None:
                raise Refusal(
                    "the delta rule can't use {name}: its weights are not exponentials of a score",
                    name=Id(name, f"qkv.{name}"),
                )
        if qkv.mask is not None:
            raise Refusal(
                "the delta rule can't use a mask of pairs: what a key erases is erased for every "
                "row"
            )
        _gates.check(qkv, self.called, self.learned)

    def takes(self, qkv: QKV) -> dict[str, tuple[int | None, ...]]:
        found = _gates.shapes(qkv, "decay", "write")
        return {"rate": (qkv.heads,), **found}

    def initial(self, heads: int, width: int, read: int, layer: int) -> dict[str, Tensor]:
        """As the paper starts: rates of 1 to 16, steps of 0.001 to 0.1, evenly over the heads and
        not at random; and every token writes half."""
        step = torch.logspace(-3, -1, heads, dtype=torch.float64)
        return {
            "rate": Parameter(torch.linspace(1, 16, heads).log()),
            "w_decay": Parameter(torch.zeros(heads, read)),
            "b_decay": Parameter(step.expm1().log().float()),  # softplus⁻¹
            "w_write": Parameter(torch.zeros(heads, read)),
            "b_write": Parameter(torch.zeros(heads)),
        }

    def gates(self, qkv: QKV) -> tuple[Float[Tensor, "h m"], Float[Tensor, "h m"]]:
        """ln α and β of every token, in float64; a hidden key writes nothing."""
        if self.learned is not None:
            step = F.softplus(_gates.trained(qkv, self.learned, "decay"), threshold=40)
            rate = self.learned.weights["rate"].double().to(qkv.device).exp()
            decay = -rate[:, None] * step
            beta = torch.sigmoid(_gates.trained(qkv, self.learned, "write"))
        else:
            along = _gates.drawn(qkv, self.seed)
            decay = F.logsigmoid(_gates.kept(self.half_life) + self.spread * along)
            beta = torch.full_like(along, self.beta)
        return decay, beta * dense.visible(qkv)

    def attend(self, qkv: QKV) -> Attention:
        self.check(qkv)
        return Erasing(qkv, *self.gates(qkv))

    def reference(self, qkv: QKV) -> Float[Tensor, "h n m"]:
        decay, beta = self.gates(qkv)
        at, cols = dense.positions(qkv)
        q, k = F.normalize(qkv.q.double(), dim=-1), F.normalize(dense.per_head(qkv.k, qkv), dim=-1)
        total = decay.cumsum(-1)

        def faded(since: Tensor, seen: Tensor) -> Tensor:  # Γ, from each key to each position
            return (total[:, since, None] - total[:, None]).masked_fill(~seen, -torch.inf).exp()

        read = q @ k.mT * faded(at[:, 0].clamp(0, qkv.m - 1), cols <= at)
        earlier = k @ k.mT * faded(cols, cols < cols[:, None])
        whole = torch.eye(qkv.m, dtype=torch.float64, device=qkv.device)
        erased = whole + beta[..., None] * earlier
        return torch.linalg.solve_triangular(erased, read, upper=False, left=False) * beta[:, None]

    def pairs(self, qkv: QKV) -> int:
        return pairs_back(qkv)

    def held(self, qkv: QKV) -> int:
        """Vectors at length 1, each chunk's effect on what passes it, and the gates."""
        size = 8 if qkv.dtype == torch.float64 else 4
        d, e, pad = qkv.k.shape[-1], qkv.v.shape[-1], qkv.m + CHUNK
        passing = qkv.heads * pad * (5 * d + 4 * CHUNK + d * d // CHUNK + 2 * e)
        return _gates.held(qkv) + size * (numbers(qkv) + passing)

    def flops(self, qkv: QKV) -> int:
        """What a token reads, erases and writes, and what a row reads: the recurrence, to which
        chunks add up to 64 pairs a row."""
        state = qkv.k.shape[-1] * qkv.v.shape[-1]
        return 2 * qkv.heads * (2 * qkv.m + qkv.n) * state


class Erasing(Backwards):
    """What each row still finds of each key, from the row back, a chunk of keys at a time.

    A row's query, going back, loses at each key what that key erased: one matrix a chunk tells the
    weights of its keys, and what the query is after it (`going`).

    Args:
        decay: ln α. beta: β.
    """

    row_kind: RowKind = "signed"

    def __init__(self, qkv: QKV, decay: Float[Tensor, "h m"], beta: Float[Tensor, "h m"]) -> None:
        super().__init__(qkv.frame, views=lambda own: (Erasure(own.lost),))
        self.qkv, self.beta = qkv, beta
        self.total = F.pad(decay, (0, -qkv.m % CHUNK)).cumsum(-1)  # (h m'), whole chunks

    @property
    def device(self) -> torch.device:
        return self.qkv.device

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return torch.float64 if self.qkv.dtype == torch.float64 else torch.float32

    def by_chunk(self, x: Float[Tensor, "g m *s"]) -> Float[Tensor, "h c l *s"]:
        """Padded, and cut up; each head with its own."""
        x = x.repeat_interleave(self.frame.heads // len(x), 0)
        short = x.new_zeros(len(x), -x.shape[1] % CHUNK, *x.shape[2:])
        return torch.cat([x, short], 1).unflatten(1, (-1, CHUNK))

    @cached_property
    def k(self) -> Float[Tensor, "h c l d"]:
        """Keys of length 1."""
        return self.by_chunk(F.normalize(self.qkv.k.to(self.dtype), dim=-1))

    def edges(self) -> tuple[Float[Tensor, "h c l"], Float[Tensor, "h c 1"]]:
        """Sums of ln α up to each key, and up to what came before its chunk."""
        total = self.total.unflatten(1, (-1, CHUNK))
        return total, F.pad(total[..., -1], (1, 0))[:, :-1, None]

    @cached_property
    def solved(self) -> Float[Tensor, "h c l l"]:
        """(I + tril₋₁(β·KKᵀ⊙Γ))⁻¹ diag β, inside each chunk."""
        total, _ = self.edges()
        beta = self.by_chunk(self.beta).to(self.dtype)
        seen = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=self.device).tril(-1)
        gamma = (total[..., None] - total[..., None, :]).to(self.dtype)
        gamma = gamma.masked_fill_(~seen, -torch.inf).exp_()
        erased = (self.k @ self.k.mT).mul_(gamma).mul_(beta[..., None])
        return torch.linalg.solve_triangular(
            erased, torch.diag_embed(beta), upper=False, unitriangular=True
        )

    @cached_property
    def faded(self) -> tuple[Float[Tensor, "h c l d"], Float[Tensor, "h c l d"], Tensor]:
        """Keys as the end of their chunk finds them; keys times what a memory before the chunk has
        lost when they come; and what it has lost at its end, (h c 1 1)."""
        total, before = self.edges()
        last = total[..., -1:]
        ahead, behind = (x.exp().to(self.dtype)[..., None] for x in (last - total, total - before))
        return self.k * ahead, self.k * behind, (last - before).exp().to(self.dtype)[..., None]

    @cached_property
    def going(self) -> Float[Tensor, "h c d ld"]:
        """Of each chunk, what a query that comes from after it is multiplied by: for the weights
        of its keys, and beside that to go on."""
        ahead, behind, whole = self.faded
        met = ahead.mT @ self.solved
        passed = torch.diag_embed(whole[..., 0].expand(-1, -1, ahead.shape[-1])) - met @ behind
        return torch.cat([met, passed], -1)

    def own(
        self, q: Float[Tensor, "h r d"], at: Int[Tensor, " r"], c: int
    ) -> tuple[Float[Tensor, "h r l"], Float[Tensor, "h r 1"]]:
        """Rows at these positions of chunk c: weights of its keys, and what is left of a memory
        that was there before it."""
        _, before = self.edges()
        total = self.total[:, c * CHUNK : (c + 1) * CHUNK]
        mine = self.total[:, at]
        seen = torch.arange(c * CHUNK, (c + 1) * CHUNK, device=self.device) <= at[:, None]
        gamma = (mine[..., None] - total[:, None]).to(q).masked_fill_(~seen, -torch.inf).exp_()
        weights = (q @ self.k[:, c].mT).mul_(gamma) @ self.solved[:, c]
        return weights, (mine - before[:, c]).exp().to(q)[..., None]

    def lost(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "h r m"]:
        """Share of what each earlier key wrote that a row's own token erases: writing k, the
        memory loses β (k·k')² of what a read with k' finds of k'."""
        at = rows.to(self.device) + self.frame.offset
        cols = torch.arange(self.frame.m, device=self.device)
        here = at.clamp(0, self.frame.m - 1)
        k = self.k.flatten(1, 2)[:, : self.frame.m]
        share = self.beta[:, here, None] * (k[:, here] @ k.mT).double().square()
        return share * ((cols < at[:, None]) & (at < self.frame.m)[:, None])

    def places(self, rows: Int[Tensor, " r"]) -> Int[Tensor, " r"]:
        """Where rows stand among the keys; below 0 before the first, the last key's after it."""
        return (rows + self.frame.offset).clamp_max(self.frame.m - 1)

    def queries(self, rows: Index) -> Float[Tensor, "h r d"]:
        """Of length 1."""
        return F.normalize(self.qkv.q[:, rows].to(self.dtype), dim=-1)

    def back(self, name: Index, rows: Int[Tensor, " r"], most: int | None) -> Block | None:
        at, order = self.places(rows).sort()
        q = self.queries(rows[order])
        going, (_, behind, _) = self.going, self.faded
        stop = max(0, int(at[-1])) + 1
        last = (stop - 1) // CHUNK
        edges = torch.searchsorted(at, torch.arange(last + 1, device=at.device) * CHUNK).tolist()
        # of less, products are no longer normal numbers
        floor = torch.finfo(q.dtype).tiny / torch.finfo(q.dtype).eps
        found, cols, query = [], [], torch.zeros_like(q)
        for c in range(last, -1, -1):
            begin, end = c * CHUNK, min(stop, (c + 1) * CHUNK)
            if most is not None and q[..., 0].numel() * (stop - begin) > most:
                return None
            mine = slice(edges[c], len(at) if c == last else edges[c + 1])
            if mine.stop == 0:  # all rows come from later chunks
                step = query @ going[:, c]
            else:
                step = q.new_zeros(*q.shape[:2], CHUNK + q.shape[-1])
                step[:, mine.stop :] = query[:, mine.stop :] @ going[:, c]
            weights, query = step[..., :CHUNK], step[..., CHUNK:]
            if mine.start < mine.stop:
                weights[:, mine], left = self.own(q[:, mine], at[mine], c)
                query[:, mine] = q[:, mine] * left - weights[:, mine] @ behind[:, c]
            found.append(weights[..., : end - begin])
            cols.append(torch.arange(begin, end, device=at.device))
            if c % LOOKS == 0:
                lost = query.abs() < floor
                if mine.start == edges[0] and bool(lost.all()):
                    break
                query = query.masked_fill(lost, 0)
        weights = torch.cat(found, -1)
        whole = bool((order[1:] > order[:-1]).all())
        return Block(name, torch.cat(cols), weights if whole else weights[:, order.argsort()])

    def pieces(self, rows: Index | None = None) -> Iterator[Callable[[], Iterator[Block]]]:
        alone(lambda: self.going, self.device)  # before the pieces, which run side by side
        return super().pieces(rows)

    def weighted(self) -> Float[Tensor, "h n e"]:
        return alone(self._carried, self.device)

    def _carried(self) -> Float[Tensor, "h n e"]:
        """The recurrence, a chunk at a time."""
        qkv, frame = self.qkv, self.frame
        out = qkv.v.new_zeros(frame.heads, frame.n, qkv.v.shape[-1])
        ahead, behind, whole = self.faded
        v = self.by_chunk(qkv.v.to(self.dtype))
        state = v.new_zeros(frame.heads, ahead.shape[-1], v.shape[-1])
        at = self.places(torch.arange(frame.n, device=self.device))
        ends = torch.arange(v.shape[1] + 1, device=at.device) * CHUNK
        edges = torch.searchsorted(at, ends).tolist()
        for c in range(v.shape[1]):
            rows = slice(edges[c], edges[c + 1])
            written = v[:, c] - behind[:, c] @ state
            if rows.start < rows.stop:
                q = self.queries(rows)
                weights, left = self.own(q, at[rows], c)
                out[:, rows] = (weights @ written + (q * left) @ state).to(out)
            state = whole[:, c] * state + ahead[:, c].mT @ (self.solved[:, c] @ written)
        return out
