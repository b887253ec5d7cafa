"""Embeddings of positions that are no whole numbers (CoPE, FIRE), fitted by least squares."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

STEPS = 60
"""Of conjugate gradients, at most."""
NEAR = 1e-6
"""Share of the first residual at which they end."""


def least_squares(
    features: Float[Tensor, "r f"],
    target: Float[Tensor, "r c"],
    place: Float[Tensor, "r c"],
    seen: Bool[Tensor, "r c"],
    total: int,
    ridge: float,
) -> Float[Tensor, "L f"]:
    """Embeddings for which features · embedding, on the line between two, is nearest to the
    target up to rows' shifts; what has a place below 0 is added nothing.

    A pair bears on the two embeddings beside its place only, so that each row's pairs come down to
    sums by embedding and by neighbours; conjugate gradients do the rest.

    Args:
        ridge: pairs of average size that pull an embedding to 0.
    """
    x, y = features.double(), target.double() * seen
    told = (seen & (place >= 0)).double()
    low = place.clamp(0, total - 1).long()
    high = (low + 1).clamp_max(total - 1)
    up = (place.double() - low).clamp(0, 1) * told
    down = told - up

    def sums(at: Tensor, values: Tensor) -> Float[Tensor, "r L"]:
        return x.new_zeros(len(x), total).scatter_add_(1, at, values)

    each, whole = seen.sum(1, keepdim=True).clamp_min(1), y.sum(1, keepdim=True)
    own, beside = sums(low, down * down) + sums(high, up * up), sums(low, down * up)[:, :-1]
    weight = sums(low, down) + sums(high, up)
    right = sums(low, down * y) + sums(high, up * y) - weight * whole / each
    pull = ridge * float(x.square().mean().clamp_min(1e-30))

    def normal(table: Float[Tensor, "L f"]) -> Float[Tensor, "L f"]:
        products = x @ table.T  # (r L)
        out = own * products - weight * ((weight * products).sum(1, keepdim=True) / each)
        out[:, :-1] += beside * products[:, 1:]
        out[:, 1:] += beside * products[:, :-1]
        return out.T @ x + pull * table

    return _conjugate(normal, right.T @ x).float()


def _conjugate(normal: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """The argument for which a positive definite map gives `right`."""
    found, left = right * 0, right.clone()
    way, size = left.clone(), left.square().sum()
    enough = size * NEAR**2
    for _ in range(STEPS):
        if size <= enough:
            break
        turned = normal(way)
        step = size / (way * turned).sum()
        found += step * way
        left -= step * turned
        size, before = left.square().sum(), size
        way = left + size / before * way
    return found
