"""Small probes: one head trained for one task on a few items, then tested on many more.

Two tasks, after the retrieval of arXiv 2410.01104. "max": each item has a priority in 0 … 1 and a
class; the answer is the class of the item of highest priority. "match": each item has a key, a
random direction, and a class; the answer is the class of the item whose key is asked for. More
items shrink the lead of the highest priority to 1/n; a key's lead over the nearest other shrinks
far more slowly.

A probe is items -> hidden layer -> keys and values -> one query's attention -> hidden layer ->
classes. Several seeds are trained side by side as one probe: each has weights, data and optimiser
state of its own, and no seed's result depends on which others are there.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.contract import Refusal, one_of
from engine.kernels import normalisers, patterns
from engine.mechanisms.adaptive_temperature import beta
from engine.mechanisms.entmax import Entmax
from engine.mechanisms.ssmax import SSMax
from engine.runtime.paths import ASSETS
from engine.runtime.threads import alone

TASKS = ("max", "match")
KINDS = ("softmax", "window", "linear", "ssmax", "entmax", "adaptive_temperature")
"""Keys of mechanisms. Adaptive temperature reads the probe that was trained with softmax."""
METRICS = ("accuracy", "needle_mass", "needle_hit")
"""Right answers; weight on the right item; largest weight on the right item. Means over sets."""
LENGTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
CLASSES = 10
KEY = 16
"""Dimensions of an item's key ("match"), and of the head's queries and keys."""
VALUE = 8
HIDDEN = 32
WINDOW = 16
"""Items at the end that "window" sees: all that training shows by default."""
SETS = 2000
"""Test sets a length: a standard error of 1.1 points at most."""
MOST_SETS = 10**6
PIECE = 2**15
"""Items of a test that are held at once, for each seed."""
SEEDS, TRAINING, TESTING = 2**31, 2**32, 2**33
"""Seeds are below the first; where those of the sets drawn for training and for tests begin."""
FOLDER = ASSETS / "probes"
CPU = torch.device("cpu")

Record = dict[str, Any]
Say = Callable[[int, float, float], None]
"""Told step, loss in nats and accuracy; may raise to end the training."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Sets of items, each with its question.

    Attributes:
        items: (b n f) what is known of each item. asked: (b 16) the key asked for, None in "max".
        needle: (b) the right item. answer: (b) its class.
    """

    items: Float[Tensor, "*s b n f"]
    asked: Float[Tensor, "*s b k"] | None
    needle: Int[Tensor, "*s b"]
    answer: Int[Tensor, "*s b"]


def draw(task: str, count: int, n: int, generator: torch.Generator) -> Sets:
    """`count` random sets of n items."""
    classes = torch.randint(CLASSES, (count, n), generator=generator)
    rows = torch.arange(count)
    if task == "max":
        traits = torch.rand(count, n, 1, generator=generator)
        needle, asked = traits[..., 0].argmax(-1), None
    else:
        traits = F.normalize(torch.randn(count, n, KEY, generator=generator), dim=-1)
        needle = torch.randint(n, (count,), generator=generator)
        asked = traits[rows, needle]
    items = torch.cat([traits, F.one_hot(classes, CLASSES).to(traits)], -1)
    return Sets(items, asked, needle, classes[rows, needle])


def side_by_side(parts: Sequence[Sets]) -> Sets:
    """One set of sets a seed, stacked in front."""
    asked = [part.asked for part in parts if part.asked is not None]
    return Sets(
        torch.stack([part.items for part in parts]),
        torch.stack(asked) if asked else None,
        torch.stack([part.needle for part in parts]),
        torch.stack([part.answer for part in parts]),
    )


@dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    Attributes:
        task, mechanism: of TASKS and KINDS. seeds: trained side by side.
        steps: of the optimiser, with `batch` sets each, all of one length that is drawn evenly
            from shortest … longest. rate: highest learning rate.

    Raises:
        ValueError: a value that is not allowed.
    """

    task: str = "max"
    mechanism: str = "softmax"
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 2000
    batch: int = 128
    shortest: int = 4
    longest: int = 16
    rate: float = 5e-3

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        one_of("mechanism", self.mechanism, KINDS)
        if not 1 <= len(self.seeds) <= 16 or len(set(self.seeds)) < len(self.seeds):
            raise Refusal("seeds must be 1 … 16 different numbers")
        for seed in self.seeds:
            _within(Refusal("a seed"), seed, 0, SEEDS - 1)
        _within("steps", self.steps, 1, 100_000)
        _within("batch", self.batch, 1, 4096)
        _within("longest", self.longest, 1, 1024)
        _within("shortest", self.shortest, 1, self.longest)
        if not 0 < self.rate <= 1:
            raise Refusal("rate must be above 0 and at most 1, not {rate}", rate=self.rate)


def _within(name: str | Refusal, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refusal(
            "{name} must be a whole number in {low} … {high:,}, not {value!r}",
            name=name,
            low=low,
            high=high,
            value=value,
        )


class Entmaxed(torch.autograd.Function):
    """The engine's α-entmax with its gradient: s (g − Σ s g / Σ s), s = p^(2 − α) on the support
    (arXiv 1905.05702)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, alpha: float) -> Tensor:
        p = normalisers.entmax(z, alpha)
        ctx.save_for_backward(p)
        ctx.alpha = alpha
        return p

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (p,), (g,) = ctx.saved_tensors, grads
        s = torch.where(p > 0, p.clamp_min(torch.finfo(p.dtype).tiny) ** (2 - ctx.alpha), 0)
        return s * (g - (s * g).sum(-1, keepdim=True) / s.sum(-1, keepdim=True)), None


class Probe(nn.Module):
    """One head with a layer before and one after it, for each of some seeds.

    Parameters have the seeds in front, (s in out) or (s out). While it is trained, a probe of
    adaptive temperature is one of softmax.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        made = [torch.Generator().manual_seed(seed) for seed in recipe.seeds]

        def drawn(*shape: int, fan: int) -> nn.Parameter:
            each = [torch.rand(shape, generator=generator) * 2 - 1 for generator in made]
            return nn.Parameter(torch.stack(each) * fan**-0.5)

        asks = recipe.task == "match"
        width = CLASSES + (KEY if asks else 1)
        self.read = drawn(width, HIDDEN, fan=width)
        self.read_bias = drawn(HIDDEN, fan=width)
        self.key = drawn(HIDDEN, KEY, fan=HIDDEN)
        self.value = drawn(HIDDEN, VALUE, fan=HIDDEN)
        self.query = drawn(KEY, KEY, fan=KEY) if asks else drawn(KEY, fan=KEY)
        self.mix = drawn(VALUE, HIDDEN, fan=VALUE)
        self.mix_bias = drawn(HIDDEN, fan=VALUE)
        self.answer = drawn(HIDDEN, CLASSES, fan=HIDDEN)
        self.answer_bias = drawn(CLASSES, fan=HIDDEN)
        if recipe.mechanism == "ssmax":
            self.s = nn.Parameter(torch.full((len(made),), SSMax().s))

    def forward(self, sets: Sets) -> tuple[Float[Tensor, "s b c"], Float[Tensor, "s b n"]]:
        """Logits of the classes, and weights of the items."""
        q, k, v = self.qkv(sets)
        w = self.weigh(q, k)
        hidden = _layer((w[..., None, :] @ v)[..., 0, :], self.mix, self.mix_bias).relu()
        return _layer(hidden, self.answer, self.answer_bias), w

    def qkv(
        self, sets: Sets
    ) -> tuple[Float[Tensor, "s b d"], Float[Tensor, "s b n d"], Float[Tensor, "s b n e"]]:
        """One query a set, keys and values of its items."""
        seeds, count, n, _ = sets.items.shape
        hidden = _layer(sets.items.flatten(1, 2), self.read, self.read_bias).relu()
        k, v = ((hidden @ w).unflatten(1, (count, n)) for w in (self.key, self.value))
        if sets.asked is None:
            return self.query[:, None].expand(seeds, count, KEY), k, v
        return sets.asked @ self.query, k, v

    def weigh(
        self, q: Float[Tensor, "s b d"], k: Float[Tensor, "s b n d"]
    ) -> Float[Tensor, "s b n"]:
        """The mechanism's weights, with gradients; the query stands at the last item."""
        kind, n = self.recipe.mechanism, k.shape[-2]
        if kind == "linear":
            w = (_positive(k) @ _positive(q)[..., None])[..., 0]
            total = w.sum(-1, keepdim=True)
            return w / total.masked_fill(total == 0, 1)
        z = (k @ q[..., None])[..., 0] * KEY**-0.5
        if kind == "entmax":
            return Entmaxed.apply(z, Entmax().alpha)
        if kind == "window":
            seen = patterns.SlidingWindow(WINDOW).allows(torch.tensor([n - 1]), torch.arange(n))
            z = z.masked_fill(~seen, -torch.inf)
        elif kind == "ssmax":
            z = z * (self.s * math.log(n))[:, None, None]
        w = z.softmax(-1)
        if kind != "adaptive_temperature" or self.training:
            return w
        return (beta(-torch.xlogy(w, w).sum(-1))[..., None] * z).softmax(-1)


def _positive(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """elu(x) + 1, not as a sum with 1, in which small e^x would be lost and whole rows be 0."""
    return x.clamp_max(0).exp() + x.clamp_min(0)


def _layer(
    x: Float[Tensor, "s b i"], w: Float[Tensor, "s i o"], bias: Float[Tensor, "s o"]
) -> Float[Tensor, "s b o"]:
    return torch.baddbmm(bias[:, None], x, w)


def train(recipe: Recipe, say: Say | None = None) -> Probe:
    """A trained probe, the same for the same recipe; on one thread.

    AdamW without decay; the rate rises over 50 steps and falls as a cosine.

    Args:
        say: told the loss and the accuracy since it was last told, about a hundred times. What it
            raises ends the training.
    """
    probe = Probe(recipe).train()
    optimiser = torch.optim.AdamW(
        probe.parameters(), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
    )
    data = [torch.Generator().manual_seed(TRAINING + seed) for seed in recipe.seeds]
    lengths = torch.randint(
        recipe.shortest, recipe.longest + 1, (recipe.steps,),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip

    def take(step: int, n: int) -> tuple[float, float]:
        sets = side_by_side([draw(recipe.task, recipe.batch, n, each) for each in data])
        logits, _ = probe(sets)
        loss = F.cross_entropy(logits.flatten(0, 1), sets.answer.flatten())
        falling = (1 + math.cos(math.pi * step / recipe.steps)) / 2
        optimiser.param_groups[0]["lr"] = recipe.rate * min(1, step / 50) * falling
        optimiser.zero_grad()
        (loss * len(data)).backward()  # each seed's own mean, whatever their number
        optimiser.step()
        right = (logits.detach().argmax(-1) == sets.answer).float().mean()
        return loss.item(), right.item()

    every, since = max(1, recipe.steps // 100), []
    for step, n in enumerate(lengths.tolist(), 1):
        since.append(alone(partial(take, step, n), CPU))
        if say is not None and (step % every == 0 or step == recipe.steps):
            said = [sum(column) / len(since) for column in zip(*since, strict=True)]
            say(step, said[0], said[1])
            since.clear()
    return probe.eval()


def sharpened(probe: Probe) -> Probe:
    """The same weights read with adaptive temperature.

    Raises:
        ValueError: the probe was not trained with softmax.
    """
    if probe.recipe.mechanism != "softmax":
        raise Refusal("adaptive temperature is softmax's, not {key}'s", key=probe.recipe.mechanism)
    twin = copy.copy(probe)
    twin.recipe = replace(probe.recipe, mechanism="adaptive_temperature")
    return twin


def check_tests(lengths: Sequence[int], count: int) -> None:
    """Raises ValueError where a length or the number of test sets is not allowed."""
    for n in lengths:
        _within("a length", n, 1, PIECE)
    _within("the number of test sets", count, 1, MOST_SETS)


def evaluate(
    probe: Probe,
    lengths: Sequence[int] = LENGTHS,
    count: int = SETS,
    say: Callable[[float], None] | None = None,
) -> list[Record]:
    """A record a length and seed: task, mechanism, seed, n, and METRICS over `count` sets, which
    are the same for every probe.

    Args:
        say: told the share done; may raise to end the test.

    Raises:
        ValueError: a length or the count is not allowed.
    """
    check_tests(lengths, count)
    recipe, found = probe.recipe, []
    seeds, items, done = len(recipe.seeds), sum(lengths) * count, 0
    with torch.inference_mode():
        for n in lengths:
            generator = torch.Generator().manual_seed(TESTING + n)
            sums = torch.zeros(len(METRICS), seeds, dtype=torch.float64)
            pieces = torch.arange(count).split(PIECE // n)
            for piece in pieces:
                sets = side_by_side([draw(recipe.task, len(piece), n, generator)] * seeds)
                logits, w = alone(partial(probe, sets), CPU)
                needle = sets.needle[..., None]
                sums[0] += (logits.argmax(-1) == sets.answer).sum(-1)
                sums[1] += w.gather(-1, needle).double().sum((-2, -1))
                sums[2] += (w.argmax(-1, keepdim=True) == needle).sum((-2, -1))
                done += len(piece) * n
                if say is not None:
                    say(done / items)
            for seed, row in zip(recipe.seeds, (sums / count).T.tolist(), strict=True):
                figures = {name: round(x, 6) for name, x in zip(METRICS, row, strict=True)}
                which = {"task": recipe.task, "mechanism": recipe.mechanism, "seed": seed, "n": n}
                found.append(which | figures)
    return found


def save(probe: Probe, path: str | Path) -> None:
    """Write a probe as safetensors, its recipe in the header; whole or not at all."""
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(
        {name: w.detach().contiguous() for name, w in probe.named_parameters()}, part,
        metadata={"recipe": json.dumps(asdict(probe.recipe))},
    )  # fmt: skip
    part.replace(path)


def load(path: str | Path) -> Probe:
    """A probe that was saved.

    Raises:
        ValueError: the file does not hold one.
        FileNotFoundError: there is no such file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, "pt") as opened:
            said = json.loads((opened.metadata() or {})["recipe"])
            recipe = Recipe(**said | {"seeds": tuple(said["seeds"])})
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        probe = Probe(recipe)
        probe.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise Refusal(
            "{file} does not hold a probe: {reason}", file=path.name, reason=error
        ) from error
    return probe.eval()


def stored(task: str, mechanism: str, folder: Path = FOLDER) -> Probe:
    """The probe that was trained with `train_all`.

    Raises:
        ValueError: no such task or mechanism, or a file that does not hold a probe.
        FileNotFoundError: nothing was trained there.
    """
    one_of("task", task, TASKS)
    one_of("mechanism", mechanism, KINDS)
    if mechanism == "adaptive_temperature":
        return sharpened(stored(task, "softmax", folder))
    return load(folder / f"{task}-{mechanism}.safetensors")
