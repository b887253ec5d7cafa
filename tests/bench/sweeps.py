"""What the dilution lab's sweeps take: time to the first records, whole sweeps, and memory.

    python -m engine bench --sweeps [--quick]

Each line is one sweep in a process of its own. Wall seconds depend on the machine and on what else
it does; beside them stand CPU seconds, and their ratio to torch's own attention over the same
numbers of queries and keys, measured in the same process. Memory is the peak above what the
process held before the sweep, beside the bound that the sweep states before it starts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from engine.dilution.sweep import measure
from engine.spec.sweep import Lab, parsed

ROOT = Path(__file__).parents[2]
EIGHT = "softmax,window,segmented,lsh,linear,ssmax,transformer_xl,relative"
LONG = ("window", "segmented", "transformer_xl", "linear", "lsh", "memory_tokens")
SWEEPS = {
    "the page's default": {},
    "eight mechanisms to 16,384": {"of": EIGHT, "lengths": "256-16384", "match": "none"},
    "eight, begun alike": {"of": EIGHT, "lengths": "256-16384"},
    **{
        f"{key} at 131,072": {"of": key, "lengths": "131072", "match": "none", "seeds": "1"}
        for key in LONG
    },
}  # fmt: skip
QUICK = ("the page's default",)


def held() -> int:
    """Bytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def torches(lab: Lab) -> float:
    """CPU seconds of torch's attention over what all tasks have to look at."""
    total, known = 0.0, {}
    for task in lab.plan().tasks:
        rows = min(task.n, task.rows) if task.n > 4096 else task.n
        if (rows, task.n) not in known:
            q, k = torch.randn(1, 4, rows, 64), torch.randn(1, 4, task.n, 64)
            began = time.process_time()
            F.scaled_dot_product_attention(q, k, k)
            known[rows, task.n] = time.process_time() - began
        total += known[rows, task.n]
    return total


def one(query: dict[str, str]) -> dict[str, Any]:
    """Run one sweep here."""
    lab = parsed(query)
    plan = lab.plan()
    measure(Lab(lengths=(64,), mechanisms=(("softmax", ()),)).plan().tasks[0])  # libraries loaded
    reference = torches(lab)
    before, peak, over = held(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu, first = time.perf_counter(), time.process_time(), None
    for task in plan.tasks:
        measure(task)
        first = first or time.perf_counter() - wall
    found = {
        "first": first, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
    }  # fmt: skip
    over.set()
    watcher.join()
    return found | {
        "ratio": found["cpu"] / reference, "peak": peak - before, "stated": plan.bytes,
        "tasks": len(plan.tasks),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the page's default sweep only")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(one(json.loads(args.one))))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'sweep':<28} pieces  first s   wall s    CPU s  : torch   peak MB  stated MB")
    for name in QUICK if args.quick else SWEEPS:
        command = [sys.executable, __file__, "--one", json.dumps(SWEEPS[name])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        r = json.loads(done.stdout)
        print(
            f"{name:<28} {r['tasks']:>6} {r['first']:>8.2f} {r['wall']:>8.1f} {r['cpu']:>8.1f} "
            f"{r['ratio']:>8.1f} {r['peak'] / 1e6:>9.0f} {r['stated'] / 1e6:>10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
