"""From a spec to what the Compare page shows: each column's scene, and what it keeps of full
attention over the same Q, K and V."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

import engine
from engine.contract import QKV
from engine.measure.attention import Attention
from engine.measure.comparison import Comparison, Difference, difference
from engine.mechanisms import MECHANISMS
from engine.mechanisms.cost import Effort
from engine.models import embedded
from engine.spec.picture import FULL, Spec, is_full
from engine.structure.alike import Alike, most_alike
from pages.ui.explore.scene import Scene, colour_of, scene
from pages.ui.server.desk import Report
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared.guard import REFUSED, worded
from pages.ui.shared.reading import reading
from pages.ui.shared.settings import setting
from pages.ui.shared.strings import t


@dataclass(frozen=True)
class Twin:
    """The same text as the model reads it that was trained with a column's mechanism.

    Attributes:
        scene: of the head that is nearest to the column's. alike: which, and how near.
        same: it is the model whose Q and K all columns have.
    """

    scene: Scene
    alike: Alike
    same: bool


@dataclass(frozen=True)
class Column:
    """One mechanism beside the others.

    Attributes:
        place: from 0. name: what tells it from the others. spec: the choice with this mechanism
            as its own. trouble: why there is nothing to show, "" where there is.
        scene, effort, comparison: what it made, took, and keeps of full attention.
        twin: the model that was trained with it, where that is wished and there is one.
    """

    place: int
    name: str
    spec: Spec
    trouble: str = ""
    scene: Scene | None = None
    effort: Effort | None = None
    comparison: Comparison | None = None
    twin: Twin | None = None

    @property
    def full(self) -> bool:
        """True if this is the reference itself."""
        return is_full((self.spec.mechanism, self.spec.params))


@dataclass(frozen=True)
class Compared:
    """All that the Compare page shows of one choice.

    Attributes:
        reference: full attention, as a column that may or may not be among `columns`.
    """

    spec: Spec
    reference: Column
    columns: tuple[Column, ...]

    @property
    def scene(self) -> Scene:
        """Full attention; its head and query are everyone's."""
        assert self.reference.scene is not None
        return self.reference.scene

    @property
    def drawn(self) -> Iterator[tuple[Column, Scene]]:
        """The columns that there is something to show of."""
        for column in self.columns:
            if column.scene is not None:
                yield column, column.scene

    @property
    def maps(self) -> Iterator[tuple[Scene, int]]:
        """Each map that is drawn, and its head."""
        for column, drawn in self.drawn:
            yield drawn, self.scene.head
            if column.twin is not None and not column.twin.same:
                yield column.twin.scene, column.twin.scene.head

    @property
    def closer(self) -> Column | None:
        """The column looked at more closely: the one chosen, else the first that differs."""
        drawn = [column for column, _ in self.drawn]
        chosen = [column for column in drawn if column.place + 1 == self.spec.column]
        return next(iter(chosen + [c for c in drawn if not c.full] + drawn), None)


def names(specs: Sequence[Spec]) -> list[str]:
    """What columns are called; settings tell apart two of one mechanism."""
    columns = [(spec.mechanism, spec.arguments()) for spec in specs]
    found = []
    for mechanism, own in columns:
        name = t(f"mechanism.{mechanism}.name")
        twins = [other for key, other in columns if key == mechanism]
        words = [
            setting(mechanism, k, own[k]) for k in own if any(twin[k] != own[k] for twin in twins)
        ]
        found.append(" · ".join([name, *words]))
    return found


def compared(spec: Spec) -> Compared:
    """Everything that the page shows of a choice; a mechanism that refuses is one in trouble.

    Raises:
        Trouble: nothing can be shown; says why.
    """
    head = spec.head if isinstance(spec.head, int) else None
    first = spec.replace(head=head)
    if spec.trained == "own" and spec.textual and embedded.REFERENCE in embedded.trained():
        first = first.replace(model=embedded.REFERENCE)  # of the same recipe as all others
    if not all(MECHANISMS[key].causal_ok for key, _ in spec.columns):
        first = first.replace(sight="both")  # all of them, or nothing could be compared
    full = scene(first.replace(mechanism=FULL[0], params=FULL[1]))
    if full.weights_only:
        raise Trouble(t("explore.weights_only"))
    first = first.replace(head=full.head, query=full.query)
    reference = _measured(Column(-1, t("compare.reference"), full.spec, scene=full), full)
    assert isinstance(full.given, QKV)
    columns, given = [], full.given
    asked = [first.replace(mechanism=key, params=pairs) for key, pairs in spec.columns]
    if spec.trained == "own":  # what was not chosen is as in the model that was trained so
        asked = [_like(one, one.as_trained()) for one in asked]
    specs = [one.suited(given) for one in asked]
    for place, (own, name) in enumerate(zip(specs, names(specs), strict=True)):
        column = Column(place, name, own)
        try:
            column = _measured(replace(column, scene=scene(own)), full)
            if spec.trained == "own":
                column = replace(column, twin=_twin(column, asked[place]))
        except REFUSED as error:
            column = replace(column, trouble=worded(error))
        columns.append(column)
    return Compared(spec, reference, tuple(columns))


def _like(asked: Spec, trained: Spec | None) -> Spec:
    """The same with those parameters that were not chosen as a trained model has them."""
    had = () if trained is None else trained.params
    return asked.replace(params=tuple((dict(had) | dict(asked.params)).items()))


def _measured(column: Column, full: Scene) -> Column:
    """The column with what it took and what it keeps."""
    shown = column.scene
    assert shown is not None and isinstance(shown.given, QKV)
    given, spec = shown.given, column.spec
    mechanism = engine.make(spec.mechanism, **spec.arguments())
    what = t("gate.measuring", mechanism=t(f"mechanism.{spec.mechanism}.name"))
    effort = obtain(
        f"effort:{spec.replace(hide=()).attention_key()}", what,
        lambda report: engine.cost.measure(mechanism, given), lambda made: 64,
    )  # fmt: skip

    def work(report: Report) -> Comparison:
        with torch.no_grad():  # not inference_mode: outputs are worked out on several threads
            return engine.compare(shown.attention, full.attention, progress=report)

    found = obtain(
        f"compare:{spec.attention_key()}", what, work, lambda made: 5 * 8 * made.kl.numel()
    )
    return replace(column, effort=effort, comparison=found)


def _twin(column: Column, asked: Spec) -> Twin | None:
    """A column's mechanism in the model that was trained with it."""
    shown, own = column.scene, asked.as_trained()
    if own is None or shown is None:
        return None
    trace = reading(own)

    def layers() -> Iterator[Attention]:
        for i in range(trace.layers):
            given = trace.layer(i)
            yield trace.own(i).attend(
                given.replace(causal=False) if own.sight == "both" else given
            )

    def work(report: Report) -> Alike:
        with torch.no_grad():
            return most_alike(shown.attention.whole, shown.head, layers())

    alike = obtain(
        f"alike:{column.spec.attention_key()}:{shown.head}:{own.attention_key()}",
        t("gate.measuring", mechanism=column.name), work, lambda made: 64,
    )  # fmt: skip
    found = scene(own.replace(layer=alike.layer, head=alike.head, query=shown.query))
    return Twin(found, alike, own.model == column.spec.model)


def differing(shown: Compared, column: Column) -> Difference:
    """Where a column gives more than full attention, and where less, in the window shown."""
    spec, given, full = shown.spec, column.scene, shown.scene
    assert given is not None
    frame = full.attention.frame
    r0, r1, c0, c1 = spec.zoom or (0, frame.n, 0, frame.m)
    window = slice(min(r0, frame.n - 1), r1), slice(min(c0, frame.m - 1), c1)

    def work(report: Report) -> Difference:
        with torch.no_grad():
            return difference(
                given.attention, full.attention, full.head, rows=window[0], cols=window[1],
                pool=spec.pool, colour=colour_of(spec), progress=report,
            )  # fmt: skip

    key = f"{column.spec.attention_key()}:{full.head}:{window}:{spec.pool}:{colour_of(spec)}"
    return obtain(
        f"difference:{key}", t("gate.measuring", mechanism=column.name), work,
        lambda made: 4 * made.cells.numel(),
    )  # fmt: skip


def end_of_scale(shown: Compared, signed: bool) -> float:
    """The largest value (or furthest from 0) among the whole maps of one kind, at full view."""
    ends = [
        float(scene.summary.maps[shown.spec.pool][head].abs().max())
        for scene, head in shown.maps
        if (scene.attention.row_kind == "signed") == signed
    ]
    return max(ends, default=0.0)
