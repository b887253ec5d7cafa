"""Command line: `python -m engine attend`, `sweep`, `mechanisms`, `train`, `bench`, …"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import engine
from engine.contract import QKV, params_of
from engine.dilution.sweep import MOST_BYTES, Record
from engine.dilution.sweep import run as run_plan
from engine.measure.attention import Attention
from engine.measure.metrics import RowStats
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.models import embedded
from engine.runtime import cluster
from engine.runtime.paths import ROOT, TINY
from engine.sources import SOURCES
from engine.spec import links, picture, sweep
from engine.spec.fields import CONTENT, FIELDS
from engine.spec.picture import Spec
from engine.spec.spelling import declarations, from_flags
from engine.store import records
from engine.structure.highlights import sharpest

SHOWN = (
    "effective_tokens", "entropy", "normalised_entropy", "participation", "max_weight", "top_mass",
    "sink_mass", "distance", "kept_mass", "needle_mass",
)  # fmt: skip

MARKS = "<!-- mechanisms -->", "<!-- /mechanisms -->"
"""Between them the README holds the table of mechanisms."""
OWN = "--mechanism", "--of"
"""Flags that take a person's own file for a mechanism's key."""
SURVEY = "<!-- models -->", "<!-- /models -->"
"""Between them docs/models.md holds the table of architectures."""


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
    train = commands.add_parser(
        "train",
        help="train the embedded model on books; with --mechanism, a model that attends with it",
    )
    zoo = commands.add_parser(
        "zoo",
        help="the same small model trained with each mechanism: what is there, and train the rest",
    )
    sweeping = commands.add_parser(
        "sweep",
        help="mechanisms over lengths and seeds: a table of how attention thins out",
        description=sweep.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    sweeping.add_argument(
        "--out", type=Path, metavar="FILE", help=".csv, .json or .parquet; grows as records come"
    )
    sweeping.add_argument(
        "--folder", type=Path, help="keep records here and go on from those that are there"
    )
    sweeping.add_argument(
        "--text-file", type=Path, help="passages of this text (UTF-8), with --source passage"
    )
    sweeping.add_argument(
        "--memory", type=float, default=MOST_BYTES / 10**9, help="bound in GB, 2 by default"
    )
    sweeping.add_argument("--device", help="cuda, mps or cpu (here); the best there is by default")
    cluster.add_arguments(sweeping)
    growing = commands.add_parser(
        "growth", help="one text at growing lengths through a model: which heads thin out"
    )
    probing = commands.add_parser(
        "train-probes", help="train the lab's small probes on few items, test them on many"
    )
    opening = commands.add_parser(
        "measure-lab", help="measure what the lab's parts open with, kept in assets/lab"
    )
    opening.add_argument("--out", type=Path, help="another folder")
    listing = commands.add_parser(
        "mechanisms", help="every mechanism with its parameters, as a table"
    )
    listing.add_argument(
        "--write", type=Path, metavar="FILE", help="put the table between the marks in this file"
    )
    reading = commands.add_parser(
        "models", help="which architectures of transformers can be read: reads a small one of each"
    )
    reading.add_argument("kind", nargs="*", help="model types, as in config.json; all by default")
    reading.add_argument("--write", type=Path, metavar="FILE", help="put the table in this file")
    booking = commands.add_parser(
        "book", help="a long text through one layer: statistics of every row, pooled maps"
    )
    commands.add_parser("licences", help="under which licences what the app runs on is given")
    talking = commands.add_parser("talk", help="talks: list them, check a file, make one ready")
    commands.add_parser(
        "bench",
        help="speed and memory, as ratios to torch's own attention; --peers: to packages; "
        "--sweeps: what sweeps take; --models: reading a whole model",
    )
    if (given := list(sys.argv[1:] if argv is None else argv))[:1] == ["bench"]:
        return run_bench(given[1:])
    try:
        given = own_files(given)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given[:1] == ["talk"]:
        from engine.talks import command as talk_command

        talk_command.add_arguments(talking)
    if given[:1] == ["book"]:
        from engine.models import book

        book.add_arguments(booking)
    by_mechanism = any(x.partition("=")[0] == "--mechanism" for x in given)
    if given[:1] == ["train"] and not by_mechanism:
        from engine.models.training import train as training

        training.add_arguments(train)
    if given[:1] == ["train"] and by_mechanism:
        from engine.models.zoo import training as zoo_training

        train.add_argument(
            "--mechanism", required=True, metavar="NAME", help="a name of `zoo --list`"
        )
        zoo_training.add_arguments(train)
    if given[:1] == ["zoo"]:
        from engine.models.zoo import command

        command.add_arguments(zoo)
    if given[:1] == ["growth"]:
        from engine.dilution import growth_results

        growth_results.add_arguments(growing)
    if given[:1] == ["train-probes"]:
        from engine.dilution import probe_results

        probe_results.add_arguments(probing)
    args, rest = parser.parse_known_args(given)
    try:
        if args.command == "attend":
            run_attend(args, rest)
        elif args.command == "sweep":
            run_sweep(args, rest)
        elif args.command == "mechanisms":
            if args.write is None:
                print(mechanism_table())
            else:
                write_table(args.write)
        elif rest:
            parser.error(f"unknown arguments: {' '.join(rest)}")
        elif args.command == "train-probes":
            from engine.dilution import probe_results

            probe_results.run(args)
        elif args.command == "growth":
            from engine.dilution import growth_results

            growth_results.run(args)
        elif args.command == "measure-lab":
            from engine.dilution import opening as opens

            tiny = engine.models.load(TINY, device="cpu")
            opens.write(args.out or opens.FOLDER, sweep.Lab().plan(), tiny, TINY, print)
        elif args.command == "models":
            run_models(args)
        elif args.command == "zoo":
            from engine.models.zoo import command

            command.run(args)
        elif args.command == "licences":
            from engine.runtime import licences

            print(licences.table(ROOT / "requirements.txt"))
        elif args.command == "book":
            from engine.models import book

            return book.run(args)
        elif args.command == "talk":
            from engine.talks import command as talk_command

            return talk_command.run(args)
        elif by_mechanism:
            from engine.models.zoo import training as zoo_training

            zoo_training.run(args, [args.mechanism])
        else:
            from engine.models.training import train as training

            training.run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def own_files(words: Sequence[str]) -> list[str]:
    """A command line in which a file of a person's own mechanism, `--mechanism my.py` or among
    those `--of` a sweep, is read and has its key's place.

    Raises:
        ValueError: there is no such file, or a mistake in it.
    """

    def named(choice: str) -> str:
        path, colon, parameters = choice.partition(":")
        if not path.endswith(".py"):
            return choice
        return f"{engine.mechanisms.add(path).key}{colon}{parameters}"

    found, flag = [], ""
    for word in words:
        own, equals, value = word.partition("=")
        if equals and own in OWN:
            word = f"{own}={','.join(map(named, value.split(',')))}"
        elif flag in OWN:
            word = ",".join(map(named, word.split(",")))
        found.append(word)
        flag = word
    return found


def run_bench(argv: Sequence[str]) -> int:
    """The benchmark, which lives with the tests: it compares with what is not ours."""
    known = ("--peers", "--sweeps", "--pages", "--models", "--talks")
    kinds = [word for word in known if word in argv]
    name = kinds[0].removeprefix("--") if kinds else "speed"
    file = ROOT / "tests" / "bench" / f"{name}.py"
    argv = [word for word in argv if word not in kinds]
    if not file.exists():
        print("error: the benchmark comes with the source code only", file=sys.stderr)
        return 2
    return subprocess.run([sys.executable, str(file), *argv], cwd=ROOT, env=_here()).returncode


def _here() -> dict[str, str]:
    """An environment in which this engine is found first."""
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}


def mechanism_table() -> str:
    """Every mechanism in Markdown, from what it declares; the README holds it."""
    lines = ["| key | parameters and defaults | cost | paper |", "|---|---|---|---|"]
    for key, cls in MECHANISMS.items():
        declared = [f"{name} = {p.default}" for name, p in params_of(cls).items()]
        marks = "" if cls.causal_ok else " (not causal)"
        cells = (f"`{key}`{marks}", ", ".join(declared) or "–", cls.complexity or "–", cls.paper)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def run_models(args: argparse.Namespace) -> None:
    """Prints how each architecture is read as it is found out; writes the table if asked to."""
    from engine.models import survey

    # those of the file stay where only some are asked for, and are written as they come
    known = args.kind and args.write and args.write.exists()
    rows = {row.kind: row for row in survey.tabled(args.write.read_text("utf-8"))} if known else {}
    for row in survey.survey(args.kind or None):
        rows[row.kind] = row
        print(f"{row.kind:<28} {row.outcome:<13} {row.reason}", flush=True)
        if args.write is not None:
            write_table(args.write, survey.table(rows.values()), SURVEY)


def write_table(path: Path, table: str | None = None, marks: tuple[str, str] = MARKS) -> None:
    """Puts a table, that of mechanisms if none is given, between two marks in a Markdown file.

    Raises:
        ValueError: the marks aren't there, once each and in order. OSError: no such file, …
    """
    text = path.read_text("utf-8")
    before, _, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not end or any(text.count(mark) != 1 for mark in marks):
        raise ValueError(f"{path.name} needs the marks {' and '.join(marks)} around the table")
    table = mechanism_table() if table is None else table
    path.write_text(f"{before}{marks[0]}\n{table}\n{marks[1]}{after}", "utf-8")


def flags() -> str:
    """Help on the flags that a spec and the declarations give."""
    lines = [
        "what is attended (defaults in brackets):",
        "  --text TEXT | --sample ID | --source KIND  where Q, K, V come from",
        "  --model FOLDER_OR_HUB_ID [tiny]  --by tokens|characters  --layer N  --head N",
        "  --mechanism KEY_OR_FILE.py [softmax]",
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


def run_sweep(args: argparse.Namespace, rest: Sequence[str]) -> None:
    """Prints a line for each task as it is done, and writes the records if asked to."""
    from engine.runtime.devices import pick

    text = None if args.text_file is None else args.text_file.read_text("utf-8")
    bound = int(args.memory * 10**9)
    checked = sweep.parsed(from_flags(rest)).plan(str(pick(args.device)), bound, text)
    if args.out is not None and args.out.suffix.removeprefix(".") not in records.FORMS:
        raise ValueError(
            f"--out must end in .{', .'.join(records.FORMS)}, not {args.out.suffix!r}"
        )
    if args.on == "ray":
        from engine.dilution import cluster as sweeps

        folder = args.folder or Path("sweep-records")
        found = sweeps.run(checked, folder, args.address, args.gpus)
    else:
        found = run_plan(checked, args.folder)
    made: list[Record] = []
    print(
        f"{'n':>7} seed {'mechanism':<22} head  entropy  effective  max weight   needle  seconds"
    )
    for record in found:
        made.append(record)
        entropy, effective, top = (
            record[name] for name in ("entropy", "effective_tokens", "max_weight")
        )
        needle = record["needle_mass"]
        print(
            f"{record['n']:>7} {record['seed']:>4} {record['mechanism']:<22} {record['head']:>4}  "
            f"{_cell(entropy, 7)}  {_cell(effective, 9)}  {_cell(top, 10)}  {_cell(needle, 7)}  "
            f"{record['seconds']:.3f}{'*' if record['extrapolated'] else ''}",
            flush=True,
        )
        if args.out is not None and record["head"] == record["heads"] - 1:
            records.write(made, args.out)
    if any(record["extrapolated"] for record in made):
        print("* extrapolated from the rows that were sampled")
    if args.out is not None:
        records.write(made, args.out)
        print(f"wrote {args.out} ({len(made)} records)")


def _cell(value: float | None, width: int) -> str:
    return f"{'–' if value is None else f'{value:.4g}':>{width}}"


def spec_of(rest: Sequence[str]) -> Spec:
    """The spec that flags say, as `--key value` or `--key=value`.

    Raises:
        ValueError: a flag is unknown or its value is not allowed.
    """
    given = from_flags(rest)
    declared = declarations(MECHANISMS, given.get("mechanism", picture.DEFAULT.mechanism))
    given = {(f"m.{k}" if k in declared else k): v for k, v in given.items()}
    known = (*FIELDS, *CONTENT, "source", "with")
    for key in given:
        if key not in known and not key.startswith(("m.", "s.")):
            raise ValueError(f"unknown flag --{key}; see `python -m engine attend --help`")
    return links.parsed(given)


def attention_of(args: argparse.Namespace, spec: Spec) -> Attention:
    """The attention that the flags ask for.

    Raises:
        ValueError: the text is empty, the model or the arrays can't be read, …
    """
    from engine.runtime.devices import pick

    device, dtype = pick(args.device), getattr(torch, args.dtype)
    if args.arrays_file is not None:
        given = engine.sources.arrays.read(args.arrays_file)
        if isinstance(given, Attention):
            return given
        return attended(given.to(device), spec)
    if spec.source in SOURCES:
        made = SOURCES[spec.source](**spec.source_arguments()).make()
        return attended(made.to(device, dtype), spec)
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
    spec = (spec.trained == "own" and spec.as_trained()) or spec
    reader = engine.models.load(embedded.folder_of(spec.model), device=args.device, dtype=dtype)
    trace = reader.read(text, characters=spec.by == "characters")
    if not trace.complete:
        print(f"read the first {len(trace.tokens):,} of {trace.total_tokens:,} tokens")
    layer = trace.layers // 2 if spec.layer is None else spec.layer
    return attended(trace.layer(layer), spec, trace.own(layer))


def attended(given: QKV, spec: Spec, own: Mechanism | None = None) -> Attention:
    """What a spec makes of Q, K and V; parameters that were not said suit them, as in the app.

    Args:
        own: what the model attends with; with what it learnt, if that is what is asked for.
    """
    made = engine.make(spec.mechanism, **spec.suited(given).arguments())
    return (own if own is not None and own == made else made).attend(given)


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
        from engine.figures.export import figure_page

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
