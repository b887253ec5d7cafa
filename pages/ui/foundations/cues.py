"""Attention cues: what stands out by itself, and what is looked for."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.figures.lessons import cues as pictures
from engine.lessons import cues
from engine.lessons.cues import FEATURES, WITHOUT, Glance, Object, Wish
from engine.spec.picture import Spec
from pages.ui.foundations.frame import (
    choice,
    closing,
    declare,
    moves,
    notice,
    opening,
    slider,
    stacked,
    words,
)
from pages.ui.shared import frame as page
from pages.ui.shared.strings import t
from pages.ui.url.linked import number, one_of

PART = "cues"
ANY = "any"
CHOSEN = declare(
    PART,
    cue=one_of(("none", "query"), "none"),
    without=one_of(WITHOUT, "fixed"),
    strength=number(0.0, 6.0, 3.0, 0.5),
    pull=number(0.0, 2.0, 0.0, 0.25),
    seed=number(0, 50, 0),
    colour=one_of((ANY, *FEATURES["colour"]), None),  # what the scene suits: see `cues.goal`
    shape=one_of((ANY, *FEATURES["shape"]), ANY),
    size=one_of((ANY, *FEATURES["size"]), ANY),
)


@dataclass(frozen=True)
class Choice:
    """What is looked for, and in which scene."""

    seed: int
    wish: Wish | None = None
    without: str = "fixed"
    strength: float = 0.0
    pull: float = 0.0


def draw() -> None:
    """The scene, with a query or without, and what comes of it."""
    opening(PART)
    cue = choice(PART, "cue")
    with st.sidebar:
        how: dict[str, Any]
        if cue == "query":
            suits = cues.goal(cues.scene(CHOSEN["seed"]))
            wish = {k: wished(k, suits if k == "colour" else None) for k in FEATURES}
            how = {
                "wish": wish, "strength": slider(PART, "strength"), "pull": slider(PART, "pull")
            }  # fmt: skip
        else:
            how = {"without": choice(PART, "without")}
        chosen = Choice(slider(PART, "seed"), **how)
    objects = cues.scene(chosen.seed)
    glance = cues.look(
        objects, chosen.wish, without=chosen.without, strength=chosen.strength, pull=chosen.pull
    )
    moves(PART, "scene", pictures.scene(objects, glance, chosen.wish, theme=page.theme(), t=t))
    told(objects, glance, chosen)
    closing(PART, formula(objects, glance, chosen), code(chosen), door(glance))


def wished(kind: str, default: str | None) -> str | None:
    """What is looked for, of one kind of feature."""
    found = choice(PART, kind, default)
    return None if found == ANY else found


def told(objects: list[Object], glance: Glance, chosen: Choice) -> None:
    """Who was seen, and why."""
    best = int(glance.weights.argmax())
    facts = {
        "which": named(objects[best]),
        "weight": float(glance.weights[best]), "output": glance.output, "count": len(objects),
    }  # fmt: skip
    if chosen.wish is None:
        notice(PART, f"notice.{chosen.without}", **facts)
    elif not any(chosen.wish.values()):
        notice(PART, "notice.pulled" if chosen.pull else "notice.open", **facts)
    else:
        met = int((glance.matches == glance.matches.max()).sum())
        loud = int(cues.salience(cues.keys(objects)).argmax())
        found = "query" if glance.matches[loud] == glance.matches.max() else "turned"
        notice(
            PART, f"notice.{found}", met=met, loud=named(objects[loud]),
            drew=float(cues.look(objects, None).weights[loud]),
            left=float(glance.weights[loud]), **facts,
        )  # fmt: skip


def named(one: Object) -> str:
    """An object in words."""
    return words(PART, "which", **{k: words(PART, f"{k}.{getattr(one, k)}") for k in FEATURES})


def formula(objects: list[Object], glance: Glance, chosen: Choice) -> str:
    """The output with the numbers of the object that is seen most."""
    best = int(glance.weights.argmax())
    sum_ = rf"\sum_i \alpha_i v_i = {glance.output:.2f}"
    if chosen.wish is None and chosen.without == "average":
        return stacked(rf"\alpha_i = \frac{{1}}{{{len(objects)}}}", sum_)
    if chosen.wish is None and chosen.without == "max":
        return stacked(r"\alpha_i = [\, i = \operatorname{argmax}_j a_j \,]", sum_)
    pull = rf" + {chosen.pull:g}\, a_i" if chosen.pull else ""
    score = "a_i" if chosen.wish is None else rf"{chosen.strength:g}\, q^\top k_i{pull}"
    logit = float(glance.scores[best])
    return stacked(
        rf"s_i = {score}, \quad \alpha_i = \operatorname{{softmax}}_i(s)",
        rf"\max_i \alpha_i = \frac{{e^{{{logit:.2f}}}}}{{\sum_j e^{{s_j}}}}"
        rf" = {float(glance.weights[best]):.3f}",
        sum_,
    )


def door(glance: Glance) -> Spec:
    """As many keys, as many of them sought, standing out as much: as needles in Explore."""
    needles, gap = cues.standing_out(glance)
    params = (("n", len(glance.weights)), ("needles", needles), ("gap", gap), ("noise", 0.0))
    return Spec(source="planted", source_params=params)


def code(chosen: Choice) -> str:
    """The same in a notebook."""
    lines = ["from engine.lessons import cues", f"objects = cues.scene({chosen.seed})"]
    if chosen.wish is None:
        lines.append(f'glance = cues.look(objects, None, without="{chosen.without}")')
    else:
        said = {kind: value for kind, value in chosen.wish.items() if value}
        lines.append(
            f"glance = cues.look(objects, {said}, strength={chosen.strength}, pull={chosen.pull})"
        )
    return "\n".join([*lines, "glance.weights, glance.output"])
