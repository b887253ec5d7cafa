"""Two models on one text, or one model on two texts: every head of both, and what differs."""

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.models import embedded
from engine.models.facts import in_cache
from engine.models.overview import heads_of
from engine.text.tokens import shortened
from pages.ui.models import chooser
from pages.ui.models.fields import MODELS, SCORES, SHOWS
from pages.ui.models.heads import best, mosaic, number, shown_as
from pages.ui.models.shown import Shown, shown
from pages.ui.shared.reading import text_of
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import language, t
from pages.ui.shared.terms import say
from pages.ui.url import linked
from pages.ui.url.linked import follow

TOLD = ("induction", "previous", "sink")  # compared where the places show maps


def draw(found: Shown, bar: DeltaGenerator) -> None:
    """What stands beside it, both pictures, and the sentence."""
    with bar:
        shows = linked.select(
            MODELS, "shows", t("models.shows"), shown_as, SHOWS, width=230,
            label_visibility="collapsed",
        )  # fmt: skip
    asking(found)
    name, text = MODELS["other-model"] or found.spec.model, MODELS["other-text"]
    spec = found.spec.replace(model=name, **({} if name == found.spec.model else {"second": ""}))
    if text:
        spec = spec.with_text(text)
    if name != found.spec.model:
        chooser.opened(name)
    other = shown(spec)
    for place, one, key in zip(
        st.columns([1, 1], gap="large"), (found, other), ("models-picture", "models-other"),
        strict=True,
    ):  # fmt: skip
        with place:
            st.text(called(one))
            tints = None if shows == "map" else [layer.scores[shows] for layer in one.layers]
            mosaic(one, key, one.leave, shows, tints)
    with st.container(key="sentence"):
        say(sentence(found, other, shows))
    with st.container(key="caption"):
        st.text(t("models.beside.caption"))


def asking(found: Shown) -> None:
    """The other model, and the other text."""
    key = f"models-other-model.{language()}"
    chosen = MODELS["other-model"] or found.spec.model
    names = list(dict.fromkeys([
        found.spec.model, embedded.EMBEDDED, *embedded.trained(), *in_cache(), chosen
    ]))  # fmt: skip

    def picked() -> None:
        name = (st.session_state[key] or "").strip()[:400]
        MODELS.choose("other-model", "" if name == found.spec.model else name)

    follow(key, chosen)
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.selectbox(
            t("models.other.model"), names, key=key, on_change=picked, accept_new_options=True,
            format_func=lambda name: model_name(name, "model.zoo.short"),
        )  # fmt: skip
    follow("models-other-text", MODELS["other-text"])
    with right:
        st.text_input(
            t("models.other.text"), key="models-other-text", max_chars=2_000,
            placeholder=t("models.other.same"),
            on_change=lambda: MODELS.choose("other-text", st.session_state["models-other-text"]),
        )  # fmt: skip


def called(one: Shown) -> str:
    """The model and the beginning of its text."""
    start = shortened(" ".join(text_of(one.spec).split())[:60], 40).replace("␣", " ")
    return f"{model_name(one.spec.model)} · “{start}”"


def sentence(found: Shown, other: Shown, shows: str) -> str:
    """Heads of one shape are compared one by one; of different ones, each one's best."""
    scores = (shows,) if shows in SCORES else TOLD
    shape = [layer.heads for layer in found.layers]
    alike = shape == [layer.heads for layer in other.layers]
    return t("sentence.join").join(
        said for score in scores if (said := compared(found, other, score, alike))
    )


def compared(found: Shown, other: Shown, score: str, alike: bool) -> str:
    """One score in both."""
    facts: dict[str, Any] = {"score": t(f"pattern.{score}")}
    if alike and found.spec.model == other.spec.model:
        changes = [
            (abs(b - a), i, h, a, b)
            for i, (x, y) in enumerate(zip(found.layers, other.layers, strict=True))
            for h, (a, b) in enumerate(zip(x.scores[score], y.scores[score], strict=True))
            if a == a and b == b
        ]
        if not changes:
            return ""
        _, i, h, a, b = max(changes)
        mean = sum(x[0] for x in changes) / len(changes)
        return t(
            "models.beside.moves", head=found.head_name(i, h), was=number(score, a),
            now=number(score, b), mean=number(score, mean), **facts,
        )  # fmt: skip
    ends = [best(heads_of(one.layers), score) for one in (found, other)]
    if None in ends:
        return ""
    said = [
        t(
            "models.beside.best",
            head=one.head_name(x.layer, x.head),
            value=number(score, x.scores[score]),
        )
        for one, x in zip((found, other), ends, strict=True)
        if x is not None
    ]
    return t("models.beside.both", here=said[0], there=said[1], **facts)
