"""All probes trained and tested, kept in assets/probes with what was found."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from engine.contract import Refusal
from engine.dilution.probes import (
    FOLDER,
    KINDS,
    LENGTHS,
    SETS,
    TASKS,
    WINDOW,
    Recipe,
    Record,
    check_tests,
    evaluate,
    save,
    sharpened,
    train,
)

Finding = tuple[str, dict[str, Any]]
"""A sentence's name and its facts."""
APART = 0.02
"""Differences of shares up to this are called none: twice the error of three seeds' test sets."""
HOLDS = 0.9
"""Weight that keeps this share of itself from the trained to the longest length holds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m engine train-probes`."""
    recipe = Recipe()
    parser.add_argument("--out", type=Path, default=FOLDER, help="where weights and results go")
    parser.add_argument("--seeds", type=int, nargs="+", default=recipe.seeds)
    parser.add_argument("--sets", type=int, default=SETS, help="test sets at each length")
    for name in ("steps", "batch", "shortest", "longest"):
        parser.add_argument(f"--{name}", type=int, default=getattr(recipe, name))
    parser.add_argument("--rate", type=float, default=recipe.rate, help="highest learning rate")


def run(args: argparse.Namespace) -> None:
    """Train and test all probes.

    Raises:
        ValueError: a flag's value is not allowed.
    """
    names = ("steps", "batch", "shortest", "longest", "rate")
    given = {name: getattr(args, name) for name in names}
    recipe = Recipe(seeds=tuple(args.seeds), **given)
    train_all(args.out, recipe, count=args.sets)
    print(f"wrote {args.out}")


def train_all(
    folder: Path = FOLDER,
    recipe: Recipe | None = None,
    lengths: Sequence[int] = LENGTHS,
    count: int = SETS,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train every mechanism on every task, test them, and write weights and results.json.

    Args:
        recipe: steps, seeds and the rest; its task and mechanism are not used.

    Returns: what results.json holds: torch, recipe, sets, training (seconds and last loss of each
        probe), records.

    Raises:
        ValueError: a length or the count is not allowed.
        OSError: the folder can't be written to.
    """
    recipe = recipe or Recipe()
    check_tests(lengths, count)
    folder.mkdir(parents=True, exist_ok=True)
    made, training, records = {}, [], []
    for task, kind in ((task, kind) for task in TASKS for kind in KINDS):
        if kind == "adaptive_temperature":
            probe = sharpened(made[task, "softmax"])
        else:
            losses: list[float] = []
            began = time.perf_counter()
            probe = made[task, kind] = train(
                replace(recipe, task=task, mechanism=kind),
                lambda step, loss, accuracy, losses=losses: losses.append(loss),
            )
            seconds = round(time.perf_counter() - began, 1)
            which = {"task": task, "mechanism": kind, "seconds": seconds, "loss": losses[-1]}
            training.append(which | ({"s": probe.s.tolist()} if kind == "ssmax" else {}))
        found = evaluate(probe, lengths, count)
        records += found
        trained = max((n for n in lengths if n <= recipe.longest), default=lengths[0])
        ends = [mean(found, "accuracy", n=n) for n in (trained, lengths[-1])]
        say(f"{task:<6} {kind:<21} accuracy {ends[0]:.3f} -> {ends[1]:.3f}")
    settings = {k: v for k, v in asdict(recipe).items() if k not in ("task", "mechanism")}
    results = {
        "torch": torch.__version__, "recipe": settings, "sets": count, "training": training,
        "records": records,
    }  # fmt: skip
    for (task, kind), probe in made.items():
        save(probe, folder / f"{task}-{kind}.safetensors")
    part = folder / "results.part"
    part.write_text(_by_line(results), "utf-8")
    part.replace(folder / "results.json")
    return results


def _by_line(results: Mapping[str, Any]) -> str:
    """JSON with a line for each entry of a list, so that a change is a few lines."""
    fields = []
    for name, value in results.items():
        said = json.dumps(value)
        if isinstance(value, list):
            said = "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
        fields.append(f"{json.dumps(name)}: {said}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def results(folder: Path = FOLDER) -> dict[str, Any]:
    """What `train_all` found.

    Raises:
        ValueError: nothing was trained there, or the file can't be read.
    """
    try:
        return json.loads((folder / "results.json").read_text("utf-8"))
    except FileNotFoundError:
        raise Refusal("no probes are trained yet: python -m engine train-probes") from None
    except json.JSONDecodeError as error:
        raise Refusal("results.json can't be read: {reason}", reason=error) from error


def mean(records: Sequence[Record], metric: str, **where: Any) -> float:
    """A metric's mean over the records whose fields are these."""
    found = [r[metric] for r in records if all(r[k] == v for k, v in where.items())]
    if not found:
        raise Refusal("no record with {where}", where=where)
    return sum(found) / len(found)


def findings(records: Sequence[Record], task: str, trained: int) -> list[Finding]:
    """What the records say of a task, from the trained to the longest length, as names of
    sentences with their facts; also where they contradict arXiv 2410.01104 and 2501.19399.

    Args:
        trained: items in the largest sets of the training, among the lengths of the records.

    Raises:
        ValueError: there are no records of the task, a mechanism or a length.
    """
    last = max((r["n"] for r in records), default=trained)

    def of(kind: str, metric: str = "accuracy", n: int = last) -> float:
        return mean(records, metric, task=task, mechanism=kind, n=n)

    def ends(kind: str) -> dict[str, Any]:
        return {
            "mechanism": kind, "n": trained, "last": last,
            "right": of(kind, n=trained), "right_last": of(kind),
            "mass": of(kind, "needle_mass", trained), "mass_last": of(kind, "needle_mass"),
            "hit_last": of(kind, "needle_hit"), "softmax_last": of("softmax"),
        }  # fmt: skip

    def better(kind: str) -> str:
        gain = of(kind) - of("softmax")
        return "helps" if gain > APART else "harms" if gain < -APART else "same"

    def holds(kind: str) -> bool:
        kept = of(kind, "needle_mass") / of(kind, "needle_mass", trained)
        return kept >= HOLDS

    rank = "rank" if of("softmax", "needle_hit") - of("softmax") > APART else "rank_too"
    best = max(KINDS, key=of)
    learns = "falls" if of("linear", n=trained) > 0.9 else "unlearnt"
    return [
        ("softmax", ends("softmax")),
        ("best", ends(best)),
        (rank, ends("softmax")),
        (f"adaptive.{better('adaptive_temperature')}", ends("adaptive_temperature")),
        (f"ssmax.{'holds' if holds('ssmax') else better('ssmax')}", ends("ssmax")),
        (f"entmax.{'holds' if holds('entmax') else better('entmax')}", ends("entmax")),
        (f"linear.{learns}", ends("linear")),
        ("window", {"seen": min(1.0, WINDOW / last), "window": WINDOW} | ends("window")),
    ]
