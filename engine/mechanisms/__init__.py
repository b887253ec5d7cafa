"""Every mechanism, by key, in the order in which they are offered, and attention by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.contract import QKV, Refusal, params_of
from engine.measure.attention import Attention
from engine.mechanisms import _files
from engine.mechanisms._flex import made as flex
from engine.mechanisms.adaptive_temperature import AdaptiveTemperature
from engine.mechanisms.additive import Additive
from engine.mechanisms.base import Mechanism
from engine.mechanisms.capsule import Capsule
from engine.mechanisms.combined import Combined
from engine.mechanisms.delta import Delta
from engine.mechanisms.differential import Differential
from engine.mechanisms.entmax import Entmax
from engine.mechanisms.forgetting import Forgetting
from engine.mechanisms.gated import Gated
from engine.mechanisms.gaussian import Gaussian
from engine.mechanisms.hierarchical import Hierarchical
from engine.mechanisms.indexer import Indexer
from engine.mechanisms.infini import Infini
from engine.mechanisms.kmeans import KMeans
from engine.mechanisms.landmark import Landmark
from engine.mechanisms.linear import Linear
from engine.mechanisms.linformer import Linformer
from engine.mechanisms.log_linear import LogLinear
from engine.mechanisms.lsh import Lsh
from engine.mechanisms.memory_tokens import MemoryTokens
from engine.mechanisms.moba import MoBA
from engine.mechanisms.nsa import NSA
from engine.mechanisms.nystrom import Nystrom
from engine.mechanisms.relative import Relative
from engine.mechanisms.routing import Routed
from engine.mechanisms.segmented import Segmented
from engine.mechanisms.sigmoid import Sigmoid
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.softmax1 import Softmax1
from engine.mechanisms.ssmax import SSMax
from engine.mechanisms.stick_breaking import StickBreaking
from engine.mechanisms.transformer_xl import TransformerXL
from engine.mechanisms.truncated_svd import TruncatedSVD
from engine.mechanisms.window import Window

__all__ = ["MECHANISMS", "Mechanism", "add", "add_folder", "attend", "flex", "make"]

MECHANISMS: dict[str, type[Mechanism]] = {
    cls.key: cls
    for cls in (
        Softmax,
        Additive,
        Gaussian,
        Lsh,
        Linformer,
        Nystrom,
        Linear,
        TruncatedSVD,
        Window,
        Segmented,
        Hierarchical,
        Landmark,
        TransformerXL,
        MemoryTokens,
        Infini,
        Delta,
        LogLinear,
        Routed,
        Capsule,
        KMeans,
        MoBA,
        Indexer,
        NSA,
        Relative,
        Forgetting,
        SSMax,
        Entmax,
        Softmax1,
        AdaptiveTemperature,
        Differential,
        Sigmoid,
        Gated,
        StickBreaking,
        Combined,
    )
}


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
    if unknown := set(parameters) - set(params_of(cls)):
        raise Refusal(
            "{key} has no parameter {unknown}; it has {known}",
            key=mechanism,
            unknown=", ".join(sorted(unknown)),
            known=", ".join(params_of(cls)) or Refusal("none"),
        )
    return cls(**parameters)


def add(path: str | Path) -> type[Mechanism]:
    """Read a person's own mechanism from a Python file and offer it like the others.

    The file is code, and is run. It holds one class as CONTRIBUTING describes it; its words may
    stand beside it in a JSON file of the same name. Read again, it takes its own place.

    Raises:
        ValueError: there is no such file, or a mistake in it; says which line.
    """
    return _files.add(path, MECHANISMS)


def add_folder(folder: str | Path) -> list[Refusal]:
    """`add` every Python file of a folder; what is wrong with those that can't be offered."""
    return _files.add_folder(folder, MECHANISMS)
