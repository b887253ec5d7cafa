"""Units inside units: tokens in words, words in sentences, sentences in paragraphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import Frame, Refusal
from engine.runtime.cached import cached_property
from engine.text.units import group_units

KEYS = ("tokens", "characters")
"""What the lowest level can be called."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Levels of units that partition the keys, each unit made of whole units of the next level.

    Attributes:
        names: what the levels are called, coarsest first, the keys themselves last.
        edges: where the units of each level begin, then m: (u + 1) each.
    """

    names: tuple[str, ...]
    edges: tuple[Int[Tensor, ...], ...]

    def __post_init__(self) -> None:
        for i in range(1, len(self.names)):
            if not bool(torch.isin(self.edges[i - 1], self.edges[i]).all()):
                outer, inner = self.names[i - 1 : i + 1]
                raise Refusal(
                    "units: each of the {outer} must be made of whole {inner}",
                    outer=outer,
                    inner=inner,
                )

    @classmethod
    def of(cls, frame: Frame, levels: int | None = None) -> Tree:
        """The `levels` finest levels above the keys, all if None; no more than there are.

        Characters that are several tokens are one level more, which is not counted. Where the keys
        have no units, they are grouped by 8, 64 and 512.

        Raises:
            ValueError: the units of two levels overlap.
        """
        units = {k: s for k, s in frame.units.items() if k not in KEYS} or group_units(frame.m)
        finest = sorted(units, key=lambda name: -len(units[name]))[:levels]
        chosen = [(name, units[name]) for name in reversed(finest)]
        lowest = "tokens"
        if (spans := frame.units.get("characters")) is not None:
            if len(spans) < frame.m:
                chosen.append(("characters", spans))
            else:
                lowest = "characters"
        keys = torch.arange(frame.m + 1)
        edges = [torch.cat([s[:, 0].cpu(), keys[-1:]]) for _, s in chosen]
        return cls((*(name for name, _ in chosen), lowest), (*edges, keys))

    @classmethod
    def nested(cls, units: Mapping[str, Int[Tensor, "u 2"]]) -> Tree:
        """Of levels given by their half-open spans, coarsest first, the keys' own last."""
        spans = [x.cpu() for x in units.values()]
        return cls(tuple(units), tuple(torch.cat([s[:, 0], s[-1:, 1]]) for s in spans))

    @property
    def m(self) -> int:
        """How many keys there are."""
        return int(self.edges[-1][-1])

    def count(self, level: int) -> int:
        """How many units a level has."""
        return len(self.edges[level]) - 1

    @cached_property
    def parents(self) -> tuple[Int[Tensor, " u"], ...]:
        """For each level but the first, the unit of the level above that each unit lies in."""
        return tuple(
            torch.bucketize(inner[:-1], outer[1:], right=True)
            for outer, inner in zip(self.edges, self.edges[1:], strict=False)
        )

    @property
    def siblings(self) -> int:
        """Pairs of units of one level inside one unit of the level above, all levels together."""
        below = sum(int(parent.bincount().square().sum()) for parent in self.parents)
        return self.count(0) ** 2 + below

    def spans(self, level: int) -> Int[Tensor, "u 2"]:
        """Half-open spans of keys."""
        return torch.stack([self.edges[level][:-1], self.edges[level][1:]], 1)

    def masses(self, weights: Float[Tensor, "... m"]) -> list[Float[Tensor, "... u"]]:
        """Weight of every unit, level by level, from that of every key."""
        found = [weights.double()]
        for level in range(len(self.names) - 1, 0, -1):
            into = found[-1].new_zeros(*weights.shape[:-1], self.count(level - 1))
            found.append(into.index_add_(-1, self.parents[level - 1].to(into.device), found[-1]))
        return found[::-1]

    def entropies(self, weights: Float[Tensor, "... m"]) -> Float[Tensor, "... L"]:
        """What each level adds to the entropy of the shares of a row, in nats.

        The first is that of its units, each other the mean entropy inside the units of the level
        above, weighted by their mass; by the chain rule they add up to the entropy over the keys.
        """
        parts = []
        above = weights.sum(-1, keepdim=True, dtype=torch.float64)
        total, parent = above, None
        for level, mass in enumerate(self.masses(weights)):
            whole = above if parent is None else above[..., parent.to(mass.device)]
            inside = torch.where(mass > 0, mass / whole, 1)
            parts.append(-(mass * inside.log()).sum(-1) / total[..., 0])
            above = mass
            parent = self.parents[level] if level < len(self.parents) else None
        return torch.stack(parts, -1).nan_to_num(0)
