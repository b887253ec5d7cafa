"""The cards of the zoo: each model's README, and one table of all of them."""

from __future__ import annotations

from collections.abc import Mapping

from engine.models.training.card import heads, positions, spoken
from engine.models.zoo.kept import Card
from engine.models.zoo.measure import ASKED, LENGTHS, NEEDLE
from engine.models.zoo.recipes import KINDS, LEFT_OUT, ON_REQUEST, SEEDS, Kind, kind_of
from engine.text import quantities

RANGES = ((0, 256), (512, 1024), (2048, 4096))
"""Positions of which the table of all models tells the loss."""


def attends(kind: Kind) -> str:
    """A model's mechanism, its parameters, and whether positions are rotated."""
    given = ", ".join(f"{name} {value}" for name, value in kind.parameters.items())
    positions = "rotary positions" if kind.rotary else "no rotary positions"
    return " · ".join(filter(None, (f"`{kind.key}`", given, positions)))


def readme(name: str, card: Card) -> str:
    """README.md of one model."""
    training, measured = card["training"], card["measured"]
    languages = list(measured["bits_per_byte"])
    length = training["contexts"][-1][1]
    step = measured["step"]
    bits = " · ".join(f"{spoken(x)} {measured['bits_per_byte'][x]:.3f}" for x in languages)
    needles = "\n".join(
        f"| {spoken(x)} | "
        + " | ".join(f"{found['probability']:.2f}" for found in measured["needle"][x].values())
        + " |"
        for x in languages
    )
    costs = "\n".join(
        f"| {int(n):,} | {quantities.operations(each['flops'])} "
        f"| {quantities.memory(each['bytes'])} |"
        for n, each in measured["cost"].items()
    )
    tags = "\n".join(f"  - {x}" for x in languages)
    spread = thinning(measured)
    return f"""---
language:
{tags}
library_name: transformers
pipeline_tag: text-generation
---

# Zoo: {name}

One of a set of small language models that differ in their attention only: see `../README.md` for
the recipe, the data and the others. This one attends with {attends(kind_of(name))}. All figures
are in `card.json`.

- **Training** {training["step"]:,} steps, {training["tokens"] / 1e6:.1f} million tokens,
  {length:,} at once. A step takes {step["seconds_per_million"]:.0f} seconds of one core for a
  million tokens, {step["times_reference"]:.2f} times what full attention's takes.
- **Bits per byte** of unseen books, read {length:,} tokens at once: {bits}.
- **Repeated random tokens**: loss {measured["repeated"]["first"]:.2f} nats on the first copy,
  {measured["repeated"]["second"]:.3f} on the second.

Loss on an unseen book by position, in nats a token, read in one go:

{positions(measured["loss_by_position"])}

A needle of {NEEDLE} random tokens stands somewhere in a text, and at its end again. Mean
probability of its last {ASKED} tokens there, by the text's length in tokens:

| book | {" | ".join(f"{n:,}" for n in LENGTHS)} |
|---|{"---|" * len(LENGTHS)}
{needles}{spread}

Heads, on random tokens repeated once: mean weight on the token before, and on the token that
followed last time.

| layer | previous token, by head | induction, by head |
|---|---|---|
{heads(measured["heads"])}

Attention of one layer:

| tokens | operations | memory beside Q, K and V |
|---|---|---|
{costs}
"""


def thinning(measured: Card) -> str:
    """How attention thins out, its own and the mechanism's over full attention's Q and K."""
    sources = {"its own": measured.get("attention"), "applied": measured.get("applied")}
    lines = [
        f"| {spoken(language)} | {words} | " + " | ".join(map(_thin, by_length.values())) + " |"
        for words, found in sources.items()
        for language, by_length in (found or {}).items()
    ]
    if not lines:
        return ""
    head = f"| book | attention | {' | '.join(f'{n:,}' for n in LENGTHS)} |"
    words = (
        "Effective tokens of the median head, and the share that the head which gives the needle\n"
        "most gives it, by the text's length; of its own attention, and of its mechanism applied\n"
        "to the Q and K of the model trained with full attention:\n"
    )
    return "\n".join(["\n", words, head, f"|---|---|{'---|' * len(LENGTHS)}", *lines])


def _thin(found: Mapping[str, float | None]) -> str:
    effective = found["effective_tokens"]
    return f"{'–' if effective is None else f'{effective:,.1f}'} · {found['needle_mass']:.3f}"


def overview(cards: Mapping[str, Card]) -> str:
    """README.md of the zoo: the recipe, one row a model, and what seeds alone change.

    Args:
        cards: name -> the card of a model that is measured, those of other seeds among them.
    """
    training = next(iter(cards.values()))["training"]
    length = training["contexts"][-1][1]
    names = [spoken(x) for x in training["corpus_tokens"]]
    further = [f"`{name}`" for name in ON_REQUEST if name not in cards]
    further = (
        f"Trained only if they are asked for (`python -m engine zoo --only NAME`), for the\n"
        f"project keeps 40 MB of models at most: {', '.join(further)}.\n\n"
        if further
        else ""
    )
    left_out = "\n".join(f"- `{key}`: {reason}." for key, reason in LEFT_OUT.items())
    return f"""# The zoo: one small language model, trained with each mechanism

Every model has the same data ({" and ".join(names)}), tokens, width, layers, steps and seed; only
its attention differs. {training["step"]:,} steps of {training["batch"]:,} tokens,
{training["layers"]} layers of {training["heads"]} heads, width {training["width"]}, trained at
{length:,} tokens. `python -m engine zoo` trains what is missing, `--cards` measures, `--check`
holds each layer against its mechanism. The tokenizer is that of `../tiny`.

{table(cards)}

Bits per byte of an unseen book in each language. Loss in nats a token on the English book, in
positions {", ".join(f"{low:,}–{high:,}" for low, high in RANGES)}. Needle: {NEEDLE} random
tokens stand somewhere in a text of so many tokens, and at its end again; the mean probability of
the last {ASKED} of them there. Step: processor time of a training step, as a multiple of full
attention's in the same run, to about a tenth. A name that ends in a seed is the same model from
other random weights; only its figures are kept.

{chance(cards)}

## Not among them

{further}{left_out}
"""


def table(cards: Mapping[str, Card]) -> str:
    """One row a model."""
    sizes = (LENGTHS[0], LENGTHS[2])
    head = ["model", "attends with", "bits en", "bits zh"]
    head += [f"loss to {high:,}" for _, high in RANGES]
    head += [f"needle {n:,}" for n in sizes] + ["step"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, card in cards.items():
        measured = card["measured"]
        cells = [f"`{name}`", attends(kind_of(name))]
        cells += [f"{measured['bits_per_byte'][x]:.3f}" for x in ("en", "zh")]
        losses = measured["loss_by_position"]["en"]
        cells += [f"{losses[f'{low}-{high}']:.2f}" for low, high in RANGES]
        cells += [f"{measured['needle']['en'][str(n)]['probability']:.2f}" for n in sizes]
        cells.append(f"{measured['step']['times_reference']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def chance(cards: Mapping[str, Card]) -> str:
    """What seeds alone change, in a sentence for each model that has several."""
    said = []
    for first in KINDS:
        names = [first, *(x for x in SEEDS if x.startswith(f"{first}-seed"))]
        found = [cards[x]["measured"] for x in names if x in cards]
        if len(found) < 2:
            continue
        bits = [each["bits_per_byte"]["en"] for each in found]
        loss = [each["loss_by_position"]["en"]["2048-4096"] for each in found]
        said.append(
            f"- `{first}`, {len(found)} seeds: bits {min(bits):.3f} to {max(bits):.3f}, loss to "
            f"{RANGES[-1][1]:,} {min(loss):.2f} to {max(loss):.2f}."
        )
    if not said:
        return "No model has been trained from a second seed yet, so that chance is not known."
    return "What seeds alone change:\n\n" + "\n".join(said)
