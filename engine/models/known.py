"""What the attention layer of a transformers model knew besides what it scores."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.contract import QKV, Layer
from engine.runtime.cached import cached_property


class Known(Layer):
    """As `Layer`, of one QKV of a module; q and k before rotation are projected again from the
    layer's input when they are asked for, which costs as much as a pass does for them.

    Args:
        x: the layer's input. rotates: whether the model has rotary positions.
    """

    module: nn.Module
    qkv: QKV
    rotates: bool

    def __init__(
        self, module: nn.Module, x: Float[Tensor, "n D"] | None, qkv: QKV, rotates: bool
    ) -> None:
        w_o = output_projection(module, qkv.heads * qkv.v.shape[-1])
        vars(self).update(x=x, w_o=w_o, module=module, qkv=qkv, rotates=rotates)

    @cached_property
    def before(self) -> tuple[Tensor, Tensor] | None:
        """q and k before rotation; None if they can't be told."""
        if not self.rotates:
            return self.qkv.q, self.qkv.k
        return None if self.x is None else before_rotation(self.module, self.x, self.qkv)

    @property
    def q(self) -> Float[Tensor, "h n d"] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.before and self.before[0]

    @property
    def k(self) -> Float[Tensor, "g m d"] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.before and self.before[1]

    @cached_property
    def rotary(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        if not self.rotates or self.before is None:
            return self.rotates
        return self.qkv.n == 1 or not torch.allclose(self.before[0], self.qkv.q, atol=1e-4)


def _first(module: nn.Module, names: str) -> nn.Module | None:
    return next((m for n in names.split() if (m := getattr(module, n, None)) is not None), None)


def output_projection(module: nn.Module, width: int) -> Float[Tensor, "D he"] | None:
    """W_O of an attention module, as `Layer.w_o`; None if none of its parts takes `width` values,
    all heads' together."""
    projection = _first(module, "o_proj out_proj out_lin c_proj dense Wo o")
    weight = getattr(projection, "weight", None)
    if weight is None or weight.ndim != 2:
        return None
    if type(projection).__name__ == "Conv1D":  # GPT-2 stores it (in, out)
        weight = weight.T
    return weight.detach() if weight.shape[1] == width else None


def before_rotation(
    module: nn.Module, x: Float[Tensor, "n D"], qkv: QKV
) -> tuple[Tensor, Tensor] | None:
    """q (h n d) and k (g n d) before rotation, from the layer's input; None if it can't be told.

    A rotation keeps the length of a vector, so a guess at what the layer does with its
    projections is believed only if every length is that of what is scored.
    """
    h, g, d = qkv.heads, qkv.groups, qkv.q.shape[-1]
    with torch.no_grad():
        pairs: list[tuple[Tensor, Tensor]] = []
        if (q := _first(module, "q_proj query")) and (k := _first(module, "k_proj key")):
            pairs.append((q(x), k(x)))
        elif fused := _first(module, "qkv_proj Wqkv query_key_value"):
            y = fused(x)
            pairs.append((y[:, : h * d], y[:, h * d : (h + g) * d]))
            if y.shape[1] == 3 * h * d:  # head by head, as GPT-NeoX lays it out
                mixed = y.unflatten(1, (h, 3, d))
                pairs.append((mixed[:, :, 0], mixed[:, :, 1]))
        norms = [getattr(module, name, None) for name in ("q_norm", "k_norm")]
        for pair in pairs:
            made = [
                _heads(part, heads, d, norm)
                for part, heads, norm in zip(pair, (h, g), norms, strict=True)
            ]
            if all(map(_same_lengths, made, (qkv.q, qkv.k))):
                return made[0], made[1]
    return None


def _heads(part: Float[Tensor, "n ..."], heads: int, d: int, norm: nn.Module | None) -> Tensor:
    """What a projection gives as (heads n d), normed over a head or, as in OLMo 2, over all."""
    part = part.flatten(1)
    over = getattr(getattr(norm, "weight", None), "numel", int)()
    if norm is not None and over == part.shape[1] != d:
        part = norm(part)
    part = part.unflatten(1, (-1, d)) if part.shape[1] == heads * d else part[:, None]
    if norm is not None and over == d == part.shape[2]:
        part = norm(part)
    return part.transpose(0, 1)


def _same_lengths(made: Tensor, scored: Float[Tensor, "h n d"]) -> bool:
    near = 2e-2 if scored.dtype == torch.bfloat16 else 1e-3
    return made.shape == scored.shape and torch.allclose(
        made.norm(dim=-1), scored.norm(dim=-1), rtol=near
    )
