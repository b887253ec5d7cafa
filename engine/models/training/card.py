"""The model card of the embedded model, written from its measured figures."""

import math
from collections.abc import Mapping, Sequence

LANGUAGES = {"en": "English", "zh": "Chinese"}


def card(figures: Mapping) -> str:
    """README.md of a model folder.

    Args:
        figures: what `evaluate.measure` gives, and under "training" the recipe and the progress.
    """
    training, held_out = figures["training"], figures["held_out"]
    names = [spoken(name) for name in training["corpus_tokens"]]
    languages = " and ".join(names)
    length = figures["trained_length"]
    contexts = ", then ".join(f"{n:,} (from {share:.0%})" for share, n in training["contexts"])
    tags = "\n".join(f"  - {name}" for name in training["corpus_tokens"])
    return f"""---
language:
{tags}
library_name: transformers
pipeline_tag: text-generation
---

# Tiny: the embedded model of Attention Explorer

A language model small enough to be kept beside the code, so that the first start needs no
download. It is here to be looked at, not to be talked to: its heads do what heads of large models
do (look at the token before, copy what followed last time), on any text, at once on a laptop.

- **Kind** Llama architecture, causal, rotary positions; {training["layers"]} layers of \
{training["heads"]} heads, width {training["width"]}, {figures["parameters"] / 1e6:.2f} million \
parameters; weights stored in bfloat16, used in float32.
- **Tokens** byte-level BPE, {training["vocabulary"]:,} tokens; nothing is normalised, so decoding
  gives the text back exactly. Every sequence starts with BOS. A Han character is one token, or the
  bytes of a rare one.
- **Length** trained at up to {length:,} tokens; up to {training["positions"]:,} can be read.
- **Data** public-domain books in {languages}: {corpus(training["corpus_tokens"])}. One
  whole book of each language was never seen in training and serves for the figures below.
- **Licence** that of the project.

## Training

{training["tokens"] / 1e6:.1f} million tokens, \
{training["text_tokens"] / 1e6:.1f} million of them text, in {training["step"]:,} steps and \
{training["seconds"] / 60:.0f} minutes (`python -m engine train`).

1. Random tokens repeated at a random period, nothing else, for {training["formed_at"]:,} steps:
   until the model copied them. Two heads are helped on their way: head 0 of layer 0 is rewarded
   for looking at the token before, head 0 of layer 1 for looking at what followed last time, and
   their weights start turned towards each other. So these two were taught, not found: without
   help an induction head formed among 256 kinds of token, but not among all of them in the time
   there was. What the others do, and what these do on text, is learnt.
2. Text, {training["repeats"]:.0%} of the sequences still repeated random tokens. Languages
   share it by the square root of their sizes. Context {contexts} of the time.
3. Muon for the matrices, AdamW for the rest; learning rate {training["peak"]:g}, falling to
   nothing over the last {1 - training["decay_from"]:.0%}.
{remark(training["remark"])}
## Figures

Measured after training, on the weights as they are published; all of them are in `figures.json`.

| unseen book | bits per byte | bytes |
|---|---|---|
{rows(held_out)}

Read in windows of {length:,} tokens.

Heads, on random tokens repeated once ({figures["repeated"]["period"]} tokens, then the same
again): mean weight on the token before, and on the token that followed last time.

| layer | previous token, by head | induction, by head |
|---|---|---|
{heads(figures["heads"])}

On the same sequences the loss is {figures["repeated"]["first"]:.2f} nats on the first copy and \
{figures["repeated"]["second"]:.3f} on the second, a ratio of {figures["repeated"]["ratio"]:.3f}. \
The first copy cannot be predicted and is not trained on; chance would be \
{math.log(training["vocabulary"]):.2f}. \
With longer copies:
{longer(figures["repeated_longer"])}.

Loss on an unseen book by position, in nats a token, in one window:

{positions(figures["loss_by_position"])}

## Limits

It writes phrases, not sense; it knows nothing but its books, which are old, and their views are
those of their time. Beyond {length:,} tokens it was not trained, and the table by position says
what that costs. Chinese is the smaller part of what it read.
"""


def spoken(name: str) -> str:
    return LANGUAGES.get(name, name)


def remark(text: str) -> str:
    return f"\n{text}\n" if text else ""


def corpus(tokens: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count / 1e6:.1f} million tokens of {spoken(name)}" for name, count in tokens.items()
    )


def rows(held_out: Mapping[str, Mapping]) -> str:
    return "\n".join(
        f"| {spoken(name)} | {book['bits_per_byte']:.3f} | {book['bytes']:,} |"
        for name, book in held_out.items()
    )


def heads(scores: Mapping[str, Sequence[Sequence[float]]]) -> str:
    lines = []
    for i, pair in enumerate(zip(scores["previous_token"], scores["induction"], strict=True)):
        cells = (" ".join(f"{score:.2f}" for score in layer) for layer in pair)
        lines.append(f"| {i} | {' | '.join(cells)} |")
    return "\n".join(lines)


def longer(repeated: Sequence[Mapping]) -> str:
    return ", ".join(f"{each['period']:,} tokens {each['ratio']:.3f}" for each in repeated)


def positions(losses: Mapping[str, Mapping[str, float]]) -> str:
    ranges = list(dict.fromkeys(name for book in losses.values() for name in book))
    lines = [f"| book | {' | '.join(ranges)} |", "|---" * (len(ranges) + 1) + "|"]
    for name, book in losses.items():
        cells = (f"{book[part]:.2f}" if part in book else "" for part in ranges)
        lines.append(f"| {spoken(name)} | {' | '.join(cells)} |")
    return "\n".join(lines)
