"""The newer mechanisms beside plain references of other packages, which few people have installed.

    pip install --no-deps -r requirements-bench.txt
    python -m engine bench --peers --causal --only delta

flash-linear-attention's kernels want a GPU and triton; its references in plain torch don't, and
are read from their files, so that the package itself is not imported. Most of them hold n×n and
are left out of long texts. native-sparse-attention-pytorch projects queries, keys and gates of
its own from a layer's input, and merges blocks by a small network, which is in its time.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F

import engine

Run = Callable[[], object]
Race = tuple[str, Run, Run]
DENSE, PAIRS = 4096, 1024
"""Lengths above which a reference that holds n×n, or a list of all pairs, is left out."""


def reference(folder: str) -> ModuleType:
    """A reference of flash-linear-attention, by the folder of its operator.

    Raises:
        ModuleNotFoundError: the package isn't installed.
    """
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("flash-linear-attention isn't installed", name="fla-core")
    path = Path(package.submodule_search_locations[0]) / "ops" / folder / "naive.py"
    spec = importlib.util.spec_from_file_location(f"fla_{folder}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tokens_first(qkv: engine.QKV) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values (1 n h d)."""
    return tuple(x.transpose(0, 1)[None].contiguous() for x in (qkv.q, qkv.k, qkv.v))


def output(qkv: engine.QKV, key: str, **parameters: object) -> Run:
    mechanism = engine.make(key, **parameters).fit(qkv)
    return lambda: mechanism.attend(qkv).output


def delta(qkv: engine.QKV) -> Iterator[Race]:
    """A step for each token."""
    theirs = reference("gated_delta_rule")
    q, k, v = tokens_first(qkv)
    k, beta, g = F.normalize(k, dim=-1), q[..., 0].sigmoid(), F.logsigmoid(q[..., 1] + 3)
    run = theirs.naive_recurrent_gated_delta_rule
    yield "delta : fla, by step", output(qkv, "delta"), lambda: run(q, k, v, beta, g)


def forgetting(qkv: engine.QKV) -> Iterator[Race]:
    theirs = reference("forgetting_attn")
    if qkv.n <= DENSE:
        q, k, v = tokens_first(qkv)
        g, run = F.logsigmoid(q[..., 1] + 3), theirs.naive_forgetting_attn
        yield "forgetting : fla", output(qkv, "forgetting"), lambda: run(q, k, v, g)


def stick_breaking(qkv: engine.QKV) -> Iterator[Race]:
    theirs = reference("stickbreaking_attn")
    if qkv.n <= DENSE:
        q, k, v = tokens_first(qkv)
        run = theirs.naive_stickbreaking_attn
        yield "stick_breaking : fla", output(qkv, "stick_breaking"), lambda: run(q, k, v)


def log_linear(qkv: engine.QKV) -> Iterator[Race]:
    theirs = reference("log_linear_attn")
    if qkv.n <= PAIRS:
        q, k, v = tokens_first(qkv)
        levels = q.new_ones(*q.shape[:3], qkv.n.bit_length() + 1)
        g, run = torch.zeros_like(q[..., 0]), theirs.naive_log_linear_attn
        ours = output(qkv, "log_linear", levels="even", feature_map="none")
        yield "log_linear : fla", ours, lambda: run(q, k, v, g, levels)


def nsa(qkv: engine.QKV) -> Iterator[Race]:
    """Its defaults' sizes: blocks of 16, three of them read, the nearest 32 keys."""
    from native_sparse_attention_pytorch import SparseAttention

    if qkv.n <= DENSE:
        heads, n, width = qkv.q.shape
        peer = SparseAttention(
            dim=heads * width, dim_head=width, heads=heads, sliding_window_size=32,
            compress_block_size=16, compress_block_sliding_stride=16, selection_block_size=16,
            num_selected_blocks=3, causal=True,
        ).eval()  # fmt: skip
        x = qkv.q.transpose(0, 1).reshape(1, n, heads * width)
        ours = output(qkv, "nsa", gate="even")
        yield "nsa : native-sparse-attention-pytorch", ours, lambda: peer(x)


LATER: dict[str, Callable[[engine.QKV], Iterator[Race]]] = {
    "delta": delta,
    "forgetting": forgetting,
    "stick_breaking": stick_breaking,
    "log_linear": log_linear,
    "nsa": nsa,
}
"""What is causal only -> its races."""
