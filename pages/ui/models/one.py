"""One head of the model large: its map, and lines from tokens to those that they look at."""

from collections.abc import Sequence

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from engine.measure.attention import Attention
from engine.models.overview import heads_of
from engine.models.trace import Side
from engine.structure.edges import lines, within
from engine.structure.values import ByValue, lengths
from engine.text import quantities
from engine.text.tokens import isolated, joined, runs_on
from pages.ui.components.edges import token_lines
from pages.ui.components.heatmap import heatmap
from pages.ui.models.fields import LAYOUTS, MODELS, numbers_in, spelt
from pages.ui.models.heads import best
from pages.ui.models.shown import Shown
from pages.ui.server.waiting import Trouble
from pages.ui.shared.strings import keyed, t
from pages.ui.shared.terms import say
from pages.ui.url import linked
from pages.ui.url.linked import follow

MOST = 6  # heads between which lines are told apart
WINDOW = 160  # tokens of a side that lines run between
LEAST = 0.02  # weight of a line that is drawn
TALL, FLAT = 400, 400  # px of the pictures, side by side and one under the other

Head = tuple[int, int]


def draw(found: Shown, bar: DeltaGenerator) -> None:
    """The head and those beside it, its map, the lines, and what the chosen query looks at."""
    heads = chosen(found)
    (layer, head) = heads[0]
    queries, keys = found.trace.queries(layer), found.trace.keys(layer)
    choosing(found, bar, heads)
    default = LAYOUTS[runs_on(queries.coded.text)]
    with st.container(key="toolbar-lines", horizontal=True, vertical_alignment="center"):
        beside(found, heads)
        layout = linked.segments(
            MODELS, "layout", t("models.layout"), lambda one: t(f"models.layout.{one}"), default,
            label_visibility="collapsed", width="content",
        )  # fmt: skip
        linked.toggle(MODELS, "by-words", t("models.by_words"))
        linked.toggle(MODELS, "aside", t("models.aside"), help=t("models.aside.help"))
        linked.toggle(MODELS, "by-value", t("models.by_value"), help=t("models.by_value.help"))
    atts = {i: attention(found, i) for i in {i for i, _ in heads}}
    att = atts[layer]
    row = MODELS["row"]
    if row is None or row >= att.frame.n:
        row = sharpest_row(att, head)
    if layout == "down":
        left, right = st.columns([3, 2], gap="large")
        with left:
            the_map(found, att, layer, head, row, queries, TALL)
        with right:
            the_lines(found, atts, heads, queries, keys, row, layout)
    else:
        the_lines(found, atts, heads, queries, keys, row, layout)
        the_map(found, att, layer, head, row, queries, FLAT)
    with st.container(key="sentence"):
        say(sentence(found, att, layer, head, row, queries, keys))
    if found.opens(layer):
        st.button(
            t("models.one.explore"), key="models-one-explore", type="tertiary",
            on_click=found.leave, args=(layer, head),
        )  # fmt: skip
    with st.container(key="caption"):
        st.text(t("models.one.caption", least=quantities.share(LEAST)))


def chosen(found: Shown) -> list[Head]:
    """The heads that are shown, the first one large; all of the first one's part of the model."""
    sizes = [layer.heads for layer in found.layers]
    some = [(i, h) for i, h in numbers_in(MODELS["heads"]) if i < len(sizes) and h < sizes[i]]
    if not some:
        known = heads_of(found.layers)
        first = best(known, "induction") or best(known, "previous")
        some = [(first.layer, first.head) if first else (0, 0)]
    part = found.trace.parts[some[0][0]]
    return [(i, h) for i, h in some if found.trace.parts[i] == part][:MOST]


def attention(found: Shown, layer: int) -> Attention:
    """A layer's attention, weighed by its values and without the first token, where that is asked.

    Raises:
        Refusal: its values can't be weighed.
    """
    att = found.trace.attention(layer)
    if MODELS["by-value"]:
        if att.row_kind == "signed":
            raise Trouble(t("models.by_value.signed"))
        att = ByValue(att, lengths(found.trace.layer(layer)))
    return att.hide(torch.tensor([0])) if MODELS["aside"] else att


def every(found: Shown) -> list[Head]:
    """All heads there are."""
    return [(i, h) for i, layer in enumerate(found.layers) for h in range(layer.heads)]


def choosing(found: Shown, bar: DeltaGenerator, heads: Sequence[Head]) -> None:
    """The head that is large."""
    follow(keyed("models-one"), heads[0])

    def picked() -> None:
        MODELS.choose("heads", spelt([st.session_state[keyed("models-one")]]))

    with bar:
        st.selectbox(
            t("models.off.head"), every(found), key=keyed("models-one"), width=215,
            on_change=picked,
            format_func=lambda one: found.head_name(*one), label_visibility="collapsed",
        )  # fmt: skip


def beside(found: Shown, heads: Sequence[Head]) -> None:
    """Other heads whose lines are drawn, too."""
    part = found.trace.parts[heads[0][0]]
    others = [x for x in every(found) if x != heads[0] and found.trace.parts[x[0]] == part]
    follow(keyed("models-beside"), list(heads[1:]))
    st.multiselect(
        t("models.beside"), others, key=keyed("models-beside"), max_selections=MOST - 1, width=160,
        format_func=lambda one: found.head_name(*one), placeholder=t("models.beside.hint"),
        label_visibility="collapsed",
        on_change=lambda: MODELS.choose(
            "heads", spelt([heads[0], *st.session_state[keyed("models-beside")]])
        ),
    )  # fmt: skip


def sharpest_row(att: Attention, head: int) -> int:
    """The row whose largest weight stands out most from an even share, the first tokens aside."""
    stats = att.rows()
    value = stats.max_weight[head] - 1 / stats.visible[head].clamp_min(1)
    value[stats.argmax[head] == 0] -= 1
    return int(value.argmax())


def the_map(
    found: Shown, att: Attention, layer: int, head: int, row: int, queries: Side, height: int
) -> None:
    """The head's map."""
    ways = [MODELS[one] for one in ("aside", "by-value")]
    heatmap(
        "models-map", att, t, name=f"{found.spec.reading_key()}:{layer}:{ways}",
        queries=queries.tokens, head=head, query=row, height=height,
        on_query=lambda one: MODELS.choose("row", one),
    )  # fmt: skip


def the_lines(
    found: Shown,
    atts: dict[int, Attention],
    heads: Sequence[Head],
    queries: Side,
    keys: Side,
    row: int,
    layout: str,
) -> None:
    """The lines of a stretch of the text."""
    n, m = len(queries.tokens), len(keys.tokens)
    start = 0
    if n > WINDOW:
        start = linked.slider(MODELS, "from-token", t("models.from_token"), n - WINDOW, width=320)
    first = start if n == m else round(start * max(0, m - WINDOW) / max(1, n - WINDOW))
    level = "words" if MODELS["by-words"] else "tokens"
    at = within(pieces(queries, level), start, start + WINDOW)
    to = within(pieces(keys, level), first, first + WINDOW)
    made = [lines(atts[i], h, at, to, LEAST) for i, h in heads]
    chosen = None
    if at[0, 0] <= row < at[-1, 1]:
        chosen = int(torch.searchsorted(at[:, 0].contiguous(), row, right=True)) - 1
    token_lines(
        "models-lines", named(queries, at), named(keys, to),
        [found.head_name(*one) for one in heads], made, t,
        layout="across" if layout == "across" else "down", chosen=chosen, height=TALL,
        note=t("models.one.drawn", share=quantities.share(made[0].drawn)),
        on_choose=lambda one: MODELS.choose("row", int(at[one, 0])),
    )  # fmt: skip


def pieces(side: Side, level: str) -> torch.Tensor:
    """Spans of a text's tokens, or of its words."""
    if level == "words":
        return side.units["words"].cpu()
    at = torch.arange(len(side.tokens))
    return torch.stack([at, at + 1], 1)


def named(side: Side, spans: torch.Tensor) -> list[str]:
    """What the pieces are called."""
    return [side.tokens[a] if b == a + 1 else joined(side.tokens[a:b]) for a, b in spans.tolist()]


def sentence(
    found: Shown, att: Attention, layer: int, head: int, row: int, queries: Side, keys: Side
) -> str:
    """What the chosen query looks at, and what was set aside; of a pair, how the texts look at
    each other."""
    at = torch.tensor([row])
    weights, stats = att.weights(at)[head, 0].float().cpu(), att.rows(at)
    top = weights.abs().topk(min(2, len(weights))).indices.tolist()
    facts = {
        "head": found.head_name(layer, head), "query": f"“{isolated(queries.tokens[row])}”",
        "row": row, "effective": float(stats.effective_tokens[head, 0]),
    }  # fmt: skip
    ends = [
        t(
            "models.one.end",
            key=f"“{isolated(keys.tokens[k])}”", at=k, share=quantities.share(float(weights[k])),
        )
        for k in top
        if weights[k] > 0
    ]  # fmt: skip
    kind = "signed" if att.row_kind == "signed" else "row"
    parts = [t(f"models.one.says.{kind}", ends=t("models.one.join").join(ends), **facts)]
    gone = float(att.removed(at)[head, 0])
    if gone > 0:
        parts.append(t("models.one.says.aside", share=quantities.share(gone)))
    if (types := found.trace.segments) and found.spec.second:
        parts.append(across_texts(att, head, torch.tensor(types)))
    return t("sentence.join").join(parts)


def across_texts(att: Attention, head: int, types: torch.Tensor) -> str:
    """Of each text of a pair, what it gives to the other."""
    mass = att.group(types)[head].float().cpu()
    shares = [quantities.share(float(mass[types == a][:, b].mean())) for a, b in ((0, 1), (1, 0))]
    return t("models.one.says.pair", first=shares[0], second=shares[1])
