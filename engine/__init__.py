"""Attention mechanisms, computed exactly and measured, for text of any length.

import engine
qkv = engine.sources.planted(n=4096, gap=6.0)
att = engine.attend(qkv, "window", window=64)
att.rows().effective_tokens
"""

from typing import Any

from engine import contract, mechanisms, models, sources
from engine.contract import QKV, Block, Refusal, views
from engine.dilution import theory
from engine.dilution.sweep import sweep
from engine.measure import metrics
from engine.measure.attention import Attention
from engine.measure.comparison import Comparison, compare
from engine.mechanisms import MECHANISMS, attend, cost, flex, make
from engine.mechanisms.base import Mechanism
from engine.mechanisms.cost import estimate
from engine.runtime import devices
from engine.store import fits


def show(thing: Any, **more: Any) -> Any:
    """Show an `Attention`, or a trace of `models`, in a notebook; see `engine.notebook.show`.

    Raises:
        ImportError: Plotly is not installed (the extra `notebook`).
    """
    from engine.notebook import show as shown

    return shown(thing, **more)


def _bundle(att: Attention, include: Any) -> Any:
    from engine.notebook import bundle

    return bundle(att, include)


def _display(att: Attention) -> None:
    from engine.notebook import display

    display(att)


Attention.shown_by = _bundle
Attention.displayed_by = _display

__all__ = [
    "MECHANISMS",
    "QKV",
    "Attention",
    "Block",
    "Comparison",
    "Mechanism",
    "Refusal",
    "attend",
    "compare",
    "contract",
    "cost",
    "devices",
    "estimate",
    "fits",
    "flex",
    "make",
    "mechanisms",
    "metrics",
    "models",
    "show",
    "sources",
    "sweep",
    "theory",
    "views",
]
