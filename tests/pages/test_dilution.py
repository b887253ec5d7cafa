"""The dilution lab's pages without a browser."""

import json
import time

import pytest

from engine.text.locale import locale
from pages.ui.server.jobs import JOBS

EN = locale("en")


@pytest.fixture
def lab(page, folder, monkeypatch, tmp_path):
    """lab(part, **query) opens a part, with the small model in the embedded one's place."""
    from pages.ui.shared import reading

    monkeypatch.setattr(reading, "TINY", folder)
    monkeypatch.setenv("ATTENTION_EXPLORER_CACHE", str(tmp_path))
    return lambda part, **query: page("dilution", lab=part, lang="en", **query)


def figures(opened) -> list[dict]:
    """The charts on the page."""
    return [json.loads(chart.proto.spec) for chart in opened.test.get("plotly_chart")]


def ended(job) -> None:
    """Wait, asking as the browser does, until the job has ended."""
    while not job.done:
        job.asked = time.monotonic()
        time.sleep(0.02)


def moved(opened) -> dict:
    """What the picture that moves was given."""
    return json.loads(opened.test.get("bidi_component")[0].proto.json)


def test_theory_says_its_numbers(lab) -> None:
    opened = lab("theory").healthy()
    assert any("4,096 keys" in words and "%" in words for words in opened.words)
    curve, threshold = figures(opened)
    assert len(threshold["data"]) == 2
    names = [trace.get("name") for trace in curve["data"]]
    assert EN["dilution.draws.name"] in names and EN["mechanism.ssmax.name"] in names


def test_a_first_sweep_starts_by_itself_and_fills_the_charts(lab) -> None:
    query = {"sweep.of": "softmax,window:window=8", "sweep.lengths": "32,64", "sweep.seeds": "1"}
    opened = lab("measured", **query).healthy()
    token, choice = opened.test.session_state["sweep-job"]
    assert choice.lengths == (32, 64) and moved(opened)["job"] == token
    job = JOBS.get(token)
    assert job is not None
    ended(job)
    assert job.error is None
    opened.run().healthy()
    assert moved(opened)["job"] is None
    assert any("32" in words and "64" in words and "→" in words for words in opened.words)
    assert len(figures(opened)) >= 5
    assert any("python -m engine sweep --of" in code.value for code in opened.test.code)


def test_a_wrong_link_is_a_sentence(lab) -> None:
    query = {"sweep.of": "dreams", "sweep.lengths": "32,64", "sweep.seeds": "1"}
    opened = lab("measured", **query).healthy()
    assert any("dreams" in words for words in opened.words)
    opened = lab("measured", **{"sweep.lengths": "64,32"}).healthy()
    assert any("rise" in words for words in opened.words)


def test_a_row_has_a_frame_a_length(lab) -> None:
    given = moved(lab("thinning", **{"sweep.of": "softmax,entmax"}).healthy())
    assert len(given["frames"]) == len(given["labels"]) == 9
    assert all(len(frame["traces"]) == 2 for frame in given["frames"])


def test_noise_beside_its_closed_form(lab) -> None:
    four = figures(lab("noise").healthy())[:4]
    assert [chart["data"][0]["type"] for chart in four] == ["heatmap"] * 4


def test_heads_are_ranked(lab, monkeypatch) -> None:
    from pages.ui.dilution import growing

    monkeypatch.setattr(growing, "LONGEST", 256)
    opened = lab("growing").healthy()
    lines, ranking, _ = figures(opened)
    assert len(lines["data"]) > 3 and ranking["data"][0]["type"] == "bar"
    assert any("exponent" in words for words in opened.words)


def test_a_full_disk_is_a_sentence(lab, monkeypatch) -> None:
    from pages.ui.dilution import measured

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measured, "kept", full)
    opened = lab("measured", **{"sweep.of": "softmax", "sweep.lengths": "32,64"}).healthy()
    job = JOBS.get(opened.test.session_state["sweep-job"][0])
    assert job is not None
    ended(job)
    assert job.error == EN["dilution.disk"]


def test_a_text_is_swept_through_the_model(lab, folder) -> None:
    query = {
        "sweep.of": "softmax,window:window=8", "sweep.lengths": "32,128", "sweep.seeds": "1",
        "sweep.source": "passage", "sweep.match": "none", "sweep.s.model": folder,
    }  # fmt: skip
    opened = lab("measured", **query).healthy()
    job = JOBS.get(opened.test.session_state["sweep-job"][0])
    assert job is not None
    ended(job)
    assert job.error is None
    opened.run().healthy()
    chart = moved(opened)["figure"]
    assert chart["layout"]["xaxis"]["title"]["text"] == EN["dilution.axis.tokens"]
    assert [shape["x0"] for shape in chart["layout"]["shapes"]] == [64]  # its trained length
    metric = opened.test.selectbox(key="lab-metric")
    assert metric.value == "effective_tokens" and "needle_mass" not in metric.options


def test_a_source_without_needles_is_matched_by_entropy(lab) -> None:
    opened = lab("measured", **{"sweep.of": "softmax", "sweep.lengths": "32,64"}).healthy()
    opened.test.selectbox(key="lab-source").select("identical")
    opened.run().healthy()
    assert opened.held("sweep").match == "entropy"
    assert not any("not go" in words for words in opened.words)


def test_more_memory_than_the_bound_is_refused(lab) -> None:
    query = {"sweep.lengths": "131072", "sweep.s.heads": "64"}
    opened = lab("measured", **query).healthy()
    assert any("the bound is 2.0 GB" in words for words in opened.words)


@pytest.mark.parametrize("metric", ["effective_tokens", "sink_mass"])
def test_a_persons_own_text_grows_in_their_model(lab, folder, metric) -> None:
    text = "The boats came home before the storm. " * 40
    query = {"text": text, "model": folder, "lab-metric": metric}
    opened = lab("growing", **query).healthy()
    assert opened.test.selectbox(key="lab-text").value == "own"
    grown = figures(opened)[0]
    assert grown["layout"]["yaxis"]["title"]["text"] == EN[f"stat.{metric}"]
    assert any(words.startswith("small reads the text anew") for words in opened.words)


def test_a_text_too_short_to_grow_says_so(lab, folder) -> None:
    opened = lab("growing", text="Quill sings.", model=folder).healthy()
    assert any("too short to grow" in words for words in opened.words)


def test_irrelevant_passages_disturb_a_real_text(lab, folder) -> None:
    opened = lab("noise", model=folder).healthy()
    assert len(figures(opened)) == 5
    assert any("passages that have nothing to do with it" in words for words in opened.words)


def test_a_link_to_a_source_without_needles_is_matched_by_entropy(lab) -> None:
    query = {"sweep.source": "identical", "sweep.of": "softmax", "sweep.lengths": "32,64"}
    opened = lab("measured", **query).healthy()
    assert opened.test.selectbox(key="lab-match").value == "entropy"
    token, choice = opened.test.session_state["sweep-job"]  # it was begun, and so not refused
    assert choice.match == "entropy" and JOBS.get(token) is not None


def test_a_sweep_keeps_its_keys_from_those_of_a_picture(lab) -> None:
    query = {"sweep.source": "identical", "sweep.of": "softmax", "sweep.lengths": "32,64"}
    opened = lab("measured", source="planted", **{"s.gap": "2.0"}, **query).healthy()
    assert (opened.spec.source, opened.held("sweep").source) == ("planted", "identical")
    opened.test.selectbox(key="lab-source").select("planted").run()
    opened.healthy()
    assert "sweep.source" not in opened.said and opened.held("sweep").source_params == ()
    assert (opened.said["source"], opened.said["s.gap"]) == ("planted", "2.0")


def test_what_a_link_says_wrongly_is_said_and_the_rest_is_kept(lab) -> None:
    opened = lab("theory", **{"lab-gap": "far", "lab-noise": "1.5", "lab-colour": "red"}).healthy()
    told = [words for words in opened.words if words.startswith("The link asks for")]
    assert len(told) == 2 and "lab-gap" in told[0] and "lab-colour" in told[1]
    assert opened.test.slider(key="lab-gap").value == 6.0
    assert opened.test.slider(key="lab-noise").value == 1.5
    assert opened.said["lab-noise"] == "1.5" and "lab-gap" not in opened.said
    opened.test.slider(key="lab-gap").set_value(4.0).run()
    assert opened.said["lab-gap"] == "4.0" and opened.said["lab-noise"] == "1.5"
    assert not any(words.startswith("The link asks for") for words in opened.words)
