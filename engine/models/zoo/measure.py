"""What a model of the zoo can do, and what its attention costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.mechanisms import cost
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
from engine.models.zoo.network import ZooForCausalLM
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


def costs(model: Model, text: str) -> dict[str, dict[str, float]]:
    """Operations of the first layer's attention to a text, and bytes beside Q, K and V."""
    found = {}
    for n in COSTS:
        trace = model.read(text, max_tokens=n)
        effort = cost.measure(trace.own(0), trace.layer(0))
        found[str(n)] = {"flops": effort.flops, "bytes": effort.bytes}
    return found


def measure(folder: Path, held_out: Mapping[str, str]) -> dict[str, Any]:
    """All figures of the card of a model in a folder.

    Args:
        held_out: language -> an unseen book.
    """
    model = load(folder, device="cpu")
    net, tokenizer = ZooForCausalLM.from_pretrained(folder).eval(), model.tokenizer
    length = net.config.trained_length
    texts = {name: first_bytes(book, BYTES) for name, book in held_out.items()}
    tokens = {
        name: torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        for name, text in texts.items()
    }
    return {
        "parameters": sum(x.numel() for x in net.parameters()),
        "bits_per_byte": {
            name: bits_per_byte(net, tokenizer, text, length)["bits_per_byte"]
            for name, text in texts.items()
        },
        "passage": bits_per_byte(net, tokenizer, passage(), length)["bits_per_byte"],
        "loss_by_position": {
            name: loss_by_position(net, tokenizer, text, LENGTHS) for name, text in texts.items()
        },
        "needle": {
            name: {str(n): needle(expected(net), net.config.vocab_size, ids, n) for n in LENGTHS}
            for name, ids in tokens.items()
        },
        "heads": head_scores(net),
        "repeated": repeated_losses(net, PERIOD - 1, REPEATED),
        "cost": costs(model, next(iter(texts.values()))),
    }
