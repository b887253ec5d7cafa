"""Measure the embedded model, and write it with its figures and its card."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from engine.models.training.card import card

EVALUATED_BYTES = 400_000  # of each held-out book
PERIOD = 128  # tokens
REPEATED = 16  # sequences of random tokens
LENGTHS = (1024, 4096, 16_384)
GOAL_SCORE = 0.6
GOAL_RATIO = 0.2


def repeated_twice(vocabulary: int, period: int, count: int, seed: int = 1) -> Int[Tensor, "b n"]:
    """BOS, `period` random tokens and the same ones again: n = 1 + 2 period."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(1, vocabulary, (count, period), generator=generator)
    return torch.cat([torch.zeros(count, 1, dtype=half.dtype), half, half], 1)


def previous_token_score(weights: Float[Tensor, "b h n n"]) -> Float[Tensor, " h"]:
    """Mean weight that a query gives the token just before it; queries 0 and 1 left out, since BOS
    is the one before query 1.

    Source: Olsson et al. 2022, In-context Learning and Induction Heads.
    """
    return weights.diagonal(-1, 2, 3)[..., 1:].mean((0, 2))


def induction_score(weights: Float[Tensor, "b h n n"], period: int) -> Float[Tensor, " h"]:
    """Mean weight that a query in the second copy gives the token after its earlier occurrence.

    The sequence is BOS, `period` tokens and the same again, so that key is period - 1 back; the
    first `period` + 1 queries have no earlier occurrence and are left out.

    Source: Olsson et al. 2022.
    """
    return weights.diagonal(1 - period, 2, 3)[..., 2:].mean((0, 2))


@torch.no_grad()
def losses(model: LlamaForCausalLM, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n-1"]:
    """Loss of every next token, in nats; at most 8,192 tokens of logits at a time."""
    device = next(model.parameters()).device
    rows = []
    for row in ids.split(max(1, 8192 // ids.shape[1])):
        states = model.model(input_ids=row.to(device), use_cache=False).last_hidden_state
        parts = zip(
            states[:, :-1].split(2048, 1), row[:, 1:].to(device).split(2048, 1), strict=True
        )
        loss = [
            cross_entropy(model.lm_head(part).transpose(1, 2), target, reduction="none")
            for part, target in parts
        ]
        rows.append(torch.cat(loss, 1).cpu())
    return torch.cat(rows)


def first_bytes(text: str, count: int) -> str:
    """As much of the text as `count` bytes of UTF-8 hold, in whole characters."""
    return text.encode()[:count].decode(errors="ignore")


def bits_per_byte(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, text: str, length: int
) -> dict[str, float]:
    """Bits that the model needs for each UTF-8 byte of a text, read in separate windows.

    Args:
        length: of a window, BOS included; every token of the text is predicted once.

    Returns: bits_per_byte, bytes and tokens.
    """
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    count = len(text.encode())
    nats = 0.0
    whole = len(tokens) // (length - 1) * (length - 1)
    for part in (tokens[:whole].view(-1, length - 1), tokens[None, whole:]):
        if part.numel():
            ids = torch.cat([torch.zeros(len(part), 1, dtype=torch.int64), part], 1)
            nats += losses(model, ids).double().sum().item()
    return {"bits_per_byte": nats / math.log(2) / count, "bytes": count, "tokens": len(tokens)}


@torch.no_grad()
def head_scores(model: LlamaForCausalLM) -> dict[str, list[list[float]]]:
    """Previous-token and induction score of every head: lists by layer, then by head."""
    implementation = str(model.config._attn_implementation)
    model.set_attn_implementation("eager")
    ids = repeated_twice(model.config.vocab_size, PERIOD, REPEATED).to(model.device)
    layers = model(input_ids=ids, output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation(implementation)
    return {
        "previous_token": [previous_token_score(a.float()).tolist() for a in layers],
        "induction": [induction_score(a.float(), PERIOD).tolist() for a in layers],
    }


def repeated_losses(model: LlamaForCausalLM, period: int, count: int) -> dict[str, float]:
    """Loss in nats on the first and on the second copy of random tokens, and their ratio."""
    loss = losses(model, repeated_twice(model.config.vocab_size, period, count))
    first, second = loss[:, :period].mean().item(), loss[:, period:].mean().item()
    return {"period": period, "first": first, "second": second, "ratio": second / first}


def loss_by_position(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    text: str,
    lengths: Sequence[int] = (256, *LENGTHS),
) -> dict[str, float]:
    """Mean loss in nats on up to four stretches of a text, each read in one go, in ranges of
    position that end at these lengths."""
    tokens = torch.tensor(tokenizer(text)["input_ids"])
    longest = lengths[-1]
    count = max(1, min(4, len(tokens) // longest))
    ids = torch.stack([tokens[i * longest :][:longest] for i in range(count)])
    ids[:, 0] = 0
    loss = losses(model, ids)
    bounds = [0, *(n for n in lengths if n <= ids.shape[1])]
    return {f"{low}-{high}": loss[:, low:high].mean().item() for low, high in pairwise(bounds)}


def measure(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    held_out: Mapping[str, str],
    length: int,
) -> dict:
    """All figures of a model whose weights are first rounded to bfloat16, as they are published.

    Args:
        held_out: language -> an unseen book.
        length: the longest context that the model was trained on, in tokens.
    """
    model.eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    texts = {name: first_bytes(book, EVALUATED_BYTES) for name, book in held_out.items()}
    books = {name: bits_per_byte(model, tokenizer, text, length) for name, text in texts.items()}
    total = sum(book["bytes"] for book in books.values())
    combined = sum(book["bits_per_byte"] * book["bytes"] for book in books.values()) / total
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_length": length,
        "held_out": {**books, "combined": {"bits_per_byte": combined, "bytes": total}},
        "heads": head_scores(model),
        "repeated": repeated_losses(model, PERIOD, REPEATED),
        "repeated_longer": [repeated_losses(model, n // 2 - 1, 1) for n in LENGTHS],
        "loss_by_position": {
            name: loss_by_position(model, tokenizer, text) for name, text in texts.items()
        },
    }


def formed(figures: Mapping) -> bool:
    """Whether there are a previous-token and an induction head, and the model copies by them."""
    best = {kind: max(map(max, layers)) for kind, layers in figures["heads"].items()}
    return min(best.values()) > GOAL_SCORE and figures["repeated"]["ratio"] <= GOAL_RATIO


def publish(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    figures: Mapping,
    out: Path,
    work: Path,
) -> None:
    """Write model, tokenizer, figures.json and README.md to `out`, each file whole or not at all.

    Weights are stored in bfloat16; config.json says float32, so that they are loaded as that.
    """
    stage = work / "release"
    shutil.rmtree(stage, ignore_errors=True)
    model.bfloat16().save_pretrained(stage)
    tokenizer.save_pretrained(stage)
    config = json.loads((stage / "config.json").read_text())
    write_json(stage / "config.json", config | {"dtype": "float32"})
    write_json(stage / "figures.json", figures)
    (stage / "README.md").write_text(card(figures), encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    for file in stage.iterdir():
        file.replace(out / file.name)


def write_json(path: Path, content: Mapping) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
