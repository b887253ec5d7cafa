"""Foundations, cues to scoring and pooling: pictures, words, code lines, what can't be shown."""

import json
import time
from urllib.parse import parse_qsl, urlparse

import pytest

from engine.spec.fields import LANGUAGES
from engine.spec.links import parsed
from pages.ui.foundations import PARTS
from pages.ui.foundations import regression as part
from pages.ui.server.jobs import JOBS
from pages.ui.shared.strings import locale

VIEWS = (
    {"part": "cues"},
    {"part": "cues", "cues-without": "max"},
    {"part": "cues", "cues-cue": "query", "cues-shape": "circle", "cues-pull": "1.0"},
    {"part": "regression"},
    {"part": "regression", "regression-pool": "average"},
    {"part": "regression", "regression-kernel": "boxcar", "regression-w": "9.0"},
    {"part": "regression", "regression-pool": "learned", "regression-keys": "all"},
    {"part": "scoring", "scoring-d": "256"},
    {"part": "regression", "regression-pool": "learned", "regression-article": "true"},
    {"part": "scoring", "scoring-view": "functions", "scoring-key": "7"},
    {"part": "scoring", "scoring-view": "functions"},
    {"part": "scoring", "scoring-view": "functions", "scoring-bias": "without"},
    {"part": "pooling"},
    {"part": "pooling", "pooling-scoring": "additive", "pooling-queries": "1"},
    {"part": "pooling", "pooling-scoring": "gaussian", "pooling-row": "2"},
)


@pytest.fixture
def lesson(page):
    """lesson(**query) opens a part."""
    return lambda **query: page("foundations", **({"lang": "en"} | query))


def pictures(page) -> list[dict]:
    return [json.loads(one.proto.bytes) for one in page.parts]


def says(page, key: str) -> bool:
    """Some text on the page begins as this string does."""
    start = locale("en")[key].split("{")[0]
    return any(said.startswith(start) for said in page.words)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: "-".join(view.values()))
def test_every_view_is_drawn_and_its_code_runs(lesson, view, language) -> None:
    page = lesson(lang=language, **view).healthy()
    assert pictures(page) and all(one["alt"] for one in pictures(page))
    assert locale(language)[f"lesson.{view['part']}.text"] in page.words
    (code,) = page.test.code
    exec(code.value, {})
    (door,) = page.test.get("link_button")
    told = parse_qsl(urlparse(door.proto.url).query)
    parsed(dict(told))


def test_a_query_changes_the_scene(lesson) -> None:
    page = lesson(part="cues").healthy()
    before = pictures(page)[0]["figure"]
    page.test.segmented_control(key="cues-cue").set_value("query").run()
    page.healthy()
    assert pictures(page)[0]["figure"] != before
    assert page.said["cues-cue"] == "query"
    assert says(page, "lesson.cues.notice.turned")  # what it opens on isn't salient already
    page.test.segmented_control(key="cues-colour").set_value("blue").run()
    assert page.said["cues-colour"] == "blue"
    assert says(page.healthy(), "lesson.cues.notice.query")


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ({"n": "1"}, "alone"),
        ({"n": "1", "keys": "all"}, "one"),
        ({"span": "0.0"}, "same"),
        ({"w": "0.0"}, "flat"),
    ],
)
def test_what_can_not_be_learned_is_said(lesson, choices, why) -> None:
    query = {f"regression-{key}": value for key, value in choices.items()}
    page = lesson(part="regression", **{"regression-pool": "learned"} | query).healthy()
    assert says(page, f"lesson.regression.trouble.{why}")
    assert not [button for button in page.test.button if button.key == "regression-start"]


def test_widths_that_differ_have_no_dot_product(lesson) -> None:
    page = lesson(part="scoring", **{"scoring-view": "functions", "scoring-query": "3"})
    assert any("one width, not 3 and 4" in said for said in page.healthy().words)
    assert len(pictures(page)) == 1


def test_equal_x_are_drawn_as_equal_weights(lesson) -> None:
    page = lesson(part="regression", **{"regression-span": "0.0", "regression-n": "4"}).healthy()
    fit, matrix = (one["figure"] for one in pictures(page)[:2])
    assert fit["layout"]["barmode"] == "overlay"  # bars at one place stand for one weight each
    (cells,) = matrix["data"]
    assert (cells["zmin"], cells["zmax"]) == (0, 0.25)


@pytest.mark.parametrize(("w", "how"), [("1.0", "more"), ("20.0", "narrow")])
def test_more_data_are_told_as_they_come_out(lesson, w, how) -> None:
    page = lesson(part="regression", **{"regression-w": w}).healthy()
    told = {key for key in ("more", "narrow") if says(page, f"lesson.regression.answer.{key}")}
    assert told == {how}


def quick(monkeypatch) -> None:
    """Training of a few steps, as fast as they come."""
    monkeypatch.setattr(part, "PACE", 0.0)
    monkeypatch.setattr(part, "STEPS", 24)


def trained(page) -> None:
    """Wait, asking as the browser does, until the training has ended."""
    job = JOBS.get(page.test.session_state["regression-run"]["token"])
    while not job.done:
        job.asked = time.monotonic()
        time.sleep(0.02)
    page.run().healthy()


def test_training_is_watched_and_told(lesson, monkeypatch) -> None:
    quick(monkeypatch)
    page = lesson(part="regression", **{"regression-pool": "learned", "regression-rate": "0.1"})
    before = pictures(page)[0]["figure"]
    page.test.button(key="regression-start").click().run()
    page.healthy()
    token = page.test.session_state["regression-run"]["token"]
    drawn = {one["slot"] for one in pictures(page) if one["job"] == token}
    assert drawn == {"", "matrix", "descent"} or JOBS.get(token).done
    trained(page)
    state = JOBS.get(token).state
    assert len(state["traces"]) == len(before["data"]) and state["share"] == 1
    assert len(state["descent"]["traces"][1]["y"]) == part.STEPS + 1
    assert says(page, "lesson.regression.notice.learned")
    assert pictures(page)[0]["figure"]["data"][1] != before["data"][1]
    page.test.slider(key="regression-seed").set_value(3).run()
    assert says(page.healthy(), "lesson.regression.notice.untrained")


def test_a_rate_that_diverges_is_stopped_and_told(lesson, monkeypatch) -> None:
    quick(monkeypatch)
    page = lesson(part="regression", **{"regression-pool": "learned", "regression-rate": "50.0"})
    page.test.button(key="regression-start").click().run()
    trained(page)
    assert says(page, "lesson.regression.notice.diverged")
    assert says(page, "lesson.regression.answer.scanned")  # nothing was learned from it
    assert says(page, "lesson.regression.answer.more")
    for one in pictures(page):
        assert "NaN" not in json.dumps(one["figure"])


def test_the_article_s_training_is_one_button_and_a_link(lesson, monkeypatch) -> None:
    quick(monkeypatch)
    page = lesson(part="regression", **{"regression-seed": "3", "regression-noise": "1.0"})
    page.test.button(key="regression-article-button").click().run()
    said = {k: v for k, v in page.healthy().said.items() if k.startswith("regression-")}
    assert said == {
        "regression-pool": "learned", "regression-rate": "0.5", "regression-article": "true"
    }  # fmt: skip
    again = lesson(part="regression", **said).healthy()
    for one in (page, again):
        (told,) = (x for x in one.words if x.startswith("5 steps at learning rate 0.5"))
        assert "w from 1 to 9.0" in told and "turns 13 times" in told
        descent = pictures(one)[2]["figure"]["data"][1]
        assert descent["x"] == [0, 1, 2, 3, 4, 5]
    page.test.button(key="regression-start").click().run()  # training of one's own takes over
    trained(page)
    assert "regression-article" not in page.said
    assert len(pictures(page)[2]["figure"]["data"][1]["x"]) == part.STEPS + 1
    page.test.button(key="regression-article-button").click().run()
    assert len(pictures(page.healthy())[2]["figure"]["data"][1]["x"]) == 6


def test_rows_and_signs_are_told_with_their_numbers(lesson) -> None:
    page = lesson(part="scoring", **{"scoring-view": "functions"}).healthy()
    assert any("Fitted to queries 1, 2, 3," in said and "query 0" in said for said in page.words)
    page.test.segmented_control(key="scoring-bias").set_value("without").run()
    (told,) = (said for said in page.healthy().words if said.startswith("Turn every sign"))
    lead = told.split("goes from ")[1].split(" to ")
    assert {lead[0].strip("−"), lead[1].split(" ")[0].strip("−")} == {lead[0].strip("−")}
    assert ("−" in lead[0]) != lead[1].startswith("−")
    assert says(page, "lesson.scoring.mirror.without")
    (formula,) = (one.value for one in page.test.latex)
    assert (
        r"Q \in \mathbb{R}^{n \times d} = \mathbb{R}^{4 \times 4}" in formula
        and "+ b" not in formula
    )


def test_the_general_form_comes_before_scoring() -> None:
    assert list(PARTS)[:4] == ["cues", "regression", "pooling", "scoring"]
