"""Multi-head attention taken apart: maps, heads, their concatenation, W_o, one head left out.

Shapes: h heads, n tokens, D width of the layer, d of a query, e of a value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Layer, Refusal
from engine.measure.attention import Attention
from engine.mechanisms import attend


@dataclass(frozen=True, eq=False)
class Parts:
    """One layer's attention in its parts.

    Attributes:
        maps: weights. heads: weighted values of each head. concat: the heads side by side.
        w_o: output projection. output: concat @ w_oᵀ.
        distance: mean distance that a head looks, tokens, with the first token set aside: many
            heads park there what they have no use for; even: that of even rows.
        fidelity: R² to the head's own scores where additive scoring stands in; else None.
    """

    maps: Float[Tensor, "h n n"]
    heads: Float[Tensor, "h n e"]
    concat: Float[Tensor, "n he"]
    w_o: Float[Tensor, "D he"]
    output: Float[Tensor, "n D"]
    distance: Float[Tensor, " h"]
    even: float
    fidelity: Float[Tensor, " h"] | None

    def left(self, off: int | None) -> tuple[Float[Tensor, "n he"], Float[Tensor, "n D"]]:
        """The heads side by side, and their output, one of them blank."""
        if off is None:
            return self.concat, self.output
        each = self.heads.shape[-1]
        concat = self.concat.clone()
        concat[:, off * each : (off + 1) * each] = 0
        return concat, concat @ self.w_o.mT

    def without(self, head: int) -> Float[Tensor, " n"]:
        """What a token's output changes by without a head: ‖its share‖ / ‖output‖."""
        share = self.heads[head] @ self.w_o.unflatten(1, (len(self.heads), -1))[:, head].mT
        return share.norm(dim=-1) / self.output.norm(dim=-1).clamp_min(1e-30)


def projected(
    x: Float[Tensor, "n D"],
    w_q: Float[Tensor, "hd D"],
    w_k: Float[Tensor, "hd D"],
    w_v: Float[Tensor, "he D"],
    w_o: Float[Tensor, "D he"],
    heads: int,
    causal: bool = False,
) -> QKV:
    """Queries, keys and values of h heads from a layer's input and its projections.

    Raises:
        ValueError: there is no token, or the heads don't divide the projections.
    """
    if not len(x):
        raise Refusal("a sequence of no tokens has nothing to attend to")
    if len(w_q) % heads or len(w_v) % heads:
        raise Refusal(
            "{heads, plural, one {# head does} other {# heads do}} not divide projections of "
            "width {queries} and {values}",
            heads=heads,
            queries=len(w_q),
            values=len(w_v),
        )
    q, k, v = ((x @ w.mT).unflatten(1, (heads, -1)).transpose(0, 1) for w in (w_q, w_k, w_v))
    return QKV(q, k, v, causal=causal, layer=Layer(x=x, q=q, k=k, w_o=w_o))


def drawn(qkv: QKV, heads: int, seed: int = 0) -> QKV:
    """The same layer's input under random projections, of variance 1/D, and other heads.

    Raises:
        ValueError: the layer's input isn't known, or the heads don't divide its width.
    """
    layer = qkv.layer
    if layer is None or layer.x is None:
        raise Refusal("the layer's input is not known")
    width = layer.x.shape[1]
    draw = torch.Generator().manual_seed(seed)
    made = torch.randn(4, width, width, generator=draw) * width**-0.5
    w_q, w_k, w_v, w_o = made.to(layer.x)
    found = projected(layer.x, w_q, w_k, w_v, w_o, heads, qkv.causal)
    return found.replace(tokens=qkv.tokens, units=qkv.units)


def parts(qkv: QKV, inside: str = "softmax") -> Parts:
    """Attention of a layer in its parts. `inside`: "softmax" (scaled dot product) or "additive".

    Raises:
        ValueError: the layer's output projection isn't known.
    """
    if qkv.layer is None or qkv.layer.w_o is None:
        raise Refusal("the layer's output projection is not known")
    w_o = qkv.layer.w_o.float()
    att = attend(qkv, inside)
    heads = att.output.float()
    concat = heads.transpose(0, 1).flatten(1)
    even = Attention.from_weights(_even(qkv), causal=qkv.causal)
    return Parts(
        att.weights().float(), heads, concat, w_o, concat @ w_o.mT,
        _distance(att).float(), float(_distance(even)),
        att.fidelity.value if att.fidelity is not None else None,
    )  # fmt: skip


def _distance(att: Attention) -> Float[Tensor, " h"]:
    """In the mean over the rows after the first, the first key set aside."""
    rest = slice(1, None) if att.frame.n > 1 else None
    return att.hide(torch.tensor([0])).rows(rest).means()["distance"]


def _even(qkv: QKV) -> Float[Tensor, "1 n m"]:
    rows, cols = torch.arange(qkv.n), torch.arange(qkv.m)
    seen = qkv.frame.visible(rows.to(qkv.device), cols.to(qkv.device))
    w = torch.ones(qkv.n, qkv.m) if seen is None else seen.float().cpu()
    return (w / w.sum(1, keepdim=True).clamp_min(1))[None]


@dataclass(frozen=True)
class Count:
    """Parameters of the four projections, biases left out: D (hd + gd + ge) + he D."""

    width: int
    heads: int
    groups: int
    query: int
    value: int

    @property
    def total(self) -> int:
        inside = self.heads * self.query + self.groups * (self.query + self.value)
        return self.width * inside + self.heads * self.value * self.width

    def formula(self, name: str) -> str:
        """LaTeX, with the numbers. name: what is counted, in words."""
        hd, gd = self.heads * self.query, self.groups * self.query
        ge, he = self.groups * self.value, self.heads * self.value
        total = f"{self.total:,}".replace(",", r"\,")
        return (
            r"\begin{aligned}\mathrm{head}_i&=\mathrm{Attn}(W_q^{(i)}x,\,W_k^{(i)}x,\,W_v^{(i)}x)\\"
            rf"i&=1\dots {self.heads}\\"
            r"\mathrm{out}&=W_o\,[\mathrm{head}_1;\dots;\mathrm{head}_h]\\"
            rf"\text{{{name}}}&=\underbrace{{{self.width}\cdot({hd}+{gd}+{ge})}}_{{W_q,\,W_k,\,W_v}}\\"
            rf"&\quad+\underbrace{{{he}\cdot {self.width}}}_{{W_o}}={total}\end{{aligned}}"
        )


def count(qkv: QKV) -> Count:
    """What a layer's projections hold.

    Raises:
        ValueError: the layer's output projection isn't known.
    """
    if qkv.layer is None or qkv.layer.w_o is None:
        raise Refusal("the layer's output projection is not known")
    return Count(len(qkv.layer.w_o), qkv.heads, qkv.groups, qkv.q.shape[-1], qkv.v.shape[-1])


def code(text: str, layer: int, inside: str, heads: int | None, seed: int, off: int | None) -> str:
    """Lines of a notebook that find the same output. heads: None for the model's own."""
    drawn = (
        "" if heads is None else f"qkv = engine.lessons.heads.drawn(qkv, {heads}, seed={seed})\n"
    )
    left_out = "" if off is None else f"heads[{off}] = 0    # switched off\n"
    imports = "import engine\n" if heads is None else "import engine, engine.lessons.heads\n"
    return (
        f"{imports}"
        'model = engine.models.load("assets/models/tiny")\n'
        f"qkv = model.read({text!r}).layer({layer})\n"
        f"{drawn}"
        f'heads = engine.attend(qkv, "{inside}").output.clone()\n'
        f"{left_out}"
        "concat = heads.transpose(0, 1).flatten(1)\n"
        "out = concat @ qkv.layer.w_o.T"
    )
