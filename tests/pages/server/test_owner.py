"""What the owner sees, and what every answer carries."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pages.ui.server import owner
from pages.ui.server.desk import DESK


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
