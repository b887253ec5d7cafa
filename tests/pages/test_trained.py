"""Models trained with each mechanism, on the pages: by name, beside the same Q and K, their cards;
and what is said where there are none."""

import json

import pytest

from engine.dilution import trained as findings
from engine.models import embedded
from engine.models.zoo import kept
from engine.models.zoo.recipes import KINDS, LEFT_OUT
from engine.spec.fields import LANGUAGES
from pages.ui.dilution import trained as part
from pages.ui.shared.strings import locale

CARDS = kept.measured()
THERE = embedded.trained()
FOLDERS = ("engine.models.embedded.ZOO", "engine.models.zoo.kept.ZOO")
kept_only = pytest.mark.skipif(
    not {"zoo-softmax", "zoo-window"} <= set(THERE), reason="they are not trained"
)


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """No models and no cards."""
    for name in FOLDERS:
        monkeypatch.setattr(name, tmp_path)


def tables(page):
    return [e.proto.body for e in page.test.get("html") if "<table" in e.proto.body]


def maps(page):
    found = [json.loads(e.proto.bytes) for e in page.parts]
    return [one for one in found if "window" in one and "token" in one]


def captions(page):
    return [element.value for element in page.test.caption]


@kept_only
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("model", [None, "softmax", *[name for name in KINDS if name in CARDS]])
def test_the_lab_draws_the_cards(page, language, model) -> None:
    query = {} if model is None else {"zoo-model": model}
    shown = page("dilution", lab="trained", lang=language, **query).healthy()
    words = locale(language)
    loss = shown.figures[0]
    drawn = [x for x in loss["data"] if len(x["x"] if isinstance(x["x"], list) else "ab") > 1]
    assert len(drawn) >= sum(name in CARDS for name in KINDS)
    predictions, models = tables(shown)
    there = [name for name in KINDS if name in CARDS]
    assert models.count("<tr") == 1 + len(there)
    assert predictions.count("<tr") == 1 + len(findings.findings(CARDS, language))
    said = CARDS[model or there[1]]["measured"]["loss_by_position"][language]["2048-4096"]
    assert any(f"{said:.2f}" in x for x in shown.words)
    assert any(x.startswith(words["zoo.chance.unknown"][:12]) for x in shown.words) == (
        findings.chance(CARDS, lambda card: findings.bits(card, language)) is None
    )
    for key in LEFT_OUT:
        assert any(x.startswith(words[f"mechanism.{key}.name"]) for x in shown.words), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_models_the_lab_says_so(page, empty, language) -> None:
    shown = page("dilution", lab="trained", lang=language).healthy()
    assert locale(language)["zoo.empty"] in shown.words and not shown.figures


@kept_only
def test_with_other_seeds_the_lab_says_what_they_change(page, monkeypatch) -> None:
    other = json.loads(json.dumps(CARDS["softmax"]))
    other["measured"]["bits_per_byte"]["en"] += 0.014
    other["measured"]["loss_by_position"]["en"]["2048-4096"] += 3
    alone = {name: card for name, card in CARDS.items() if name in KINDS}
    monkeypatch.setattr(kept, "measured", lambda: alone | {"softmax-seed1": other})
    shown = page("dilution", lab="trained", lang="en", **{"zoo-model": "window"}).healthy()
    assert any("(Full attention)" in x and "0.014" in x and "3.00" in x for x in shown.words)
    assert any("that is no difference" in x for x in shown.words)
    assert any(trace.get("fill") == "toself" for trace in shown.figures[0]["data"])


def test_every_claim_and_verdict_has_words() -> None:
    for tag in LANGUAGES:
        words = locale(tag)
        for one in findings.PREDICTIONS:
            assert {f"zoo.claim.{one.claim}", f"zoo.found.{one.claim}"} <= words.keys()
        assert all(f"zoo.verdict.{verdict}" in words for verdict in part.MARKS)
        for name, kind in KINDS.items():
            assert name == kind.key or f"model.zoo.{name}" in words


@kept_only
def test_explore_reads_with_the_model_that_was_trained_so(page) -> None:
    shown = page("explore", mechanism="window", lang="en").healthy()
    assert any("was not trained with it" in x for x in shown.words)
    shown.test.button_group(key="choose-trained").set_value("own").run()
    shown.healthy()
    assert shown.said["trained"] == "own" and shown.spec.model == "tiny"
    assert any("trained with Window with sinks (" in x and "own" in x for x in shown.words)
    assert any("Window 64" in x and "Sinks 4" in x for x in captions(shown))
    assert not any("under full attention" in x for x in shown.words)
    keys = [w.key or "" for kind in ("slider", "select_slider") for w in getattr(shown.test, kind)]
    assert not any(key.startswith("params.window") for key in keys)


@kept_only
def test_explore_where_no_model_was_trained_so(page, empty) -> None:
    shown = page("explore", mechanism="window", trained="own", lang="en").healthy()
    words = locale("en")["trained.none"].format(mechanism="Window with sinks")
    assert words in captions(shown)
    assert any("was not trained with it" in x for x in shown.words)
    plain = page("explore", mechanism="window", lang="en").healthy()
    assert "choose-trained" not in [w.key for w in plain.test.get("button_group")]


@kept_only
def test_a_model_is_chosen_by_name_with_what_it_was_trained_with(page) -> None:
    shown = page("explore", lang="en").healthy()
    (models,) = [w for w in shown.test.selectbox if (w.key or "").startswith("model.")]
    names = [embedded.EMBEDDED, *THERE]
    assert len(models.options) == len(names) and "Window with sinks" in models.options[2]
    models.set_value("zoo-window").run()
    shown.healthy()
    assert (shown.spec.model, shown.spec.mechanism) == ("zoo-window", "window")
    assert dict(shown.spec.params)["window"] == 64
    assert any("this is its own attention" in x for x in shown.words)
    assert "choose-trained" not in [w.key for w in shown.test.get("button_group")]


@kept_only
def test_another_mechanism_over_such_a_model_is_told_apart(page) -> None:
    shown = page("explore", model="zoo-window", mechanism="lsh", lang="en").healthy()
    assert any("the model was trained with Window with sinks (" in x for x in shown.words)


@kept_only
@pytest.mark.parametrize("language", LANGUAGES)
def test_compare_sets_each_beside_the_model_that_was_trained_so(page, language) -> None:
    query = {"with": "window,kmeans", "lang": language}
    plain = page("compare", **query).healthy()
    shown = page("compare", trained="own", **query).healthy()
    assert len(maps(shown)) == len(maps(plain)) + 1  # the window's
    words = locale(language)
    assert words["trained.reference"] in shown.words
    none = words["trained.none"].format(mechanism=words["mechanism.kmeans.name"])
    assert none in shown.words
    (said,) = [x for x in shown.words if "16" in x and "64" in x and "4" in x and "%" in x]
    assert words["trained.with"].partition("{")[0].strip() in said
    same = words["model.zoo"].format(name=words["mechanism.softmax.name"])
    assert any(x.startswith(same) for x in shown.words)


def test_compare_without_models(page, empty) -> None:
    shown = page("compare", trained="own", lang="en", **{"with": "window"}).healthy()
    assert sum("was trained with" in x for x in shown.words) == 2
