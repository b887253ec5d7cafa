"""What a scene of the dilution lab shows: its main picture, by the keys of the lab's URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from engine.contract import Refusal
from engine.dilution import growth, measuring, noisy, opening, probe_results, probes
from engine.dilution import theory as closed
from engine.dilution import trained as scratch
from engine.dilution.closed_forms import Setting
from engine.dilution.sweep import Record
from engine.figures.base.theme import Figure, Theme
from engine.figures.dilution import curves, growing
from engine.figures.dilution import probes as probe_pictures
from engine.figures.dilution import trained as trained_pictures
from engine.models import embedded
from engine.models.zoo import kept
from engine.models.zoo.recipes import KINDS
from engine.sources import samples
from engine.spec import sweep
from engine.spec.spelling import doublings, spell_choice
from engine.spec.sweep import Lab
from engine.spec.talk import Beat
from engine.talks.attended import Studio

Say = Callable[..., str]

LONGEST = 2**20
MATCHED = 64
"""Keys at which closed forms are matched."""
LENGTHS = doublings(16, 4096)
LEAST = 1e-6
"""The smallest weight of a row that is drawn."""


def draw(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[Figure | list[Figure], str]:
    """The figure of a part, or those side by side, and a sentence with its numbers.

    Raises:
        ValueError: there is no such part, or a value is not allowed.
    """
    part = beat.query.get("lab", "theory")
    if part not in PARTS:
        raise Refusal(
            "a talk can't show the lab's part {part!r}; it can show {known}",
            part=part, known=", ".join(PARTS),
        )  # fmt: skip
    return PARTS[part](beat, studio, theme, t)


def number(query: Mapping[str, str], key: str, default: float, low: float, high: float) -> float:
    """A number of the URL.

    Raises:
        Refusal: it is none, or out of range.
    """
    text = query.get(key, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise Refusal(
            "{field} must lie between {low:g} and {high:g}, not {value!r}",
            field=key, low=low, high=high, value=text[:40],
        )  # fmt: skip
    return value


def one(query: Mapping[str, str], key: str, default: str, known: Any) -> str:
    """One of some words of the URL.

    Raises:
        Refusal: it is none of them.
    """
    value = query.get(key, default)
    if value not in known:
        raise Refusal("{field} can't be {value!r}", field=key, value=value[:40])
    return value


def share(x: float) -> str:
    """A share, to tell small ones apart."""
    return f"{x:.1%}" if x >= 0.01 or x == 0 else f"{100 * x:.1g}%"


def theory(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[Figure, str]:
    """Closed forms over length; with the picture "threshold", the gap that is needed."""
    query = beat.query
    gap = number(query, "lab-gap", 6.0, 0, 16)
    noise = number(query, "lab-noise", 0.5, 0, 3)
    needles = int(number(query, "lab-needles", 1, 1, 16))
    n = int(number(query, "lab-length", 4096, 16, LONGEST))
    metric = one(query, "lab-metric", "needle_mass", curves.METRICS)
    matched = query.get("lab-matched") == "true"
    setting = Setting(gap=gap, noise=noise, needles=needles, start=MATCHED * matched)
    if beat.picture == "softmax":
        setting = replace(setting, mechanisms=("softmax",))
    mass, doubling = map(share, noisy.needle_mass([n, 2 * n], gap, noise, needles).tolist())
    needed = float(noisy.gap_needed(max(n, needles + 1), 0.5, noise, needles))
    words = "dilution.theory.says" if needles == 1 else "dilution.theory.says.many"
    said = t(words, n=n, gap=gap, mass=mass, needed=needed, doubling=doubling)
    if beat.picture == "threshold":
        return curves.threshold(setting, LONGEST, n, theme=theme, t=t), said
    names = {key: t(f"mechanism.{key}.name") for key in setting.mechanisms}
    lines = curves.theoretical(metric, setting, LONGEST, names)
    figure = curves.curves(lines, metric=metric, theme=theme, t=t, span=(8, LONGEST), at=n)
    return figure, said


def chosen(beat: Beat) -> Lab:
    """The sweep that the URL says.

    Raises:
        ValueError: something in it can't be used.
    """
    said = {k.removeprefix("sweep."): v for k, v in beat.query.items() if k.startswith("sweep.")}
    return sweep.parsed(said)


def names(choice: Lab, t: Say) -> dict[str, str]:
    """Spelling of each mechanism -> its name; settings tell apart two of one."""
    keys = [key for key, _ in choice.mechanisms]
    return {
        spell_choice(each): t(f"mechanism.{each[0]}.name")
        + (f" ({spell_choice(each).partition(':')[2]})" if keys.count(each[0]) > 1 else "")
        for each in choice.mechanisms
    }


def measured(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[Figure, str]:
    """A sweep's records over length."""
    choice = chosen(beat)
    plan = choice.plan()
    metric = one(
        beat.query, "lab-metric", "needle_mass" if choice.needles else curves.METRICS[1],
        [key for key in curves.METRICS if choice.needles or key not in curves.NEEDLE],
    )  # fmt: skip
    found: list[Record] = []
    for task in plan.tasks:
        found += opening.records(task, plan.make, studio.kept / "sweeps")
    lines = curves.measured(found, names(choice, t), metric)
    span = (choice.lengths[0], max(choice.lengths[-1], choice.lengths[0] + 1))
    trained = next((r["trained_length"] for r in found), None)
    causal = choice.source == "passage" or bool(dict(choice.source_params).get("causal"))
    figure = curves.curves(
        lines, metric=metric, theme=theme, t=t, span=span, causal=causal, trained=trained
    )
    return figure, t("dilution.band")


def thinning(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[Figure, str]:
    """One row's weights from largest to smallest; the frame says at which length."""
    choice = chosen(beat)
    rows = sorted_rows(choice)
    called = names(choice, t)
    at = len(LENGTHS) - 1 if beat.frame is None else min(beat.frame, len(LENGTHS) - 1)
    shown = [
        {called[spell_choice(each)]: row for each, row in rows.weights[place].items()}
        for place in (0, at)
    ]
    figure = curves.rank_row(
        shown[1], theme=theme, t=t, longest=LENGTHS[-1], least=LEAST, ghosts=shown[0]
    )
    parts = [
        t("dilution.told.share", name=name, first=shown[0][name][0], last=row[0])
        for name, row in shown[1].items()
    ]
    return figure, t(
        "dilution.thinning.says", first=LENGTHS[0], last=LENGTHS[at],
        parts=t("dilution.told.join").join(parts),
    )  # fmt: skip


@cache
def sorted_rows(choice: Lab) -> measuring.Rows:
    """The rows of a choice."""
    return measuring.sorted_rows(
        choice.mechanisms, choice.source, choice.source_params, LENGTHS, choice.match,
        choice.match_at or choice.lengths[0],
    )  # fmt: skip


def grown(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[Figure, str]:
    """Every head of a model as one text grows."""
    query = beat.query
    text = one(query, "lab-text", samples.long("en")[0], samples.ids())
    planted = query.get("lab-hidden") == "true"
    metric = one(query, "lab-metric", "needle_mass" if planted else "effective_tokens",
                 growing.GROWN)  # fmt: skip
    content = samples.text(text)
    needle = None
    if planted:
        language = samples.listing()[text]["language"]
        needle = replace(growth.NEEDLES[language], depth=number(query, "lab-depth", 0.3, 0, 1))
    name = query.get("model", embedded.EMBEDDED)
    found = (
        opening.kept_grown(embedded.TINY, content, needle) if name == embedded.EMBEDDED else None
    )
    found = found or opening.grown(studio.model(name), content, needle)
    exponents = growth.exponents(found.found)
    which = query.get("lab-which", "")
    heads = {f"{layer}.{head}": (layer, head) for layer, head in exponents}
    if needle is not None:
        shortest = min(g.n for g in found.found)
        best = max((g for g in found.found if g.n == shortest), key=lambda g: g.needle_mass or 0)
        default = (best.layer, best.head)
    else:
        default = growth.middle(exponents)
    head = heads.get(which, default)
    figure = growing.heads(
        found.found, chosen=head, trained=found.trained, theme=theme, t=t, metric=metric
    )
    within = [g for g in found.found if (g.layer, g.head) == head and not g.beyond]
    first, last = within[0], within[-1]
    facts: dict[str, Any] = {
        "layer": head[0], "head": head[1], "first": first.n, "last": last.n,
        "before": first.effective_tokens, "after": last.effective_tokens,
        "exponent": exponents[head], "random": last.baseline,
    }  # fmt: skip
    said = t("dilution.grown.says", **facts)
    if needle is not None:
        facts |= {"before": first.needle_mass, "after": last.needle_mass}
        said = t("dilution.grown.needle", **facts)
    return figure, said


def probed(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[Figure, str]:
    """Small trained probes over length."""
    found = probe_results.results()
    task = one(beat.query, "probes-task", probes.TASKS[0], probes.TASKS)
    metric = one(beat.query, "probes-metric", probes.METRICS[0], probes.METRICS)
    records = [r for r in found["records"] if r["task"] == task]
    trained = found["recipe"]["longest"]
    figure = probe_pictures.lengths(
        records, metric, {key: t(f"probes.kind.{key}") for key in probes.KINDS}, trained=trained,
        theme=theme, t=t,
    )  # fmt: skip
    said = [
        t(f"probes.found.{name}", **facts | {"named": t(f"probes.kind.{facts['mechanism']}")})
        for name, facts in probe_results.findings(records, task, trained)
    ]
    return figure, t("probes.join").join(said[:2])


def noise(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[list[Figure], str]:
    """A needle's mass over noise and length, measured and in closed form; with the picture "rank",
    whether it stays the largest."""
    gap = number(beat.query, "lab-gap", 6.0, 0, 16)
    found = opening.kept_noise(gap) or opening.noise(gap)
    n, s = np.meshgrid(opening.LENGTHS, opening.NOISES)
    key, values, form, holds = "needle_mass", found.mass, closed.needle_mass(n, gap, s), None
    if beat.picture == "rank":
        key, values, form = "needle_hit", found.first, closed.rank_kept(n, gap, s)
    else:
        holds = closed.leads(n, s)
    figures = [
        curves.noise_map(
            what, opening.LENGTHS, opening.NOISES, theme=theme, t=t, holds=where,
            title=f"{t(f'stat.{key}')} · {t(f'dilution.noise.{how}')}",
        )
        for how, what, where in (("measured", values, None), ("theory", form, holds))
    ]  # fmt: skip
    at = opening.NOISES.index(1.0)
    return figures, t(
        "dilution.noise.says", noise=opening.NOISES[at], n=opening.LENGTHS[-1], gap=gap,
        mass=share(float(found.mass[at, -1])), first=float(found.first[at, -1]),
    )  # fmt: skip


def trained(beat: Beat, studio: Studio, theme: Theme, t: Say) -> tuple[Figure, str]:
    """The loss of models that were trained with each mechanism, by position; one of them is
    chosen, beside the reference."""
    cards = kept.measured()
    there = [name for name in KINDS if name in cards]
    if scratch.REFERENCE not in there:
        raise Refusal("no trained models are here")
    others = [name for name in there if name != scratch.REFERENCE] or there
    chosen = one(beat.query, "zoo-model", others[0], there)
    book = one(beat.query, "zoo-book", beat.query.get("lang", "en"), ("en", "zh"))

    def named(name: str) -> str:
        key = KINDS[name].key
        return t(f"mechanism.{key}.name" if name == key else f"model.zoo.{name}")

    figure = trained_pictures.lines(
        trained_pictures.by_position(cards, book, chosen, named), theme=theme, t=t,
        trained=scratch.trained_length(cards[scratch.REFERENCE]),
    )  # fmt: skip
    own, full = (scratch.losses(cards[name], book) for name in (chosen, scratch.REFERENCE))
    facts = {
        "name": named(chosen), "trained": min(own), "last": max(own), "first": own[min(own)],
        "end": own[max(own)], "full_first": full[min(full)], "full_end": full[max(full)],
    }  # fmt: skip
    key = "zoo.says.reference" if chosen == scratch.REFERENCE else "zoo.says"
    return figure, t(key, **facts)


Part = Callable[[Beat, Studio, Theme, Say], tuple[Figure | list[Figure], str]]
PARTS: dict[str, Part] = {
    "theory": theory,
    "measured": measured,
    "thinning": thinning,
    "noise": noise,
    "growing": grown,
    "probes": probed,
    "trained": trained,
}
"""Those parts of the lab that a talk can show."""
