"""Jobs that are watched: what they say is seen, they stop when told to or when nobody asks."""

import threading
import time

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pages.ui.server import jobs
from pages.ui.server.jobs import JOBS, Busy, Job, Jobs, Stopped


def until(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def test_what_a_job_says_is_answered() -> None:
    client = TestClient(Starlette(routes=jobs.ROUTES))
    go = threading.Event()

    def work(say) -> int:
        say({"traces": [{"y": [1.0, float("nan")]}], "share": 0.5})
        go.wait(5)
        say({"share": 1.0})  # the traces stay
        return 7

    token = JOBS.start(work)
    ask = lambda: client.get(f"/api/live?token={token}").json()  # noqa: E731
    until(lambda: ask()["version"] == 1)
    assert ask() == {
        "version": 1, "done": False, "error": None,
        "state": {"traces": [{"y": [1.0, None]}], "share": 0.5},
    }  # fmt: skip
    go.set()
    until(lambda: ask()["done"])
    assert ask()["version"] == 2 and ask()["error"] is None
    assert ask()["state"] == {"traces": [{"y": [1.0, None]}], "share": 1.0}
    job = JOBS.get(token)
    assert job is not None and job.result == 7
    assert client.get("/api/live?token=nobody").status_code == 410


def test_stop_stops() -> None:
    client = TestClient(Starlette(routes=jobs.ROUTES))
    steps = []

    def work(say) -> None:
        while True:
            say({"share": 0.0})
            steps.append(1)
            time.sleep(0.001)

    token = JOBS.start(work)
    until(lambda: len(steps) > 3)
    client.get(f"/api/live?token={token}&stop=1")
    until(lambda: client.get(f"/api/live?token={token}").json()["done"])
    assert client.get(f"/api/live?token={token}").json()["error"] == "stopped"


def test_nobody_asks_nobody_works(monkeypatch) -> None:
    job = Job(asked=time.monotonic() - jobs.LEFT - 1)
    with pytest.raises(Stopped):
        job.say({})


def test_a_refusal_is_told_and_a_failure_is_not(caplog) -> None:
    def refuse(say) -> None:
        raise ValueError("widths must be even")

    def fail(say) -> None:
        raise RuntimeError("secret path")

    for work, said in ((refuse, "widths must be even"), (fail, "failed")):
        job = JOBS.get(JOBS.start(work))
        assert job is not None
        until(lambda job=job: job.done)
        assert job.error == said


def test_only_so_many_at_once_and_the_others_in_their_order() -> None:
    jobs, go, order = Jobs(at_once=1), threading.Event(), []
    first = jobs.get(jobs.start(lambda say: go.wait(5)))
    later = [jobs.get(jobs.start(lambda say, i=i: order.append(i))) for i in range(3)]
    assert first is not None
    for i, job in enumerate(later):
        assert job is not None
        until(lambda job=job: bool(job.state))
        assert job.state == {"note": f"Waiting: {i + 1} before you"}
    leaving = later[1]
    assert leaving is not None
    leaving.stopping = True
    until(lambda: leaving.done)
    assert leaving.error == "stopped" and order == []
    go.set()
    until(lambda: all(job is not None and job.done for job in later))
    assert order == [0, 2]


def test_a_job_that_fails_gives_its_place_up() -> None:
    jobs = Jobs(at_once=1)

    def fail(say) -> None:
        raise ValueError("no")

    for _ in range(2):
        job = jobs.get(jobs.start(fail))
        assert job is not None
        until(lambda job=job: job.done)
        assert job.error == "no"


def test_a_queue_has_an_end(monkeypatch) -> None:
    monkeypatch.setattr(jobs, "WAITING", 1)
    several, go = Jobs(at_once=1), threading.Event()
    first = several.get(several.start(lambda say: go.wait(5)))
    until(lambda: not several._queue)
    several.start(lambda say: None)
    with pytest.raises(Busy):
        several.start(lambda say: None)
    go.set()
    assert first is not None
    until(lambda: first.done)
