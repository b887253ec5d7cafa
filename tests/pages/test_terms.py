"""Terms are explained where a page first uses them, once, in the page's language."""

import pytest

from engine.spec.fields import LANGUAGES
from engine.text.locale import locale
from pages.ui.shared import terms


def explained(page, language: str) -> list[str]:
    """Terms that a page explains, as often as it does."""
    helps = [element.proto.help for element in page.test.text]
    words = {name: locale(language)[f"term.{name}"] for name in terms.TERMS}
    return [name for told in helps for name, means in words.items() if means in told]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("name", "query", "expected"),
    [
        ("foundations", {"part": "cues"}, {"query", "key"}),
        ("dilution", {"lab": "theory"}, {"needle", "logit"}),
        ("explore", {"source": "planted"}, {"effective_tokens"}),
    ],
)
def test_a_term_is_explained_once_where_it_is_first_used(page, name, query, expected, language):
    opened = page(name, **query, lang=language)
    found = explained(opened, language)
    assert expected <= set(found) and len(found) == len(set(found))


def test_every_run_explains_anew(page):
    opened = page("dilution", lab="theory")
    assert explained(opened, "en") == explained(opened.run(), "en") != []


@pytest.mark.parametrize(
    ("words", "name", "seen"),
    [
        ("Hash buckets keep it", "key", False),
        ("Keys are compared", "key", True),
        ("a monkey", "key", False),
        ("query-key pairs", "query", False),
    ],
)
def test_a_term_is_a_word_of_its_own(words, name, seen):
    assert bool(terms._seen("en", name).search(words)) is seen


def test_chinese_terms_are_not_parts_of_other_words():
    assert not terms._seen("zh", "key").search("关键在于长度")
    assert terms._seen("zh", "key").search("共 4,096 个键时")
    assert not terms._seen("zh", "needle").search("指针")
