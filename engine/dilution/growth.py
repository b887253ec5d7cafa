"""One text through a model at growing lengths: which heads thin out, and which hold.

Each length is read anew. What is measured is the last rows, which see about n keys; beside it
stands what softmax alone would do: random logits of the same spread over as many keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.contract import QKV, Refusal
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax
from engine.models import Model
from engine.text.units import SENTENCE

FIRST, LEAST = 128, 16
"""Tokens of the shortest text; fewer, but not below LEAST, where a model was trained on less than
eight times as many."""
ROWS = 64
"""Rows at the end of the text that are looked at."""
DRAWS = 32
"""Random rows that the baseline averages over."""


@dataclass(frozen=True)
class Needle:
    """A sentence to hide in the text, and its beginning again, at the end, to ask for the rest.

    Attributes:
        sentence: stands at `depth`, 0 (start) … 1 (end). cue: its beginning, put at the end.
    """

    sentence: str
    cue: str
    depth: float = 0.5

    def __post_init__(self) -> None:
        if not self.cue or not self.sentence.startswith(self.cue) or self.cue == self.sentence:
            raise Refusal("the cue must be a beginning of the needle sentence, and not all of it")
        if not 0 <= self.depth <= 1:
            raise Refusal("depth must lie between 0 (the start) and 1 (the end)")


NEEDLES = {
    "en": Needle("The password is Orvixa Tumbrel.", "The password is Orvixa T"),
    "zh": Needle("守门人的暗号是铜雀衔枝。", "守门人的暗号是铜雀"),
}
"""Sentences that stand in no text, by language."""


@dataclass(frozen=True)
class Grown:
    """One head at one length, averaged over the rows looked at.

    Attributes:
        n: tokens. layer, head. visible: keys a row may see.
        normalised_entropy: entropy over ln(visible). effective_tokens: exp of it, mean over rows.
        sink_mass: share of the first token. needle_mass: of the needle sentence; None without one.
        spread: standard deviation of the logits over a row's keys, the first one left out.
        baseline: effective tokens of random logits of this spread over as many keys.
        beyond: n is longer than what the model was trained at.
    """

    n: int
    layer: int
    head: int
    visible: float
    normalised_entropy: float
    effective_tokens: float
    sink_mass: float
    needle_mass: float | None
    spread: float
    baseline: float
    beyond: bool


def lengths(
    model: Model, text: str, needle: Needle | None = None, most: int | None = None
) -> list[int]:
    """Doublings of FIRST up to what the text has and the model can read, and to `most` at most;
    from an eighth of what the model was trained on where that is less, and so that a needle fits
    in twice."""
    limits = [x for x in (model.context, most) if x]
    limit = min(limits, default=None)
    has = len(_spans(model, text, limit))
    most = has if limit is None else min(has, limit)
    n = max(LEAST, min(FIRST, (model.trained_length or 8 * FIRST) // 8))
    while n < 2 * _taken(model, needle):
        n *= 2
    found = [n]
    while found[-1] * 2 <= most:
        found.append(found[-1] * 2)
    return [n for n in found if n <= most] or [most]


def cut(model: Model, text: str, n: int, needle: Needle | None = None) -> str:
    """A beginning of the text of about n tokens, the needle planted in it at a sentence's end.

    Raises:
        ValueError: the text is too short, or n too few for the needle.
    """
    room = n - _taken(model, needle)
    spans = _spans(model, text, n)
    if room < 1:
        raise Refusal(
            "{n, plural, one {# token is} other {# tokens are}} too few for this needle", n=n
        )
    if len(spans) < room:
        raise Refusal(
            "the text has {found, plural, one {# token} other {# tokens}}; it needs {room:,}",
            found=len(spans),
            room=room,
        )
    filler = text[: int(spans[room - 1, 1])]
    if needle is None:
        return filler
    wanted = int(needle.depth * len(filler))
    ends = [0, *(found.start() for found in SENTENCE.finditer(filler)), len(filler)]
    at = min(ends, key=lambda place: abs(place - wanted))
    return (
        f"{filler[:at].rstrip()} {needle.sentence} {filler[at:].strip()}\n\n{needle.cue}".strip()
    )


def grow(
    model: Model,
    text: str,
    tokens: Sequence[int],
    needle: Needle | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[list[Grown]]:
    """All heads at each length, shortest first.

    `progress` is told the share done of all that is to be read; what it raises ends the work.

    Raises:
        ValueError: lengths don't rise, the text is too short, or the needle does not fit or is not
            found among the tokens.
    """
    if not tokens or any(a >= b for a, b in pairwise(tokens)):
        raise Refusal("lengths must rise, each longer than the one before")
    pieces = [cut(model, text, n, needle) for n in tokens]
    total, done = sum(n * n for n in tokens), 0
    for n, piece in zip(tokens, pieces, strict=True):
        with torch.inference_mode():
            trace = model.read(piece)
            wanted = None if needle is None else planted(trace.text, trace.offsets, needle)
            found = []
            for layer in range(trace.layers):
                found += measure(
                    trace.layer(layer), layer, model.trained_length, wanted, trace.own(layer)
                )
                if progress is not None:
                    progress((done + n * n * (layer + 1) / trace.layers) / total)
        done += n * n
        yield found


@dataclass(frozen=True)
class Disturbed:
    """One head with some irrelevant passages inserted, averaged over draws.

    Attributes:
        passages: inserted. tokens: of the whole text, mean. layer, head.
        needle_mass: that the last row gives the needle sentence.
        needle_hit: share of draws in which its largest weight is the needle's, the first token,
            where heads park what they don't need, set aside.
    """

    passages: int
    tokens: float
    layer: int
    head: int
    needle_mass: float
    needle_hit: float


def disturb(
    model: Model,
    text: str,
    filler: str,
    needle: Needle,
    passages: Sequence[int],
    draws: int = 8,
    progress: Callable[[float], None] | None = None,
) -> Iterator[list[Disturbed]]:
    """All heads with ever more irrelevant paragraphs inserted into a text that holds a needle.

    The needle sentence stands after the text's first sentence. Each draw takes other paragraphs of
    the filler and puts them, one by one, at the ends of the text's other sentences. It ends before
    the texts become longer than the model's context. `progress` is told the share done; what it
    raises ends the work.

    Raises:
        ValueError: the filler has too few paragraphs, or even the text alone is too long.
    """
    pool = [p.strip() for p in filler.split("\n\n") if SENTENCE.search(p)]
    if max(passages) > len(pool):
        raise Refusal(
            "the filler has {have, plural, one {# paragraph} other {# paragraphs}}; it needs "
            "{want}",
            have=len(pool), want=max(passages),
        )  # fmt: skip
    for i, count in enumerate(passages):
        tokens, mass, hit = 0.0, [], []
        pieces = [insert(text, pool, needle, count, draw) for draw in range(draws)]
        if i and model.context and max(_length(model, p) for p in pieces) > model.context:
            return
        for draw, piece in enumerate(pieces):
            with torch.inference_mode():
                trace = model.read(piece)
                wanted = planted(trace.text, trace.offsets, needle)
                rows = torch.tensor([len(trace.tokens) - 1])
                weights = torch.stack(
                    [
                        trace.own(layer)
                        .attend(trace.layer(layer))
                        .weights(rows)[:, 0]
                        .float()
                        .cpu()
                        for layer in range(trace.layers)
                    ]
                )  # (layers h m)
            tokens += len(trace.tokens) / draws
            mass.append(weights[..., wanted].sum(-1))
            hit.append(torch.isin(weights[..., 1:].argmax(-1) + 1, wanted).float())
            if progress is not None:
                progress((i + (draw + 1) / draws) / len(passages))
        means = torch.stack(mass).mean(0), torch.stack(hit).mean(0)
        yield [
            Disturbed(count, tokens, layer, head, float(means[0][layer, head]),
                      float(means[1][layer, head]))
            for layer in range(means[0].shape[0]) for head in range(means[0].shape[1])
        ]  # fmt: skip


def insert(text: str, pool: Sequence[str], needle: Needle, count: int, seed: int) -> str:
    """A text with the needle after its first sentence, `count` paragraphs of the pool at the ends
    of later ones, and the cue at its end."""
    generator = torch.Generator().manual_seed(seed)
    ends = [found.start() for found in SENTENCE.finditer(text)] or [len(text)]
    cuts = [0, *ends, len(text)]
    sentences = [text[a:b] for a, b in pairwise(cuts)]
    chosen = torch.randperm(len(pool), generator=generator)[:count].tolist()
    places = torch.randint(1, len(sentences), (count,), generator=generator).tolist()
    after: dict[int, list[str]] = {}
    for place, paragraph in zip(places, chosen, strict=True):
        after.setdefault(place, []).append(pool[int(paragraph)])
    parts = [f"{sentences[0].strip()} {needle.sentence}"]
    for i, sentence in enumerate(sentences[1:], 1):
        parts.append(sentence.strip())
        parts += after.get(i, ())
    return " ".join(part for part in parts if part) + f"\n\n{needle.cue}"


def planted(text: str, offsets: Int[Tensor, "n 2"], needle: Needle) -> Int[Tensor, " k"]:
    """Positions of the needle sentence's tokens.

    Raises:
        ValueError: it is not among the tokens that were read.
    """
    start = text.find(needle.sentence)
    stop = start + len(needle.sentence)
    inside = (offsets[:, 0] < stop) & (offsets[:, 1] > start) & (start >= 0)
    if not bool(inside.any()) or int(offsets[-1, 1]) < len(text):
        raise Refusal("the needle sentence is not among the tokens that the model read")
    return inside.nonzero()[:, 0]


def measure(
    qkv: QKV, layer: int, trained: int | None, needle: Int[Tensor, " k"] | None = None,
    own: Mechanism | None = None,
) -> list[Grown]:  # fmt: skip
    """Every head of one layer, over the last ROWS rows (a quarter of them at most).

    Args:
        own: what the model attends with, softmax if None.

    Raises:
        ValueError: its weights are signed.
    """
    mechanism = own or Softmax()
    rows = torch.arange(max(0, qkv.n - min(ROWS, max(1, qkv.n // 4))), qkv.n)
    if needle is not None:
        rows = rows[-1:]  # the cue's last token asks for the rest of the sentence
        qkv = qkv.replace(needles=needle.to(qkv.device))
    att = mechanism.attend(qkv)
    if att.row_kind == "signed":
        raise Refusal(
            "{key} gives signed weights, of which effective tokens can't be told",
            key=mechanism.called,
        )
    stats = att.rows(rows)
    spread = logit_spread(att.weights(rows))
    visible = float(stats.visible.double().mean())
    means = stats.means()
    found = []
    for h in range(qkv.heads):
        s = float(spread[h])
        found.append(
            Grown(
                n=qkv.n,
                layer=layer,
                head=h,
                visible=visible,
                normalised_entropy=float(means["normalised_entropy"][h]),
                effective_tokens=float(means["effective_tokens"][h]),
                sink_mass=float(means["sink_mass"][h]),
                needle_mass=None if needle is None else float(means["needle_mass"][h]),
                spread=s,
                baseline=random_effective(round(visible), s),
                beyond=trained is not None and qkv.n > trained,
            )
        )
    return found


def logit_spread(weights: Float[Tensor, "h r m"]) -> Float[Tensor, " h"]:
    """Mean over rows of the standard deviation of ln w, which is that of the logits.

    The first key is left out: many heads park what they don't need there.
    """
    w = weights[..., 1:].double()
    seen = w > 0
    count = seen.sum(-1).clamp_min(1)
    ln = torch.where(seen, w, 1).log()
    mean = ln.sum(-1) / count
    variance = torch.where(seen, (ln - mean[..., None]).square(), 0).sum(-1) / count
    return variance.sqrt().mean(1)


def random_effective(n: int, spread: float) -> float:
    """Mean effective tokens of softmax over n independent N(0, spread²) logits."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(DRAWS, max(1, n), generator=draw, dtype=torch.float64) * spread
    log = z.log_softmax(-1)
    return float((-(log.exp() * log).sum(-1)).exp().mean())


def exponents(grown: Sequence[Grown]) -> dict[tuple[int, int], float]:
    """(layer, head) -> d ln(effective tokens)/d ln n by least squares over the lengths that the
    model was trained on: 1 thins out as the text grows, 0 holds. What lies beyond is left out.

    Raises:
        ValueError: fewer than two lengths within the training.
    """
    within = [g for g in grown if not g.beyond]
    if len({g.n for g in within}) < 2:
        raise Refusal("an exponent needs at least two lengths that the model was trained on")
    by_head: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for g in within:
        point = (math.log(g.n), math.log(max(g.effective_tokens, 1.0)))
        by_head.setdefault((g.layer, g.head), []).append(point)
    found = {}
    for head, points in by_head.items():
        x, y = torch.tensor(points, dtype=torch.float64).unbind(1)
        x = x - x.mean()
        found[head] = float((x * y).sum() / x.square().sum())
    return found


def middle(exponents: Mapping[tuple[int, int], float]) -> tuple[int, int]:
    """The head that as many thin out less than as more."""
    return sorted(exponents, key=exponents.__getitem__)[len(exponents) // 2]


def _spans(model: Model, text: str, limit: int | None) -> Int[Tensor, "n 2"]:
    """Where a text's tokens stand: of a long one so many of the first, and some more."""
    return model.begun(text, limit)[0].offsets


def _taken(model: Model, needle: Needle | None) -> int:
    """Tokens that a needle and its cue take."""
    return 0 if needle is None else _length(model, needle.sentence + needle.cue) + 4


def _length(model: Model, text: str) -> int:
    return len(model.tokenizer(text)["input_ids"])
