"""Every word in both languages: required keys follow from the registries, facts agree."""

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from engine.contract import params_of
from engine.contract.wording import worded
from engine.mechanisms import MECHANISMS, Mechanism
from engine.sources import SOURCES
from engine.spec.fields import COLOURS, LANGUAGES, POOLS
from pages.ui.explore.statistics import grown
from pages.ui.shared.terms import TERMS
from tests.wording import facts

ROOT = Path(__file__).parents[2]
WORDS = {
    tag: json.loads((ROOT / "assets" / "locales" / f"{tag}.json").read_text("utf-8"))
    for tag in LANGUAGES
}
MINE = {"language.short"}  # each language in its own words, whichever is shown


def every(cls: type[Mechanism]) -> Iterator[Mechanism]:
    """A mechanism under each combination of its choices, and of its numbers' ends."""
    declared = params_of(cls)
    values = [
        p.choices or ((False, True) if p.kind is bool else {p.default, (p.slider or (p.low,))[-1]})
        for p in declared.values()
    ]
    return (cls(**dict(zip(declared, chosen, strict=True))) for chosen in product(*values))


def formulas(cls: type[Mechanism]) -> set[str]:
    """Names of all formulas of a mechanism, whatever its parameters are."""
    return {name for one in every(cls) for name in one.formulas}


def required() -> set[str]:
    """Keys that follow from what is declared."""
    keys = set()
    for registry, classes in (("mechanism", MECHANISMS), ("source", SOURCES)):
        for key, cls in classes.items():
            keys.add(f"{registry}.{key}.name")
            if registry == "mechanism":
                keys.add(f"mechanism.{key}.short")
                keys |= {f"mechanism.{key}.{x}.formula".replace("..", ".") for x in formulas(cls)}
                keys.add(f"family.{cls.family}")
                if cls.groups:
                    keys |= {f"group.{cls.groups}", f"groups.{cls.groups}"}
                if cls.family == "remedies" and cls().needle_mass(2, 1.0) is not None:
                    stem = f"picture.remedy_growth_{key}"
                    keys |= {f"{stem}.title", f"{stem}.caption"}
            for name, declared in params_of(cls).items():
                stem = f"{registry}.{key}.param.{name}"
                keys |= {stem, f"{stem}.help"} | {f"{stem}.{c}" for c in declared.choices}
    keys |= {f"colour.{c}{part}" for c in COLOURS for part in ("", ".bar")}
    keys |= {f"pool.{p}{part}" for p in POOLS for part in ("", ".caption")}
    keys |= {f"term.{x}{part}" for x in TERMS for part in ("", ".forms")}
    return keys


def test_both_languages_have_the_same_keys():
    assert WORDS["en"].keys() == WORDS["zh"].keys()


@pytest.mark.parametrize("tag", LANGUAGES)
def test_what_is_declared_has_words(tag):
    assert not required() - WORDS[tag].keys()


def test_a_mechanism_without_words_is_noticed(monkeypatch):
    class New(MECHANISMS["ssmax"]):
        key = "new"
        family = "new_family"

    monkeypatch.setitem(MECHANISMS, "new", New)
    missing = required() - WORDS["en"].keys()
    assert {"mechanism.new.name", "mechanism.new.short", "family.new_family"} <= missing


def test_facts_agree():
    differing = {
        key: (facts(words), facts(WORDS["zh"][key]))
        for key, words in WORDS["en"].items()
        if not key.endswith(".formula") and facts(words) != facts(WORDS["zh"][key])
    }
    assert not differing


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_string_takes_its_facts(tag):
    """Each placeholder is written as one is: numbers fit all of them but a name's."""
    for key, words in WORDS[tag].items():
        names = re.findall(r"\{(\w+)", words)
        if names and not key.endswith(".formula"):
            assert worded(words, tag, dict.fromkeys(names, 3)), key


def test_chinese_is_chinese():
    """Strings with a word of English in them have one of Chinese, too, or are names."""
    said = {
        key
        for key, words in WORDS["zh"].items()
        if words == WORDS["en"][key]
        and re.search(r"[a-z]{4}", re.sub(r"{.*?}", "", words))
        and not key.endswith(".formula")
        and not key.startswith("example.")
    }
    assert not said


def test_every_key_in_the_code_has_words():
    used = set()
    for path in (*ROOT.glob("pages/**/*.py"), *ROOT.glob("engine/figures/**/*.py")):
        used |= set(re.findall(r"""\bt\(\s*"([a-z_.]+)\"""", path.read_text("utf-8")))
    assert used and not used - WORDS["en"].keys()


def test_keys_are_sorted_so_that_edits_stay_small():
    for words in WORDS.values():
        assert list(words) == sorted(words)


def test_an_id_in_a_refusal_has_words():
    """Ids are made where a refusal is raised, `Id(name, "qkv.…")`; their keys are all there."""
    stems = set()
    for path in ROOT.glob("engine/**/*.py"):
        stems |= set(re.findall(r"""\bId\([^()]*f"([a-z_.]+)\.\{""", path.read_text("utf-8")))
    assert {"mechanism", "qkv", "stat"} <= stems
    for stem in stems:
        assert any(key.startswith(f"{stem}.") for key in WORDS["en"])
    assert {f"qkv.{name}" for name in ("mask", "bias", "sinks", "softcap")} <= WORDS["en"].keys()


def test_what_a_cost_grows_with_is_said_in_words():
    used = set()
    for key, cls in MECHANISMS.items():
        for order in {one.order for one in every(cls)}:
            names = set(re.findall(r"[a-z_]{2,}", order)) - {"log"}
            for tag in LANGUAGES:
                said = [f"cost.order.{key}.{name}" for name in names]
                said = [own if own in WORDS[tag] else own.replace(f".{key}.", ".") for own in said]
                assert set(said) <= WORDS[tag].keys(), key
                used |= set(said)
            assert not re.search(r"[A-Za-z]{2}", grown(order, key, WORDS["zh"]).replace("log", ""))
    assert used == {k for k in WORDS["en"] if k.startswith("cost.order.")}
    assert grown("n·fading", "own", WORDS["zh"]) == "n·fading"  # a person's own: as they call it
