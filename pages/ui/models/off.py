"""Heads switched off, looks cut, tokens hidden: what the model predicts before and after."""

import html
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.models import Trace
from engine.models.finder import Head
from engine.models.intervene import Changes, Effect, changeable, effect
from engine.models.overview import heads_of
from engine.spec.picture import digest
from engine.text import quantities
from engine.text.tokens import isolated, shortened, shown
from pages.ui.components.tokens import token_text
from pages.ui.models.fields import MODELS, NONE, numbers_in, spelt
from pages.ui.models.heads import best, mosaic
from pages.ui.models.shown import Shown
from pages.ui.server.desk import Report
from pages.ui.server.waiting import obtain
from pages.ui.shared.strings import keyed, t
from pages.ui.shared.terms import say
from pages.ui.url import state
from pages.ui.url.linked import follow

LINES = 6  # predictions in the table


def draw(found: Shown, bar: DeltaGenerator) -> None:
    """What is off, the heads, the text and the predictions."""
    trace = found.fitting
    changeable(trace, found.model)
    if found.model.fills and not found.model.predicts and not trace.masked:
        masking(found, trace)
        return
    changes = chosen(found, trace)
    what_is_off(found, trace, changes)
    made = computed(found, trace, changes)
    left, right = st.columns([1, 1], gap="large")
    with right:
        i = the_text(found, trace, made)
        predictions(table(found, made, i), t("models.off.token"))
    with left:
        st.text(t("models.off.click"))
        mosaic(found, "models-off-picture", lambda *head: toggle(changes, head), off=changes.heads)
        with st.container(key="sentence"):
            say(sentence(found, trace, changes, made, i))
        with st.container(key="caption"):
            st.text(t("models.off.caption"))


def chosen(found: Shown, trace: Trace) -> Changes:
    """What is chosen of it that this model and this text have; by default the head that finds how
    a repeated text goes on."""
    sizes = [layer.heads for layer in found.layers]

    def there(layer: int, head: int) -> bool:
        return layer < len(sizes) and head < sizes[layer]

    off = numbers_in(MODELS["off"])
    if MODELS["off"] is None and not MODELS["cut"] and not MODELS["hidden"]:
        heads = heads_of(found.layers)
        first: Head | None = best(heads, "induction") or best(heads, "previous")
        off = [(first.layer, first.head)] if first else []
    edges = [
        (i, h, q, k)
        for i, h, q, k in numbers_in(MODELS["cut"])
        if there(i, h) and q < len(trace.queries(i).tokens) and k < len(trace.keys(i).tokens)
    ]
    hidden = [k for (k,) in numbers_in(MODELS["hidden"]) if k < len(trace.tokens)]
    heads_off = frozenset((i, h) for i, h in off if there(i, h))
    return Changes(heads_off, frozenset(edges), frozenset(hidden))


def put(heads: Sequence[tuple[int, int]]) -> None:
    """Choose which heads are off."""
    MODELS.choose("off", spelt(sorted(heads)) or NONE)


def toggle(changes: Changes, head: tuple[int, int]) -> None:
    """A head on, or off."""
    put(list(changes.heads ^ {head}))


def what_is_off(found: Shown, trace: Trace, changes: Changes) -> None:
    """The lists: heads; in a fold, looks and tokens."""
    every = [(i, h) for i, layer in enumerate(found.layers) for h in range(layer.heads)]
    follow(keyed("models-off-heads"), sorted(changes.heads))
    left, right = st.columns([1, 1], gap="large", vertical_alignment="bottom")
    with left:
        st.multiselect(
            t("models.off.heads"), every, key=keyed("models-off-heads"),
            format_func=lambda head: found.head_name(*head),
            on_change=lambda: put(st.session_state[keyed("models-off-heads")]),
        )  # fmt: skip
    with right, st.expander(t("models.off.more"), expanded=bool(changes.edges or changes.hidden)):
        named = lambda i: f"{i} · {shortened(trace.tokens[i])}"  # noqa: E731
        tokens = of_text(found, "models-off-tokens")
        follow(tokens, sorted(changes.hidden))
        st.multiselect(
            t("models.off.tokens"), range(len(trace.tokens)), key=tokens, format_func=named,
            on_change=lambda: MODELS.choose(
                "hidden", spelt([k] for k in st.session_state[tokens])
            ),
        )  # fmt: skip
        cutting(found, trace, changes, every)


def of_text(found: Shown, key: str) -> str:
    """The key of a list of tokens, which are those of one text."""
    return f"{key}.{digest(found.spec.reading_key())}"


def cutting(
    found: Shown, trace: Trace, changes: Changes, every: Sequence[tuple[int, int]]
) -> None:
    """One look of one head, from a query to a key; and those that are cut."""
    edges = sorted(changes.edges)

    def edge_name(edge: tuple[int, int, int, int]) -> str:
        i, h, q, k = edge
        query, key = trace.queries(i).tokens[q], trace.keys(i).tokens[k]
        return t(
            "models.off.edge", head=found.head_name(i, h), query=f"{q} {shortened(query)}",
            key=f"{k} {shortened(key)}",
        )  # fmt: skip

    with st.container(horizontal=True, vertical_alignment="bottom"):
        head = st.selectbox(
            t("models.off.head"), every, key=keyed("models-cut-head"), width=170,
            format_func=lambda head: found.head_name(*head),
        )  # fmt: skip
        queries, keys = trace.queries(head[0]).tokens, trace.keys(head[0]).tokens
        query = st.selectbox(
            t("models.off.query"), range(len(queries)), width=120,
            key=of_text(found, "models-cut-query"), index=len(queries) - 1,
            format_func=lambda i: f"{i} · {shortened(queries[i])}",
        )  # fmt: skip
        key = st.selectbox(
            t("models.off.key"), range(len(keys)), key=of_text(found, "models-cut-key"), width=120,
            format_func=lambda i: f"{i} · {shortened(keys[i])}",
        )  # fmt: skip
        st.button(
            t("models.off.cut"), key="models-cut", on_click=lambda: MODELS.choose(
                "cut", spelt({*edges, (*head, query, key)})
            ),
        )  # fmt: skip
    if edges:
        cut = keyed("models-cut-edges")
        follow(cut, edges)
        st.multiselect(
            t("models.off.edges"), edges, key=cut, format_func=edge_name,
            on_change=lambda: MODELS.choose("cut", spelt(st.session_state[cut])),
        )  # fmt: skip


def computed(found: Shown, trace: Trace, changes: Changes) -> Effect:
    """The two passes, once a server."""
    off = (sorted(changes.heads), sorted(changes.edges), sorted(changes.hidden))

    def work(report: Report) -> Effect:
        return effect(trace, found.model, changes, on_pass=lambda done: report(done / 2))

    return obtain(
        f"effect:{found.spec.reading_key()}:{len(trace.tokens)}:{off}", t("gate.effect"), work,
        lambda made: 12 * made.ids.numel(), needs=found.logits_bytes(trace),
    )  # fmt: skip


def the_text(found: Shown, trace: Trace, made: Effect) -> int:
    """The text, tinted by how much the prediction moves; a click chooses where it is told. The
    place that is chosen."""
    tokens = (trace.written or trace.read).tokens
    places = made.places.tolist()
    weights = [0.0] * len(tokens)
    for place, moved in zip(places, made.divergence.tolist(), strict=True):
        weights[place] = moved
    at = MODELS["at"]
    i = places.index(at) if at in places else int(made.divergence.argmax())

    def picked(token: int) -> None:
        if token in places:
            MODELS.choose("at", token)

    st.text(t("models.off.text"))
    token_text(
        "models-text", tokens, weights, t, chosen=places[i], height=170, size=0.95,
        place="moved", on_choose=picked,
    )  # fmt: skip
    return i


def predictions(lines: Sequence[tuple[str, float, float]], title: str) -> None:
    """The most probable tokens before and after, side by side; `title` says of what place."""
    rows = []
    for token, before, after in lines:
        points = f"{100 * (after - before):+.1f}".replace("-", "−")
        rows.append(
            f"<tr><th>{html.escape(token)}</th><td>{quantities.share(before)}</td>"
            f"<td>{quantities.share(after)}</td><td>{points}</td></tr>"
        )
    names = (title, *(t(f"models.off.{name}") for name in ("before", "after", "change")))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    st.html(
        f'<table class="figures predictions"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def table(found: Shown, made: Effect, i: int) -> list[tuple[str, float, float]]:
    """Tokens with their probabilities before and after, the largest first."""
    each = {
        token: (before, after)
        for token, before, after in zip(
            made.ids[i].tolist(), made.before[i].tolist(), made.after[i].tolist(), strict=True
        )
    }
    order = sorted(each, key=lambda token: -max(each[token]))[:LINES]
    return [(shown(found.model.token(token)), *each[token]) for token in order]


def sentence(found: Shown, trace: Trace, changes: Changes, made: Effect, i: int) -> str:
    """What is off, and what becomes of the prediction at the chosen place."""
    k = made.ids.shape[1] // 2
    ids, before, after = made.ids[i].tolist(), made.before[i].tolist(), made.after[i].tolist()
    tokens = (trace.written or trace.read).tokens
    place = int(made.places[i])
    named = [f"“{isolated(found.model.token(ids[j]))}”" for j in (0, k)]
    facts = {
        "after": f"“{isolated(tokens[place])}”", "place": place, "token": named[0],
        "new": named[1], "was": quantities.share(before[0]), "now": quantities.share(after[0]),
        "share": quantities.share(after[k]), "moved": float(made.divergence[i]),
        "mean": float(made.divergence.mean()),
    }  # fmt: skip
    kind = "same" if ids[0] == ids[k] else "other"
    where = "masked" if found.model.fills and not found.model.predicts else "next"
    parts = [off_in_words(found, changes), t(f"models.off.says.{where}.{kind}", **facts)]
    parts.append(t("models.off.says.moved", **facts))
    return t("sentence.join").join(filter(None, parts))


def off_in_words(found: Shown, changes: Changes) -> str:
    """What is off, by name where it is little."""
    heads = sorted(changes.heads)
    said = []
    if 0 < len(heads) <= 3:
        names = t("models.off.join").join(found.head_name(*head) for head in heads)
        said.append(t("models.off.says.heads", names=names))
    elif heads:
        said.append(t("models.off.says.many", count=len(heads)))
    if changes.edges:
        said.append(t("models.off.says.edges", count=len(changes.edges)))
    if changes.hidden:
        said.append(t("models.off.says.hidden", count=len(changes.hidden)))
    return t("sentence.join").join(said) or t("models.off.says.nothing")


def masking(found: Shown, trace: Trace) -> None:
    """A model that fills masked tokens, and a text without any: a click masks one."""

    def mask(token: int) -> None:
        start, end = trace.offsets[token].tolist()
        text = trace.text
        if start == end:
            return
        room = text[start:end]
        lead = room[: len(room) - len(room.lstrip())]
        state.put(state.spec().with_text(text[:start] + lead + str(found.model.mask) + text[end:]))

    st.text(t("models.off.mask"))
    token_text("models-mask", trace.tokens, [0.0] * len(trace.tokens), t, on_choose=mask)
