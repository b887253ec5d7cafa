"""The finder: heads ranked by what they do, on the text at hand or on a probe."""

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from engine.figures.attention.ranking import ranking
from engine.models import finder
from engine.models.finder import Head, ranked
from engine.models.overview import heads_of
from engine.text import quantities
from pages.ui.components.chart import chart
from pages.ui.models.fields import FOUND, MODELS, SHARES
from pages.ui.models.heads import mosaic, number
from pages.ui.models.shown import Shown
from pages.ui.server.desk import Report
from pages.ui.server.waiting import obtain
from pages.ui.shared import frame
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import t
from pages.ui.shared.terms import say
from pages.ui.url import linked

LONGEST = 12  # heads in the list


def draw(found: Shown, bar: DeltaGenerator) -> None:
    """The list, every head tinted, and what they have in common."""
    with bar:
        pattern = linked.select(
            MODELS, "pattern", t("models.pattern"), lambda name: t(f"pattern.{name}"), FOUND,
            width=200, label_visibility="collapsed",
        )  # fmt: skip
        on = linked.segments(
            MODELS, "on", t("models.on"), lambda name: t(f"models.on.{name}"),
            label_visibility="collapsed", width="content",
        )  # fmt: skip
        least = 0.0
        if pattern in SHARES:
            least = linked.slider(MODELS, "least", t("models.least"), width=200, format="percent")
    heads = heads_of(found.layers) if on == "text" else probed(found)
    order = ranked(heads, pattern, least)
    left, right = st.columns([2, 3], gap="large")
    with left:
        the_list(found, ranked(heads, pattern)[:LONGEST], pattern, least)
    with right:
        picture(found, heads, pattern)
    with st.container(key="sentence"):
        say(sentence(found, heads, order, pattern, least))
    with st.container(key="caption"):
        st.text(t(f"pattern.{pattern}.help"))
        st.text(t(f"models.on.{on}.help"))


def probed(found: Shown) -> list[Head]:
    """Every head on random tokens said twice, once a server."""

    def work(report: Report) -> list[Head]:
        trace = finder.probe(found.model)
        plain = [i for i, special in enumerate(trace.read.coded.special) if not special]
        ends = plain[-1] == len(trace.tokens) - 1  # a text that is closed asks nothing at its end
        needles = torch.tensor([plain[len(plain) // 2]]) if ends else None
        return finder.score(
            trace, needles=needles, on_layer=lambda done: report(done / max(1, trace.layers))
        )

    return obtain(
        f"probe:{found.spec.model}", t("gate.probe", model=model_name(found.spec.model)), work,
        lambda made: 512 * len(made),
    )  # fmt: skip


def the_list(found: Shown, order: list[Head], pattern: str, least: float) -> None:
    """The best heads, a bar each; a click opens one."""

    def picked(place: list[int]) -> None:
        layer, head = place
        found.leave(int(layer), int(head))

    values = [head.scores[pattern] for head in order]
    shares = pattern in SHARES
    figure = ranking(
        [found.head_name(head.layer, head.head) for head in order], values,
        theme=frame.theme(), numbers=[number(pattern, x) for x in values],
        data=[[head.layer, head.head] for head in order],
        least=least if shares else None, end=1.0 if shares else None,
    )  # fmt: skip
    if shares:
        figure.update_xaxes(tickformat=".0%")
    chart("models-list", figure, t, alt=t(f"pattern.{pattern}"), on_pick=picked)


def picture(found: Shown, heads: list[Head], pattern: str) -> None:
    """Every head, tinted by its score."""
    scores = [[float("nan")] * layer.heads for layer in found.layers]
    for head in heads:
        scores[head.layer][head.head] = head.scores[pattern]
    mosaic(found, "models-found", found.leave, pattern, scores)


def sentence(
    found: Shown, heads: list[Head], order: list[Head], pattern: str, least: float
) -> str:
    """How many heads do it, and which does most."""
    if not heads:
        return t("models.says.signed")
    facts = {"heads": len(heads), "pattern": t(f"pattern.{pattern}")}
    if all(head.scores[pattern] != head.scores[pattern] for head in heads):
        return t("models.found.silent", **facts)
    if not order:
        return t("models.found.nobody", least=quantities.share(least), **facts)
    facts |= {
        "head": found.head_name(order[0].layer, order[0].head),
        "score": number(pattern, order[0].scores[pattern]),
    }
    if pattern in SHARES:
        facts |= {"count": len(order), "least": quantities.share(least)}
        return t("models.found.says", **facts)
    return t("models.found.most", **facts)
