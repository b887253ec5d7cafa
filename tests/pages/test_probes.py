"""The lab's probes: what was kept is drawn and said, and a probe of one's own joins it."""

import json
import time

import pytest

from engine.dilution import probe_results, probes
from engine.dilution.probes import KINDS, METRICS, TASKS
from engine.spec.fields import LANGUAGES
from pages.ui.dilution import probes as part
from pages.ui.server.jobs import JOBS
from pages.ui.shared.strings import locale


@pytest.fixture
def lab(page):
    """lab(**query) opens the part."""
    return lambda **query: page("dilution", lab="probes", **query)


def chart(page) -> dict:
    (found,) = page.figures
    return found


def dashed(page) -> list[dict]:
    return [trace for trace in chart(page)["data"] if trace.get("line", {}).get("dash") == "dash"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_what_was_kept_is_drawn_and_said(lab, language, task) -> None:
    page = lab(lang=language, **{"probes-task": task}).healthy()
    words = locale(language)
    names = [trace.get("name") for trace in chart(page)["data"] if trace.get("name")]
    *lines, shaded = names
    assert lines == [words[f"probes.kind.{kind}"] for kind in KINDS] + [words["probes.chance"]]
    assert shaded.startswith(words["probes.beyond"].partition("{")[0])
    records = probe_results.results()["records"]
    last = probe_results.mean(records, "accuracy", task=task, mechanism="softmax", n=1024)
    assert any(f"{last:.0%}" in said and "1,024" in said for said in page.words)


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_chosen_in_the_url(lab, metric) -> None:
    page = lab(**{"probes-metric": metric}).healthy()
    assert page.said.get("probes-metric", METRICS[0]) == metric
    shape = chart(page)
    assert shape["layout"]["yaxis"]["title"]["text"] == locale("en")[f"probes.metric.{metric}"]
    (line,) = [trace for trace in shape["data"] if trace.get("name") == "SSMax"]
    assert len(line["y"]["bdata"] if isinstance(line["y"], dict) else line["y"]) > 0


def test_every_finding_has_words() -> None:
    for tag in LANGUAGES:
        words = locale(tag)
        for kind in ("adaptive", "ssmax", "entmax"):
            for how in ("helps", "same", "harms"):
                assert f"probes.found.{kind}.{how}" in words
        for name in ("softmax", "best", "rank", "rank_too", "ssmax.holds", "entmax.holds",
                     "linear.falls", "linear.unlearnt", "window"):  # fmt: skip
            assert f"probes.found.{name}" in words


def test_one_of_ones_own_joins(lab, monkeypatch) -> None:
    monkeypatch.setattr(part, "STEPS", 30)
    page = lab(
        **{"probes-mechanism": "ssmax", "probes-longest": "8", "probes-seed": "7"}
    ).healthy()
    page.test.button(key="probes-start").click().run()
    page.healthy()
    token = page.test.session_state["probes-run"]["token"]
    job = JOBS.get(token)
    assert job is not None
    (moving,) = page.parts
    assert json.loads(moving.proto.bytes)["job"] == token
    assert page.test.button(key="probes-start").disabled
    while not job.done:
        job.asked = time.monotonic()  # as the browser does
        time.sleep(0.02)
    assert job.error is None and len(job.state["traces"]) == 2
    page.run().healthy()
    own = dashed(page)
    assert len(own) == 1 and "8 items" in own[0]["name"] and "seed 7" in own[0]["name"]
    made = page.test.session_state["probes-made"]["max"]
    assert {r["n"] for r in made["records"]} == set(probes.LENGTHS)
    assert made["recipe"].mechanism == "ssmax" and made["recipe"].seeds == (7,)
    assert not page.test.button(key="probes-start").disabled
    page.test.segmented_control(key="probes-task").set_value("match").run()
    page.healthy()
    assert not [
        trace for trace in chart(page)["data"] if trace.get("line", {}).get("dash") == "dash"
    ]


def test_stopped_leaves_nothing(lab) -> None:
    page = lab().healthy()
    page.test.button(key="probes-start").click().run()
    job = JOBS.get(page.test.session_state["probes-run"]["token"])
    assert job is not None
    job.stopping = True
    while not job.done:
        time.sleep(0.01)
    assert job.error == "stopped"
    page.run().healthy()
    assert page.test.session_state["probes-run"]["token"] is None
    assert "probes-made" not in page.test.session_state


def test_what_the_url_says_wrongly_is_left_out(lab) -> None:
    page = lab(**{"probes-task": "sort", "probes-metric": "%s", "probes-longest": "9",
                  "probes-mechanism": "lsh", "probes-seed": "-1"}).healthy()  # fmt: skip
    assert page.test.session_state["probes-task"] == "max"
    assert page.test.session_state["probes-mechanism.en"] == "softmax"


def test_without_probes_the_page_says_how_to_get_them(lab, monkeypatch, tmp_path) -> None:
    kept = probe_results.results
    monkeypatch.setattr(probe_results, "results", lambda: kept(tmp_path))
    page = lab().healthy()
    assert any("python -m engine train-probes" in said for said in page.words)
