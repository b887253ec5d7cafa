"""Facts put into words: counts by the rules of the language, the rest as `str.format` does."""

import numpy as np
import pytest

from engine.contract.wording import worded

HEADS = "{n, plural, one {# head} other {# heads}} of {name!r}, {share:.0%}"


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 heads"), (1, "1 head"), (2, "2 heads"), (4096, "4,096 heads")]
)
def test_a_count_follows_the_rules_of_english(n, said):
    assert worded(HEADS, "en", {"n": n, "name": "x", "share": 0.5}) == f"{said} of 'x', 50%"


@pytest.mark.parametrize(("n", "said"), [(1, "1 głowa"), (3, "3 głowy"), (5, "5 głów")])
def test_of_a_language_with_more_of_them_too(n, said):
    words = "{n, plural, one {# głowa} few {# głowy} many {# głów} other {# głowy}}"
    assert worded(words, "pl", {"n": n}) == said


def test_counts_are_whole_numbers_of_any_make():
    assert worded("{n, plural, one {# row} other {# rows}}", "en", {"n": np.int64(1)}) == "1 row"
    with pytest.raises(TypeError):
        worded("{n, plural, one {# row} other {# rows}}", "en", {"n": 1.5})


def test_a_fact_is_not_read_as_words():
    two = "{n, plural, one {# a} other {# b}} {name} {n, plural, one {c} other {d}}"
    assert worded(two, "en", {"n": 1, "name": "{n, plural, other {x}}"}) == (
        "1 a {n, plural, other {x}} c"
    )


def test_a_count_that_is_its_own_place_stays():
    words = "{n, plural, one {# row} other {# rows}}, {x}"
    assert worded(words, "en", {"n": "{n}", "x": "{x}"}) == words
    with pytest.raises(TypeError):
        worded(words, "en", {"n": "1", "x": ""})


def test_a_fact_that_is_missing_is_an_error():
    with pytest.raises(KeyError):
        worded(HEADS, "en", {"name": "x", "share": 0.5})
