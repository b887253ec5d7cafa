"""What the lab says that a sweep will take, against what it takes."""

import time
from math import inf

import pytest

from engine.dilution import sweep
from engine.dilution.sweep import Task
from engine.mechanisms import MECHANISMS
from pages.ui.dilution import measured

FACTOR = 4.0
"""By which a task may take more or less than was said."""
N = 1024


def took(task: Task, below: float) -> float:
    """Processor seconds, which do not tell of others on this machine; at first call a mechanism
    may load something, so that one that takes longer than it may is tried again."""
    spent = inf
    for _ in range(3):
        start = time.process_time()
        sweep.measure(task)
        if (spent := time.process_time() - start) < below:
            break
    return spent


def task(key: str) -> Task:
    return sweep.plan([(key, {})], [N], source_params={"heads": 2}).tasks[0]


@pytest.fixture(scope="module", autouse=True)
def shown():
    """The speed of this machine, as softmax shows it."""
    plain = task("softmax")
    work = measured.measuring.work(plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "SPEED", {"": work / min(took(plain, 0) for _ in range(2))})
        yield


@pytest.mark.parametrize("key", MECHANISMS)
def test_a_task_takes_about_what_was_said(key) -> None:
    said = measured.expected(task(key))
    spent = took(task(key), FACTOR * said)
    assert said / FACTOR < spent < FACTOR * said


def test_a_mechanism_that_was_measured_is_expected_to_take_as_long_again() -> None:
    slow, other = task("additive"), task("window")
    before = measured.expected(other)
    measured.SPEED["additive"] = measured.measuring.work(slow) / 7
    assert measured.expected(slow) == pytest.approx(7)
    assert measured.expected(other) == before
    del measured.SPEED["additive"]
