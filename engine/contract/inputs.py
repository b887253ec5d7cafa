"""What goes into attention: queries, keys and values, and who may look at whom."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract.grid import Grid
from engine.contract.refusal import Refusal

Index = slice | Tensor


@runtime_checkable
class Mask(Protocol):
    """Which pairs may be seen: (r) query and (c) key positions -> (r c), True = may look."""

    def __call__(self, rows: Tensor, cols: Tensor) -> Tensor: ...


Bias = Callable[[Tensor, Tensor], Tensor]
"""(r) rows, (c) cols -> (h r c), added to the scaled scores.

One with a method `heads(slice) -> Bias` is asked for some heads alone; one with a method
`over(rows)`, which works out once what depends on the rows alone and returns (c) cols -> (h r c),
is asked that way where keys come tile by tile."""


def of_heads(bias: Bias, heads: slice) -> Bias:
    """A bias of some heads only."""
    cut = getattr(bias, "heads", None)
    return (lambda rows, cols: bias(rows, cols)[heads]) if cut is None else cut(heads)


def of_rows(bias: Bias, rows: Int[Tensor, " r"]) -> Callable[[Tensor], Tensor]:
    """A bias of some rows: (c) cols -> (h r c), or what broadcasts to it."""
    over = getattr(bias, "over", None)
    return partial(bias, rows) if over is None else over(rows)


@dataclass(frozen=True)
class Origin:
    """Where Q, K and V came from, in words and facts for the badge."""

    source: str = "given"
    detail: str = ""
    trained_length: int | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """What else the layer of a model knew.

    Attributes:
        x: the layer's input, after its norm, (n D).
        q: queries before rotation, (h n d). k: keys before rotation, (g m d).
        w_o: output projection, (D h·e): output = w_o @ concat(heads).
        rotary: True if the model rotates q and k.
    """

    x: Float[Tensor, "n D"] | None = None
    q: Float[Tensor, "h n d"] | None = None
    k: Float[Tensor, "g m d"] | None = None
    w_o: Float[Tensor, "D he"] | None = None
    rotary: bool = False


def index(part: Index | None, total: int, device: torch.device | str = "cpu") -> Int[Tensor, " r"]:
    """Positions that a slice, a tensor of positions or None (all) stands for."""
    if isinstance(part, Tensor):
        if part.numel() and not (int(part.min()) >= 0 and int(part.max()) < total):
            raise Refusal("positions must lie in 0 … {last}", last=total - 1)
        # torch.tensor([]) holds no positions, and is of floating point
        return part.to(device) if part.numel() else part.to(device, torch.long)
    start, stop, step = (part or slice(None)).indices(total)
    return torch.arange(start, stop, step, device=device)


def as_slice(cols: Int[Tensor, " c"]) -> Index:
    """The same positions as a slice where they follow one another, so that nothing is copied."""
    if len(cols) and bool((cols[1:] - cols[:-1] == 1).all()):
        return slice(int(cols[0]), int(cols[-1]) + 1)
    return cols


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """Who may look at whom, and what the positions are called: all of an attention but its values.

    Attributes:
        heads, n, m: numbers of heads, queries and keys.
        causal: query i sees keys up to i + m − n (bottom-right aligned).
        key_mask: (m), False hides a key from everyone.
        mask: further predicate on (rows, cols), evaluated tile by tile.
        units: level name -> half-open spans (u 2) that partition the keys in order.
        tokens: what the keys are called, m strings. needles: (k) key positions.
        grid: where positions stand on an image, queries and keys alike; None in a line.
    """

    heads: int
    n: int
    m: int
    causal: bool = False
    key_mask: Bool[Tensor, " m"] | None = None
    mask: Mask | None = None
    units: Mapping[str, Int[Tensor, "u 2"]] = field(default_factory=dict)
    tokens: tuple[str, ...] | None = None
    needles: Int[Tensor, " k"] | None = None
    grid: Grid | None = None
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        if min(self.heads, self.n, self.m) < 1:
            raise Refusal("attention needs at least one head, one query and one key")
        if self.key_mask is not None and (
            self.key_mask.shape != (self.m,) or self.key_mask.dtype != torch.bool
        ):
            raise Refusal(
                "key_mask must be {keys, plural, one {# boolean} other {# booleans}}, one per key",
                keys=self.m,
            )
        if self.tokens is not None and len(self.tokens) != self.m:
            raise Refusal(
                "{tokens, plural, one {# token was} other {# tokens were}} given for {keys, "
                "plural, one {# key} other {# keys}}",
                tokens=len(self.tokens),
                keys=self.m,
            )
        if self.grid is not None and not len(self.grid.place) == self.n == self.m:
            raise Refusal(
                "a grid of {places} places needs as many queries and keys, not {n} and {m}",
                places=len(self.grid.place), n=self.n, m=self.m,
            )  # fmt: skip
        if self.needles is not None:
            index(self.needles, self.m)
        for name, spans in self.units.items():
            edges = spans.flatten()
            whole = len(edges) >= 2 and edges[0] == 0 and edges[-1] == self.m
            if not whole or (spans[1:, 0] != spans[:-1, 1]).any():
                raise Refusal(
                    "units '{name}' must partition {keys, plural, one {# key} other {# keys}} "
                    "in order",
                    name=name,
                    keys=self.m,
                )

    @property
    def offset(self) -> int:
        """Position of query 0 on the keys' axis."""
        return self.m - self.n if self.causal else 0

    def visible(
        self, rows: Int[Tensor, " r"], cols: Int[Tensor, " c"]
    ) -> Bool[Tensor, "r c"] | None:
        """Which pairs may be seen by causality and masks; None where all may."""
        seen = None
        if self.causal and int(cols.max()) > int(rows.min()) + self.offset:
            seen = cols <= rows[:, None] + self.offset
        if self.key_mask is not None:
            keys = self.key_mask.to(cols.device)[cols]
            if not bool(keys.all()):
                seen = keys.expand(len(rows), -1) if seen is None else seen & keys
        if self.mask is not None:
            allowed = self.mask(rows, cols)
            seen = allowed if seen is None else seen & allowed
        return None if seen is None or bool(seen.all()) else seen

    def cell_counts(
        self, rows: Int[Tensor, " r"], edges: Int[Tensor, " w1"]
    ) -> Int[Tensor, "r w"]:
        """Visible keys between consecutive edges (w + 1 key positions), for each row."""
        if self.mask is None:
            ends = edges[1:].expand(len(rows), -1)
            if self.causal:
                ends = ends.minimum((rows + self.offset + 1)[:, None]).clamp_min(0)
            if self.key_mask is None:
                return (ends - edges[:-1]).clamp_min(0)
            total = torch.zeros(self.m + 1, dtype=torch.long, device=rows.device)
            total[1:] = self.key_mask.to(rows.device).cumsum(0)
            return (total[ends] - total[edges[:-1]]).clamp_min(0)
        start, stop = int(edges[0]), int(edges[-1])
        counts = torch.empty(len(rows), len(edges) - 1, dtype=torch.long, device=rows.device)
        cols = torch.arange(start, stop, device=rows.device)
        for part in torch.arange(len(rows)).split(max(1, 2**22 // max(1, stop - start))):
            seen = self.visible(rows[part], cols)
            if seen is None:
                counts[part] = (edges[1:] - edges[:-1]).expand(len(part), -1)
            else:
                total = torch.nn.functional.pad(seen.int().cumsum(1), (1, 0))
                counts[part] = (total[:, edges[1:] - start] - total[:, edges[:-1] - start]).long()
        return counts

    def seen(self, rows: Int[Tensor, " r"]) -> tuple[Int[Tensor, " r"], Int[Tensor, " r"]]:
        """How many keys each row may see, and the first of them (0 where there is none)."""
        if self.mask is None and self.key_mask is None:
            last = rows + (self.offset + 1) if self.causal else torch.full_like(rows, self.m)
            return last.clamp(0, self.m), torch.zeros_like(rows)
        everything = torch.tensor([0, self.m], device=rows.device)
        counts = self.cell_counts(rows, everything)[:, 0]
        first = torch.zeros_like(counts)
        if self.mask is not None:
            cols = torch.arange(self.m, device=rows.device)
            for part in torch.arange(len(rows)).split(max(1, 2**22 // self.m)):
                seen = self.visible(rows[part], cols)
                if seen is not None:
                    first[part] = seen.int().argmax(1)
        elif self.key_mask is not None:
            first = first + self.key_mask.to(rows.device).int().argmax()
        return counts, torch.where(counts > 0, first, 0)


def finite(x: Tensor) -> bool:
    """Whether every value is finite. One sum mostly tells; if it is not finite itself, each."""
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


@dataclass(frozen=True, eq=False)
class QKV:
    """Queries, keys and values of one layer as they are scored, with all that bears on them.

    Attributes:
        q: (h n d). k: (g m d_k), grouped keys are never copied out. v: (g m e).
        causal, key_mask, mask, units, tokens, needles, grid, origin: see Frame.
        scale: factor on q·k; 1/sqrt(d) if None.
        bias: (rows, cols) -> (h r c), added after scale and softcap, on demand.
        sinks: (h) logits that join each row's denominator and carry no value (gpt-oss).
        softcap: scores become softcap·tanh(score/softcap) (Gemma 2, arXiv 2408.00118).
        layer: what the layer knew, if it came from a model.

    Raises:
        ValueError: shapes disagree, or a value is not finite.
    """

    q: Float[Tensor, "h n d"]
    k: Float[Tensor, "g m dk"]
    v: Float[Tensor, "g m e"]
    causal: bool = False
    scale: float | None = None
    key_mask: Bool[Tensor, " m"] | None = None
    mask: Mask | None = None
    bias: Bias | None = None
    sinks: Float[Tensor, " h"] | None = None
    softcap: float | None = None
    units: Mapping[str, Int[Tensor, "u 2"]] = field(default_factory=dict)
    layer: Layer | None = None
    tokens: tuple[str, ...] | None = None
    needles: Int[Tensor, " k"] | None = None
    grid: Grid | None = None
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        for name in "qkv":
            x = getattr(self, name)
            if x.ndim != 3 or not x.is_floating_point():
                raise Refusal(
                    "{name} must be floating point, (heads, positions, width)", name=name
                )
            if not finite(x):
                raise Refusal("{name} holds values that are not finite", name=name)
        h, g, m = self.q.shape[0], self.k.shape[0], self.k.shape[1]
        if min(self.q.shape + self.k.shape + self.v.shape) < 1:
            raise Refusal("q, k and v must not be empty")
        if self.v.shape[:2] != (g, m):
            k, v = tuple(self.k.shape), tuple(self.v.shape)
            raise Refusal(
                "k has shape {k} but v has {v}: their heads and positions must agree", k=k, v=v
            )
        if h % g:
            raise Refusal(
                "{g, plural, one {# key head does} other {# key heads do}} not divide {h, "
                "plural, one {# query head} other {# query heads}}",
                g=g,
                h=h,
            )
        if len({(x.device, x.dtype) for x in (self.q, self.k, self.v)}) > 1:
            raise Refusal("q, k and v must share one device and one data type")
        if self.scale is None:
            object.__setattr__(self, "scale", self.q.shape[-1] ** -0.5)
        if not math.isfinite(self.factor):
            raise Refusal("scale must be finite")
        if self.sinks is not None and self.sinks.shape != (h,):
            raise Refusal(
                "sinks must be {h, plural, one {# logit} other {# logits}}, one per head", h=h
            )
        if self.softcap is not None and not self.softcap > 0:
            raise Refusal("softcap must be above 0")
        self.frame  # noqa: B018  (checks masks, tokens, units and needles)

    def largest_score(self) -> float:
        """What no q·k·scale is above, by Cauchy and Schwarz."""
        wide = torch.float64 if self.q.dtype == torch.float64 else torch.float32
        norms = [torch.linalg.vector_norm(x, dim=-1, dtype=wide) for x in (self.q, self.k)]
        return abs(self.factor) * math.prod(float(x.max()) if x.numel() else 0.0 for x in norms)

    @cached_property
    def frame(self) -> Frame:
        """The same without values."""
        return Frame(
            heads=self.q.shape[0], n=self.q.shape[1], m=self.k.shape[1], causal=self.causal,
            key_mask=self.key_mask, mask=self.mask, units=self.units, tokens=self.tokens,
            needles=self.needles, grid=self.grid, origin=self.origin,
        )  # fmt: skip

    @property
    def heads(self) -> int:
        return self.q.shape[0]

    @property
    def groups(self) -> int:
        return self.k.shape[0]

    @property
    def n(self) -> int:
        return self.q.shape[1]

    @property
    def m(self) -> int:
        return self.k.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.q.dtype

    @property
    def device(self) -> torch.device:
        return self.q.device

    @property
    def factor(self) -> float:
        """The scale, resolved."""
        assert self.scale is not None
        return self.scale

    def replace(self, **changes: Any) -> QKV:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> QKV:
        """The same on another device or in another floating-point type."""

        def move(x: Tensor | None) -> Tensor | None:
            return x if x is None else x.to(device, dtype if x.is_floating_point() else None)

        layer = self.layer and Layer(
            **{k: move(getattr(self.layer, k)) for k in ("x", "q", "k", "w_o")},
            rotary=self.layer.rotary,
        )
        return self.replace(
            q=move(self.q), k=move(self.k), v=move(self.v), key_mask=move(self.key_mask),
            sinks=move(self.sinks), needles=move(self.needles), layer=layer,
        )  # fmt: skip

    def head(self, h: int) -> QKV:
        """Head h alone, with the key head that it reads.

        Raises:
            ValueError: there is no such head.
        """
        if not 0 <= h < self.heads:
            raise Refusal("head {h} is not one of 0 … {last}", h=h, last=self.heads - 1)
        g = h // (self.heads // self.groups)
        layer, bias = self.layer, self.bias
        if layer is not None:
            layer = Layer(
                x=layer.x,
                rotary=layer.rotary,
                q=None if layer.q is None else layer.q[h : h + 1],
                k=None if layer.k is None else layer.k[g : g + 1],
                w_o=None if layer.w_o is None else layer.w_o.unflatten(1, (self.heads, -1))[:, h],
            )
        return self.replace(
            q=self.q[h : h + 1], k=self.k[g : g + 1], v=self.v[g : g + 1], layer=layer,
            sinks=None if self.sinks is None else self.sinks[h : h + 1],
            bias=bias and of_heads(bias, slice(h, h + 1)),
        )  # fmt: skip
