"""What the Explore page says of a scene: the row's sentence, and where Q, K and V came from."""

import streamlit as st

from engine.mechanisms import MECHANISMS
from engine.mechanisms.softmax import Softmax
from engine.store import taken
from engine.structure.highlights import Look
from engine.talks.words import sentence as row_sentence
from engine.text.tokens import excerpt, isolated, shown
from pages.ui.explore import vision
from pages.ui.explore.scene import Scene, opened
from pages.ui.shared import about, contents
from pages.ui.shared.deeds import told
from pages.ui.shared.settings import model_name, settings, trained_settings
from pages.ui.shared.strings import spoken, t
from pages.ui.shared.terms import say

CHOSEN = ("layout", "sample")  # parameters of sources whose values are words


def called(scene: Scene, position: int, role: str) -> str:
    """A token in a sentence, by its position where tokens have no names."""
    grid = scene.attention.frame.grid
    if grid is not None and grid.place[position, 0] >= 0:
        return vision.name(grid, position, role)
    tokens = scene.attention.frame.tokens
    if not tokens:
        return t(f"sentence.{role}_unnamed", position=position)
    return t(f"sentence.{role}", token=f"“{isolated(tokens[position])}”", position=position)


def asked(scene: Scene) -> str:
    """The chosen query in a sentence."""
    att = scene.attention.frame
    return called(scene, scene.query + max(0, att.m - att.n), "query")


def provenance(scene: Scene) -> str:
    """Where Q, K and V came from, in words."""
    spec = scene.spec
    if spec.textual:
        name = scene.layer_names.get(scene.layer or 0, "")
        return t("badge.model", model=model_name(spec.model), layer=name)
    if spec.source == "arrays":
        kept = contents.get(spec.content)
        return t("badge.arrays", name=shown(kept[1]) if kept else t("source.arrays.name"))
    stem = f"source.{spec.source}"
    values = [
        f"{t(f'{stem}.param.{k}')} {t(f'{stem}.param.{k}.{v}') if k in CHOSEN else _plain(v)}"
        for k, v in spec.source_params
        if k != "upload"
    ]
    return " · ".join([t(f"{stem}.name"), *values])


def _plain(value: int | float | bool | str) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def badge(scene: Scene) -> None:
    """Where Q, K and V came from, and what about them is not the model's own."""
    att, spec = scene.attention, scene.spec
    words = t(
        "badge.text", source=provenance(scene), dtype=scene.dtype, device=att.device,
        n=att.frame.n, heads=att.frame.heads,
    )  # fmt: skip
    trained = att.frame.origin.trained_length
    notes = []
    if trained:
        words += " · " + t("badge.trained", trained=trained)
        if att.frame.m > trained:
            notes.append(t("badge.beyond", trained=trained))
    if scene.total_tokens and scene.total_tokens > att.frame.m:
        cut = "badge.cut_about" if scene.about else "badge.cut"
        notes.append(t(cut, total=scene.total_tokens, kept=att.frame.m))
    if spec.source == "arrays":
        notes += [t("badge.note", note=spoken(note)) for note in opened(spec).notes]
    if scene.weights_only:
        notes.append(t("explore.weights_only"))
    if spec.textual and spec.by == "characters":
        notes.append(t("badge.characters"))
    notes += learnt(scene)
    if not MECHANISMS[spec.mechanism].causal_ok and spec.textual:
        notes.append(t("badge.both_only", mechanism=t(f"mechanism.{spec.mechanism}.name")))
    elif spec.sight == "both":
        notes.append(t("badge.both"))
    if spec.hide:
        notes.append(t("badge.hidden", count=len(spec.hide)))
    if att.frame.m == 1:
        notes.append(t("badge.one"))
    with st.container(key="badge", gap=None):
        st.text(words)
        for note in notes:
            st.text(note)


def taken_away(scene: Scene) -> about.About:
    """What a figure of a scene says of itself when it is saved: the text, the model, its layer and
    head, the mechanism with its parameters, what was set aside."""
    spec, frame, made = scene.spec, scene.attention.frame, scene.mechanism
    parts = [provenance(scene)]
    parts.append(t("taking.heads") if spec.head == "all" else t("head.name", head=scene.head))
    words = []
    if frame.tokens:
        words.append(f"“{excerpt(frame.tokens)}”")
    if made is not None:
        own = settings(made)
        parts.append(t(f"mechanism.{made.key}.name") + (f" ({own})" if own else ""))
    if spec.hide:
        parts.append(t("talk.hidden", count=len(spec.hide)))
    layer = "" if scene.layer is None else f"layer {scene.layer}"
    head = "heads" if spec.head == "all" else f"head {scene.head}"
    source = spec.model if scene.model else spec.source
    file = taken.name(source, layer, head, made.key if made else "weights")
    return about.About([*words, " · ".join(parts)], file)


def learnt(scene: Scene) -> list[str]:
    """Whether the model was trained with this mechanism, with which if not; nothing of full
    attention in a model that has it."""
    own, spec = scene.own, scene.spec
    if own is None or spec.mechanism == own.key == Softmax.key:
        return []
    facts = {"mechanism": t(f"mechanism.{spec.mechanism}.name")}
    if own.key == Softmax.key:
        return [t("badge.applied", **facts)]
    settings = trained_settings(own)
    facts["settings"] = t("trained.brackets", settings=settings) if settings else ""
    if scene.trained:
        return [t("badge.own", **facts)]
    return [t("badge.applied_to", own=t(f"mechanism.{own.key}.name"), **facts)]


def deed(scene: Scene) -> str:
    """What the mechanism did on the chosen row, in plain words."""
    if scene.deed is None or scene.mechanism is None:
        return ""
    behind = max(0, scene.attention.frame.m - scene.attention.frame.n)
    return told(
        scene.deed, scene.mechanism, scene.set_against(), scene.query + behind,
        lambda key: called(scene, key, "query"),
    )  # fmt: skip


def sentence(scene: Scene, seen: Look) -> None:
    """What the chosen row does, with its numbers."""
    att, removed = scene.attention, None
    if att.hidden_keys is not None:
        removed = float(att.removed(slice(scene.query, scene.query + 1))[scene.head])
    words = row_sentence(
        seen, scene.query + max(0, att.frame.m - att.frame.n), att.row_kind,
        lambda position, role: called(scene, position, role), t,
        patches=att.frame.grid is not None, removed=removed,
    )  # fmt: skip
    words = t("sentence.join").join(filter(None, (deed(scene), words)))
    with st.container(key="sentence"):
        say(words)
