"""Mechanisms beside the packages that people use for them, as ratios in the same run.

    python -m engine bench --peers [--only lsh] [--quick]

CPU seconds of the process for the output alone, ours and the peer's taking turns on the same
tensors (8 heads of width 64); the figure is the median over rounds of each round's ratio, below 1
where ours takes less. A peer that isn't installed, or that a length doesn't suit, is left out.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch

import engine
from engine.mechanisms.linformer import Compressed, Linformer
from tests.bench.naive import LATER
from tests.bench.speed import clock, made

HEADS = 8
LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)
Run = Callable[[], object]
Race = tuple[str, Run, Run]
"""What is compared, ours, the peer's."""


def lsh(qkv: engine.QKV) -> Iterator[Race]:
    """reformer-pytorch with its own defaults; the same rounds and keys a bucket.

    Its queries are its keys. Ours are compared so, and hashed apart, which is twice the hashing.
    """
    from reformer_pytorch.reformer_pytorch import LSHAttention

    rounds, size = 4, 64
    peer = LSHAttention(bucket_size=size, n_hashes=rounds, causal=qkv.causal).eval()

    def theirs() -> object:
        return peer(qkv.q, qkv.v)

    for scope, shared in (("chunk", True), ("chunk", False), ("bucket", False)):
        ours = engine.make(
            "lsh", scope=scope, buckets=qkv.n // size, rounds=rounds, chunk=size, shared_qk=shared
        )
        name = f"lsh {scope}{' shared' if shared else ''} : reformer-pytorch"
        yield name, lambda ours=ours: ours.attend(qkv).output, theirs


EAGER = 4096
"""Above this torch's eager flex attention, which holds every score, is left out."""


def local(qkv: engine.QKV, window: int, back: int, exact: bool = False) -> Run:
    """lucidrains' local attention over its buckets, without its rotary positions.

    With `exact` its window counts the keys besides the query's own: 8 means 9.
    """
    from local_attention import LocalAttention

    forward = 0 if qkv.causal or not exact else 1
    peer = LocalAttention(
        dim=qkv.q.shape[-1], window_size=window, causal=qkv.causal, look_backward=back,
        look_forward=forward, exact_windowsize=exact, use_rotary_pos_emb=False, autopad=True,
    ).eval()  # fmt: skip
    return lambda: peer(qkv.q, qkv.k, qkv.v)


def flex(qkv: engine.QKV, seen: Callable[..., torch.Tensor], compiled: bool) -> Run:
    """torch's flex attention with a block mask made beforehand; `seen` is of positions (i, j).

    Compiling takes tens of seconds a mask, in the warm-up, which isn't counted.
    """
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def mask(b: torch.Tensor, h: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return seen(i, j) & (j <= i) if qkv.causal else seen(i, j)

    blocks = create_block_mask(mask, None, None, qkv.n, qkv.m, device="cpu")
    run = torch.compile(flex_attention, dynamic=False) if compiled else flex_attention
    q, k, v = qkv.q[None], qkv.k[None], qkv.v[None]
    return lambda: run(q, k, v, block_mask=blocks)


def flexed(
    qkv: engine.QKV, name: str, ours: Run, seen: Callable[..., torch.Tensor]
) -> Iterator[Race]:
    """Against flex attention, eager as long as it fits, and compiled."""
    torch.compiler.reset()  # each length compiles anew, and has a limit of its own
    for how in ("eager", "compiled"):
        if how == "compiled" or qkv.n <= EAGER:
            yield f"{name} : flex {how}", ours, flex(qkv, seen, how == "compiled")


def window(qkv: engine.QKV) -> Iterator[Race]:
    """The same 257 keys back (and forth), and no sinks: outputs are equal."""
    mechanism = engine.make("window", window=257, sinks=0)

    def ours() -> object:
        return mechanism.attend(qkv).output

    yield "window : local-attention", ours, local(qkv, 256, 1, exact=True)
    yield from flexed(qkv, "window", ours, lambda i, j: (i - j).abs() < 257)


def segmented(qkv: engine.QKV) -> Iterator[Race]:
    """The same segments of 256: outputs are equal."""
    mechanism = engine.make("segmented", segment=256)

    def ours() -> object:
        return mechanism.attend(qkv).output

    yield "segmented : local-attention", ours, local(qkv, 256, 0)
    yield from flexed(qkv, "segmented", ours, lambda i, j: i // 256 == j // 256)


def transformer_xl(qkv: engine.QKV) -> Iterator[Race]:
    """A memory of one segment, which is looking back by one: outputs are equal."""
    mechanism = engine.make("transformer_xl", segment=256, memory=256)

    def ours() -> object:
        return mechanism.attend(qkv).output

    yield "transformer_xl : local-attention", ours, local(qkv, 256, 1)


class Given(torch.nn.Module):
    """In place of a linear layer: what it gave."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.get_buffer("x")


def linformer(qkv: engine.QKV) -> Iterator[Race]:
    """The linformer package without its linear layers, at the same rank.

    Ours pools, or multiplies by dense projections drawn beforehand, as the package's are.
    """
    from linformer import LinformerSelfAttention

    if qkv.causal:
        return
    h, n, d = qkv.q.shape
    q, k, v = (x.transpose(0, 1).reshape(1, n, h * d) for x in (qkv.q, qkv.k, qkv.v))
    for rank in (64, 256):
        peer = LinformerSelfAttention(h * d, n, k=rank, heads=h).eval()
        peer.to_q, peer.to_k, peer.to_v = (Given(x) for x in (q, k, v))
        peer.to_out = torch.nn.Identity()
        theirs = partial(peer, q)
        for projection in ("mean", "random"):
            ours = Linformer(rank, projection)
            made = partial(Compressed, ours, qkv, *ours.projections(qkv))
            name = f"linformer {projection} {rank} : linformer"
            yield name, lambda made=made: made().output, theirs


PEERS: dict[str, Callable[[engine.QKV], Iterator[Race]]] = {
    "lsh": lsh,
    "linformer": linformer,
    "window": window,
    "segmented": segmented,
    "transformer_xl": transformer_xl,
} | LATER
"""Mechanism -> what it is raced against on a QKV; those of LATER causally alone."""


def raced(races: list[Race], rounds: int) -> Iterator[tuple[str, float, float, float]]:
    """Name, median seconds of ours and of the peer, median ratio.

    What stands in several races runs once a round.
    """
    seconds = clock(torch.device("cpu"))
    runs = list(dict.fromkeys(run for _, *both in races for run in both))
    for run in runs:  # warm-up
        run()
    times: list[list[tuple[float, float]]] = [[] for _ in races]
    for _ in range(rounds):
        taken = {run: seconds(run) for run in runs}
        for (_, ours, peer), found in zip(races, times, strict=True):
            found.append((taken[ours], taken[peer]))
    for (name, *_), found in zip(races, times, strict=True):
        mine, theirs = (statistics.median(x) for x in zip(*found, strict=True))
        yield name, mine, theirs, statistics.median(a / b for a, b in found)


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m engine bench --peers", description=__doc__)
    parser.add_argument("--only", choices=sorted(PEERS), help="one mechanism")
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--quick", action="store_true", help="short texts, one round")
    args = parser.parse_args(argv)
    print(f"CPU · torch {torch.__version__} · {torch.get_num_threads()} threads · {HEADS} heads")
    print(f"{'n':>7} {'ours ms':>9} {'peer ms':>9} {'ratio':>6}")
    for n in LENGTHS[:2] if args.quick else LENGTHS:
        qkv = made(HEADS, n, n, args.causal, torch.device("cpu"))
        races = []
        for key in [args.only] if args.only else PEERS:
            if key in LATER and not args.causal:
                print(f"{n:>7} {key}: looks back only, so --causal")
                continue
            try:
                races += PEERS[key](qkv)
            except ImportError as missing:
                print(f"{n:>7} {key}: {missing.name} is not installed")
        for name, mine, theirs, ratio in raced(races, 1 if args.quick else 5 if n < 8192 else 3):
            print(
                f"{n:>7} {1e3 * mine:>9.1f} {1e3 * theirs:>9.1f} {ratio:>6.2f}  {name}", flush=True
            )


if __name__ == "__main__":
    main()
