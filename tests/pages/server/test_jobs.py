"""Jobs that are watched: what they say is seen, they stop when told to or when nobody asks."""

import threading
import time

import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

from engine.contract import Refusal
from engine.text.locale import locale
from pages.ui.server import jobs
from pages.ui.server.desk import SEATS, Desk, Trouble
from pages.ui.server.jobs import JOBS, Busy, Job, Jobs, Stopped

EN = locale("en")


def one_at_a_time() -> Jobs:
    return Jobs(Desk(dict(SEATS) | {"training": 1}))


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def test_what_a_job_says_is_answered() -> None:
    client = TestClient(Starlette(routes=jobs.ROUTES))
    go = threading.Event()

    def work(say) -> int:
        say({"traces": [{"y": [1.0, float("nan")]}], "share": 0.5})
        go.wait(60)
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


def test_stop_ends_work_that_says_nothing_within_a_second() -> None:
    """As one task of a sweep: operations of torch, and not a word until they are done."""
    begun = threading.Event()

    def work(say) -> None:
        while True:
            torch.ones(8).add_(1)
            begun.set()

    token = JOBS.start(work)
    assert begun.wait(60)
    job = JOBS.get(token)
    assert job is not None and not job.done
    job.stopping = True
    until(lambda: job.done, 1.0)
    assert job.error == "stopped"


def test_only_what_is_new_is_answered() -> None:
    job = Job()
    job.say({"traces": [{"y": [1.0]}], "note": "a", "other": {"traces": [{}]}})
    job.say({"share": 0.5})
    assert job.since(0)["state"].keys() == {"traces", "note", "other", "share"}
    assert job.since(1) == {"version": 2, "done": False, "error": None, "state": {"share": 0.5}}
    assert job.since(2)["state"] == {}
    client = TestClient(Starlette(routes=jobs.ROUTES))
    say_more = threading.Event()

    def work(say) -> None:
        say({"note": "a", "matrix": {"traces": [1]}})
        say_more.wait(60)
        say({"note": "b"})

    token = JOBS.start(work)
    ask = lambda **more: client.get("/api/live", params={"token": token} | more).json()  # noqa: E731
    until(lambda: ask()["version"] == 1)
    assert ask(since=1)["state"] == ask(since=1, slot="matrix")["state"] == {}
    assert ask(since="x", slot="matrix")["state"] == {"traces": [1]}
    say_more.set()
    until(lambda: ask()["done"])
    assert ask(since=1)["state"] == {"note": "b"}
    assert ask(since=1, slot="matrix")["state"] == {}


def test_the_answer_that_says_done_has_the_last_state(monkeypatch) -> None:
    """Also where the job says its last and ends while the answer is being put together."""
    client = TestClient(Starlette(routes=jobs.ROUTES))
    asking, ended = threading.Event(), threading.Event()
    given = jobs.encoded

    def slowly(value):
        asking.set()
        ended.wait(60)
        return given(value)

    def work(say) -> None:
        say({"share": 0.5})
        asking.wait(60)
        say({"share": 1.0})

    token = JOBS.start(work)
    job = JOBS.get(token)
    assert job is not None
    until(lambda: job.version == 1)
    monkeypatch.setattr(jobs, "encoded", slowly)
    threading.Thread(target=lambda: (until(lambda: job.done), ended.set())).start()
    first = client.get("/api/live", params={"token": token}).json()
    assert first["state"] == {"share": 0.5} and not first["done"] and first["version"] == 1
    last = client.get("/api/live", params={"token": token, "since": first["version"]}).json()
    assert last["done"] and last["state"] == {"share": 1.0}


def test_nobody_asks_nobody_works() -> None:
    job = Job(asked=time.monotonic() - jobs.LEASE - 1)
    with pytest.raises(Stopped):
        job.say({})


def test_a_hidden_tab_keeps_its_job(monkeypatch) -> None:
    """Browsers let it ask once a minute; a frozen one still has its session."""
    Job(asked=time.monotonic() - 150).say({})
    there = {"here"}
    monkeypatch.setattr(jobs, "_is_there", there.__contains__)
    job = Job(session="here", asked=time.monotonic() - 10 * jobs.LEASE)
    job.say({})
    there.clear()
    with pytest.raises(Stopped):
        job.say({})
    monkeypatch.undo()
    assert not jobs._is_there("") and not jobs._is_there("nobody")


def test_a_session_has_one_job_of_a_kind(monkeypatch) -> None:
    class Page:
        session_id = "a"

    monkeypatch.setattr(jobs, "visitor", lambda: Page.session_id)
    several, go = Jobs(Desk()), threading.Event()

    def work(say) -> None:
        while not go.wait(0.01):
            say({})

    first, other = several.get(several.start(work)), several.get(several.start(work, "sweep"))
    monkeypatch.setattr(Page, "session_id", "b")
    theirs = several.get(several.start(work))
    monkeypatch.setattr(Page, "session_id", "a")
    second = several.get(several.start(work))
    assert first and other and theirs and second
    until(lambda: first.done)
    assert first.error == "stopped" and not (other.stopping or theirs.stopping or second.stopping)
    go.set()
    until(lambda: other.done and theirs.done and second.done)
    assert other.error is theirs.error is second.error is None


def test_a_refusal_is_told_and_a_fault_is_logged(caplog) -> None:
    def refuse(say) -> None:
        raise Refusal("widths must be even")

    def trouble(say) -> None:
        raise Trouble("The disk is full.")

    def wrong(say) -> None:
        raise ValueError("secret path")

    def much(say) -> None:
        raise MemoryError

    for work, said in (
        (refuse, "widths must be even"), (trouble, "The disk is full."),
        (much, EN["error.memory"]), (wrong, EN["error.fault"].partition("{id}")[0]),
    ):  # fmt: skip
        assert "secret path" not in caplog.text
        job = JOBS.get(JOBS.start(work))
        assert job is not None
        until(lambda job=job: job.done)
        assert job.error is not None and job.error.startswith(said)
    assert "secret path" in caplog.text and "Traceback" in caplog.text


def test_only_so_many_at_once_and_the_others_in_their_order() -> None:
    jobs, go, order = one_at_a_time(), threading.Event(), []
    first = jobs.get(jobs.start(lambda say: go.wait(60)))
    later = [jobs.get(jobs.start(lambda say, i=i: order.append(i))) for i in range(3)]
    assert first is not None
    for i, job in enumerate(later):
        assert job is not None
        until(lambda job=job: bool(job.state))
        assert job.state == {"note": f"Waiting: {i + 1} ahead of you"}
    leaving = later[1]
    assert leaving is not None
    leaving.stopping = True
    until(lambda: leaving.done)
    assert leaving.error == "stopped" and order == []
    go.set()
    until(lambda: all(job is not None and job.done for job in later))
    assert order == [0, 2]


def test_a_job_that_fails_gives_its_place_up() -> None:
    jobs = one_at_a_time()

    def fail(say) -> None:
        raise Refusal("no")

    for _ in range(2):
        job = jobs.get(jobs.start(fail))
        assert job is not None
        until(lambda job=job: job.done)
        assert job.error == "no"


def test_a_queue_has_an_end(monkeypatch) -> None:
    monkeypatch.setattr(jobs, "WAITING", 1)
    several, go = one_at_a_time(), threading.Event()
    first = several.get(several.start(lambda say: go.wait(60)))
    assert first is not None
    until(lambda: first.started)
    several.start(lambda say: None)
    with pytest.raises(Busy):
        several.start(lambda say: None)
    go.set()
    until(lambda: first.done)
