"""A text that grows through a model, length by length: `python -m engine growth`.

Each length's heads are kept in a folder as they come, so that one that was ended goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median

from engine.contract import Refusal
from engine.dilution import growth
from engine.dilution.growth import Grown, Needle
from engine.dilution.opening import digest, weights
from engine.models import Model, load
from engine.models.embedded import folder_of
from engine.runtime import cluster
from engine.sources import samples
from engine.store import records


@dataclass(frozen=True)
class Text:
    """What is read at every length.

    Attributes:
        model: tiny, a folder, or a name on the hub. device: the best there is if None.
    """

    model: str
    text: str
    needle: Needle | None = None
    device: str | None = None

    def digest(self, n: int) -> str:
        """The name on disk of what it gives at n tokens."""
        folder = Path(folder_of(self.model))
        read_by = weights(folder) if folder.is_dir() else self.model
        return digest(read_by, self.text, self.needle, n, growth.ROWS, growth.DRAWS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m engine growth`."""
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name on the hub")
    parser.add_argument("--text-file", type=Path, help="read this text (UTF-8); a sample if none")
    parser.add_argument(
        "--lengths", type=int, nargs="+", metavar="N", help="tokens; doublings by default"
    )
    parser.add_argument(
        "--needle", choices=tuple(growth.NEEDLES), help="hide a sentence in this language in it"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=".csv, .json or .parquet; grows as lengths come"
    )
    parser.add_argument("--folder", type=Path, help="keep lengths here, and go on from them")
    parser.add_argument("--device", help="cuda, mps or cpu (here); the best there is by default")
    cluster.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Prints a line for each length as it is done, and writes all heads if asked to.

    Raises:
        ValueError: a length or a flag is not allowed. OSError: no such text.
    """
    if args.out is not None and args.out.suffix.removeprefix(".") not in records.FORMS:
        raise ValueError(f"--out must end in .{', .'.join(records.FORMS)}")
    if args.text_file is None:
        said = samples.text(samples.long(args.needle or "en")[0])
    else:
        said = args.text_file.read_text("utf-8")
    given = Text(args.model, said, growth.NEEDLES.get(args.needle), args.device)
    if args.on == "ray":
        given = Text(given.model, said, given.needle, "cuda" if args.gpus else "cpu")
    wanted = args.lengths or growth.lengths(_opened(given.model, given.device), said, given.needle)
    print(f"{'n':>7}  effective tokens: fewest   middle     most  at random  needle")
    made: list[Grown] = []
    for heads in grown(given, wanted, args.folder, args.on == "ray", args.address, args.gpus):
        made = sorted([*made, *heads], key=lambda g: (g.n, g.layer, g.head))
        each = [g.effective_tokens for g in heads]
        at_random = median(g.baseline for g in heads)
        best = max((g.needle_mass or 0.0 for g in heads), default=0.0)
        print(
            f"{heads[0].n:>7,}{'*' if heads[0].beyond else ' '}{min(each):>23,.1f} "
            f"{median(each):>8,.1f} {max(each):>8,.1f} {at_random:>10,.1f} "
            f"{'–' if given.needle is None else f'{best:.3f}':>7}",
            flush=True,
        )
        if args.out is not None:
            records.write([asdict(g) for g in made], args.out)
    if any(g.beyond for g in made):
        print("* longer than what the model was trained on")
    if len({g.n for g in made if not g.beyond}) > 1:
        found = sorted(growth.exponents(made).values())
        print(
            f"exponents, 1 thins out and 0 holds: {found[0]:.2f} … {median(found):.2f} … "
            f"{found[-1]:.2f}"
        )
    if args.out is not None:
        print(f"wrote {args.out} ({len(made)} records)")


def grown(
    given: Text,
    lengths: Sequence[int],
    folder: Path | None = None,
    spread: bool = False,
    address: str | None = None,
    gpus: float = 0.0,
) -> Iterator[list[Grown]]:
    """All heads at each length, in the order in which lengths end; here shortest first.

    Args:
        folder: where they are kept; lengths whose heads are there are not read.
        spread: on a Ray cluster, longest first; address, gpus: as in `runtime.cluster.spread`.

    Raises:
        ValueError: as `growth.grow`; Ray is not installed.
    """
    if not lengths or sorted(set(lengths)) != list(lengths):
        raise Refusal("lengths must rise, each longer than the one before")
    left = []
    for n in lengths:
        path = None if folder is None else folder / f"{given.digest(n)}.parquet"
        if path is not None and path.exists():
            yield [Grown(**one) for one in records.read(path)]
        else:
            left.append(n)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    if spread:
        made = cluster.spread(_measured, left[::-1], given, address, gpus)
    else:
        made = ((n, _measured(n, given)) for n in left)
    for n, heads in made:
        if folder is not None:
            records.write([asdict(g) for g in heads], folder / f"{given.digest(n)}.parquet")
        yield heads


def _measured(n: int, given: Text) -> list[Grown]:
    """One length, here or on a worker, which opens a model once."""
    model = _opened(given.model, given.device)
    (heads,) = growth.grow(model, given.text, [n], given.needle)
    return heads


@cache
def _opened(model: str, device: str | None) -> Model:
    return load(folder_of(model), device=device)
