"""From a spec to what the Compare page shows: each column's scene, and what it keeps of full
attention over the same Q, K and V."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

import engine
from engine.contract import QKV
from engine.measure.comparison import Comparison, Difference, difference
from engine.mechanisms import MECHANISMS
from engine.mechanisms.cost import Effort
from engine.spec.picture import FULL, Spec, is_full
from pages.ui.explore.scene import Scene, colour_of, scene
from pages.ui.server.desk import Report
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared.guard import REFUSED, worded
from pages.ui.shared.settings import setting
from pages.ui.shared.strings import t


@dataclass(frozen=True)
class Column:
    """One mechanism beside the others.

    Attributes:
        place: from 0. name: what tells it from the others. spec: the choice with this mechanism
            as its own. trouble: why there is nothing to show, "" where there is.
        scene, effort, comparison: what it made, took, and keeps of full attention.
    """

    place: int
    name: str
    spec: Spec
    trouble: str = ""
    scene: Scene | None = None
    effort: Effort | None = None
    comparison: Comparison | None = None

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
    if not all(MECHANISMS[key].causal_ok for key, _ in spec.columns):
        first = first.replace(sight="both")  # all of them, or nothing could be compared
    full = scene(first.replace(mechanism=FULL[0], params=FULL[1]))
    if full.weights_only:
        raise Trouble(t("explore.weights_only"))
    first = first.replace(head=full.head, query=full.query)
    reference = _measured(Column(-1, t("compare.reference"), full.spec, scene=full), full)
    assert isinstance(full.given, QKV)
    columns, given = [], full.given
    specs = [
        first.replace(mechanism=key, params=pairs).suited(given) for key, pairs in spec.columns
    ]
    for place, (own, name) in enumerate(zip(specs, names(specs), strict=True)):
        column = Column(place, name, own)
        try:
            column = _measured(replace(column, scene=scene(own)), full)
        except REFUSED as error:
            column = replace(column, trouble=worded(error))
        columns.append(column)
    return Compared(spec, reference, tuple(columns))


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
        float(scene.summary.maps[shown.spec.pool][shown.scene.head].abs().max())
        for _, scene in shown.drawn
        if (scene.attention.row_kind == "signed") == signed
    ]
    return max(ends, default=0.0)
