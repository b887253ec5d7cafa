"""Train the embedded model: a small Llama that reads English and Chinese and copies by induction.

Three things happen in turn. First only random tokens repeated at a random period, until the model
copies them: text alone formed no induction head in 17 million tokens. Then text, with a share of
such sequences kept in. Near the end longer contexts, and a learning rate that falls to nothing
(warm-up, stable, decay: Hu et al. 2024), so that a run can be stopped or lengthened at any time.
"""

import argparse
import contextlib
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from engine.models.training.circuit import hint, wire
from engine.models.training.corpus import prepare, repeated_random, windows
from engine.models.training.evaluate import formed, measure, publish
from engine.models.training.muon import Muon

COPIED = 0.1  # loss on repeats, as a share of chance, at which the first phase ends
DECAY_FROM = 0.75  # of the budget
WARM_UP = 100  # steps
SAVE_EVERY = 60.0  # seconds
REPORT_EVERY = 15.0  # seconds


@dataclass(frozen=True)
class Recipe:
    """What is trained and how; lengths and batches in tokens, minutes of training.

    contexts holds (share of the budget from which it applies, length). The first phase takes
    `drill_steps`, or as long as it takes to copy; `inner` is the width between the MLP's matrices.
    """

    layers: int = 4
    heads: int = 6
    width: int = 192
    inner: int | None = None
    vocabulary: int = 4096
    positions: int = 32_768
    theta: float = 1e6
    contexts: tuple[tuple[float, int], ...] = ((0.0, 256), (2 / 3, 512), (5 / 6, 1024))
    batch: int = 4096
    drill_batch: int = 2048
    drill_steps: int | None = None
    repeats: float = 0.12
    peak: float = 3e-3
    minutes: float = 100.0
    steps: int | None = None
    seed: int = 0

    @property
    def trained_length(self) -> int:
        return self.contexts[-1][1]


@dataclass
class Progress:
    """How far a run has come; saved with the weights."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    tokens: int = 0
    text_tokens: int = 0
    formed_at: int | None = None
    copying: float = 1.0
    budget: list = field(default_factory=list)

    def share(self, recipe: Recipe) -> float:
        """Part of the budget that is spent, in [0, 1]: by steps if given, else by time."""
        if recipe.steps is not None:
            return min(1.0, self.step / recipe.steps)
        return min(1.0, self.seconds / (60 * recipe.minutes))


def make_batch(
    recipe: Recipe, progress: Progress, corpora: Mapping[str, np.ndarray]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch of this step, a function of the recipe and the progress alone.

    Languages share the text by the square root of their sizes, which favours the smaller one.

    Returns: ids (b, length); periods (b), 0 for text.
    """
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + progress.step)
    length = [n for share, n in recipe.contexts if share <= progress.share(recipe)][-1]
    if progress.formed_at is None:
        count = max(1, recipe.drill_batch // length)
        return repeated_random(generator, count, length, recipe.vocabulary)
    count = max(2, recipe.batch // length)
    copies = max(1, round(recipe.repeats * count))
    weights = np.sqrt([len(tokens) for tokens in corpora.values()])
    bounds = np.round(np.cumsum(weights) / weights.sum() * (count - copies)).astype(int)
    counts = np.diff(bounds, prepend=0)
    rows = [
        windows(tokens, progress.step * count, each, length)
        for tokens, each in zip(corpora.values(), counts.tolist(), strict=True)
        if each
    ]
    ids, periods = repeated_random(generator, copies, length, recipe.vocabulary)
    order = torch.randperm(count, generator=generator)
    mixed = torch.cat([*rows, ids])[order]
    return mixed, torch.cat([torch.zeros(count - copies, dtype=torch.int64), periods])[order]


def learning_rate(recipe: Recipe, step: int, share: float) -> float:
    """Linear warm-up, the peak, then down to nothing as 1 - sqrt over the end of the budget."""
    warm = min(1.0, (step + 1) / WARM_UP)
    falling = max(0.0, (share - DECAY_FROM) / (1 - DECAY_FROM))
    return recipe.peak * warm * (1 - math.sqrt(falling))


def settings(recipe: Recipe) -> dict[str, Any]:
    """What a Llama's configuration says of a recipe."""
    return {
        "vocab_size": recipe.vocabulary,
        "hidden_size": recipe.width,
        "intermediate_size": recipe.inner or round(recipe.width * 8 / 3 / 32) * 32 or 32,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "max_position_embeddings": recipe.positions,
        "rope_parameters": {"rope_type": "default", "rope_theta": recipe.theta},
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": None,
        "dtype": "float32",
    }


def build(recipe: Recipe) -> LlamaForCausalLM:
    """A new model of this recipe, with random weights drawn from its seed."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(**settings(recipe))
    config.update({"trained_length": recipe.trained_length})
    model = LlamaForCausalLM(config)
    begin(model, recipe)
    return model


def begin(model: LlamaForCausalLM, recipe: Recipe) -> None:
    """Draw the token vectors of a new model, and turn two of its heads towards each other."""
    # all token vectors share a part: a head needs one to look at a place, whatever is there
    vectors = torch.randn(recipe.vocabulary, recipe.width) + torch.randn(recipe.width)
    model.model.embed_tokens.weight.data = vectors * recipe.width**-0.5
    wire(model)


def optimisers(model: LlamaForCausalLM) -> tuple[torch.optim.AdamW, Muon]:
    """AdamW for the token vectors, the gains of the norms and what a mechanism learns of its own,
    Muon for the matrices between them.

    Source: Jordan et al. 2024 (Muon); Liu et al. 2025 (its steps scaled to the size of AdamW's).
    """
    vectors = model.model.embed_tokens.weight
    inner = [(name, p) for name, p in model.named_parameters() if p is not vectors]
    matrices = [p for name, p in inner if p.ndim > 1 and ".parts." not in name]
    gains = [p for name, p in inner if p.ndim < 2 or ".parts." in name]
    adam = torch.optim.AdamW(
        [{"params": [vectors]}, {"params": gains}], betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    return adam, Muon(matrices)


def bfloat16_pays(device: torch.device) -> bool:
    """Whether matrices multiply faster in bfloat16 here; on a CPU that is measured."""
    if device.type != "cpu":
        return device.type == "cuda"
    times = []
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(1024, 512, dtype=dtype)
        best = math.inf
        for _ in range(5):
            start = time.perf_counter()
            torch.mm(a, a.T)
            best = min(best, time.perf_counter() - start)
        times.append(best)
    return times[1] < 0.7 * times[0]


def take_step(
    model: LlamaForCausalLM,
    steppers: Sequence[torch.optim.Optimizer],
    recipe: Recipe,
    progress: Progress,
    corpora: Mapping[str, np.ndarray],
    half: bool,
) -> tuple[float, float]:
    """One optimiser step; gradients are gathered over pieces of 2,048 tokens, or one sequence.

    Only what can be predicted counts: text, and random tokens that repeat.

    Returns: mean loss in nats on text (nan in the first phase) and on tokens that repeat.
    """
    ids, periods = make_batch(recipe, progress, corpora)
    known = torch.arange(ids.shape[1] - 1)[None] >= periods[:, None]  # (b, n - 1)
    rate = learning_rate(recipe, progress.step, progress.share(recipe))
    for group in (group for each in steppers for group in each.param_groups):
        group["lr"] = rate
    if progress.formed_at is None:
        steppers[0].param_groups[0]["lr"] = (
            0.0  # else noise draws the vectors of all tokens together
        )
    device = next(model.parameters()).device
    piece = len(ids) if device.type == "cuda" else max(1, 2048 // ids.shape[1])
    drilling = progress.formed_at is None
    if drilling:
        model.set_attn_implementation("eager")  # the one that gives weights back
    losses = []
    for part, counts, each in zip(*(x.split(piece) for x in (ids, known, periods)), strict=True):
        part = part.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            made = model(part[:, :-1], use_cache=False, output_attentions=drilling)
        target = part[:, 1:]
        loss = cross_entropy(made.logits.float().flatten(0, 1), target.flatten(), reduction="none")
        loss = loss.view_as(target)
        total = (loss * counts.to(device)).sum() / known.sum()
        if drilling:
            total = total + hint(made.attentions, each) * len(part) / len(ids)
        total.backward()
        losses.append(loss.detach().cpu())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for each in steppers:
        each.step()
        each.zero_grad(set_to_none=True)
    loss = torch.cat(losses)  # (b, n - 1)
    text, copies = loss[periods == 0], loss[known & (periods > 0)[:, None]]
    progress.step += 1
    progress.tokens += ids.numel()
    progress.text_tokens += text.numel()
    copying = copies.mean().item()
    progress.copying += 0.1 * (copying / math.log(recipe.vocabulary) - progress.copying)
    copies_now = progress.copying < COPIED
    if recipe.drill_steps is not None:
        copies_now = progress.step >= recipe.drill_steps
    if drilling and copies_now:
        progress.formed_at = progress.step
        model.set_attn_implementation("sdpa")
    return text.mean().item(), copying


def save(
    path: Path,
    model: LlamaForCausalLM,
    steppers: Sequence[torch.optim.Optimizer],
    progress: Progress,
) -> None:
    """Write a checkpoint, whole or not at all."""
    partial = path.with_suffix(".partial")
    state = {
        "model": model.state_dict(),
        "optimisers": [each.state_dict() for each in steppers],
        "progress": asdict(progress),
    }
    torch.save(state, partial)
    partial.replace(path)


def resume(
    work: Path,
    recipe: Recipe,
    model: LlamaForCausalLM,
    steppers: Sequence[torch.optim.Optimizer],
) -> Progress:
    """Go on from the last checkpoint, or, if the budget is another one, from before the decay."""
    budget = [recipe.minutes, recipe.steps]
    for name in ("last.pt", "stable.pt"):
        if not (work / name).exists():
            continue
        state = torch.load(work / name, weights_only=True)
        progress = Progress(**state["progress"])
        minutes, steps = progress.budget
        decayed = progress.share(replace(recipe, minutes=minutes, steps=steps)) > DECAY_FROM
        if progress.budget == budget or not decayed or name == "stable.pt":
            model.load_state_dict(state["model"])
            for each, kept in zip(steppers, state["optimisers"], strict=True):
                each.load_state_dict(kept)
            progress.budget = budget
            return progress
    return Progress(budget=budget)


def train(
    recipe: Recipe,
    corpora: Mapping[str, np.ndarray],
    work: Path,
    device: torch.device,
    build: Callable[[Recipe], LlamaForCausalLM] = build,
) -> tuple[LlamaForCausalLM, Progress]:
    """Train until the budget is spent, from a checkpoint in `work` if there is one.

    Args:
        corpora: token ids of each language's text, 1-D.
        build: makes the new model.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after a checkpoint is written.
    """
    work.mkdir(parents=True, exist_ok=True)
    model = build(recipe)
    torch.nn.Module.to(model, device)
    steppers = optimisers(model)
    progress = resume(work, recipe, model, steppers)
    half = bfloat16_pays(device)
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{parameters / 1e6:.2f} M parameters, {'bfloat16' if half else 'float32'} on {device},",
        end=" ",
    )
    print(f"from step {progress.step}", flush=True)
    reported, saved = (progress.seconds, progress.tokens), progress.seconds
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: save(work / "last.pt", model, steppers, progress))
        while progress.share(recipe) < 1:
            before = progress.share(recipe)
            start, used = time.perf_counter(), time.process_time()
            text, copying = take_step(model, steppers, recipe, progress, corpora, half)
            progress.seconds += time.perf_counter() - start
            progress.cpu_seconds += time.process_time() - used
            if before <= DECAY_FROM < progress.share(recipe):
                save(work / "stable.pt", model, steppers, progress)
            if progress.seconds - saved > SAVE_EVERY:
                save(work / "last.pt", model, steppers, progress)
                saved = progress.seconds
            if progress.seconds - reported[0] > REPORT_EVERY:
                speed = (progress.tokens - reported[1]) / (progress.seconds - reported[0])
                report(recipe, progress, text, copying, speed)
                reported = (progress.seconds, progress.tokens)
    return model, progress


def report(recipe: Recipe, progress: Progress, text: float, copying: float, speed: float) -> None:
    """One line of progress."""
    share = progress.share(recipe)
    phase = "repeats" if progress.formed_at is None else "text" if share < DECAY_FROM else "decay"
    left = progress.seconds * (1 / share - 1) / 60
    print(
        f"step {progress.step}  {phase}  {speed:,.0f} tokens/s  text {text:.3f}"
        f"  repeats {copying:.3f}  {progress.tokens / 1e6:.1f} M tokens  {left:.1f} min left",
        flush=True,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m engine train`."""
    recipe = Recipe()
    corpus = Path("../shared/corpus")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=sorted(corpus.glob("*.xz")),
        help="books, one .txt or .txt.xz file a language, blank lines between books",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("assets/models/tiny"))
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="checkpoints")
    parser.add_argument("--minutes", type=float, default=recipe.minutes, help="of training")
    parser.add_argument("--steps", type=int, help="a budget in steps instead of minutes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name in ("layers", "heads", "width", "vocabulary", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(recipe, name))
    parser.add_argument(
        "--theta", type=float, default=recipe.theta, help="base of rotary positions"
    )
    parser.add_argument("--remark", default="", help="what the card should add about this run")
    parser.add_argument("--peak", type=float, default=recipe.peak, help="highest learning rate")


def run(args: argparse.Namespace) -> None:
    """Train, measure and publish; a run that was stopped goes on from its last checkpoint.

    Raises:
        SystemExit: if there is no data, on Ctrl-C, or if no induction head formed.
    """
    if not args.data:
        raise SystemExit("no books: give them with --data")
    names = ("layers", "heads", "width", "vocabulary", "seed", "theta", "peak", "minutes", "steps")
    recipe = Recipe(**{name: getattr(args, name) for name in names})
    tokenizer, corpora, held_out = prepare(args.data, recipe.vocabulary, args.work)
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, signal.default_int_handler)  # also in the background
    try:
        model, progress = train(recipe, corpora, args.work, torch.device(args.device))
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from here") from None
    figures = measure(model, tokenizer, held_out, recipe.trained_length)
    figures["training"] = {
        **asdict(progress), **asdict(recipe), "decay_from": DECAY_FROM, "remark": args.remark,
        "corpus_tokens": {name: len(tokens) for name, tokens in corpora.items()},
    }  # fmt: skip
    if not formed(figures):
        raise SystemExit("no induction head has formed yet: train for longer")
    publish(model, tokenizer, figures, args.out, args.work)
