"""How scores become weights: the third of a mechanism's three choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import RowKind


@runtime_checkable
class Normaliser(Protocol):
    """Logits of a whole row to its weights."""

    @property
    def kind(self) -> RowKind:
        """What its rows are."""
        ...

    def weights(
        self,
        logits: Float[Tensor, "h r c"],
        allowed: Bool[Tensor, "#h r c"] | None,
        sinks: Float[Tensor, " h"] | None,
        visible: Int[Tensor, " r"],
    ) -> Float[Tensor, "h r c"]:
        """Weights of rows whose logits are all here; 0 where not allowed.

        `visible` counts the keys that causality and masks let each row see, whatever the pattern.
        """
        ...


@dataclass(frozen=True)
class Softmax:
    """exp(z/T) over its row's sum, sink logits in the sum. Streams: any part of a row is
    exp(z/T − lse) once the row's log-sum-exp is known."""

    temperature: float = 1.0
    kind: RowKind = "stochastic"

    def weights(
        self, logits: Tensor, allowed: Tensor | None, sinks: Tensor | None, visible: Tensor
    ) -> Tensor:
        logits = logits / self.temperature
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        lse = logits.logsumexp(-1, keepdim=True)
        if sinks is not None:
            lse = torch.logaddexp(lse, (sinks.to(lse) / self.temperature)[:, None, None])
        return (logits - lse.masked_fill(lse == -torch.inf, 0)).exp()
