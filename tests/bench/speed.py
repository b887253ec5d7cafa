"""Speed and memory of the engine, as ratios to torch's own attention in the same run.

    python -m engine bench [--device cuda] [--quick]

CPU seconds of the process (on a GPU: seconds between events), candidates taking turns on the same
tensors; the figure is the median over rounds of each round's ratio. "output" is the mechanism's
output alone, "all" the output, every row statistic and the max- and mean-pooled maps. Memory is
the peak above what the process held when inputs were made, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

import engine
from engine.spec.spelling import parse_choice

ROOT = Path(__file__).parents[2]
WIDTH = 64
SETTLE = 0.02
"""Seconds before each timing: threads of what ran before wait busily for more, and it counts."""


def clock(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """A stopwatch that runs something and returns its seconds."""

    def cpu(run: Callable[[], object]) -> float:
        time.sleep(SETTLE)
        start = time.process_time()
        run()
        return time.process_time() - start

    def gpu(run: Callable[[], object]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    return gpu if device.type == "cuda" else cpu


def made(heads: int, n: int, m: int, causal: bool, device: torch.device) -> engine.QKV:
    draw = torch.Generator().manual_seed(n)
    q = torch.randn(heads, n, WIDTH, generator=draw)
    k, v = (torch.randn(heads, m, WIDTH, generator=draw) for _ in range(2))
    return engine.QKV(q, k, v, causal=causal).to(device)


def ratios(qkv: engine.QKV, rounds: int, seconds: Callable) -> dict[str, float]:
    """Median ratio of each candidate to torch's attention."""
    q, k, v = qkv.q[None], qkv.k[None], qkv.v[None]
    candidates = {
        "torch": lambda: F.scaled_dot_product_attention(q, k, v, is_causal=qkv.causal),
        "softmax output": lambda: engine.attend(qkv, "softmax").output,
        "softmax all": lambda: engine.attend(qkv, "softmax").summary(512),
        "window output": lambda: engine.attend(qkv, "window", window=256).output,
        "window all": lambda: engine.attend(qkv, "window", window=256).summary(512),
        "segmented output": lambda: engine.attend(qkv, "segmented", segment=512).output,
        "segmented all": lambda: engine.attend(qkv, "segmented", segment=512).summary(512),
    }
    for run in candidates.values():  # warm-up
        run()
    found: dict[str, list[float]] = {name: [] for name in candidates}
    base = []
    for _ in range(rounds):
        times = {name: seconds(run) for name, run in candidates.items()}
        base.append(times["torch"])
        for name, taken in times.items():
            found[name].append(taken / times["torch"])
    return {name: statistics.median(x) for name, x in found.items()} | {
        "torch": statistics.median(base)
    }


LATER = (
    "indexer", "nsa", "delta", "log_linear", "infini", "landmark", "forgetting", "gated",
    "stick_breaking", "ssmax", "differential", "differential:version=2", "relative:kind=cope",
    "relative:kind=fire", "relative:kind=yarn", "window:dilation=2", "window:random=8",
)  # fmt: skip
"""Mechanisms whose summary should take at most three times softmax's."""


def summaries(n: int, heads: int, rounds: int, device: torch.device) -> dict[str, float]:
    """Median ratio of each mechanism's output, statistics and maps to softmax's, causally."""
    qkv, seconds = made(heads, n, n, True, device), clock(device)
    base, runs = engine.make("softmax"), {}
    for text in LATER:
        key, parameters = parse_choice(text)
        runs[text] = engine.make(key, **dict(parameters)).fit(qkv)
    found: dict[str, list[float]] = {text: [] for text in LATER}
    for made_of in (base, *runs.values()):  # warm-up
        made_of.attend(qkv).summary(512)
    for _ in range(rounds):
        whole = seconds(lambda: base.attend(qkv).summary(512))
        for key, made_of in runs.items():
            taken = seconds(lambda one=made_of: one.attend(qkv).summary(512))
            found[key].append(taken / whole)
    return {key: statistics.median(x) for key, x in found.items()}


PEAK = """
import json, resource, sys, threading, time, torch, engine
n, m, heads, causal = json.loads(sys.argv[1])
draw = torch.Generator().manual_seed(0)
q = torch.randn(heads, n, 64, generator=draw)
k, v = (torch.randn(heads, m, 64, generator=draw) for _ in range(2))
qkv = engine.QKV(q, k, v, causal=causal)
engine.attend(engine.sources.planted(n=300), "softmax").summary(64)  # imports and thread pools
def now():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
base, peak, stop = now(), 0, False
def watch():
    global peak
    while not stop:
        peak = max(peak, now())
        time.sleep(0.002)
thread = threading.Thread(target=watch); thread.start()
found = engine.attend(qkv, "softmax").summary(512)
stop = True; thread.join()
results = found.output.nbytes + sum(x.nbytes for x in vars(found.rows).values())
results += sum(x.nbytes for x in found.maps.values())
print(max(0, peak - base - results))
"""


def peak(n: int, m: int, heads: int, causal: bool) -> float:
    """MB above inputs and results of output, statistics and both maps."""
    out = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps([n, m, heads, causal])],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(out.stdout) / 1e6


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m engine bench", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="short texts, one round")
    args = parser.parse_args(argv)
    device = engine.devices.pick(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name} · torch {torch.__version__} · {torch.get_num_threads()} threads · d = {WIDTH}")
    sizes = [(512, 8), (1024, 8), (4096, 4), (8192, 2), (16384, 1), (32768, 1)]
    sizes = sizes[:2] if args.quick else sizes
    head = ("softmax output", "softmax all", "window output", "window all", "segmented output",
            "segmented all")  # fmt: skip
    print(f"{'n':>7} {'heads':>5} causal {'torch ms':>9}  " + "  ".join(head))
    for n, heads in sizes:
        for causal in (False, True):
            qkv = made(heads, n, n, causal, device)
            found = ratios(qkv, 1 if args.quick else 5 if n <= 8192 else 3, clock(device))
            row = "  ".join(f"{found[x]:>{len(x)}.2f}" for x in head)
            print(
                f"{n:>7} {heads:>5} {causal!s:>6} {1e3 * found['torch']:>9.1f}  {row}", flush=True
            )
    print("output, statistics and maps, fitted before, as a ratio to softmax's, causally")
    for n, heads in sizes[:1] if args.quick else ((4096, 4), (16384, 1)):
        found = summaries(n, heads, 1 if args.quick else 3, device)
        print(f"{n:>7} {heads:>5}  " + "  ".join(f"{key} {x:.2f}" for key, x in found.items()))
    if device.type == "cpu" and not args.quick:
        print("peak memory above inputs and results, MB")
        for n, m, heads in (
            (8192, 8192, 1),
            (8192, 8192, 8),
            (1024, 131072, 1),
            (1024, 131072, 8),
        ):
            print(
                f"  {n:>6} queries {m:>7} keys {heads} heads: {peak(n, m, heads, False):.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
