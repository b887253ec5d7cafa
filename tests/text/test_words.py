"""How words read: captions are short, counts agree with their nouns, and Chinese is spaced."""

import json
import re

import pytest

from engine.contract.wording import PLURAL, worded
from engine.runtime.paths import LOCALES
from engine.spec.fields import LANGUAGES
from engine.text.locale import locale

WORDS = {
    tag: {k: v for k, v in locale(tag).items() if not k.endswith(".formula")} for tag in LANGUAGES
}
REFUSALS = json.loads((LOCALES / "refusals-zh.json").read_text("utf-8"))
PLACE = re.compile(r"\{(\w+)(?:!\w)?(?::([^{}]*))?\}")
HAN = "[\u4e00-\u9fff]"
CAPTION = re.compile(r"[._]caption$|^picture\..*caption$|^compare\.\w+_caption$")
LONGEST = {"en": 45, "zh": 90}
PARTS = {"origin": "bias.origin.", "target": "bias.target.", "score": "levels.score."}
"""Words that go into a caption, by the place where they do; notes of a sample are not counted."""
NAMES = {"effective", "key", "name", "negative", "times", "what", "which"}
"""Places that hold words, or numbers with decimals that are written already."""


def filled(words: str, tag: str, count: int = 0) -> str:
    """A string with this count wherever a whole number may stand, and 0.5 for other numbers."""

    def place(found: re.Match[str]) -> str:
        if found[1] in NAMES:
            return "x"
        return "0.5" if re.search(r"[.%eg]", found[2] or "") else str(count)

    return PLACE.sub(place, PLURAL.sub(lambda c: worded(c[0], tag, {c[1]: count}), words))


def size(words: str, tag: str) -> int:
    """Words of English; characters of Chinese, a number or a word of Latin letters as one."""
    pieces = re.sub("[\u3000-\u9fff\uff00-\uffef“”]", " ", words).split()
    count = sum(bool(re.search(r"\w", piece)) for piece in pieces)
    return count + (len(re.findall("[\u3000-\u9fff\uff00-\uffef“”]", words)) if tag == "zh" else 0)


@pytest.mark.parametrize(("words", "tag", "long"), [("a b: 3 × 4 of 5%", "en", 6),
                                                    ("头 3 有“softmax”。", "zh", 7)])  # fmt: skip
def test_how_long_words_are(words, tag, long):
    assert size(words, tag) == long


@pytest.mark.parametrize("tag", LANGUAGES)
def test_captions_are_short(tag):
    words, long = WORDS[tag], {}
    for key in (k for k in words if CAPTION.search(k)):
        said = words[key]
        for part, stem in PARTS.items():
            own = [filled(w, tag) for k, w in words.items() if k.startswith(stem)]
            said = said.replace(f"{{{part}}}", max(own, key=lambda w: size(w, tag)))
        if (count := size(filled(said, tag), tag)) > LONGEST[tag]:
            long[key] = count
    assert sum(map(bool, map(CAPTION.search, words))) > 70
    assert not long


def nouns() -> set[str]:
    """What stands after a number somewhere in a form of its own: heads, tokens, hidden units."""
    found = set()
    for words in (*WORDS["en"].values(), *REFUSALS):
        for count in PLURAL.finditer(words):
            found |= set(re.findall(r"other \{(?:All )?# (?:[a-z-]+ )*?([a-z]+s)\b", count[0]))
    return found


def test_one_of_a_thing_is_not_said_in_the_plural():
    adjective = r"(?!(?:all|and|if|of|the)\b)[\w-]+ "
    noun = "|".join(nouns())
    plural = re.compile(rf"(?<!× )(?<![\d.,:])\b1 (?:{adjective}){{0,2}}(?:{noun})\b")
    assert {"tokens", "heads", "keys", "rows", "queries", "segments"} <= nouns()
    assert plural.search("has 1 visible keys") and not plural.search("0.1 tokens, 1 × 1 pairs")
    wrong = {
        key: said
        for key, words in (WORDS["en"] | {k: k for k in REFUSALS}).items()
        if plural.search(said := filled(words, "en", 1))
    }
    assert not wrong


def test_counts_are_spelt_as_the_library_reads_them():
    """Nothing that begins like a count is taken for a plain place, in either language."""
    for words in (*WORDS["en"].values(), *WORDS["zh"].values(), *REFUSALS):
        assert "plural" not in PLURAL.sub("", words)
        for count in PLURAL.finditer(words):
            assert worded(count[0], "en", {count[1]: 2})


BETWEEN = {
    "after", "capsule", "key", "match", "name", "new", "place", "pool", "score", "token", "what",
    "colour", "least", "loud", "most", "outer", "task", "units", "which",
}  # fmt: skip
"""Places for Chinese words, which need no space before them."""
AFTER = BETWEEN - {"capsule", "key", "name"}
"""Those that end in a Chinese character, whatever stands there."""


def test_chinese_is_spaced_from_letters_and_numbers():
    wrong = {}
    for key, words in (WORDS["zh"] | REFUSALS).items():
        bare = PLURAL.sub("", words)
        close = re.findall(f"{HAN}[A-Za-zα-ω0-9]|[A-Za-zα-ω0-9%]{HAN}", PLACE.sub("{}", bare))
        for found in re.finditer(f"({HAN})?{PLACE.pattern}({HAN})?", bare):
            before, name, form, after = found.groups()
            if (before and (form or name not in BETWEEN)) or (
                after and (form or name not in AFTER)
            ):
                close.append(found[0])
        if close:
            wrong[key] = close
    assert not wrong
