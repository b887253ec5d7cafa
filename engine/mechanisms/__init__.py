"""Every mechanism, by key, in the order in which they are offered."""

from __future__ import annotations

from engine.contract import Mechanism
from engine.mechanisms.adaptive_temperature import AdaptiveTemperature
from engine.mechanisms.additive import Additive
from engine.mechanisms.capsule import Capsule
from engine.mechanisms.combined import Combined
from engine.mechanisms.differential import Differential
from engine.mechanisms.entmax import Entmax
from engine.mechanisms.gaussian import Gaussian
from engine.mechanisms.hierarchical import Hierarchical
from engine.mechanisms.kmeans import KMeans
from engine.mechanisms.linear import Linear
from engine.mechanisms.linformer import Linformer
from engine.mechanisms.lsh import Lsh
from engine.mechanisms.memory_tokens import MemoryTokens
from engine.mechanisms.moba import MoBA
from engine.mechanisms.nystrom import Nystrom
from engine.mechanisms.relative import Relative
from engine.mechanisms.routing import Routed
from engine.mechanisms.segmented import Segmented
from engine.mechanisms.sigmoid import Sigmoid
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.softmax1 import Softmax1
from engine.mechanisms.ssmax import SSMax
from engine.mechanisms.transformer_xl import TransformerXL
from engine.mechanisms.truncated_svd import TruncatedSVD
from engine.mechanisms.window import Window

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
        TransformerXL,
        MemoryTokens,
        Routed,
        Capsule,
        KMeans,
        MoBA,
        Relative,
        SSMax,
        Entmax,
        Softmax1,
        AdaptiveTemperature,
        Differential,
        Sigmoid,
        Combined,
    )
}
