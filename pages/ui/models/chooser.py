"""Which model reads: those of the project, recent ones, those of the hub's cache, any by name."""

from collections.abc import Sequence

import streamlit as st

from engine.models import embedded
from engine.models.facts import Facts, describe, free_memory, in_cache
from engine.text import quantities
from pages.ui.models.fields import MODELS
from pages.ui.models.shown import Shown
from pages.ui.server.desk import DESK
from pages.ui.server.waiting import LARGE
from pages.ui.shared import intake
from pages.ui.shared.reading import key_of, model
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import language, spoken, t
from pages.ui.url import linked, state
from pages.ui.url.linked import follow

RECENT = "models-recent"
ACCEPTED = "models-accepted"
OURS = "MIT"  # the project's own licence
MOST = 8  # recent ones that are kept


def choose() -> None:
    """Where models are looked for, and the list of those that are there."""
    name = state.spec().model
    project, cached = [embedded.EMBEDDED, *embedded.trained()], in_cache()
    recent = st.session_state.get(RECENT, [])
    suits = "project" if name in project else "cache" if name in cached else "name"
    with st.container(key="models-choose", horizontal=True, vertical_alignment="center"):
        place = linked.segments(
            MODELS, "from", t("models.from"), lambda where: t(f"models.from.{where}"),
            default=suits, width="content", label_visibility="collapsed",
        )  # fmt: skip
        if place == "name":
            _by_name(name, suits == "name")
        elif place == "project":
            _among(place, project, name, lambda one: model_name(one, "model.zoo.short"))
        elif place == "recent":
            _among(place, recent, name, model_name)
        else:
            _among(place, list(cached), name, lambda one: _sized(one, cached[one]))


def _sized(name: str, size: int) -> str:
    return f"{name} · {quantities.memory(size)}"


def _among(place: str, names: Sequence[str], chosen: str, words) -> None:
    """A list of models."""
    key = f"models-{place}.{language()}"
    if not names:
        st.text(t(f"models.none.{place}"))
        return
    follow(key, chosen if chosen in names else None)

    def picked() -> None:
        if name := st.session_state[key]:
            intake.read_by(name, own=True)

    st.selectbox(
        t("models.which"), names, index=0 if chosen in names else None, key=key,
        format_func=words, on_change=picked, placeholder=t("models.which.hint"), width=420,
        label_visibility="collapsed",
    )  # fmt: skip


def _by_name(chosen: str, own: bool) -> None:
    """A name on the hub, an address, or a folder."""
    key = "models-typed"
    follow(key, chosen if own else "")

    def typed() -> None:
        if name := st.session_state[key].strip().replace("\n", " ")[:400]:
            intake.read_by(name)

    st.text_input(
        t("models.typed"), key=key, on_change=typed, placeholder=t("models.typed"), width=420,
        help=t("models.typed.help"), label_visibility="collapsed",
    )  # fmt: skip


def facts_of(name: str) -> Facts:
    """What its files, or the hub, say of a model; asked once a session.

    Raises:
        ModelError: there is no such model.
    """
    kept = st.session_state.setdefault("models-facts", {})
    if name not in kept:
        kept[name] = describe(embedded.folder_of(name))
    return kept[name]


def open_or_ask(name: str, facts: Facts) -> None:
    """Open a model; one that has to be fetched, or is large, when the person says so."""
    if DESK.kept.get(key_of(name)) is None:
        free = free_memory()
        much = facts.memory is None or facts.memory > LARGE or (free and facts.memory > free)
        if (facts.place == "hub" or much) and st.session_state.get(ACCEPTED) != name:
            words = [t(f"models.ask.{facts.place}", size=quantities.memory(facts.bytes))]
            if facts.memory and free and facts.memory > free:
                words.append(t("models.ask.memory", free=quantities.memory(free)))
            with st.container(key="trouble"):
                st.text(t("sentence.join").join(words))
            st.button(
                t(f"models.open.{facts.place}"), type="primary",
                on_click=st.session_state.update, args=({ACCEPTED: name},),
            )  # fmt: skip
            st.stop()
    model(name, facts.memory or facts.bytes, facts.name if facts.place == "hub" else "")
    kept = [one for one in st.session_state.get(RECENT, []) if one != name]
    st.session_state[RECENT] = [name, *kept][:MOST]


def told(name: str, facts: Facts) -> str:
    """The model in a line: its kind, its size, the memory that it needs, its licence."""
    unknown, licence, count = t("models.unknown"), facts.licence, facts.parameters
    kind, own = facts.kind, embedded.kind_of(name)
    if name == embedded.EMBEDDED or own is not None:
        licence = licence or OURS
    if own is not None:
        kind = t(f"mechanism.{own.key}.name")
    return t(
        "models.facts", kind=kind or unknown, size=quantities.memory(facts.bytes),
        parameters=unknown if count is None else quantities.operations(count),
        memory=unknown if facts.memory is None else quantities.memory(facts.memory),
        licence=licence or unknown,
    )  # fmt: skip


def read(found: Shown) -> list[str]:
    """How the model reads: its layers, what is not seen of it, what was left out of the text."""
    net, trace = found.model, found.trace
    notes = []
    if net.key_heads < net.heads:
        notes.append(t("models.grouped", heads=net.heads, groups=net.key_heads))
    if net.second == "decoder" and not found.spec.second:
        notes.append(t("models.two_sided"))
    if trace.weights_only is not None:
        notes.append(t("models.weights_only", reason=spoken(trace.weights_only)))
    if net.unseen:
        notes.append(t("models.unseen", count=net.unseen))
    if not trace.complete:
        notes.append(t("models.cut", kept=len(trace.tokens), total=trace.total_tokens))
    return notes
