"""Foundations without a browser: masking, heads, positions."""

import json
from urllib.parse import parse_qs, urlparse

import pytest

from engine.text.locale import locale

EN = locale("en")


@pytest.fixture
def lesson(page):
    """lesson(part, **query) opens a part."""
    return lambda part, **query: page("foundations", part=part, **{"lang": "en"} | query)


def says(opened, words: str) -> bool:
    return any(words in text for text in opened.words)


def test_a_row_that_sees_nothing_is_said(lesson) -> None:
    opened = lesson("masking").healthy()
    assert says(opened, "Row B2 may see 5 of 8 keys") and len(opened.figures) == 5
    opened.test.select_slider(key="masking-row").set_value(8)
    opened.run().healthy()
    assert says(opened, "Row D2 has no visible keys") and says(opened, "12.5%")
    broken = opened.figures[-1]
    assert any(note["text"] == "NaN" for note in broken["layout"]["annotations"])
    opened.test.slider(key="masking-length4").set_value(3)
    opened.run().healthy()
    assert says(opened, "Row D2 may see 3 of 8 keys")


def test_a_painted_mask_is_in_the_link_and_a_wrong_one_is_a_sentence(lesson) -> None:
    query = {"masking-kind": "own", "masking-row": "2"}
    opened = lesson("masking", **query, **{"masking-own": "ff" * 8}).healthy()
    assert says(opened, "Row 2 may see 8 of 8 keys") and opened.said["masking-own"] == "ff" * 8
    given = json.loads(opened.parts[0].proto.bytes)
    assert given["cells"] == [[1] * 8] * 8
    opened = lesson("masking", **query, **{"masking-own": "<b>"}).healthy()
    assert says(opened, "16 hexadecimal digits") and says(opened, "Row 2 may see 2 of 8 keys")


def door(opened) -> dict[str, str]:
    """What the link into Explore says."""
    url = urlparse(opened.test.get("link_button")[0].proto.url)
    return {key: value for key, (value,) in parse_qs(url.query).items()}


@pytest.mark.parametrize(
    ("part", "query", "said"),
    [
        ("masking", {"masking-kind": "causal"}, {}),
        ("masking", {"masking-row": "5"}, {"s.n": "8", "hide": "2,3,4,5,6,7"}),
        ("masking", {"masking-row": "8"}, {"s.n": "8"}),
        ("positions", {"positions-kind": "rotary"}, {"m.kind": "rope"}),
        ("positions", {"positions-view": "encoding"}, {"m.kind": "rope"}),
        ("positions", {"positions-view": "cost", "positions-n": "512"}, {"s.n": "512"}),
    ],
)
def test_a_view_opens_in_explore(lesson, page, part, query, said) -> None:
    told = door(lesson(part, **query).healthy())
    assert said.items() <= told.items()
    assert ("hide" in told) == ("hide" in said)
    page("explore", **told).healthy()


def test_one_goes_on_to_the_next_part(lesson) -> None:
    opened = lesson("masking").healthy()
    opened.test.button(key="lesson-next").click()
    opened.run().healthy()
    assert opened.said["part"] == "heads" and says(opened, EN["lesson.heads.text"])
    assert not lesson("positions").healthy().test.get("button")


def test_heads_are_switched_off(lesson, folder, monkeypatch) -> None:
    from engine.models import embedded

    monkeypatch.setattr(embedded, "TINY", folder)
    opened = lesson("heads").healthy()
    assert says(opened, "tokens away on average, and head") and len(opened.figures) == 6
    before = opened.figures[-2]
    opened.test.selectbox(key="heads-off.en").set_value("2")
    opened.run().healthy()
    assert says(opened, "Without head 2") and opened.said["heads-off"] == "2"
    assert opened.figures[-2] != before
    assert {"layer": "1", "head": "2"}.items() <= door(opened).items()


def test_random_heads_with_additive_scores(lesson, folder, monkeypatch) -> None:
    from engine.models import embedded

    monkeypatch.setattr(embedded, "TINY", folder)
    query = {"heads-weights": "random", "heads-inside": "additive", "heads-count": "8"}
    opened = lesson("heads", **query).healthy()
    assert says(opened, "R²") and len(opened.test.selectbox(key="heads-off.en").options) == 9
    opened = lesson("heads", **query, **{"heads-off": "7"}).healthy()
    opened.test.select_slider(key="heads-count").set_value(4)  # there is no head 7 any more
    opened.run().healthy()
    assert opened.test.selectbox(key="heads-off.en").value == "none"


def test_positions_break_the_symmetry(lesson) -> None:
    opened = lesson("positions").healthy()
    assert says(opened, "only change places") and len(opened.figures) == 3
    opened = lesson("positions", **{"positions-kind": "rotary"}).healthy()
    assert says(opened, "do more than change places")
    opened.test.text_input(key="positions-sentence-en").set_value("two boats")
    opened.run().healthy()
    assert all(len(figure["data"]) == 1 for figure in opened.figures)  # no numbers in thin cells
    opened.test.text_input(key="positions-sentence-en").set_value("   ")
    opened.run().healthy()
    assert says(opened, EN["lesson.positions.trouble.sentence"])


def test_odd_widths_and_no_positions_are_sentences(lesson) -> None:
    opened = lesson("positions", **{"positions-view": "encoding"}).healthy()
    assert says(opened, "One rotation maps each of 64 positions")
    assert len(opened.figures) == 5
    opened.test.slider(key="positions-width").set_value(7)
    opened.run().healthy()
    assert says(opened, "Choose an even width: 6 or 8") and not opened.figures
    opened.test.slider(key="positions-length").set_value(0)
    opened.run().healthy()
    assert says(opened, "length 0")


def test_costs_cross_at_the_width(lesson) -> None:
    opened = lesson("positions", **{"positions-view": "cost", "positions-n": "256"}).healthy()
    assert says(opened, "2 times fewer operations") and len(opened.figures) == 3
    opened.test.select_slider(key="positions-n").set_value(2048)
    opened.run().healthy()
    assert says(opened, "4 times the operations")


@pytest.mark.parametrize("part", ["masking", "heads", "positions"])
def test_it_speaks_chinese(lesson, part, folder, monkeypatch) -> None:
    from engine.models import embedded

    monkeypatch.setattr(embedded, "TINY", folder)
    opened = lesson(part, lang="zh").healthy()
    assert says(opened, locale("zh")[f"lesson.{part}.text"])


def test_what_models_that_differ_in_positions_make_of_longer_texts(lesson, monkeypatch) -> None:
    from engine.models.zoo import kept

    def card(first: float, last: float) -> dict:
        found = {"0-256": first, "2048-4096": last}
        return {"measured": {"loss_by_position": {"en": found, "zh": found}}}

    cards = {"softmax": card(4.25, 5.5), "nope": card(4.5, 6.75)}
    monkeypatch.setattr(kept, "measured", lambda: cards)
    query = {"positions-view": "encoding"}
    assert not says(lesson("positions", **query).healthy(), "differ in positions alone")
    cards["alibi"] = card(4.375, 4.5)
    opened = lesson("positions", **query).healthy()
    assert says(opened, "rotary 4.25 → 5.50; no position encoding 4.50 → 6.75")
