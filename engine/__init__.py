"""Attention mechanisms, computed exactly and measured, for text of any length.

import engine
qkv = engine.sources.planted(n=4096, gap=6.0)
att = engine.attend(qkv, "window", window=64)
att.rows().effective_tokens
"""

from __future__ import annotations

from typing import Any

from engine import contract, devices, fits, metrics, models, sources, theory, views
from engine.comparison import Comparison, compare
from engine.contract import QKV, Attention, Block, Mechanism
from engine.effort import measure
from engine.mechanisms import MECHANISMS
from engine.refusal import Refusal
from engine.stream import estimate
from engine.sweep import sweep

__all__ = [
    "MECHANISMS",
    "QKV",
    "Attention",
    "Block",
    "Comparison",
    "Mechanism",
    "attend",
    "compare",
    "contract",
    "devices",
    "estimate",
    "fits",
    "measure",
    "metrics",
    "models",
    "sources",
    "sweep",
    "theory",
    "views",
]


def attend(qkv: QKV, mechanism: str | Mechanism, **parameters: Any) -> Attention:
    """Attention of one kind over one layer.

    Args:
        qkv: what is attended.
        mechanism: a key of MECHANISMS with its parameters, or a mechanism.

    Raises:
        ValueError: no such mechanism or parameter, a value that is not valid, or a QKV that this
            mechanism can't honour.
    """
    return make(mechanism, **parameters).attend(qkv)


def make(mechanism: str | Mechanism, **parameters: Any) -> Mechanism:
    """A mechanism by key and parameters.

    Raises:
        ValueError: no such mechanism or parameter, or a value that is not valid.
    """
    if isinstance(mechanism, Mechanism):
        if parameters:
            raise Refusal("a mechanism that is made already takes no more parameters")
        return mechanism
    if mechanism not in MECHANISMS:
        raise Refusal(
            "no mechanism {key!r}; there are {known}", key=mechanism, known=", ".join(MECHANISMS)
        )
    cls = MECHANISMS[mechanism]
    if unknown := set(parameters) - set(contract.params_of(cls)):
        raise Refusal(
            "{key} has no parameter {unknown}; it has {known}",
            key=mechanism,
            unknown=", ".join(sorted(unknown)),
            known=", ".join(contract.params_of(cls)) or Refusal("none"),
        )
    return cls(**parameters)
