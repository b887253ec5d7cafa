"""What a person sees of the desk: all that takes long is said, and can be left."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from engine.measure.attention import Attention
from engine.mechanisms.cost import Estimate
from engine.mechanisms.routing import Routed
from engine.models import Model
from engine.runtime.watch import watching
from engine.sources import Planted
from engine.spec.picture import DEFAULT
from engine.store import fits
from engine.text.locale import locale
from pages.ui.server import waiting
from pages.ui.server.desk import Desk, Trouble
from pages.ui.shared import reading

EN = locale("en")


class Left(BaseException):
    """The person's run of the page is over."""


def test_all_that_takes_long_can_be_left(small, page, monkeypatch, tmp_path):
    """Keys that are made, a text that is read, a fit, an attention: someone looks between the
    operations of each."""
    monkeypatch.setenv("ATTENTION_EXPLORER_CACHE", str(tmp_path))
    seen: dict[str, set[bool]] = {}

    def looked_at(owner: object, name: str) -> None:
        plain = getattr(owner, name)

        def called(*args, **more):
            seen.setdefault(name, set()).add(watching() is not None)
            return plain(*args, **more)

        monkeypatch.setattr(owner, name, called)

    looked_at(Planted, "make")
    looked_at(Model, "read")
    looked_at(Attention, "summary")
    looked_at(fits, "kept")
    looked_at(Routed, "fit")
    query = {"mechanism": "routing", "lang": "en"}
    page("explore", text="the lamp and the bell", **query).healthy()
    page("explore", source="planted", **{"s.n": "32"}, **query).healthy()
    assert seen == {name: {True} for name in ("make", "read", "summary", "kept", "fit")}


class Place:
    """A place on the page, and what is put there."""

    def __init__(self, said: list[object]) -> None:
        self.said = said

    def empty(self) -> None:
        self.said.append("")

    def progress(self, share: float, text: str) -> None:
        self.said.append((share, text))

    def button(self, label: str, **more: object) -> None:
        self.said.append(label)


def test_what_takes_long_says_how_far_it_is_with_a_way_to_stop(monkeypatch):
    said: list[object] = []
    held = {"waiting": (Place(said), Place(said))}
    monkeypatch.setattr(waiting, "st", SimpleNamespace(session_state=held))
    monkeypatch.setattr(waiting, "Paced", lambda call, **_: call)
    monkeypatch.setattr(waiting, "DESK", Desk())

    def work(report) -> int:
        report(0.25)
        report(0.5)
        return 7

    assert waiting.obtain("seven", "Making it", work, lambda made: 1) == 7
    assert said == ["", (0.25, "Making it"), EN["gate.stop"], (0.5, "Making it"), "", ""]


def test_torchs_own_words_for_no_memory_are_not_a_fault(page, monkeypatch):
    def full(self):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(Planted, "make", full)
    shown = page("explore", source="planted", lang="en", **{"s.n": "31"}).healthy()
    assert EN["error.memory"] in shown.words


def test_a_model_that_is_opened_says_where_it_is_and_is_left_at_once(folder, monkeypatch):
    """Nobody else's seat is held, and the thread that opens it ends with the step it is at."""
    said: list[str] = []
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def obtain(key, what, work, size, needs, kind):
        assert kind == "model"

        def report(share: float) -> None:
            if begun.is_set():
                said.append(what(share))
                raise Left

        return work(report)

    def load(place: str, on_step) -> Any:
        on_step("weights")
        begun.set()
        go.wait(60)
        try:
            on_step("tokenizer")
        except reading.Left:
            ended.set()

    facts = SimpleNamespace(place="here", name="small", memory=1, bytes=1)
    monkeypatch.setattr(reading, "obtain", obtain)
    monkeypatch.setattr(reading, "_asked", lambda name: facts)
    with pytest.raises(Left):
        reading._opened(folder, "model:none", load)
    assert len(said) == 1 and "weights" in said[0]
    go.set()
    assert ended.wait(60)


@pytest.mark.parametrize(("context", "most"), [(None, 5), (64, None)])
def test_a_model_that_reads_any_number_reads_so_many(monkeypatch, context, most):
    asked = []
    reader = SimpleNamespace(
        context=context, second=None, layers=1, name="any",
        read=lambda text, most, **how: asked.append(most),
    )  # fmt: skip
    monkeypatch.setattr(reading, "LONGEST", 5)
    monkeypatch.setattr(reading, "model", lambda name: reader)
    monkeypatch.setattr(reading, "obtain", lambda key, what, work, size: work(lambda share: None))
    reading.reading(DEFAULT.with_text("the lamp and the bell"))
    assert asked == [most]


def test_what_one_mechanism_took_says_nothing_of_another(monkeypatch):
    monkeypatch.setattr(waiting, "SPEEDS", waiting.SPEEDS.copy())
    estimate = Estimate(0, 0, 10**12)
    before = waiting.seconds_of("softmax", estimate)
    waiting.took("linformer", estimate, 80.0)
    assert waiting.seconds_of("linformer", estimate) == pytest.approx(80)
    assert waiting.seconds_of("softmax", estimate) == before
    waiting.took("linformer", estimate, waiting.TOLD / 2)  # what is that short tells nothing
    assert waiting.seconds_of("linformer", estimate) == pytest.approx(80)


def test_strangers_have_no_more_than_their_time(monkeypatch):
    waiting.bounded(0, 1e6)
    monkeypatch.setenv("ATTENTION_EXPLORER_PUBLIC", "1")
    waiting.bounded(0, 59)
    with pytest.raises(Trouble, match="longer than this server gives one picture"):
        waiting.bounded(0, 62)
