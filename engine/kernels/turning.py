"""How fast pairs of dimensions turn: RoPE, and what became of it on longer texts."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, pi

import torch
from jaxtyping import Float
from torch import Tensor

from engine.kernels import positions

ROTATED = ("rope", "yarn", "prope", "nope")
"""Kinds that turn queries and keys."""
FAST, SLOW = 32, 1
"""Turns in the trained length from which on YaRN leaves a pair as it is, and up to which it slows
it down whole."""


@dataclass(frozen=True)
class Turning:
    """Rotations of one kind.

    Attributes:
        kind: "rope" (arXiv 2104.09864); "yarn", whose slow pairs turn `stretch` times as slowly,
            those between in part, and whose scores grow by (0.1 ln stretch + 1)² (2309.00071);
            "prope", in which the slowest 1 − `part` of the pairs don't turn (2410.06205); "nope",
            in which none does (2305.19466).
        length: tokens that the model was trained on, for YaRN.
    """

    kind: str = "rope"
    part: float = 0.75
    stretch: float = 4.0
    length: int = 1024

    def frequencies(self, width: int) -> Float[Tensor, " half"]:
        """Angle from one position to the next of each pair, in radians, the fastest first."""
        found = positions.frequencies(width)
        if self.kind == "nope":
            return torch.zeros_like(found)
        pair = torch.arange(len(found), dtype=torch.float64)
        if self.kind == "prope":
            return torch.where(pair < int(self.part * len(found)), found, 0.0)
        if self.kind == "yarn":
            low, high = (self._pair(turns, 2 * len(found)) for turns in (FAST, SLOW))
            low, high = max(floor(low), 0), min(ceil(high), 2 * len(found) - 1)
            slowed = ((pair - low) / max(high - low, 0.001)).clamp(0, 1)
            return found * (slowed / self.stretch + 1 - slowed)
        return found

    def _pair(self, turns: int, width: int) -> float:
        """The pair that turns so often in the trained length."""
        return width * log(self.length / (turns * 2 * pi)) / (2 * log(positions.BASE))

    @property
    def sharpness(self) -> float:
        """What scores are multiplied by."""
        return (0.1 * log(max(1.0, self.stretch)) + 1) ** 2 if self.kind == "yarn" else 1.0
