"""The dilution lab's pages without a browser."""

import base64
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from engine.dilution import opening
from engine.spec.fields import LANGUAGES
from engine.store import keeping
from engine.text.locale import locale, speaker
from pages.ui.server.desk import DESK
from pages.ui.server.jobs import JOBS
from tests.text.test_words import filled

EN = locale("en")


@pytest.fixture
def lab(page, folder, monkeypatch, tmp_path):
    """lab(part, **query) opens a part, with the small model in the embedded one's place."""
    from engine.models import embedded

    monkeypatch.setattr(embedded, "TINY", Path(folder))
    monkeypatch.setenv("ATTENTION_EXPLORER_CACHE", str(tmp_path))
    yield lambda part, **query: page("dilution", lab=part, lang="en", **query)
    DESK.kept.clear()  # of a model that goes by another's name


def ended(job) -> None:
    """Wait, asking as the browser does, until the job has ended."""
    while not job.done:
        job.asked = time.monotonic()
        time.sleep(0.02)


def legend(chart: dict) -> list[str]:
    """Names in a chart's legend."""
    return [
        trace["name"] for trace in chart["data"]
        if trace.get("name") and trace.get("showlegend") is not False
    ]  # fmt: skip


def values(column: object) -> list:
    """A column of a trace, as Plotly writes it: a list, or bytes."""
    if isinstance(column, dict):
        return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()
    return list(column)  # type: ignore[arg-type]


def last(chart: dict, mechanism: str) -> float:
    """What a mechanism comes to at the longest length."""
    name = EN[f"mechanism.{mechanism}.name"]
    (line,) = [x for x in chart["data"] if x.get("name", "").startswith(name)]
    return values(line["y"])[-1]


def moved(opened) -> dict:
    """What the picture that moves was given."""
    return json.loads(opened.parts[0].proto.bytes)


def test_theory_says_its_numbers(lab) -> None:
    opened = lab("theory").healthy()
    assert any("4,096 keys" in words and "%" in words for words in opened.words)
    curve, threshold, *_ = opened.figures
    assert len(threshold["data"]) == 2
    names = legend(curve)
    assert EN["dilution.draws.name"] in names and len(names) == 5


def test_theory_draws_each_at_its_papers_own_setting(lab) -> None:
    opened = lab("theory").healthy()
    names = legend(opened.figures[0])
    assert any("0.43" in name for name in names) and not any("×" in name for name in names)
    assert last(opened.figures[0], "entmax") == pytest.approx(1)
    assert EN["dilution.theory.own"] in opened.words
    # where the polynomial of adaptive temperature is back at 1, from its own root
    root = max(
        r.real for r in np.roots((-0.037, 0.481, -2.3, 4.917, -2.791)) if abs(r.imag) < 1e-9
    )
    assert root == pytest.approx(5.9445, abs=1e-4)
    assert any(f"{root:.2f} nats" in words for words in opened.words)
    assert not any("5.5 nats" in words for words in opened.words)


def test_theory_shows_three_known_laws(lab) -> None:
    """The first token has over half of a row of 256 from the seventh layer on."""
    opened = lab("theory").healthy()
    said = " ".join(opened.words)
    assert "over half from layer 7 on" in said and "Below γ = 2 long texts" in said
    first, phase, spectrum = opened.figures[2:5]
    even = first["data"][0]["y"]
    assert even[5] < 0.5 < even[6] and len(phase["data"]) == 3
    top, second, edge = (trace["y"] for trace in spectrum["data"])
    assert top[-1] == pytest.approx(1, abs=0.05)
    assert second[-1] < second[0] / 2 and edge[-1] == pytest.approx(second[-1], rel=0.25)


def test_theory_matched_says_by_which_factor(lab) -> None:
    opened = lab("theory", **{"lab-matched": "true"}).healthy()
    names = legend(opened.figures[0])
    assert any("× 0.31" in name for name in names) and any("0.24" in name for name in names)
    assert last(opened.figures[0], "entmax") == pytest.approx(0.465, abs=1e-3)
    assert any("0.31" in words and "6.43" in words for words in opened.words)
    assert EN["mechanism.adaptive_temperature.name"] in names  # never matched: no factor


def test_the_formulas_have_numbers_only_where_they_hold(lab) -> None:
    formula, gap = lab("theory").healthy().test.latex[:2]
    assert formula.value.strip("$ \n").endswith("= 0.08") and "= 8.44" in gap.value
    opened = lab("theory", **{"lab-noise": "3.0", "lab-length": "64"}).healthy()
    assert all(not re.search(r"= [\d.]+", one.value) for one in opened.test.latex[:2])
    assert any("17.2%" in words for words in opened.words)  # the form would say 7 %


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
    assert len(opened.figures) >= 5
    assert any("python -m engine sweep --of" in code.value for code in opened.test.code)


def test_a_wrong_link_is_a_sentence(lab) -> None:
    query = {"sweep.of": "dreams", "sweep.lengths": "32,64", "sweep.seeds": "1"}
    opened = lab("measured", **query).healthy()
    assert any("dreams" in words for words in opened.words)
    opened = lab("measured", **{"sweep.lengths": "64,32"}).healthy()
    assert any("rise" in words for words in opened.words)


def test_a_row_opens_at_its_longest_with_its_shortest_behind(lab) -> None:
    opened = lab("thinning", **{"sweep.of": "softmax,entmax"}).healthy()
    given = moved(opened)
    assert len(given["frames"]) == len(given["labels"]) == 9
    assert (given["at"], given["labels"][8]) == (8, "n = 4,096")
    for frame, n in zip(given["frames"], (16, 64), strict=False):
        full, entmax, *ghosts = (trace["x"] for trace in frame["traces"])
        assert max(full) == max(entmax) >= 16 and [max(x) for x in ghosts] == [16, 16]
        assert n >= 16
    assert max(given["frames"][8]["traces"][0]["x"]) == 4096
    assert any("From 16 to 4,096 keys" in words and "→" in words for words in opened.words)


def test_a_row_is_matched_where_the_sweep_is(lab) -> None:
    query = {"sweep.of": "softmax,entmax", "sweep.lengths": "64,128", "sweep.seeds": "1"}
    matched = query | {"sweep.match": "needle_mass"}
    row = legend(moved(lab("thinning", **matched).healthy())["figure"])
    opened = lab("measured", **matched).healthy()
    job = JOBS.get(opened.test.session_state["sweep-job"][0])
    assert job is not None
    ended(job)
    opened.run().healthy()
    swept = legend(moved(opened)["figure"])
    assert row == swept and "×" in row[1]
    assert speaker("en")("dilution.matched.needle_mass", n=64) in " ".join(opened.words)
    plain = legend(moved(lab("thinning", **query).healthy())["figure"])
    assert "×" not in plain[1]


def test_noise_beside_its_closed_form(lab) -> None:
    opened = lab("noise").healthy()
    four = opened.figures[:4]
    assert [chart["data"][0]["type"] for chart in four] == ["heatmap"] * 4
    # hatched where noise is above half of √(2 ln n); 3 at 16 keys would be 23 %, and is 58 %
    assert [len(chart["data"]) for chart in four] == [2, 3, 2, 2]
    assert "23%" not in four[1]["data"][1]["text"] and "58%" in four[0]["data"][1]["text"]
    assert all(chart["layout"]["yaxis"]["range"] == [-0.5, 5.5] for chart in four)  # upwards
    assert any("up a column, noise grows" in words for words in opened.words)


def test_heads_are_ranked_within_training(lab, monkeypatch) -> None:
    monkeypatch.setattr(opening, "LONGEST", 256)
    opened = lab("growing").healthy()
    lines, ranking, _ = opened.figures
    assert len(lines["data"]) > 3 and ranking["data"][0]["type"] == "bar"
    told, apart = (
        next(words for words in opened.words if mark in words)
        for mark in ("exponent", "That is extrapolation")
    )
    assert "from 16 to 64 tokens" in told and "256" not in told
    assert "beyond the 64 tokens" in apart.lower() and "256 tokens" in apart
    # it opens on the head that as many thin out less than as more
    shown = opened.test.selectbox(key="lab-which.en").value
    order = ranking["layout"]["yaxis"]["ticktext"]
    layer, head = shown.split(".")
    assert order[len(order) // 2] == EN["dilution.head"].format(layer=layer, head=head)


def test_a_full_disk_costs_the_keeping_and_not_the_picture(lab, monkeypatch) -> None:
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "put", full)
    opened = lab("measured", **{"sweep.of": "softmax", "sweep.lengths": "32,64"}).healthy()
    job = JOBS.get(opened.test.session_state["sweep-job"][0])
    assert job is not None
    ended(job)
    assert job.error is None
    opened.run().healthy()
    assert EN["dilution.disk"] in opened.words and moved(opened)["figure"]["data"]


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
    metric = opened.test.selectbox(key="lab-metric.en")
    assert metric.value == "effective_tokens" and "needle_mass" not in metric.options


def test_a_source_without_needles_is_matched_by_entropy(lab) -> None:
    query = {"sweep.of": "softmax", "sweep.lengths": "32,64", "sweep.match": "needle_mass"}
    opened = lab("measured", **query).healthy()
    opened.test.selectbox(key="lab-source.en").select("identical")
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
    assert opened.test.selectbox(key="lab-text.en").value == "own"
    grown = opened.figures[0]
    assert grown["layout"]["yaxis"]["title"]["text"] == EN[f"stat.{metric}"]
    assert any("small reads the text anew" in words for words in opened.words)


def test_a_text_too_short_to_grow_says_so(lab, folder) -> None:
    opened = lab("growing", text="Quill sings.", model=folder).healthy()
    assert any("too short to grow" in words for words in opened.words)


def test_irrelevant_passages_disturb_a_real_text(lab, folder) -> None:
    opened = lab("noise", model=folder).healthy()
    assert len(opened.figures) == 5
    # every text is longer than the 64 tokens that this model was trained on: nothing but that
    assert not any("of its weight. When" in words for words in opened.words)
    assert any("Beyond the 64 tokens" in words for words in opened.words)


@pytest.mark.parametrize("match", ["", "none", "entropy"])
def test_a_link_to_a_source_without_needles_works(lab, match) -> None:
    query = {"sweep.source": "identical", "sweep.of": "softmax", "sweep.lengths": "32,64"}
    # a sweep of its own each: what is on disk already is not begun
    query |= {"sweep.match": match, "sweep.lengths": "16,32"} if match else {}
    opened = lab("measured", **query).healthy()
    assert opened.test.selectbox(key="lab-match.en").value == (match or "none")
    token, choice = opened.test.session_state["sweep-job"]  # it was begun, and so not refused
    assert choice.match == (match or "none") and JOBS.get(token) is not None
    assert not opened.test.get("trouble") and EN["dilution.band"] in " ".join(opened.words)


def test_what_the_lab_opens_with_is_there_at_once(page, monkeypatch, tmp_path) -> None:
    """The sweep, the noise, a text that grows and a text with a needle: nothing is computed and
    no model is opened for the first picture."""
    from pages.ui.dilution import growing, measured, noise

    monkeypatch.setenv("ATTENTION_EXPLORER_CACHE", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(measured.JOBS, "start", refuse)
    monkeypatch.setattr(noise, "obtain", refuse)
    monkeypatch.setattr(growing, "measured", refuse)
    monkeypatch.setattr(growing, "maps", lambda *_: None)
    for lang in ("en", "zh"):
        swept = page("dilution", lab="measured", lang=lang).healthy()
        lines = [
            trace for trace in moved(swept)["figure"]["data"]
            if trace.get("name") and trace.get("showlegend") is not False
        ]  # fmt: skip
        assert [len(values(trace["x"])) for trace in lines] == [5] * 5
        assert len(page("dilution", lab="noise", lang=lang).healthy().figures) == 5
        monkeypatch.setattr(growing.reading, "model", lambda name: None)
        assert len(page("dilution", lab="growing", lang=lang).healthy().figures) == 2


def test_a_sweep_keeps_its_keys_from_those_of_a_picture(lab) -> None:
    query = {"sweep.source": "identical", "sweep.of": "softmax", "sweep.lengths": "32,64"}
    opened = lab("measured", source="planted", **{"s.gap": "2.0"}, **query).healthy()
    assert (opened.spec.source, opened.held("sweep").source) == ("planted", "identical")
    opened.test.selectbox(key="lab-source.en").select("planted").run()
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


MOST_WORDS = 45
"""Of a caption, a sentence or a paragraph."""
OTHERWISE = {
    "en": ("logits above the rest", "does not mind", "spread s weigh", "painted", "Start alike"),
    "zh": ("质量", "汇聚", "得分", "变薄", "分散度", "nats", "带走", "后果", "第 0 头"),
}
"""What readers stumbled on; there is a better word for each."""


@pytest.mark.parametrize("tag", LANGUAGES)
def test_words_of_the_lab_are_short_and_keep_to_their_terms(tag) -> None:
    mine = {k: v for k, v in locale(tag).items() if k.startswith(("dilution.", "probes."))}
    wrong = {k for k, v in mine.items() for word in OTHERWISE[tag] if word in v}
    assert not wrong
    if tag == "en":
        prose = {k: v for k, v in mine.items() if re.search(r"caption|says|text|help|found", k)}
        assert prose and not {
            k for k, v in prose.items() if len(filled(v, tag).split()) > MOST_WORDS
        }
