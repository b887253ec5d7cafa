"""Train the models of the zoo, one after another, from one recipe."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from engine.models.training.corpus import prepare
from engine.models.training.evaluate import write_json
from engine.models.training.train import (
    DECAY_FROM,
    Progress,
    Recipe,
    begin,
    settings,
    train,
)
from engine.models.zoo.network import ZooConfig, ZooForCausalLM
from engine.models.zoo.recipes import Kind, kind_of
from engine.runtime import cluster
from engine.runtime.paths import ROOT, TINY, ZOO

RECIPE = Recipe(
    layers=4, heads=4, width=128, inner=192, contexts=((0.0, 256),), drill_steps=350, steps=1100
)
"""The same for all; the budget is in steps, so that each sees the same text."""
OUT = ZOO
WORK = ROOT / "build" / "zoo"
TOKENIZER = TINY


def build(recipe: Recipe, kind: Kind) -> ZooForCausalLM:
    """A new model that attends with a mechanism, its weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    config = ZooConfig(
        **settings(recipe), mechanism=kind.key, mechanism_parameters=dict(kind.parameters),
        rotary=kind.rotary, trained_length=recipe.trained_length, use_cache=False,
    )  # fmt: skip
    model = ZooForCausalLM(config)
    begin(model, recipe)
    return model


def books(
    paths: Sequence[Path], work: Path, tokenizer: Path = TOKENIZER
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Training tokens and the unseen book of each language, cut by a tokenizer that is there."""
    folder = work / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)
    _, corpora, held_out = prepare(paths, RECIPE.vocabulary, work)
    return corpora, held_out


def publish(model: ZooForCausalLM, training: Mapping, out: Path, tokenizer: Path) -> None:
    """Write config.json, model.safetensors (bfloat16) and card.json to a folder."""
    stage = out.with_name(f".{out.name}")
    shutil.rmtree(stage, ignore_errors=True)
    model.config.update({"tokenizer": os.path.relpath(tokenizer, out)})
    model.generation_config.use_cache = False
    model.bfloat16().save_pretrained(stage)
    config = json.loads((stage / "config.json").read_text())
    write_json(stage / "config.json", config | {"dtype": "float32"})
    write_json(stage / "card.json", {"training": training})
    out.mkdir(parents=True, exist_ok=True)
    for file in stage.iterdir():
        file.replace(out / file.name)
    stage.rmdir()


def train_one(
    name: str, recipe: Recipe, corpora: Mapping[str, np.ndarray], out: Path, work: Path,
    device: torch.device, tokenizer: Path = TOKENIZER,
) -> Progress:  # fmt: skip
    """Train one model of the zoo, from where it was stopped, and publish it.

    Raises:
        ValueError: no such model. KeyboardInterrupt: on Ctrl-C, after a checkpoint is written.
    """
    kind = kind_of(name)
    recipe = replace(recipe, seed=kind.seed or recipe.seed)
    print(f"{name}: {kind.key} {dict(kind.parameters)}, seed {recipe.seed}", flush=True)
    model, progress = train(recipe, corpora, work / name, device, lambda _: build(recipe, kind))
    assert isinstance(model, ZooForCausalLM)
    training = {
        **asdict(progress), **asdict(recipe), "decay_from": DECAY_FROM,
        "corpus_tokens": {language: len(tokens) for language, tokens in corpora.items()},
    }  # fmt: skip
    publish(model, training, out / name, tokenizer)
    print(f"{name}: done, {progress.cpu_seconds / 60:.1f} min of one core", flush=True)
    return progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m engine zoo`, and of `train` with --mechanism."""
    found = sorted((ROOT.parent / "shared" / "corpus").glob("*.xz"))
    parser.add_argument(
        "--data", type=Path, nargs="+", default=found,
        help="books, one .txt or .txt.xz file a language, blank lines between books",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--work", type=Path, default=WORK, help="tokens and checkpoints")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument("--drill-steps", type=int, default=RECIPE.drill_steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    cluster.add_arguments(parser)


def given(args: argparse.Namespace) -> Sequence[Path]:
    """The books that are given. Raises SystemExit if there are none."""
    if not args.data:
        raise SystemExit("no books: give them with --data")
    return args.data


@dataclass(frozen=True)
class Run:
    """What models share that are trained on a cluster: arguments of `train_one`.

    Attributes:
        out, work: folders that every machine of the cluster sees under these names.
    """

    recipe: Recipe
    corpora: Mapping[str, np.ndarray]
    out: Path
    work: Path
    device: str
    tokenizer: Path = TOKENIZER


def spread(
    names: Sequence[str], given: Run, address: str | None = None, gpus: float = 0.0
) -> Iterator[tuple[str, Progress]]:
    """Train models side by side on a Ray cluster; each as it is published.

    One whose worker is lost is given to another, which goes on from the last checkpoint, a minute
    old at most.

    Args:
        address, gpus: as in `runtime.cluster.spread`.

    Raises:
        ValueError: no such model; Ray is not installed.
    """
    yield from cluster.spread(_trained, names, given, address, gpus)


def _trained(name: str, given: Run) -> Progress:
    """One model, on a worker."""
    return train_one(
        name, given.recipe, given.corpora, given.out, given.work, torch.device(given.device),
        given.tokenizer,
    )  # fmt: skip


def run(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Train the models of these names that are not there yet, in turn or on a cluster.

    Raises:
        ValueError: no such model; Ray is not installed. SystemExit: if there is no data, or on
            Ctrl-C.
    """
    for name in names:
        kind_of(name)
    missing = [name for name in names if not (args.out / name / "card.json").exists()]
    if not missing:
        return
    data = given(args)
    torch.set_num_threads(args.threads)
    recipe = replace(RECIPE, steps=args.steps, drill_steps=args.drill_steps)
    corpora, _ = books(data, args.work)
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, signal.default_int_handler)  # also in the background
    try:
        if args.on == "ray":
            device = "cuda" if args.gpus else "cpu"
            shared = Run(recipe, corpora, args.out.resolve(), args.work.resolve(), device)
            found = spread(missing, shared, args.address, args.gpus)
            for i, (name, progress) in enumerate(found, 1):
                print(f"[{i}/{len(missing)}] {name}: {progress.step:,} steps", flush=True)
            return
        for i, name in enumerate(missing):
            print(f"[{i + 1}/{len(missing)}]", end=" ")
            train_one(name, recipe, corpora, args.out, args.work, torch.device(args.device))
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from here") from None
