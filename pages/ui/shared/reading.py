"""Texts and the models that read them, through the desk, shared by everyone."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import get_args

import engine
from engine.models import Model, Trace, embedded
from engine.models.facts import arrived
from engine.models.loading import Step
from engine.sources import samples
from engine.spec.picture import Spec
from engine.text import quantities
from pages.ui.server.desk import POLL, Report
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import contents
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import t

STEPS = get_args(Step)


class Left(Exception):
    """Nobody waits for the model any longer."""


def key_of(name: str) -> str:
    """What a loaded model is kept by."""
    return f"model:{name}"


def model(name: str, needs: int = 0, hub: str = "") -> Model:
    """A loaded model, shared by everyone.

    It is opened in a thread of its own: whoever stops waiting leaves at once, and the thread ends
    with the step that it is at.

    Args:
        needs: bytes of memory that it takes. hub: its name there, if it has to be fetched.
    """
    folder, named = embedded.folder_of(name), model_name(name)

    def words(share: float) -> str:
        step = STEPS[round(share * len(STEPS))]
        if step == "files" and hub:
            return t("gate.fetching", model=named, done=quantities.memory(arrived(hub)))
        return t(f"gate.opening.{step}", model=named)

    def work(report: Report) -> Model:
        step, left = STEPS[0], threading.Event()

        def begun(now: Step) -> None:
            nonlocal step
            if left.is_set():
                raise Left
            step = now

        threads = ThreadPoolExecutor(1, "opening")
        opening = threads.submit(engine.models.load, folder, on_step=begun)
        threads.shutdown(wait=False)
        try:
            while not wait([opening], POLL).done:
                report(STEPS.index(step) / len(STEPS))
        finally:
            left.set()
        return opening.result()

    return obtain(
        key_of(name), words, work,
        lambda made: sum(p.numel() * p.element_size() for p in made.net.parameters()),
        needs, "model",
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


def reading(spec: Spec, most: int | None = None) -> Trace:
    """What a model made of the text, and of the second one where it reads two: a decoder writes
    the first again where none is given.

    Args:
        most: tokens that are read at most.
    """
    text = text_of(spec)
    reader = model(spec.model)
    second = spec.second if reader.second else ""
    if reader.second == "decoder" and not second:
        second = text
    size = len(text.encode("utf-8", "replace")) + len(second.encode("utf-8", "replace"))
    whole = most is None or size < most

    def work(report: Report) -> Trace:
        return reader.read(
            text, None if whole else most, characters=spec.by == "characters",
            on_layer=lambda done: report(done / max(1, reader.layers)),
            second=second or None,
        )  # fmt: skip

    return obtain(
        f"read:{spec.reading_key()}:{None if whole else most}",
        t("gate.reading", model=model_name(spec.model)),
        work,
        lambda made: len(made.tokens) * reader.bytes_per_token,
    )
