"""From a spec to what a page shows: read, attend, summarise, each through the desk and kept."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

import engine
from engine.contract import QKV, Colour, Pool
from engine.figures.base.theme import Figure
from engine.measure.attention import Attention
from engine.measure.passes import Summary
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.mechanisms.cost import Estimate
from engine.mechanisms.softmax import Softmax
from engine.models import Trace
from engine.models.view import View
from engine.runtime.cached import cached_property
from engine.sources.arrays import Opened
from engine.spec.picture import Spec
from engine.store import fits
from engine.structure.deed import Deed, deed
from engine.structure.highlights import Against, Look, against, best_layer, look
from engine.structure.opening import opening
from engine.structure.overlay import Overlay, overlay
from engine.structure.parts import Part, parts
from engine.structure.shown import Shown
from pages.ui.components.chart import Drawn
from pages.ui.server.desk import DESK, Report
from pages.ui.server.waiting import Trouble, ask, kept, obtain, seconds_of, took
from pages.ui.shared import frame, intake
from pages.ui.shared.disk import folder
from pages.ui.shared.reading import reading, source_of, viewing
from pages.ui.shared.strings import language, t
from pages.ui.url import state

SUMMARY_SIZE = 512  # cells a side of a whole map
MADE = 3  # times the bytes of Q, K and V that it takes to make them
DRAWN = 2e8  # bytes of them a second


@dataclass(frozen=True)
class Cost:
    """What a result took: seconds, bytes above its inputs, at most, floating-point operations."""

    seconds: float
    bytes: int
    flops: int


@dataclass(frozen=True)
class Scene:
    """All that the Explore page shows of one choice.

    Attributes:
        spec: what was asked, with layer, sight and the mechanism's parameters filled in.
        given: Q, K and V, or a person's own weights.
        attention, summary: with hidden keys gone. cost: of the summary.
        head, query: shown. model, layers: what read the text, and how many layers it has; "" and
            0 without one. layer_names: of those that can be shown here, as the model calls them.
        weights_only: a person's own weights, which no mechanism made.
        total_tokens: of the text, above what was read if the model's context is shorter; about
            so many, if `about`.
        own: what the model attends with in this layer, with all that it learnt.
    """

    spec: Spec
    given: QKV | Attention
    attention: Attention
    summary: Summary
    cost: Cost
    head: int
    query: int
    model: str = ""
    layers: int = 0
    layer_names: Mapping[int, str] = field(default_factory=dict)
    layer: int | None = None
    weights_only: bool = False
    total_tokens: int | None = None
    about: bool = False
    dtype: str = ""
    own: Mechanism | None = None

    @property
    def trained(self) -> bool:
        """Whether this is the model's own attention, by the mechanism that it was trained with."""
        return self.own is not None and self.mechanism == self.own

    @cached_property
    def weights(self) -> Tensor:
        """The chosen row's weights, (m)."""
        return self._row(self.attention, "row")

    def _row(self, of: Attention, name: str) -> Tensor:
        def make() -> Tensor:
            return of.weights(torch.tensor([self.query]))[self.head, 0].float().cpu().clone()

        key = f"{name}:{self.spec.attention_key()}:{self.head}:{self.query}"
        return kept(key, make, lambda made: made.nbytes)

    @cached_property
    def means(self) -> dict[str, Tensor]:
        """Each statistic of each head, over all rows, (h)."""
        return kept(
            f"means:{self.spec.attention_key()}", self.summary.rows.means,
            lambda made: sum(x.nbytes for x in made.values()),
        )  # fmt: skip

    @cached_property
    def seen(self) -> list[bool] | None:
        """Which keys the chosen row may see; None if all."""
        frame = self.attention.frame
        allowed = frame.visible(torch.tensor([self.query]), torch.arange(frame.m))
        return None if allowed is None else allowed[0].tolist()

    @cached_property
    def mechanism(self) -> Mechanism | None:
        """What attends; None of a person's own weights."""
        if self.weights_only:
            return None
        return engine.make(self.spec.mechanism, **self.spec.arguments())

    @cached_property
    def full(self) -> Attention | None:
        """Full attention over the same keys, to be set against; None where this is it, or where
        the model never had it."""
        return None if self.trained else full_attention(self.given, self.spec, self.attention)

    @cached_property
    def overlay(self) -> Overlay | None:
        """What the mechanism's structure is on this head's map, and of the chosen row on it."""
        return kept(
            f"overlay:{self.spec.attention_key()}:{self.head}:{self.query}",
            lambda: overlay(self.attention, self.head, self.query),
            lambda made: 64 * sum(len(b.rows) + len(b.cols) for b in made.bands) if made else 1,
        )  # fmt: skip

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Maps that add up to this one."""
        return parts(self.attention)

    @cached_property
    def before(self) -> Tensor | None:
        """The chosen row under full attention, (m); None where this is it."""
        return None if self.full is None else self._row(self.full, "before")

    @property
    def shown(self) -> Shown:
        """The chosen head and row, and what they came from."""
        given = self.given if isinstance(self.given, QKV) else None
        return Shown(self.attention, self.head, self.query, given, self.mechanism)

    @cached_property
    def deed(self) -> Deed | None:
        """What the mechanism did on the chosen row; None of full attention and of own weights."""
        return None if self.full is None else deed(self.shown, self.weights, self.before)

    @cached_property
    def name(self) -> str:
        """What all that is drawn of it follows from, as a string for caches."""
        seen = self.head, self.query, frame.theme().name, language()
        return f"{self.spec.to_json()}:{seen}"

    def drawn(self, figure: str, make: Callable[[], Figure]) -> Drawn:
        """A figure of it, made once for all who look at the same."""
        return kept(
            f"figure:{figure}:{self.name}", lambda: Drawn.of(make()), lambda made: len(made.json)
        )

    def pin(self, **changed: Any) -> None:
        """Change a choice, and keep the layer, the head and the row that are shown."""
        head = self.spec.head if self.spec.head == "all" else self.head
        state.change(**{"layer": self.layer, "head": head, "query": self.query} | changed)

    def set_against(self) -> Against | None:
        """What the chosen row keeps of full attention; None where there is nothing to compare."""
        if self.before is None or self.attention.row_kind == "signed":
            return None
        return against(self.weights, self.before)

    def look(self) -> Look:
        """What the chosen row does, in numbers."""
        return look(self.weights, self.summary.rows, self.attention.frame, self.head, self.query)


def full_attention(given: QKV | Attention, spec: Spec, att: Attention) -> Attention | None:
    """Full attention over the same keys; None where this is it, or where there is no QKV."""
    if not isinstance(given, QKV) or spec.mechanism == Softmax.key:
        return None
    made = Softmax().attend(given)
    return made if att.hidden_keys is None else made.hide(att.hidden_keys)


def given_by(spec: Spec) -> QKV | Attention:
    """Q, K and V that are made, or a person's own, or their own weights."""
    if spec.source == "arrays":
        return opened(spec).given
    source = source_of(spec)
    key, needs, what = f"source:{spec.source_key()}", MADE * source.bytes, t("gate.source")
    if source.bytes and DESK.kept.get(key) is None:
        ask(key, what, Estimate(needs, 0, needs), needs / DRAWN)
    return obtain(key, what, lambda r: source.make(), size_of, needs)


def opened(spec: Spec) -> Opened:
    """The chosen layer and text of a person's own arrays."""
    held = intake.held(spec)
    layer = spec.layer if spec.layer is not None and spec.layer < len(held.layers) else 0
    item = spec.item if spec.item < held.items else 0
    return obtain(
        f"arrays:{spec.source_key()}", t("gate.arrays"),
        lambda report: held.open(layer, item, spec.crop), lambda made: size_of(made.given),
    )  # fmt: skip


def size_of(made: QKV | Attention) -> int:
    """Bytes that Q, K and V, or a person's own weights, hold."""
    held = (x for x in vars(made).values() if isinstance(x, Tensor))
    return sum(x.numel() * x.element_size() for x in held)


def colour_of(spec: Spec) -> Colour:
    """How rows are scaled before pooling; the logarithm is a matter of drawing."""
    return cast(Colour, "weight" if spec.colour == "log" else spec.colour)


def default_layer(spec: Spec, trace: Trace | View) -> int:
    """The layer that opens: the one where a head looks back most sharply."""
    among = list(over_one_text(trace))
    if len(among) == 1:
        return among[0]
    return among[
        obtain(
            f"layer:{spec.reading_key()}",
            t("gate.reading", model=trace.model.name),
            lambda report: best_layer(map(trace.attention, among)),
            lambda made: 8,
        )
    ]


def over_one_text(trace: Trace | View) -> dict[int, str]:
    """The layers whose queries and keys are of one text, by name: the model's own numbers, and
    their part of it where there are several."""
    several = len(set(trace.parts)) > 1
    return {
        i: f"{t(f'models.part.{part}')} {name}" if several else name
        for i, (part, name) in enumerate(zip(trace.parts, trace.names, strict=True))
        if part != "cross"
    }


def read_of(spec: Spec) -> Trace | View | None:
    """What a model made of the text or the image; None where none reads it."""
    if spec.textual:
        return reading(spec)
    return viewing(spec) if spec.encoder else None


def scene(spec: Spec) -> Scene:
    """Everything the page shows of a choice.

    Raises:
        Trouble: it can't be shown; says why.
    """
    trace = read_of(spec)
    layer, own = None, None
    if trace is None:
        given = given_by(spec)
    else:
        layer = spec.layer
        if layer is None or layer >= trace.layers:
            layer = default_layer(spec, trace)
        spec = replace(spec, layer=layer)
        if layer not in over_one_text(trace):
            raise Trouble(t("error.cross"))
        if trace.weights_only is not None:
            given = trace.attention(layer)
        else:
            given, own = trace.layer(layer), trace.own(layer)
    if isinstance(given, QKV):
        if given.causal and not MECHANISMS[spec.mechanism].causal_ok:
            spec = replace(spec, sight="both")
        if spec.sight == "both":
            given = given.replace(causal=False)
        spec = spec.suited(given)
    colour = colour_of(spec)
    hidden = tuple(
        i for i in spec.hide if i < (given.m if isinstance(given, QKV) else given.frame.m)
    )
    pools: tuple[Pool, ...] = ("max", "mean") if spec.pool != "sum" else ("max", "sum")

    key = f"attend:{spec.attention_key()}:{colour}:{pools}"
    n = given.n if isinstance(given, QKV) else given.frame.n
    what = t("gate.attending", mechanism=t(f"mechanism.{spec.mechanism}.name"), n=n)
    estimate, seconds = Estimate(0, 0), 0.0
    if isinstance(given, QKV) and DESK.kept.get(key) is None:
        estimate = obtain(
            f"estimate:{spec.attention_key()}",
            what,
            lambda report: engine.estimate(engine.make(spec.mechanism, **spec.arguments()), given),
            lambda made: 24,
            kind="picture",
        )
        seconds = seconds_of(spec.mechanism, estimate)
        what = ask(key, what, estimate, seconds)

    def work(report: Report) -> tuple[Attention, Summary, Cost]:
        start = time.perf_counter()
        if isinstance(given, Attention):
            att, flops = given, 0
        else:
            made = engine.make(spec.mechanism, **spec.arguments())
            if own is not None and made == own:
                ready = own  # with what it learnt in training
            else:
                ready = fits.kept(made, given, folder("fits"))
            start = time.perf_counter()  # a fit is not counted, as training is not
            att = ready.attend(given)
            flops = engine.cost.operations(made, given, att)
        if hidden:
            att = att.hide(torch.tensor(hidden))
        with torch.inference_mode():
            summary = att.summary(SUMMARY_SIZE, pools, colour, report)
        spent = time.perf_counter() - start
        took(spec.mechanism, estimate, spent)
        return att, summary, Cost(spent, estimate.bytes, flops)

    att, made, cost = obtain(
        key,
        what,
        work,
        lambda result: (
            size_of(given) + sum(m.numel() * 4 for m in result[1].maps.values()) + 15 * n * 8 * 16
        ),
        estimate.bytes,
        seconds=seconds,
    )
    heads = att.frame.heads
    fixed = spec.head if isinstance(spec.head, int) and spec.head < heads else None
    head, query = kept(
        f"opening:{key}:{fixed}",
        lambda: opening(att, made.rows, full_attention(given, spec, att), fixed),
        lambda pair: 64,
    )
    if spec.query is not None and spec.query < att.frame.n:
        if fixed is None:
            head = int(made.rows.max_weight[:, spec.query].argmax())
        query = spec.query
    return Scene(
        spec, given, att, made, cost, head, query,
        model=trace.model.name if trace else "",
        layers=trace.layers if trace else 0,
        layer_names=over_one_text(trace) if trace else {},
        layer=layer,
        weights_only=isinstance(given, Attention),
        total_tokens=trace.total_tokens if trace else None,
        about=trace is not None and trace.about,
        dtype=str(given.dtype if isinstance(given, QKV) else "").removeprefix("torch."),
        own=own,
    )  # fmt: skip
