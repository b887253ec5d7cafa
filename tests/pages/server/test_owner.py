"""What the owner sees, and what every answer carries."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from pages.ui.server import owner, windows
from pages.ui.server.desk import DESK, SEATS


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=owner.ROUTES, middleware=owner.MIDDLEWARE))


def counted(client: TestClient) -> dict[str, float]:
    said = client.get("/metrics").text
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def test_counters_are_prometheus_own(client):
    before = counted(client)
    assert before["process_resident_memory_bytes"] > 10**7
    kinds = {f"waiting {kind}" for kind in SEATS}
    for name in (*kinds, "running", "kept_bytes", "refusals_total", "faults_total"):
        assert before[f"attention_explorer_{name}"] >= 0
    go, sits = threading.Event(), threading.Event()
    ticket = DESK.ticket("training")

    def hold() -> None:
        with DESK.seat(ticket, lambda ahead: None):
            sits.set()
            go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert sits.wait(60)
    assert (
        counted(client)["attention_explorer_running"] == before["attention_explorer_running"] + 1
    )
    go.set()
    thread.join(60)
    owner.fault("here", ValueError("x"))
    faults = "attention_explorer_faults_total"
    assert counted(client)[faults] == before[faults] + 1


def test_a_server_whose_queue_does_not_move_is_not_well(client, monkeypatch):
    assert client.get("/health").json()["well"]
    monkeypatch.setattr(owner, "STUCK", 0.0)
    assert client.get("/health").status_code == 503


@pytest.mark.parametrize("strangers", [True, False])
def test_of_strangers_nothing_that_they_wrote_is_logged(strangers, monkeypatch, caplog):
    monkeypatch.setenv("ATTENTION_EXPLORER_PUBLIC", "1" if strangers else "0")
    try:
        raise KeyError("my private text")
    except KeyError as error:
        name = owner.fault("read", error)
    assert f"fault {name} in read" in caplog.text and "test_owner.py" in caplog.text
    assert "KeyError" in caplog.text and ("private" in caplog.text) != strangers


def test_answers_are_not_guessed_at_nor_framed(client, monkeypatch):
    said = client.get("/health").headers
    assert said["x-content-type-options"] == "nosniff"
    assert said["content-security-policy"] == "frame-ancestors 'self'"
    monkeypatch.setenv("ATTENTION_EXPLORER_EMBED", "https://school.example")
    apart = TestClient(Starlette(routes=owner.ROUTES, middleware=owner.MIDDLEWARE))
    said = apart.get("/health").headers
    assert said["content-security-policy"] == "frame-ancestors 'self' https://school.example"


def test_each_request_has_an_id_and_no_query_is_logged(caplog):
    app = Starlette(routes=windows.ROUTES, middleware=owner.MIDDLEWARE)
    with caplog.at_level("INFO"):
        answers = [TestClient(app).get("/api/tile?token=my-private-words") for _ in range(2)]
        TestClient(app).get("/my-private-words")
    ids = [answer.headers["x-request-id"] for answer in answers]
    lines = [r.getMessage() for r in caplog.records if r.name == owner.__name__]
    assert len(set(ids)) == 2 and "private" not in "".join(lines)
    assert [line.split()[:3] for line in lines] == [[x, "/api/tile", "410"] for x in ids]


def test_a_fault_is_found_by_its_request(caplog):
    async def broken(request):
        raise KeyError(owner.fault("here", KeyError("x")))

    app = Starlette(routes=[Route("/api/tile", broken)], middleware=owner.MIDDLEWARE)
    with caplog.at_level("INFO"):
        TestClient(app, raise_server_exceptions=False).get("/api/tile")
    fault, request = (r.getMessage().split()[:2] for r in caplog.records if "owner" in r.name)
    assert fault[0] == request[0] and fault[1] == "fault"


def test_a_run_of_a_page_is_logged_without_what_was_written(page, monkeypatch, caplog):
    monkeypatch.setenv("ATTENTION_EXPLORER_PUBLIC", "1")
    with caplog.at_level("INFO"):
        page("explore", text="Zephyrine hid the marzipan lantern.").healthy()
    lines = [r.getMessage() for r in caplog.records if r.name == owner.__name__]
    assert any("result done in" in line for line in lines)
    assert len({line.split()[0] for line in lines}) == 1  # one run, one id
    assert not [word for word in ("Zephyrine", "marzipan") if word in caplog.text]
