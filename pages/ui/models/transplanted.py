"""The model run with another mechanism in some of its layers: predictions, loss, divergence."""

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

import engine
from engine.contract import Pairs
from engine.figures.attention.ranking import ranking
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.models import Trace
from engine.models.intervene import changeable
from engine.models.transplant import Transplanted, transplant
from engine.spec.spelling import declarations, parse_choice, spell_choice
from engine.text import quantities
from engine.text.tokens import shown as readable
from pages.ui.components.chart import chart
from pages.ui.components.tokens import token_text
from pages.ui.models.fields import MODELS, numbers_in, spelt
from pages.ui.models.off import LINES, predictions
from pages.ui.models.shown import Shown
from pages.ui.server.desk import Report
from pages.ui.server.waiting import obtain
from pages.ui.shared import controls, frame
from pages.ui.shared.strings import keyed, t
from pages.ui.shared.terms import say
from pages.ui.url.linked import follow


def draw(found: Shown, bar: DeltaGenerator) -> None:
    """The mechanism and the layers, what the model does with it, and how much each layer minds."""
    trace = found.fitting
    changeable(trace, found.model)
    key, pairs = parse_choice(MODELS["with"])
    with bar, st.container(width=300):
        controls.choose(
            t("explore.mechanism"), "models-with", tuple(MECHANISMS), key,
            lambda one: t(f"mechanism.{one}.name"), hide_label=True, segments=False,
            on_choose=lambda one: MODELS.choose("with", one),
        )  # fmt: skip
    every = range(trace.layers)
    layers = [i for (i,) in numbers_in(MODELS["layers"]) if i in every] or list(every)
    made = suited(found, trace, layers, key, pairs)
    settings(found, made, pairs, layers)
    result = computed(found, trace, made, layers)
    left, right = st.columns([1, 1], gap="large")
    with left:
        minding(found, result)
        with st.container(key="sentence"):
            say(sentence(trace, made, layers, result))
        with st.container(key="caption"):
            st.text(t("models.transplant.caption"))
    with right:
        st.text(t("models.transplant.text"))
        token_text(
            "models-text", (trace.written or trace.read).tokens, result.divergence.tolist(), t,
            height=170, size=0.95, place="moved",
        )  # fmt: skip
        lines = [(readable(token), was, now) for token, was, now in result.both[:LINES]]
        predictions(lines, t("models.transplant.token"))


def suited(found: Shown, trace: Trace, layers: list[int], key: str, pairs: Pairs) -> Mechanism:
    """The mechanism with parameters that show something on a text of this length."""
    asked = found.spec.replace(mechanism=key, params=pairs)
    return engine.make(key, **asked.suited(trace.layer(layers[0])).arguments())


def settings(found: Shown, made: Mechanism, pairs: Pairs, layers: list[int]) -> None:
    """The layers that it is put into, and its parameters."""

    def change(field: str, name: str, value: Any) -> None:
        chosen: dict[str, Any] = {**dict(pairs), name: value}
        MODELS.choose("with", spell_choice((made.key, tuple(chosen.items()))))

    every = list(range(found.trace.layers))
    left, right = st.columns([1, 1], gap="large", vertical_alignment="bottom")
    with left:
        follow(keyed("models-transplant-layers"), layers)
        st.multiselect(
            t("models.transplant.layers"), every, key=keyed("models-transplant-layers"),
            format_func=found.layer_name, on_change=lambda: put(every),
        )  # fmt: skip
    declared = declarations(MECHANISMS, made.key)
    if declared:
        with right, st.expander(t("models.transplant.settings")):
            for name, one in declared.items():
                value = getattr(made, name)
                controls.parameter(made.key, "mechanism", "models-with", name, one, value, change)


def put(every: list[int]) -> None:
    """Choose the layers; all goes without saying."""
    some = sorted(st.session_state[keyed("models-transplant-layers")])
    MODELS.choose("layers", "" if some in ([], every) else spelt([i] for i in some))


def computed(found: Shown, trace: Trace, made: Mechanism, layers: list[int]) -> Transplanted:
    """The passes, once a server: with the mechanism in all these layers, and in each alone."""
    alone = len(layers) > 1

    def work(report: Report) -> Transplanted:
        return transplant(
            trace, found.model, made, layers, alone=alone,
            on_pass=lambda done, of: report(done / of),
        )  # fmt: skip

    return obtain(
        f"transplant:{found.spec.reading_key()}:{len(trace.tokens)}:{made}:{layers}",
        t("gate.transplant", mechanism=t(f"mechanism.{made.key}.name")), work,
        lambda result: 8 * result.divergence.numel() + 4096,
        needs=2 * found.logits_bytes(trace),
    )  # fmt: skip


def minding(found: Shown, result: Transplanted) -> None:
    """How much each layer alone minds."""
    if not result.by_layer:
        return
    st.text(t("models.transplant.minds"))
    values = list(result.by_layer.values())
    figure = ranking(
        [found.layer_name(i) for i in result.by_layer], values, theme=frame.theme(),
        numbers=[t("models.transplant.nats", moved=x) for x in values],
    )  # fmt: skip
    chart("models-minding", figure, t, alt=t("models.transplant.minds"))


def sentence(trace: Trace, made: Mechanism, layers: list[int], result: Transplanted) -> str:
    """What becomes of the loss and of the predictions."""
    before, after = result.losses
    where = "all" if len(layers) == trace.layers else "some"
    facts = {
        "mechanism": t(f"mechanism.{made.key}.name"), "count": len(layers),
        "before": before, "after": after, "moved": float(result.divergence.mean()),
    }  # fmt: skip
    parts = [t(f"models.transplant.says.{where}", **facts)]
    if result.by_layer:
        most = max(result.by_layer, key=result.by_layer.__getitem__)
        total = sum(result.by_layer.values())
        share = result.by_layer[most] / total if total else 0.0
        if share:
            parts.append(
                t(
                    "models.transplant.says.most",
                    layer=trace.names[most],
                    share=quantities.share(share),
                )
            )
    return t("sentence.join").join(parts)
