"""What the tests of low rank share."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

import engine
from engine.mechanisms.linear import Linear
from engine.mechanisms.linformer import Linformer
from engine.mechanisms.nystrom import Nystrom
from engine.mechanisms.truncated_svd import TruncatedSVD

BIDIRECTIONAL = (Linformer, Nystrom, TruncatedSVD)


def made(n: int = 40, groups: int = 4, m: int | None = None, seed: int = 0, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(seed + n)
    q = torch.randn(4, n, 8, generator=draw)
    k, v = torch.randn(2, groups, m or n, 8, generator=draw).unbind(0)
    return engine.QKV(q, k, v, **more)


def weights(mechanism, qkv: engine.QKV) -> torch.Tensor:
    return mechanism.attend(qkv).weights().double()


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def features(mechanism: Linear, qkv: engine.QKV) -> tuple[torch.Tensor, torch.Tensor]:
    phi = mechanism.features_of(qkv)
    return phi.queries(qkv.q), phi.keys(qkv.k)
