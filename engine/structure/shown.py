"""One head and one row of an attention, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.contract import QKV
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax

ROWS = 64
"""Rows whose weights are worked out at once, all heads together."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What the pictures of an attention are worked out from.

    Attributes:
        att: the attention shown. head, row: chosen.
        qkv, mechanism: what was attended and how; None for a person's own weights.
    """

    att: Attention
    head: int
    row: int
    qkv: QKV | None
    mechanism: Mechanism | None

    @property
    def tokens(self) -> tuple[str, ...] | None:
        """What the keys are called."""
        return self.att.frame.tokens

    def alike(self, att: Attention) -> Attention:
        """Another attention over the same keys, with the same ones hidden."""
        hidden = self.att.hidden_keys
        return att if hidden is None else att.hide(hidden)

    def full(self) -> Attention:
        """Full attention of the chosen head alone, with the same keys hidden.

        Raises:
            LookupError: there is no QKV to attend to.
        """
        if self.qkv is None:
            raise LookupError("weights alone can't be attended to")
        return self.alike(Softmax().attend(self.qkv.head(self.head)))

    def weights(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "r m"]:
        """Effective weights of the chosen head's rows."""
        parts = rows.to(self.att.device).split(ROWS)
        return torch.cat([self.att.weights(part)[self.head] for part in parts])

    def here(self) -> Int[Tensor, " 1"]:
        """The chosen row, as positions."""
        return torch.tensor([self.row], device=self.att.device)

    def seen(self, rows: Int[Tensor, " r"]) -> Bool[Tensor, "r m"]:
        """Which keys these rows may see, those that are hidden left out."""
        frame, rows = self.att.frame, rows.to(self.att.device)
        found = frame.visible(rows, torch.arange(frame.m, device=rows.device))
        if found is None:
            found = torch.ones(len(rows), frame.m, dtype=torch.bool, device=rows.device)
        if self.att.hidden_keys is not None:
            found = found.clone()
            found[:, self.att.hidden_keys] = False
        return found
