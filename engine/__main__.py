"""Command line: `python -m engine attend`, `train` or `bench`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import engine
from engine import spec as specs
from engine.contract import Attention, params_of
from engine.highlights import sharpest
from engine.mechanisms import MECHANISMS
from engine.metrics import RowStats
from engine.sources import SOURCES
from engine.spec import Spec

SHOWN = (
    "effective_tokens", "entropy", "normalised_entropy", "participation", "max_weight", "top_mass",
    "sink_mass", "distance", "kept_mass", "needle_mass",
)  # fmt: skip
ROOT = Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, 2 where the person's input was wrong."""
    parser = argparse.ArgumentParser(prog="python -m engine", description=engine.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    attend = commands.add_parser(
        "attend",
        help="attention over a text or a made source: a table, a figure",
        epilog=flags(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    attend.add_argument("--text-file", type=Path, help="read this text (UTF-8)")
    attend.add_argument("--arrays-file", type=Path, help="read q, k, v or weights from here")
    attend.add_argument("--stats", action="store_true", help="statistics of every head (default)")
    attend.add_argument(
        "--html", type=Path, metavar="FILE", help="write a figure that needs no net"
    )
    attend.add_argument("--size", type=int, default=512, help="cells a side of the figure")
    attend.add_argument("--device", help="cuda, mps or cpu; the best there is by default")
    attend.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    train = commands.add_parser("train", help="train the embedded model on books")
    commands.add_parser("bench", help="speed and memory, as ratios to torch's own attention")
    if (given := list(sys.argv[1:] if argv is None else argv))[:1] == ["bench"]:
        return run_bench(given[1:])
    if given[:1] == ["train"]:
        from engine.models import train as training

        training.add_arguments(train)
    args, rest = parser.parse_known_args(argv)
    try:
        if args.command == "attend":
            run_attend(args, rest)
        elif rest:
            parser.error(f"unknown arguments: {' '.join(rest)}")
        else:
            from engine.models import train as training

            training.run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_bench(argv: Sequence[str]) -> int:
    """The benchmark, which lives with the tests: it compares with what is not ours."""
    file = ROOT / "tests" / "bench" / "speed.py"
    if not file.exists():
        print("error: the benchmark comes with the source code only", file=sys.stderr)
        return 2
    return subprocess.run([sys.executable, str(file), *argv], cwd=ROOT, env=_here()).returncode


def _here() -> dict[str, str]:
    """An environment in which this engine is found first."""
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}


def flags() -> str:
    """Help on the flags that a spec and the declarations give."""
    lines = [
        "what is attended (defaults in brackets):",
        "  --text TEXT | --sample ID | --source KIND  where Q, K, V come from",
        "  --model FOLDER_OR_HUB_ID [tiny]  --layer N  --head N  --mechanism KEY [softmax]",
    ]
    for title, registry, prefix in (("source", SOURCES, "s."), ("mechanism", MECHANISMS, "m.")):
        for key, cls in registry.items():
            found = [
                f"--{prefix}{name} {'|'.join(p.choices) or p.kind.__name__} [{p.default}]"
                for name, p in params_of(cls).items()
            ]
            lines.append(f"{title} {key}: {'  '.join(found)}")
    lines.append("a mechanism's parameter may leave out its prefix m.")
    return "\n".join(lines)


def spec_of(rest: Sequence[str]) -> Spec:
    """The spec that flags say, as `--key value` or `--key=value`.

    Raises:
        ValueError: a flag is unknown or its value is not allowed.
    """
    words, given = list(rest), {}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"expected a flag, not {word!r}")
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            if not words:
                raise ValueError(f"--{key} needs a value")
            value = words.pop(0)
        given[key] = value
    mechanism = given.get("mechanism", specs.DEFAULT.mechanism)
    declared = params_of(MECHANISMS[mechanism]) if mechanism in MECHANISMS else {}
    given = {(f"m.{k}" if k in declared else k): v for k, v in given.items()}
    known = set(Spec().query_params()) | set(specs.PARSERS) | set(specs.CONTENT) | {"source"}
    for key in given:
        if key not in known and not key.startswith(("m.", "s.")):
            raise ValueError(f"unknown flag --{key}; see `python -m engine attend --help`")
    return Spec.from_argv([f"--{k}={v}" for k, v in given.items()])


def attention_of(args: argparse.Namespace, spec: Spec) -> Attention:
    """The attention that the flags ask for.

    Raises:
        ValueError: the text is empty, the model or the arrays can't be read, …
    """
    from engine.devices import pick

    device, dtype = pick(args.device), getattr(torch, args.dtype)
    if args.arrays_file is not None:
        given = engine.sources.arrays.read(args.arrays_file)
        if isinstance(given, Attention):
            return given
        return engine.attend(given.to(device), spec.mechanism, **spec.arguments())
    if spec.source in SOURCES:
        made = SOURCES[spec.source](**spec.source_arguments()).make()
        return engine.attend(made.to(device, dtype), spec.mechanism, **spec.arguments())
    if args.text_file is not None:
        text = args.text_file.read_text("utf-8")
    elif spec.source == "text":
        text = spec.content
    elif spec.source == "sample":
        path = ROOT / "assets" / "examples" / f"{spec.content}.txt"
        text = path.read_text("utf-8")
    else:
        raise ValueError(f"the command line can't look up an upload; give --{spec.source}-file")
    if not text.strip():
        raise ValueError("the text is empty: there is nothing to read")
    where = str(ROOT / "assets" / "models" / "tiny") if spec.model == "tiny" else spec.model
    trace = engine.models.load(where, device=args.device, dtype=dtype).read(text)
    if not trace.complete:
        print(f"read the first {len(trace.tokens):,} of {trace.total_tokens:,} tokens")
    layer = trace.layers // 2 if spec.layer is None else spec.layer
    return engine.attend(trace.layer(layer), spec.mechanism, **spec.arguments())


def run_attend(args: argparse.Namespace, rest: Sequence[str]) -> None:
    """Prints where Q, K, V came from and a table of statistics; writes the figure if asked to."""
    spec = spec_of(rest)
    att = attention_of(args, spec)
    found = att.summary(args.size, ("max",) if args.html else ())
    frame, origin = att.frame, att.frame.origin
    print(f"{spec.mechanism} {dict(spec.arguments())} · {origin.source} · {origin.detail}")
    print(
        f"{frame.heads} heads · {frame.n:,} queries · {frame.m:,} keys · "
        f"{'causal' if frame.causal else 'bidirectional'} · {att.row_kind} rows · {att.device} · "
        f"{found.seconds:.3f} s"
    )
    if origin.trained_length and frame.m > origin.trained_length:
        print(f"read beyond the {origin.trained_length:,} tokens that the model was trained on")
    if args.stats or not args.html:
        print(table(found.rows))
    if args.html:
        head, query = sharpest(
            found.rows, frame.offset, spec.head if isinstance(spec.head, int) else None
        )
        from engine.export import figure_page

        figure_page(args.html, att, found.maps["max"][head].cpu(), head, query)
        print(f"wrote {args.html} (head {head})")


def table(rows: RowStats) -> str:
    """Statistics of every head, averaged over its rows."""
    means = rows.means()
    lines = ["head  " + "  ".join(f"{name:>{max(9, len(name))}}" for name in SHOWN)]
    for h in range(rows.entropy.shape[0]):
        cells = (f"{float(means[name][h]):>{max(9, len(name))}.4g}" for name in SHOWN)
        lines.append(f"{h:>4}  " + "  ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
