"""Texts and the models that read them, through the desk, shared by everyone."""

import engine
from engine.models import Model, Trace, embedded
from engine.sources import samples
from engine.spec.picture import Spec
from pages.ui.server.desk import Report
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import contents
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import t


def model(name: str) -> Model:
    """A loaded model, shared by everyone."""
    folder = embedded.folder_of(name)
    return obtain(
        f"model:{name}",
        t("gate.loading", model=model_name(name)),
        lambda report: engine.models.load(folder),
        lambda made: sum(p.numel() * p.element_size() for p in made.net.parameters()),
    )


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


def reading(spec: Spec) -> Trace:
    """What a model made of the text."""
    text = text_of(spec)
    reader = model(spec.model)

    def work(report: Report) -> Trace:
        return reader.read(
            text, characters=spec.by == "characters",
            on_layer=lambda done: report(done / max(1, reader.layers)),
        )  # fmt: skip

    return obtain(
        f"read:{spec.reading_key()}",
        t("gate.reading", model=model_name(spec.model)),
        work,
        lambda made: len(made.tokens) * reader.bytes_per_token,
    )
