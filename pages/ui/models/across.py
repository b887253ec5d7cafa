"""Across layers: what of the text reaches a token, and what the model would say after each."""

import html

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from engine.measure.attention import Attention
from engine.models import Trace
from engine.models.across import FLOWING, Lens, flow, lens, rollout, stack_of
from engine.text import quantities
from engine.text.tokens import isolated, shown
from pages.ui.components.heatmap import heatmap
from pages.ui.components.tokens import token_text
from pages.ui.models.fields import MODELS
from pages.ui.models.shown import Shown
from pages.ui.server.desk import Report
from pages.ui.server.waiting import obtain
from pages.ui.shared.guard import guarded
from pages.ui.shared.strings import t
from pages.ui.shared.terms import say
from pages.ui.url import linked

TOP = 3  # predictions of each layer
HEIGHT = 360  # px of the map


def draw(found: Shown, bar: DeltaGenerator) -> None:
    """The text, tinted by what reaches the chosen token; predictions beside it; the map."""
    trace = found.fitting
    with bar:
        way = linked.segments(
            MODELS, "way", t("models.way"), lambda one: t(f"models.way.{one}"),
            label_visibility="collapsed", width="content",
        )  # fmt: skip
    tokens = (trace.written or trace.read).tokens
    n = len(tokens)
    row = MODELS["row"] if MODELS["row"] is not None and MODELS["row"] < n else n - 1
    rolled = rolled_out(found, trace)
    share = rolled[-1, row] if way == "rollout" else flowed(found, trace, row)
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.text(t(f"models.way.{way}.text"))
        token_text(
            "models-text", tokens, share.tolist(), t, chosen=row, height=260, size=0.95,
            on_choose=lambda token: MODELS.choose("row", token),
        )  # fmt: skip
    said = None
    with right, guarded("lens"):
        said = read_out(found, trace)
        st.text(t("models.lens.title", token=f"“{isolated(tokens[row])}”", row=row))
        table(found, said, row)
    with st.container(key="sentence"):
        say(sentence(tokens, row, share, way, said, found))
    left, right = st.columns([3, 2], gap="large")
    with left:
        heatmap(
            "models-rollout", Attention.from_weights(rolled[-1:].float(), tokens=tokens), t,
            name=f"rolled:{found.spec.reading_key()}:{n}", query=row, height=HEIGHT,
            on_query=lambda one: MODELS.choose("row", one),
        )  # fmt: skip
    with right, st.container(key="caption"):
        st.text(t(f"models.way.{way}.help", most=FLOWING))
        st.text(t("models.lens.help"))


def rolled_out(found: Shown, trace: Trace) -> Tensor:
    """Attention rolled out, once a server, (L n n)."""
    return obtain(
        f"rollout:{found.spec.reading_key()}:{len(trace.tokens)}", t("gate.across"),
        lambda report: rollout(stack_of(trace)), lambda made: 8 * made.numel(),
    )  # fmt: skip


def flowed(found: Shown, trace: Trace, row: int) -> Tensor:
    """What can flow to a token, (n)."""

    def work(report: Report) -> Tensor:
        return flow(
            stack_of(trace), row,
            on_token=lambda done: report(done / len((trace.written or trace.read).tokens)),
        )  # fmt: skip

    return obtain(
        f"flow:{found.spec.reading_key()}:{len(trace.tokens)}:{row}", t("gate.across"), work,
        lambda made: 8 * made.numel(),
    )  # fmt: skip


def read_out(found: Shown, trace: Trace) -> Lens:
    """The predictions of every layer, once a server."""
    return obtain(
        f"lens:{found.spec.reading_key()}:{len(trace.tokens)}", t("gate.across"),
        lambda report: lens(trace, found.model, TOP), lambda made: 12 * made.ids.numel(),
        needs=found.logits_bytes(trace),
    )  # fmt: skip


def table(found: Shown, said: Lens, row: int) -> None:
    """The most probable tokens after each layer, the last below."""
    final = int(said.ids[-1, row, 0])
    lines = []
    for depth, name in enumerate(said.names):
        cells = []
        for token, p in zip(
            said.ids[depth, row].tolist(), said.probabilities[depth, row].tolist(), strict=True
        ):
            word = html.escape(shown(found.model.token(token)))
            mark = f"<b>{word}</b>" if token == final else word
            cells.append(f"<td>{mark} <small>{quantities.share(p)}</small></td>")
        label = t("models.lens.embedding") if depth == 0 else t("models.layer", layer=name)
        lines.append(f"<tr><th>{html.escape(label)}</th>{''.join(cells)}</tr>")
    st.html(f'<table class="figures predictions lens"><tbody>{"".join(lines)}</tbody></table>')


def sentence(
    tokens: tuple[str, ...], row: int, share: Tensor, way: str, said: Lens | None, found: Shown
) -> str:
    """What reaches the token most, itself aside, and from which layer on the model says what it
    says at the end."""
    others = share.clone()
    others[row] = -1
    key = int(others.argmax())
    parts = []
    if len(tokens) > 1 and float(others[key]) > 0:
        parts.append(
            t(
                f"models.way.{way}.says", token=f"“{isolated(tokens[row])}”", row=row,
                key=f"“{isolated(tokens[key])}”", at=key,
                share=quantities.share(float(share[key])), own=quantities.share(float(share[row])),
            )
        )  # fmt: skip
    if said is not None:
        best = said.ids[:, row, 0]
        since = (
            int((best != best[-1]).nonzero().max()) + 1 if bool((best != best[-1]).any()) else 0
        )
        parts.append(
            t(
                "models.lens.says.first" if since == 0 else "models.lens.says",
                new=f"“{isolated(found.model.token(int(best[-1])))}”",
                place=t("models.layer", layer=said.names[since]),
                share=quantities.share(float(said.probabilities[-1, row, 0])),
            )
        )
    return t("sentence.join").join(parts)
