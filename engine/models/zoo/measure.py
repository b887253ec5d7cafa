"""What a model of the zoo can do, how its attention thins out, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import inf, isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV
from engine.mechanisms import cost, make
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax
from engine.models import capture
from engine.models.loading import load
from engine.models.read import Model
from engine.models.training.evaluate import (
    PERIOD,
    REPEATED,
    bits_per_byte,
    first_bytes,
    head_scores,
    loss_by_position,
    repeated_losses,
)
from engine.models.training.train import Progress, Recipe, optimisers, take_step
from engine.models.zoo.network import ZooForCausalLM
from engine.models.zoo.recipes import SEEDS
from engine.models.zoo.training import RECIPE
from engine.runtime.paths import ASSETS

LENGTHS = (256, 512, 1024, 2048, 4096)
"""Tokens: the trained length, and up to 16 times as many."""
COSTS = (1024, 16_384)
"""Tokens at which operations and memory are counted."""
BYTES = 100_000
"""Of each unseen book."""
NEEDLES = 16
"""Texts with a needle, at each length."""
NEEDLE = 32
"""Random tokens of a needle, which are repeated at the end of the text."""
ASKED = 16
"""Of these the last, which are asked for: by then a reader can know that it repeats something."""
READ, ROWS = 4, 64
"""Texts whose attention is looked at, at each length and of each book; rows of each."""
REFERENCE = "softmax"
"""The model whose Q and K the others' mechanisms are applied to, in the same folder."""
PASSAGE = "harbour"
"""A text of ours, which no model was trained on: what can be measured again without books."""


def passage() -> str:
    """That text."""
    return (ASSETS / "examples" / f"{PASSAGE}.txt").read_text("utf-8")


def needle_texts(
    tokens: Int[Tensor, " t"], n: int, vocabulary: int, count: int = NEEDLES, seed: int = 2
) -> Int[Tensor, "b n"]:
    """Texts of n tokens with a needle inside, as deep as spreads evenly over the text.

    Each starts with BOS and ends with the needle once more.

    Raises:
        ValueError: the book is shorter than one text, or a text than two needles.
    """
    draw = torch.Generator().manual_seed(seed + n)
    room = n - 1 - 2 * NEEDLE
    if len(tokens) < n or room < 0:
        raise ValueError(f"a book of {len(tokens)} tokens holds no text of {n} with a needle")
    starts = torch.linspace(0, len(tokens) - n, count).long()
    ids = torch.stack([tokens[start : start + n] for start in starts.tolist()])
    needles = torch.randint(1, vocabulary, (count, NEEDLE), generator=draw)
    for i in range(count):
        at = 1 + round((i + 0.5) / count * room)
        ids[i, at : at + NEEDLE] = needles[i]
    ids[:, 0] = 0
    ids[:, -NEEDLE:] = needles
    return ids


Next = Callable[[Int[Tensor, "b n"]], Float[Tensor, "b a V"]]
"""Texts -> the probability of every token at each of the last ASKED places."""


def expected(net: ZooForCausalLM) -> Next:
    """What a model expects at the end of texts, each token from those before it."""

    @torch.no_grad()
    def chances(ids: Int[Tensor, "b n"]) -> Float[Tensor, "b a V"]:
        states = net.model(input_ids=ids, use_cache=False).last_hidden_state
        return net.lm_head(states[:, -ASKED - 1 : -1]).softmax(-1)

    return chances


def needle(chances: Next, vocabulary: int, tokens: Int[Tensor, " t"], n: int) -> dict[str, float]:
    """Mean probability of the needle's tokens where it is repeated, and how often each is the
    likeliest."""
    ids = needle_texts(tokens, n, vocabulary)
    chance = torch.cat([chances(part) for part in ids.split(max(1, 4096 // n))])
    answers = ids[:, -ASKED:]
    found = chance.argmax(-1) == answers
    return {
        "probability": chance.gather(2, answers[..., None]).mean().item(),
        "found": found.double().mean().item(),
    }


def layers(model: Model, ids: Int[Tensor, " n"]) -> list[tuple[Mechanism, QKV]]:
    """What a model attends with and what it attends, of each layer, as it reads these tokens."""
    assert model.proof.way == "all"  # which also makes its network ready to be read
    record = capture.run(
        model.net, input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], logits_to_keep=1
    )
    return [
        (seen.own, seen.qkv[0].replace(layer=model.layer_of(seen)))
        for seen in record.seen
        if seen is not None
    ]


def thinning(
    attended: Sequence[tuple[Mechanism, QKV]], needle: Int[Tensor, " k"]
) -> tuple[Float[Tensor, " h"], Float[Tensor, " h"]]:
    """Effective tokens and the needle's share of the weight, of all heads of all layers.

    Effective tokens are means over the ROWS rows before the needle comes again, NaN where weights
    are signed; its share is the mean over the rows that ask for its last tokens.
    """
    effective, share = [], []
    for mechanism, qkv in attended:
        with torch.inference_mode():
            att = mechanism.attend(qkv.replace(needles=needle))
            asking = torch.arange(qkv.n - ASKED - 1, qkv.n - 1)
            reading = torch.arange(max(1, qkv.n - NEEDLE - ROWS), qkv.n - NEEDLE)
            effective.append(att.rows(reading).means()["effective_tokens"])
            share.append(att.rows(asking).means()["needle_mass"])
    return torch.cat(effective), torch.cat(share)


def attention(
    model: Model,
    tokens: Int[Tensor, " t"],
    mechanism: Mechanism | None = None,
    lengths: Sequence[int] = LENGTHS,
) -> dict[str, dict[str, float | None]]:
    """How far a model's attention spreads over texts with a needle, by their length in tokens.

    Args:
        tokens: of a book. mechanism: applied to the model's Q and K; its own if None.

    Returns: effective_tokens, the median over heads, None where weights are signed; needle_mass,
    of the head that gives the needle most.
    """
    net: Any = model.net
    found: dict[str, dict[str, float | None]] = {}
    for n in lengths:
        made = []
        for ids in needle_texts(tokens, n, net.config.vocab_size, READ):
            needles = (ids[1:-NEEDLE].unfold(0, NEEDLE, 1) == ids[-NEEDLE:]).all(1).nonzero()
            at = torch.arange(NEEDLE) + 1 + int(needles[0])
            seen = [(mechanism or own, qkv) for own, qkv in layers(model, ids)]
            made.append(thinning(seen, at))
        effective, share = (torch.stack(x).mean(0) for x in zip(*made, strict=True))
        middle = float(effective.median())
        found[str(n)] = {
            "effective_tokens": None if isnan(middle) else middle,
            "needle_mass": float(share.max()),
        }
    return found


def passage_attention(model: Model) -> dict[str, dict[str, float | None]]:
    """The same over our own text, at the shortest length alone."""
    ids = model.tokenizer(passage(), add_special_tokens=False)["input_ids"]
    return attention(model, torch.tensor(ids), lengths=LENGTHS[:1])


def costs(model: Model, text: str) -> dict[str, dict[str, float]]:
    """Operations of the first layer's attention to a text, and bytes beside Q, K and V."""
    found = {}
    for n in COSTS:
        trace = model.read(text, max_tokens=n)
        effort = cost.measure(trace.own(0), trace.layer(0))
        found[str(n)] = {"flops": effort.flops, "bytes": effort.bytes}
    return found


def step_costs(
    nets: Mapping[str, ZooForCausalLM], recipe: Recipe = RECIPE, repeats: int = 4
) -> dict[str, float]:
    """Processor seconds that one training step takes each of some models, the least of a few.

    They take turns, so that what else the machine does falls on all alike. Their weights change.
    """
    draw = np.random.default_rng(0)
    corpora = {"random": draw.integers(1, recipe.vocabulary, 4 * recipe.batch)}
    steppers = {name: optimisers(net) for name, net in nets.items()}
    found = dict.fromkeys(nets, inf)
    for _ in range(repeats):
        for name, net in nets.items():
            start = time.process_time()
            take_step(net, steppers[name], recipe, Progress(formed_at=0), corpora, half=False)
            found[name] = min(found[name], time.process_time() - start)
    return found


class Subject:
    """A model of the zoo, and what it is measured on.

    Attributes:
        folder: the model's. texts: language -> the beginning of an unseen book; tokens: its own.
        model, net: as it is read with, and as it was trained. length: tokens it was trained at.
    """

    def __init__(self, folder: Path, held_out: Mapping[str, str]) -> None:
        self.folder, self.model = folder, load(folder, device="cpu")
        self.net: ZooForCausalLM = ZooForCausalLM.from_pretrained(folder).eval()
        self.length = self.net.config.trained_length
        self.texts = {name: first_bytes(book, BYTES) for name, book in held_out.items()}
        self.tokens = {
            name: torch.tensor(self.model.tokenizer(text, add_special_tokens=False)["input_ids"])
            for name, text in self.texts.items()
        }

    def bits(self, text: str) -> float:
        """Bits a byte of a text."""
        return bits_per_byte(self.net, self.model.tokenizer, text, self.length)["bits_per_byte"]

    def losses(self, text: str) -> dict[str, float]:
        """Loss by position."""
        return loss_by_position(self.net, self.model.tokenizer, text, LENGTHS)

    def needles(self, tokens: Int[Tensor, " t"]) -> dict[str, dict[str, float]]:
        """How well it repeats a needle, by the length of the text."""
        size = self.net.config.vocab_size
        return {str(n): needle(expected(self.net), size, tokens, n) for n in LENGTHS}

    def step(self) -> dict[str, float]:
        """What a million tokens of training cost it in processor seconds of one thread, and as a
        multiple of what they cost the reference, where that is there."""
        folders = {"own": self.folder, "reference": self.folder.parent / REFERENCE}
        if self.folder.name == REFERENCE:
            del folders["reference"]
        nets = {
            name: ZooForCausalLM.from_pretrained(folder).train()
            for name, folder in folders.items()
            if (folder / "model.safetensors").exists()
        }
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            took = step_costs(nets)
        finally:
            torch.set_num_threads(threads)
        found = {"seconds_per_million": 1e6 * took["own"] / RECIPE.batch}
        if self.folder.name == REFERENCE:
            return found | {"times_reference": 1.0}
        if "reference" in took:
            found["times_reference"] = took["own"] / took["reference"]
        return found

    def applied(self) -> dict[str, Any]:
        """What its mechanism makes of the Q and K of the model that was trained with full
        attention; nothing where that is not there, or attends by the same mechanism, or this
        model differs from another in its seed alone."""
        reference, config = self.folder.parent / REFERENCE, self.net.config
        mechanism = make(config.mechanism, **config.mechanism_parameters or {})
        there = (reference / "model.safetensors").exists() and self.folder.name not in SEEDS
        if mechanism == Softmax() or not there:
            return {}
        model = load(reference, device="cpu")
        return {name: attention(model, ids, mechanism) for name, ids in self.tokens.items()}


PARTS: dict[str, Callable[[Subject], Any]] = {
    "parameters": lambda of: sum(x.numel() for x in of.net.parameters()),
    "bits_per_byte": lambda of: {name: of.bits(text) for name, text in of.texts.items()},
    "passage": lambda of: of.bits(passage()),
    "loss_by_position": lambda of: {name: of.losses(text) for name, text in of.texts.items()},
    "needle": lambda of: {name: of.needles(ids) for name, ids in of.tokens.items()},
    "attention": lambda of: {name: attention(of.model, ids) for name, ids in of.tokens.items()},
    "applied": Subject.applied,
    "passage_attention": lambda of: passage_attention(of.model),
    "heads": lambda of: head_scores(of.net),
    "repeated": lambda of: repeated_losses(of.net, PERIOD - 1, REPEATED),
    "step": Subject.step,
    "cost": lambda of: costs(of.model, next(iter(of.texts.values()))),
}
"""What is measured, in the order of a card."""


def measure(
    folder: Path,
    held_out: Mapping[str, str],
    known: Mapping[str, Any] | None = None,
    on_part: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """All figures of the card of a model in a folder.

    Args:
        held_out: language -> an unseen book. known: parts that are there already, and are kept.
        on_part: called after each part with all that there are.
    """
    known, found = known or {}, {}
    subject = Subject(folder, held_out)
    for name, part in PARTS.items():
        found[name] = known[name] if name in known else part(subject)
        if on_part is not None:
            on_part(dict(known) | found)
    return found
