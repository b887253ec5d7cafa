"""A model and what it made of a text or an image, read once; each step goes through the desk."""

from dataclasses import dataclass
from urllib.parse import urlencode

import streamlit as st

from engine.models import Model, Trace, embedded
from engine.models.overview import Layer, overview
from engine.models.proof import vocabulary
from engine.models.view import View
from engine.spec.picture import Spec, choice
from pages.ui.models.fields import MODELS, spelt
from pages.ui.server.desk import Report
from pages.ui.server.waiting import obtain
from pages.ui.shared.reading import model, reading, viewing
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import t
from pages.ui.url import state

MOST = 1_024  # tokens that are read here: all heads are worked out
LOGITS = 2**26  # numbers of all predictions of a text that are held at once
LEAVING = "models-leaving"


@dataclass(frozen=True)
class Heads:
    """Every head of a model, on a text or an image.

    Attributes:
        trace: what the model made of it. layers: all of its heads.
    """

    spec: Spec
    trace: Trace | View
    layers: list[Layer]

    @property
    def heads(self) -> int:
        """How many heads there are in all layers."""
        return sum(layer.heads for layer in self.layers)

    def layer_name(self, layer: int) -> str:
        """What a layer is called: the model's own number, its part where there are several."""
        name = self.trace.names[layer]
        if len(set(self.trace.parts)) == 1:
            return t("models.layer", layer=name)
        return t("models.layer_of", layer=name, part=t(f"models.part.{self.trace.parts[layer]}"))

    def head_name(self, layer: int, head: int) -> str:
        """What a head is called."""
        return t("models.head", layer=self.layer_name(layer), head=head)

    def door(self, layer: int, head: int) -> Spec:
        """This head in Explore, under the model's own attention."""
        kind = embedded.kind_of(self.spec.model)
        if self.trace.weights_only is not None:
            key, params = "softmax", ()
        elif kind is not None:
            key, params = kind.key, embedded.settings(kind)
        else:
            key, params = choice(self.trace.own(layer))
        return self.spec.replace(
            layer=layer, head=head, query=None, mechanism=key, params=params, trained="same",
            zoom=None, sight="own",
        )  # fmt: skip

    def opens(self, layer: int) -> bool:
        """Whether a layer can be opened in Explore, where queries and keys are one text."""
        return self.trace.parts[layer] != "cross"

    def link(self, layer: int, head: int) -> str:
        """The address of a head in Explore."""
        return f"explore?{urlencode(state.query_params(self.door(layer, head)))}"

    def leave(self, layer: int, head: int) -> None:
        """Through the door, once the callback is over; to the page's own view of one head, where
        Explore has none."""
        if self.opens(layer):
            state.put(self.door(layer, head))
            st.session_state[LEAVING] = True
        else:
            MODELS.choose("heads", spelt([(layer, head)]))
            MODELS.choose("part", "one")


@dataclass(frozen=True)
class Shown(Heads):
    """What the page shows of a language model and a text."""

    trace: Trace
    model: Model

    @property
    def fitting(self) -> Trace:
        """The text, as much of it as predictions at every token are held of."""
        most = max(16, LOGITS // self.vocabulary)
        return self.trace if len(self.trace.tokens) <= most else reading(self.spec, most)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return vocabulary(self.model.net) or len(self.model.tokenizer)

    def logits_bytes(self, trace: Trace) -> int:
        """Memory that predictions at every token take, before and after."""
        return 4 * 4 * len((trace.written or trace.read).tokens) * self.vocabulary


def shown(spec: Spec) -> Shown:
    """What is shown of a choice.

    Raises:
        Trouble: it can't be read; says why.
    """
    reader = model(spec.model)
    trace = reading(spec, MOST)
    return Shown(spec, trace, _layers(spec, spec.model, trace), reader)


def seen(spec: Spec) -> Heads:
    """Every head of the vision model that is chosen, on the image. Raises as `shown`."""
    view = viewing(spec)
    return Heads(spec, view, _layers(spec, spec.encoder, view))


def _layers(spec: Spec, name: str, trace: Trace | View) -> list[Layer]:
    def work(report: Report) -> list[Layer]:
        return overview(trace, on_layer=lambda done: report(done / max(1, trace.layers)))

    return obtain(
        f"overview:{spec.reading_key()}", t("gate.heads", model=model_name(name)), work,
        lambda made: sum(4 * layer.maps.numel() for layer in made),
    )  # fmt: skip


def leave_if_asked() -> None:
    """Go to Explore where a head was opened."""
    if st.session_state.pop(LEAVING, False):
        st.switch_page("explore.py")  # as the router names it
