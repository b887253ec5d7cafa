"""A whole book through one layer: `python -m engine book`.

Only the layers up to that one are computed, and of it nothing but its queries, keys and values is
held. What follows goes over rows in blocks: statistics of every row, or of a stated sample, maps
pooled to a few cells, and windows down to single tokens.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from engine.contract import QKV
from engine.kernels.online import KEPT_LONG
from engine.measure.attention import Attention
from engine.measure.metrics import RowStats
from engine.measure.passes import Summary
from engine.mechanisms.base import Mechanism
from engine.mechanisms.cost import Alive, Estimate, estimate
from engine.models.capture import Recorder
from engine.models.embedded import folder_of
from engine.models.loading import load
from engine.models.masks import ModelError
from engine.models.read import Model
from engine.models.trace import Side, Trace
from engine.runtime.threads import here, workers
from engine.text import quantities
from engine.text.tokens import isolated

CELLS = 512
TRIED = 512, 1024
"""Tokens of the two beginnings from which the memory of reading more is reckoned."""
NAMED = 512
"""Bytes of a token that are no tensor's: its name and its places."""
FREED = 2**27
"""Bytes that the C library keeps of freed tensors, of up to 32 MB each, about."""
SHOWN = ("effective_tokens", "max_weight", "sink_mass", "distance")


class Reached(Exception):
    """The layer has been seen: the pass ends."""


@dataclass(frozen=True, eq=False)
class Read:
    """A layer that read a long text.

    Attributes:
        qkv: with the text's units and tokens. own: what the model attends with. beyond: the
            text is longer than what the model is said to read.
    """

    qkv: QKV
    own: Mechanism
    beyond: bool


def beginning(
    model: Model, text: str, layer: int, tokens: int | None = None, beyond: bool = False
) -> tuple[Side, bool]:
    """The tokens that are to be read, and whether they are more than the model says that it reads.

    Args:
        tokens, beyond: as of `one_layer`, with its errors.
    """
    if not 0 <= layer < model.layers:
        raise ModelError(
            "layer {i} is not one of 0 … {last} of {model}",
            i=layer, last=model.layers - 1, model=model.name,
        )  # fmt: skip
    if model.weights_only is not None or model.second == "decoder":
        raise ModelError(
            "{name} can't be read layer by layer: long texts need a model of one side whose "
            "queries and keys are seen",
            name=model.name,
        )
    coded, total = model.begun(text, tokens)
    n = len(coded.ids) if tokens is None else tokens
    if n > len(coded.ids):
        raise ModelError(
            "the text has {count, plural, one {# token} other {# tokens}}, fewer than the {n:,} "
            "that were asked for",
            count=len(coded.ids), n=n,
        )  # fmt: skip
    over = model.context is not None and n > model.context
    if over and not beyond:
        raise ModelError(
            "{name} reads at most {context, plural, one {# token} other {# tokens}}, not {n:,}",
            name=model.name, context=model.context or 0, n=n,
        )  # fmt: skip
    part = coded.beginning(n)
    return Side(part, model.pieces.named(part), total, len(coded.text) < len(text)), over


def one_layer(
    model: Model, text: str, layer: int, tokens: int | None = None, beyond: bool = False
) -> Read:
    """One layer over a text, without those above it and without what it makes of it.

    Args:
        tokens: read so many; all that the text has if None. beyond: read more than the model says
            that it can, which is extrapolation.

    Raises:
        ModelError: there is no such layer, the text is shorter, or the model can't read so much.
    """
    side, over = beginning(model, text, layer, tokens, beyond)
    return through(model, side, layer, over)


def through(model: Model, side: Side, layer: int, over: bool) -> Read:
    """One layer over tokens that `beginning` gave, with its answer."""

    def reach(done: int) -> None:
        if done > layer:
            raise Reached

    def attend(number: int, qkv: QKV) -> Tensor:
        if number == layer:  # nobody reads what it makes of the text
            return qkv.q.new_zeros(qkv.heads, qkv.n, qkv.v.shape[2])
        return known[number].attend(qkv).output

    short = model.read(side.coded.text[:64])
    known = [short.own(i) for i in range(layer + 1)]
    recorder = Recorder(keep=[layer], attend=attend, on_layer=reach)
    with suppress(Reached):
        model.run(side, None, recorder)
    recorder.seen += [None] * (model.layers - len(recorder.seen))
    trace = Trace(model, side, None, recorder, {})
    return Read(trace.layer(layer).replace(layer=None), trace.own(layer), over)


@dataclass(frozen=True, eq=False)
class Studied:
    """What was found of a long text.

    Attributes:
        attention: for windows. rows: statistics. which: the rows that they are of; None for all.
        summary: with maps, where all rows were gone through.
    """

    attention: Attention
    rows: RowStats
    which: Int[Tensor, " r"] | None
    summary: Summary | None


def study(
    read: Read, rows: int | None = None, progress: Callable[[float], None] | None = None
) -> Studied:
    """Statistics of every row and pooled maps; or statistics of some rows, exact for each.

    Args:
        rows: so many, spread evenly; all, with maps, if None. progress: told the share done; what
            it raises ends it.
    """
    att = read.own.attend(read.qkv)
    if rows is None or rows >= read.qkv.n:
        made = att.summary(CELLS, ("max", "mean"), progress=progress)
        return Studied(att, made.rows, None, made)
    which = torch.linspace(0, read.qkv.n - 1, rows).round().long()
    parts = []
    for done, part in enumerate(which.split(64), 1):
        parts.append(att.rows(part))
        if progress is not None:
            progress(min(1.0, 64 * done / rows))
    names = vars(parts[0])
    joined = RowStats(**{k: torch.cat([getattr(p, k) for p in parts], 1) for k in names})
    return Studied(att, joined, which, None)


def reading(model: Model, side: Side, layer: int) -> int:
    """Bytes that `through` takes at most, Q, K and V among them: what two short beginnings hold at
    their worst moment, drawn on in a straight line, since nothing is held of pairs."""
    tokens = len(side.tokens)

    def peak(n: int) -> tuple[int, QKV]:
        part = Side(side.coded.beginning(n), side.tokens[:n], n)
        with here(), Alive([]) as alive:
            read = through(model, part, layer, over=False)
        return alive.peak, read.qkv

    first, second = (min(n, tokens) for n in TRIED)
    (less, _), (more, qkv) = peak(first), peak(second)
    each = (more - less) / max(1, second - first) + NAMED
    return int(more + each * (tokens - second)) + _side_by_side(qkv, tokens) + FREED


def cost(read: Read) -> Estimate:
    """What studying all rows will take: bytes above Q, K and V, and operations.

    An estimate counts one thread; all together keep the scores of a pass over a long text.
    """
    found, qkv = estimate(read.own, read.qkv, CELLS), read.qkv
    more = 4 * KEPT_LONG + _side_by_side(qkv, qkv.m)
    return replace(found, bytes=found.bytes + more)


def _side_by_side(qkv: QKV, keys: int) -> int:
    """Bytes of what each thread holds for itself: a head's keys and values, laid out."""
    return (workers(qkv.device) + 1) * 4 * keys * (qkv.k.shape[2] + qkv.v.shape[2])


class Memory:
    """The most memory that this process held while inside, above what it held before, as Linux
    counts it, looked at 20 times a second; 0 elsewhere."""

    def __enter__(self) -> Memory:
        self.before, self.most, self._over = _resident(), 0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, _resident() - self.before)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m engine book`."""
    parser.add_argument("text", type=Path, help="a text file (UTF-8)")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name on the hub")
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--tokens", type=int, help="read so many; all by default")
    parser.add_argument("--repeat", type=int, default=1, help="say the text so many times over")
    parser.add_argument("--rows", type=int, help="statistics of so many rows; of all by default")
    parser.add_argument("--beyond", action="store_true", help="also beyond the model's context")
    parser.add_argument(
        "--window", type=int, nargs=2, metavar=("ROW", "KEY"), help="zoom in there"
    )
    parser.add_argument("--out", type=Path, help="write statistics and maps as .npz")


def run(args: argparse.Namespace) -> int:
    """Says what it will cost, reads, shows how far it is; Ctrl+C stops it."""
    model = load(folder_of(args.model), device="cpu")
    text = args.text.read_text("utf-8") * args.repeat
    side, over = beginning(model, text, args.layer, args.tokens, args.beyond)
    print(
        f"{model.name}, layer {args.layer}: {len(side.tokens):,} tokens; to read them takes at "
        f"most {quantities.memory(reading(model, side, args.layer))}"
    )
    start = time.perf_counter()
    with Memory() as memory:
        read = through(model, side, args.layer, over)
    qkv, asked = read.qkv, cost(read)
    held = sum(x.numel() * x.element_size() for x in (qkv.q, qkv.k, qkv.v))
    print(
        f"read in {quantities.duration(time.perf_counter() - start)}, {qkv.heads} heads, at most "
        f"{quantities.memory(memory.most)} more in memory"
    )
    if read.beyond:
        print(f"beyond the {model.context:,} tokens that the model reads: extrapolation")
    share = 1 if args.rows is None else min(1, args.rows / qkv.n)
    print(
        f"Q, K, V: {quantities.memory(held)}; beside them at most "
        f"{quantities.memory(asked.bytes)}, and {quantities.operations(asked.flops * share)} "
        "operations for the output; never all pairs at once"
    )

    def told(done: float) -> None:
        print(f"\r{done:4.0%}", end="", file=sys.stderr, flush=True)

    start = time.perf_counter()
    try:
        with Memory() as studying:
            found = study(read, args.rows, told)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    print(file=sys.stderr)
    named = "every row" if found.which is None else f"{len(found.which):,} rows, spread evenly"
    print(
        f"{named}: {quantities.duration(time.perf_counter() - start)}, at most "
        f"{quantities.memory(studying.most)} more in memory"
    )
    means = found.rows.means()
    print("head  " + "  ".join(f"{name:>16}" for name in SHOWN))
    for h in range(qkv.heads):
        print(f"{h:>4}  " + "  ".join(f"{float(means[name][h]):>16.4g}" for name in SHOWN))
    if args.window:
        _zoom(found.attention, *args.window)
    if args.out:
        which = torch.arange(qkv.n) if found.which is None else found.which
        arrays: dict[str, Any] = {"rows": which.numpy()}
        arrays |= {k: v.cpu().numpy() for k, v in vars(found.rows).items()}
        if found.summary is not None:
            arrays |= {f"map_{k}": v.cpu().numpy() for k, v in found.summary.maps.items()}
        np.savez(args.out, **arrays)
        print(f"wrote {args.out}")
    return 0


def _zoom(att: Attention, row: int, key: int, size: int = 8) -> None:
    """Single weights about a place, and the tokens that they are between."""
    frame = att.frame
    rows, cols = (
        slice(max(0, at - size // 2), min(total, at + size // 2))
        for at, total in ((row, frame.n), (key, frame.m))
    )
    start = time.perf_counter()
    weights = att.weights(rows, cols)
    took = quantities.duration(time.perf_counter() - start)
    print(
        f"rows {rows.start:,} … {rows.stop - 1:,}, keys {cols.start:,} … {cols.stop - 1:,}: {took}"
    )
    best = weights.flatten().topk(min(5, weights.numel()))
    for at, w in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        h, rest = divmod(at, weights.shape[1] * weights.shape[2])
        i, j = divmod(rest, weights.shape[2])
        i, j = i + rows.start, j + cols.start
        names = [isolated(frame.tokens[x]) for x in (i, j)] if frame.tokens else ["", ""]
        print(f"  head {h}: {names[0]} {i:,} → {names[1]} {j:,}: {w:.3g}")
