"""One picture of a mechanism's own structure, and what it is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from engine.contract import QKV
from engine.figures.base.theme import Theme, Words
from engine.measure.attention import Attention, Hidden
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax


@dataclass(frozen=True, eq=False)
class Context:
    """What a picture is drawn from.

    Attributes:
        att: the attention shown. head, row: chosen.
        qkv, mechanism: what was attended and how; None for a person's own weights.
        look, t: theme and words.
    """

    att: Attention
    head: int
    row: int
    qkv: QKV | None
    mechanism: Mechanism | None
    look: Theme
    t: Words

    @property
    def tokens(self) -> tuple[str, ...] | None:
        """What the keys are called."""
        return self.att.frame.tokens

    def full(self) -> Attention:
        """Full attention of the chosen head alone, with what is set aside set aside there, too.

        Raises:
            LookupError: there is no QKV to attend to.
        """
        if self.qkv is None:
            raise LookupError("weights alone can't be attended to")
        qkv = self.qkv.head(self.head).replace(key_mask=self.att.frame.key_mask)
        full: Attention = Softmax().attend(qkv)
        return full.hide(self.att.keys) if isinstance(self.att, Hidden) else full


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture with its words, `picture.<key>.title` and `picture.<key>.caption`.

    Attributes:
        facts: numbers for the caption.
        figure: a Plotly figure, or None where `labels` tint the text itself.
        labels: group of every key (−1 for none), drawn as the text in one tint a group.
        names: what the groups are called. own: the group of the chosen query, if it has one.
        wide: takes the whole width.
    """

    key: str
    figure: go.Figure | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    labels: Sequence[int] | None = None
    names: Sequence[str] = ()
    own: int | None = None
    wide: bool = False
