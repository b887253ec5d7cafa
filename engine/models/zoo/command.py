"""`python -m engine zoo`: says what is trained and what is not, trains, checks and measures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from engine.models.loading import load
from engine.models.read import Model
from engine.models.training.corpus import unseen
from engine.models.training.evaluate import write_json
from engine.models.zoo import cards, training
from engine.models.zoo.forms import Given, form
from engine.models.zoo.kept import measured
from engine.models.zoo.measure import PARTS, measure, passage
from engine.models.zoo.network import ZooAttention
from engine.models.zoo.recipes import KINDS, LEFT_OUT, ON_REQUEST, SEEDS

NEAR = 1e-3
"""Largest difference of a layer's output from its mechanism's, relative to the largest value."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m engine zoo`."""
    training.add_arguments(parser)
    parser.add_argument("--list", action="store_true", help="say what is there, and no more")
    parser.add_argument(
        "--check", action="store_true",
        help="read with each model that is there, and hold each layer against its mechanism",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these models, in this order", default=None
    )
    parser.add_argument("--seeds", action="store_true", help="also those of other seeds")
    parser.add_argument(
        "--cards", action="store_true",
        help="measure what is trained and not measured yet, and write every card",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """List, check, or train what is missing.

    Raises:
        ValueError: no such model. SystemExit: a check failed, or training was stopped.
    """
    names = args.only or [
        name
        for name in (*KINDS, *(SEEDS if args.seeds else ()))
        if name not in ON_REQUEST or (args.out / name).exists()
    ]
    if args.check:
        there = [name for name in names if (args.out / name / "model.safetensors").exists()]
        wrong = [name for name in there if not checked(args.out, name)]
        if wrong:
            raise SystemExit(f"not what they say: {', '.join(wrong)}")
        return
    if args.cards:
        write_cards(args)
        return
    print(overview(args.out, names), flush=True)
    if not args.list:
        training.run(args, names)


def checked(out: Path, name: str) -> bool:
    """Whether each layer of a model attends as its mechanism does, said in a line."""
    model = load(out / name, device="cpu")
    off = difference(model, passage())
    print(f"{name:<16} furthest from its mechanism: {off:.1e}", flush=True)
    return off <= NEAR


def difference(model: Model, text: str) -> float:
    """Largest difference of what a model's forms make of a text, in any layer, from what its
    mechanisms make of the same Q, K and V, relative to the largest value."""
    trace = model.read(text, max_tokens=256)
    worst = 0.0
    for i in range(trace.layers):
        seen, qkv = trace.recorder.seen[i], trace.layer(i)
        assert seen is not None and isinstance(seen.module, ZooAttention)
        assert qkv.layer is not None and qkv.layer.x is not None
        given = Given(qkv.q[None], qkv.k[None], qkv.layer.x[None], seen.module.learned())
        with torch.no_grad():
            made = form(seen.module.mechanism, given).output(qkv.v[None])[0]
        attended = trace.own(i).attend(qkv).output
        worst = max(worst, float((made - attended).abs().max() / attended.abs().max()))
    return worst


def write_cards(args: argparse.Namespace) -> None:
    """Measure the models that are trained and have no figures yet, and write every README.

    Of other seeds only the figures are kept. Raises SystemExit if there is no data to measure on.
    """
    held: dict[str, str] = {}
    for name in args.only or (*KINDS, *SEEDS):
        folder = args.out / name
        if not (folder / "model.safetensors").exists() or complete(folder / "card.json"):
            continue
        held = held or unseen(training.given(args))
        write_card(folder, held)
        if name in SEEDS:
            (folder / "model.safetensors").unlink()
    found = measured(args.out)
    for name, card in found.items():
        if name in KINDS:
            (args.out / name / "README.md").write_text(cards.readme(name, card), "utf-8")
    if found:
        (args.out / "README.md").write_text(cards.overview(found), "utf-8")


def complete(card: Path) -> bool:
    """Whether a card has all its figures."""
    return json.loads(card.read_text("utf-8")).get("measured", {}).keys() >= PARTS.keys()


def write_card(folder: Path, held: dict[str, str]) -> None:
    """Measure a model, and keep each part as it is done: some take minutes, and a run may be cut
    off."""
    card = folder / "card.json"
    found = json.loads(card.read_text("utf-8"))
    known = found.get("measured", {}) | found.pop("measuring", {})
    missing = ", ".join(name for name in PARTS if name not in known)
    print(f"{folder.name}: measuring {missing}", flush=True)
    parts = measure(
        folder, held, known, lambda done: write_json(card, found | {"measuring": done})
    )
    write_json(card, found | {"measured": parts})


def overview(out: Path, names: list[str]) -> str:
    """Every model, whether it is trained, and what is not among them and why."""
    lines = []
    for name in names:
        card = out / name / "card.json"
        state = "missing"
        if card.exists():
            done = json.loads(card.read_text("utf-8"))["training"]
            state = f"{done['step']:,} steps, {done['cpu_seconds'] / 60:.1f} minutes of one core"
        lines.append(f"{name:<16} {state}")
    further = [name for name in ON_REQUEST if name not in names]
    if further:
        lines.append(f"trained if asked for by --only: {', '.join(further)}")
    lines.append("not among them:")
    lines += [f"  {key}: {reason}" for key, reason in LEFT_OUT.items()]
    return "\n".join(lines)
