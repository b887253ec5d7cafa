"""The contract: what goes into attention, what comes out, and how parameters are declared.

Shapes: h heads, g key heads (g divides h), n queries, m keys, d and d_k widths, e value width,
r and c the rows and columns of a window. Logarithms are natural.
"""

from engine.contract import views
from engine.contract.grid import Grid
from engine.contract.inputs import (
    QKV,
    Bias,
    Frame,
    Index,
    Layer,
    Mask,
    Origin,
    as_slice,
    index,
    of_heads,
    of_rows,
)
from engine.contract.learned import Fidelity, Learned
from engine.contract.params import Choice, Pairs, Param, param, params_of
from engine.contract.refusal import Id, Refusal, one_of
from engine.contract.weights import Block, Colour, Pool, RowKind, Steps

__all__ = [
    "QKV",
    "Bias",
    "Block",
    "Choice",
    "Colour",
    "Fidelity",
    "Frame",
    "Grid",
    "Id",
    "Index",
    "Layer",
    "Learned",
    "Mask",
    "Origin",
    "Pairs",
    "Param",
    "Pool",
    "Refusal",
    "RowKind",
    "Steps",
    "as_slice",
    "index",
    "of_heads",
    "of_rows",
    "one_of",
    "param",
    "params_of",
    "views",
]
