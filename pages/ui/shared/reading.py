"""Texts and the models that read them, through the desk, shared by everyone."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Protocol, TypeVar, get_args

import streamlit as st
from torch import nn

import engine
from engine.models import Model, ModelError, Trace, embedded, vision
from engine.models.facts import Facts, arrived, describe, free_memory
from engine.models.loading import Step
from engine.models.view import Pixels, View
from engine.models.vision import Viewer
from engine.runtime.public import public
from engine.sources import SOURCES, Identical, Image, Planted, samples
from engine.sources.drawings import DRAWINGS
from engine.spec.picture import DEFAULT, Spec
from engine.text import quantities
from pages.ui.server.desk import DESK, POLL, Report
from pages.ui.server.waiting import LARGE, Trouble, obtain
from pages.ui.shared import contents
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import t

STEPS = get_args(Step)
LONGEST = 32_768  # tokens of a text, for a model that reads any number
ACCEPTED = "models-accepted"  # the one that may be fetched, or is large


class Left(Exception):
    """Nobody waits for the model any longer."""


def key_of(name: str) -> str:
    """What a loaded model is kept by."""
    return f"model:{name}"


def facts_of(name: str) -> Facts:
    """What its files, or the hub, say of a model; asked once a session.

    Raises:
        ModelError: there is no such model, or it isn't read here.
    """
    kept = st.session_state.setdefault("models-facts", {})
    if name not in kept:
        kept[name] = describe(embedded.folder_of(name))
    return kept[name]


def _asked(name: str) -> Facts:
    """What is known of a model, once it may be opened: one that has to be fetched, or is large,
    when the person says so.

    Raises:
        Refusal: there is no such model, or strangers may not have it fetched.
    """
    facts = facts_of(name)
    if facts.place == "hub" and public():
        raise ModelError(
            "this server reads only the models in its list: choose one of those under “Model”"
        )
    free = free_memory()
    much = facts.memory is None or facts.memory > LARGE or (free and facts.memory > free)
    if (facts.place == "hub" or much) and not public() and st.session_state.get(ACCEPTED) != name:
        words = [t(f"models.ask.{facts.place}", size=quantities.memory(facts.bytes))]
        if facts.memory and free and facts.memory > free:
            words.append(t("models.ask.memory", free=quantities.memory(free)))
        with st.container(key="trouble-model"):
            st.text(t("sentence.join").join(words))
        st.button(
            t(f"models.open.{facts.place}"), type="primary",
            on_click=st.session_state.update, args=({ACCEPTED: name},),
        )  # fmt: skip
        st.stop()
    return facts


def model(name: str) -> Model:
    """A loaded model that can be read, shared by everyone. Raises as `_opened`."""

    def load(folder: str, on_step: Callable[[Step], None]) -> Model:
        made = engine.models.load(folder, on_step=on_step)
        on_step("proof")
        assert made.proof
        return made

    return _opened(name, key_of(name), load)


def viewer(name: str) -> Viewer:
    """A loaded image encoder, shared by everyone. Raises as `_opened`."""
    return _opened(name, f"viewer:{name}", vision.load)


class Net(Protocol):
    """What has weights."""

    net: nn.Module


T = TypeVar("T", bound=Net)


def _opened(name: str, key: str, load: Callable[..., T]) -> T:
    """What `load` makes of a name, once a server.

    It is opened in a thread of its own: whoever stops waiting leaves at once, and the thread ends
    with the step that it is at. One that has to be fetched, or is large, is asked about first.

    Raises:
        Refusal: there is no such model, or it isn't read here. Trouble: it can't be opened.
    """
    folder, named = embedded.folder_of(name), model_name(name)
    if (kept := DESK.kept.get(key)) is not None:
        return kept
    facts = _asked(name)
    hub = facts.name if facts.place == "hub" else ""

    def words(share: float) -> str:
        step = STEPS[round(share * len(STEPS))]
        if step == "files" and hub:
            return t("gate.fetching", model=named, done=quantities.memory(arrived(hub)))
        return t(f"gate.opening.{step}", model=named)

    def work(report: Report) -> T:
        step, left = STEPS[0], threading.Event()

        def begun(now: Step) -> None:
            nonlocal step
            if left.is_set():
                raise Left
            step = now

        threads = ThreadPoolExecutor(1, "opening")
        opening = threads.submit(load, folder, on_step=begun)
        threads.shutdown(wait=False)
        try:
            while not wait([opening], POLL).done:
                report(STEPS.index(step) / len(STEPS))
        finally:
            left.set()
        return opening.result()

    return obtain(
        key, words, work,
        lambda made: sum(p.numel() * p.element_size() for p in made.net.parameters()),
        0 if public() else facts.memory or facts.bytes, "model",
    )  # fmt: skip


def source_of(spec: Spec) -> Planted | Identical | Image:
    """The generated source that is chosen, an upload in it.

    Raises:
        Trouble: the upload is no longer here.
    """
    source = SOURCES[spec.source](**spec.source_arguments())
    if isinstance(source, Image) and source.upload:
        kept = contents.get(source.upload)
        if kept is None or not isinstance(kept[0], bytes):
            raise Trouble(t("error.gone"))
        return replace(source, data=kept[0])
    return source


def image_of(spec: Spec) -> Image:
    """The image that is chosen. Raises as `source_of`."""
    source = source_of(spec)
    assert isinstance(source, Image)
    return source


def viewing(spec: Spec) -> View:
    """What the encoder that is chosen made of the image. Raises as `source_of` and `viewer`."""
    image, reader = image_of(spec), viewer(spec.encoder)
    return obtain(
        f"view:{spec.reading_key()}", t("gate.viewing", model=model_name(spec.encoder)),
        lambda report: reader.view(
            image.pixels, on_layer=lambda done: report(done / reader.layers)
        ),
        lambda made: made.bytes,
    )  # fmt: skip


def text_of(spec: Spec) -> str:
    """The text that is read.

    Raises:
        Trouble: there is none, or it is no longer here.
    """
    if spec.source == "sample":
        return samples.text(spec.content)
    if spec.source == "text":
        if not spec.content.strip():
            raise Trouble(t("error.empty"))
        return spec.content
    kept = contents.get(spec.content)
    if kept is None or not isinstance(kept[0], str):
        raise Trouble(t("error.gone"))
    return kept[0]


def picture_of(spec: Spec) -> Pixels | None:
    """The image that the model reads beside the text.

    Raises:
        Trouble: it is no longer here.
    """
    if not spec.picture:
        return None
    key = "sample" if spec.picture in DRAWINGS else "upload"
    return image_of(DEFAULT.replace(source="image", source_params=((key, spec.picture),))).pixels


def reading(spec: Spec, most: int | None = None) -> Trace:
    """What a model made of the text, and of the second one where it reads two: a decoder writes
    the first again where none is given.

    Args:
        most: tokens that are read at most; as many as the model reads, or LONGEST, if None.
    """
    text, image = text_of(spec), picture_of(spec)
    reader = model(spec.model)
    if most is None and reader.context is None:
        most = LONGEST
    second = spec.second if reader.second else ""
    if reader.second == "decoder" and not second:
        second = text
    size = len(text.encode("utf-8", "replace")) + len(second.encode("utf-8", "replace"))
    whole = most is None or (image is None and size < most)

    def work(report: Report) -> Trace:
        return reader.read(
            text, None if whole else most, characters=spec.by == "characters",
            on_layer=lambda done: report(done / max(1, reader.layers)),
            second=second or None, image=image,
        )  # fmt: skip

    return obtain(
        f"read:{spec.reading_key()}:{None if whole else most}",
        t("gate.reading", model=model_name(spec.model)),
        work,
        lambda made: len(made.tokens) * reader.bytes_per_token,
    )
