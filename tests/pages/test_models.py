"""Models: chosen in every way, all their heads at once, of every kind of model."""

import json

import pytest

from engine.measure.patterns import PATTERNS
from engine.mechanisms import MECHANISMS
from engine.models.facts import Facts
from engine.spec.fields import LANGUAGES
from pages.ui.models import chooser
from pages.ui.shared import reading
from pages.ui.shared.strings import locale
from tests.models.made import bert, network, saved, tokenizer

TEXT = "the quick fox said: hello, the dog. the quick fox said: hello"


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """kinds(name) is a folder with a small random model of that kind."""
    made: dict[str, str] = {}
    place = tmp_path_factory.mktemp("kinds")

    def folder(kind: str) -> str:
        if kind not in made:
            own = (
                {"vocab_size": 15, "type_vocab_size": 2} if kind == "bert" else {"vocab_size": 320}
            )
            net = network(kind, 1 if kind == "bert" else 0, **own)
            words = bert() if kind == "bert" else tokenizer()
            made[kind] = str(saved(place / kind, net, words))
        return made[kind]

    return folder


@pytest.fixture
def models(page, folder):
    """models(**query) opens the page with the small model."""
    return lambda **query: page("models", **{"model": folder} | query)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_opens_on_the_embedded_model_with_every_head(page, language):
    opened = page("models", lang=language).healthy()
    words = locale(language)
    (chart,) = opened.figures
    assert len(chart["layout"]["images"]) == 1 and len(chart["data"][0]["customdata"]) == 24
    (said,) = [x for x in opened.words if "24" in x and "%" in x]
    assert said.startswith("24 heads in 4 layers" if language == "en" else "共 4 层 24 个头")
    assert any(x.startswith("llama · ") and "2.6 M" in x and "MIT" in x for x in opened.words)
    assert words["models.stands_out"] in opened.words
    assert "models-shows" not in opened.said


def test_a_head_opens_in_explore(models):
    opened = models(lang="en").healthy()
    opened.test.button(key="open-previous").click().run()
    spec = opened.held("picture")
    assert isinstance(spec.head, int) and spec.layer in (0, 1) and spec.mechanism == "softmax"
    opened.healthy()
    assert any("small, layer" in x for x in opened.words)


def test_scores_as_tints_are_kept_in_the_link(models):
    opened = models().healthy()
    opened.test.selectbox(key="models-shows.en").select("induction").run()
    opened.healthy()
    assert opened.said["models-shows"] == "induction"
    (chart,) = opened.figures
    assert "textfont" in chart["data"][0] and len(chart["data"][0]["text"]) == 8


@pytest.mark.parametrize("kind", ["bert", "bart", "mpt", "gpt2"])
def test_every_kind_of_model_is_drawn(page, kinds, kind):
    opened = page("models", model=kinds(kind), text=TEXT, lang="en").healthy()
    (chart,) = opened.figures
    layers = {"bert": 2, "bart": 6, "mpt": 2, "gpt2": 2}[kind]
    assert len(chart["data"][0]["customdata"]) == 4 * layers
    said = " ".join(opened.words)
    assert ("code of its own" in said) == (kind == "mpt")
    assert ("The decoder is given the same text" in said) == (kind == "bart")
    assert ("cross-attention layer 0" in json.dumps(chart)) == (kind == "bart")


@pytest.mark.parametrize("kind", ["mpt", "bart"])
def test_explore_shows_layers_over_one_text(page, kinds, kind):
    opened = page("explore", model=kinds(kind), text=TEXT, lang="en").healthy()
    assert len(opened.parts) > 1
    if kind == "bart":
        cross = page("explore", model=kinds(kind), text=TEXT, lang="en", layer="3").healthy()
        assert locale("en")["error.cross"] in cross.words
        (layers,) = [x for x in opened.test.selectbox if x.label == "Layer"]
        assert [*layers.options] == ["encoder 0", "encoder 1", "decoder 0", "decoder 1"]
        beside = page("compare", model=kinds(kind), text=TEXT, **{"compare-what": "heads"})
        assert len(beside.healthy().figures) == 2


def lines_of(opened):
    """What the component of token lines is given."""
    found = [json.loads(x.proto.bytes) for x in opened.parts]
    (own,) = [x for x in found if "layout" in x]
    return own


def test_a_second_text_is_written_by_a_decoder_and_looked_at_across(page, kinds):
    query = {"model": kinds("bart"), "text": TEXT, "lang": "en"}
    opened = page("models", **query, second="the dog said").healthy()
    words = " ".join(opened.words)
    assert "The decoder is given the same text" not in words
    (second,) = [x for x in opened.test.text_area if x.key == "second-decoder"]
    assert second.value == "the dog said"
    crossed = page("models", **query, second="the dog said", **{
        "models-part": "one", "models-heads": "3.1,3.2,0.0"
    }).healthy()  # fmt: skip
    own = lines_of(crossed)
    assert [x["name"] for x in own["heads"]] == [
        "cross-attention layer 0, head 1", "cross-attention layer 0, head 2",
    ]  # fmt: skip
    assert own["from"] != own["to"] and "dog" in "".join(own["from"])
    assert len(own["to"]) > len(own["from"])
    assert not [x for x in crossed.test.button if x.key == "models-one-explore"]
    assert any(x.startswith("cross-attention layer 0, head 1: “") for x in crossed.words)
    second = next(x for x in crossed.test.text_area if x.key == "second-decoder")
    second.set_value("the quick fox").run()
    assert crossed.healthy().said["second"] == "the quick fox"


def test_a_pair_is_read_as_one_and_its_texts_look_at_each_other(page, kinds):
    query = {"model": kinds("bert"), "text": "the fox?", "lang": "en", "models-part": "one"}
    alone = page("models", **query).healthy()
    assert len(lines_of(alone)["from"]) == 5
    pair = page("models", second="hello dog.", **query).healthy()
    assert lines_of(pair)["from"] == [
        "[CLS]", "the", "␣fox", "?", "[SEP]", "hello", "␣dog", ".", "[SEP]",
    ]  # fmt: skip
    (said,) = [x for x in pair.words if "of its weight to the second" in x]
    assert said.count("%") >= 4
    explore = page("explore", second="hello dog.", **query).healthy()
    assert [x.value for x in explore.test.text_area if x.key == "second-pair"] == ["hello dog."]


def test_lines_run_between_words_and_what_is_set_aside_is_said(models):
    query = {"models-part": "one", "models-heads": "0.1", "models-row": "5", "lang": "en"}
    opened = models(**query).healthy()
    tokens = lines_of(opened)
    assert tokens["layout"] == "down" and tokens["chosen"] == 5
    assert tokens["from"] == tokens["to"] and not any(tokens["heads"][0]["aside"])
    opened.test.toggle(key="models-by-words").set_value(True).run()
    opened.test.toggle(key="models-aside").set_value(True).run()
    words = lines_of(opened.healthy())
    assert len(words["from"]) < len(tokens["from"]) and max(words["heads"][0]["aside"]) > 0
    assert any("was on the first token, and is set aside" in x for x in opened.words)
    zh = models(**query | {"sample": "ferry", "lang": "zh"}).healthy()
    assert lines_of(zh)["layout"] == "across"
    opened.test.multiselect(key="models-beside.en").set_value([(1, 0), (1, 3)]).run()
    assert [x["name"] for x in lines_of(opened.healthy())["heads"]] == [
        "layer 0, head 1", "layer 1, head 0", "layer 1, head 3",
    ]  # fmt: skip


def test_of_a_long_text_lines_show_a_stretch(models):
    query = {"models-part": "one", "sample": "workshop", "lang": "en", "models-from-token": "50"}
    opened = models(**query).healthy()
    own = lines_of(opened)
    assert len(own["from"]) == len(own["to"]) == 160
    assert max(own["heads"][0]["outside"]) > 0


def test_a_name_is_typed_and_remembered(page, folder):
    opened = page("models", lang="en", **{"models-from": "name"}).healthy()
    opened.test.text_input(key="models-typed").set_value(f" '{folder}' ").run()
    opened.healthy()
    assert len(opened.figures[0]["data"][0]["customdata"]) == 8
    opened.test.button_group(key="models-from").set_value("recent").run()
    opened.healthy()
    (recent,) = [x for x in opened.test.selectbox if x.key == "models-recent.en"]
    assert [*recent.options] == [f"'{folder}'", "tiny, the embedded model"]
    recent.set_value("tiny").run()
    assert opened.healthy().spec.model == "tiny"


def test_what_is_in_the_cache_is_listed_with_its_size(page, monkeypatch):
    monkeypatch.setattr(chooser, "in_cache", lambda: {"org/name": 548_000_000})
    opened = page("models", lang="en", **{"models-from": "cache"}).healthy()
    (cached,) = [x for x in opened.test.selectbox if x.key == "models-cache.en"]
    assert [*cached.options] == ["org/name · 548 MB"] and cached.value is None


def test_a_model_of_the_hub_is_asked_about_before_it_is_fetched(page, monkeypatch):
    facts = Facts("org/name", "gpt2", "hub", 548_000_000, 137_000_000, 548_000_000, "mit")
    monkeypatch.setattr(reading, "describe", lambda name: facts)
    opened = page("models", model="org/name", lang="en").healthy()
    words = " ".join(opened.words)
    assert "548 MB would be fetched" in words and "licence: mit" in words
    assert not opened.figures
    assert any(x.label == "Fetch and open" for x in opened.test.button)


def test_a_model_that_is_not_there_is_said_and_another_can_be_chosen(page):
    opened = page("models", model="/no/such/folder", lang="en").healthy()
    assert not opened.figures and any("/no/such/folder" in x for x in opened.words)
    opened.test.button_group(key="models-from").set_value("project").run()
    opened.test.selectbox(key="models-project.en").set_value("tiny").run()
    assert opened.healthy().figures


def test_what_is_no_text_is_said(page):
    opened = page("models", source="planted", lang="en").healthy()
    assert locale("en")["models.text"] in opened.words and not opened.figures


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_finder_ranks_heads_on_the_probe_and_on_the_text(page, language):
    opened = page("models", lang=language, **{"models-part": "finder"}).healthy()
    ranking, every = opened.figures
    assert ranking["data"][0]["customdata"][0] == [1, 0] and len(every["data"][0]["x"]) == 24
    words = " ".join(opened.words)
    assert ("1 of 24 heads reaches 30%" if language == "en" else "24 个头中有 1 个") in words
    query = {"models-part": "finder", "models-on": "text", "lang": language}
    other = page("models", **query).healthy()
    assert other.figures[0]["data"][0]["text"] != ranking["data"][0]["text"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_score_is_explained(models, pattern):
    opened = models(lang="en", **{"models-part": "finder", "models-pattern": pattern}).healthy()
    assert locale("en")[f"pattern.{pattern}.help"] in opened.words
    assert any(x.startswith(locale("en")[f"pattern.{pattern}"] + ":") for x in opened.words)


@pytest.mark.parametrize("kind", ["bert", "bart", "mpt"])
def test_the_finder_reads_every_kind_of_model(page, kinds, kind):
    query = {"models-part": "finder", "models-pattern": "previous", "models-least": "0.0"}
    opened = page("models", model=kinds(kind), text=TEXT, lang="en", **query).healthy()
    assert len(opened.figures) == 2


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("way", ["rollout", "flow"])
def test_what_reaches_a_token_through_all_layers_and_what_each_would_say(page, language, way):
    query = {"models-part": "across", "models-way": way, "models-row": "4", "text": TEXT}
    opened = page("models", lang=language, **query).healthy()
    text = next(x for p in opened.parts if "weights" in (x := json.loads(p.proto.bytes)))
    assert text["chosen"] == 4 and max(text["weights"][:5]) > 0 == max(text["weights"][5:])
    (table,) = [
        x.proto.body for x in opened.test.get("html") if "predictions lens" in x.proto.body
    ]
    assert table.count("<tr>") == 5 and table.count("<td>") == 15 and "<b>" in table
    words = locale(language)
    start = words[f"models.way.{way}.says"].split("{")[0]
    assert any(x.startswith(start) for x in opened.words)


@pytest.mark.parametrize(("kind", "said"), [
    ("bert", "predicts no tokens"), ("mpt", "leads from"), ("bart", "leads from"),
])  # fmt: skip
def test_layers_of_every_kind_of_model_are_followed(page, kinds, kind, said):
    query = {"models-part": "across", "lang": "en", "text": TEXT}
    opened = page("models", model=kinds(kind), **query).healthy()
    assert any(said in x for x in opened.words) and any("By rollout" in x for x in opened.words)


def test_flow_through_a_long_text_is_refused_in_words(models):
    query = {"models-part": "across", "models-way": "flow", "sample": "workshop", "lang": "en"}
    assert any("at most 64 tokens" in x for x in models(**query).healthy().words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_model_on_two_texts(models, language):
    query = {"models-part": "beside", "text": TEXT, "lang": language}
    opened = models(**query, **{"models-other-text": "hello, the dog."}).healthy()
    here, there = opened.figures
    assert here["layout"]["images"] != there["layout"]["images"]
    words = locale(language)
    start = (
        words["models.beside.moves"]
        .split("{head}")[0]
        .replace("{score}", words["pattern.induction"])
    )
    assert any(x.startswith(start) for x in opened.words)


def test_two_models_on_one_text(models, page):
    query = {"models-part": "beside", "lang": "en", "models-shows": "previous"}
    opened = models(**query, **{"models-other-model": "tiny"}).healthy()
    here, there = opened.figures
    assert (len(here["data"][0]["x"]), len(there["data"][0]["x"])) == (8, 24)
    (said,) = [x for x in opened.words if x.startswith("Previous token: most has layer")]
    assert said.endswith("on the right.") and said.count("%") == 2
    same = page("models", **query).healthy()
    assert any("changes most is" in x and "by 0% on average" in x for x in same.words)


def test_weights_are_weighed_by_their_values(models):
    query = {"models-part": "one", "models-heads": "0.1", "models-row": "5", "lang": "en"}
    plain = lines_of(models(**query).healthy())["heads"][0]["lines"]
    opened = models(**query, **{"models-by-value": "true"}).healthy()
    assert lines_of(opened)["heads"][0]["lines"] != plain


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_head_is_switched_off_and_the_predictions_move(page, language):
    opened = page("models", lang=language, **{"models-part": "off"}).healthy()
    (text,) = [json.loads(x.proto.bytes) for x in opened.parts]
    assert len(text["tokens"]) == len(text["weights"])
    assert text["chosen"] == max(range(len(text["weights"])), key=text["weights"].__getitem__)
    (said,) = [x for x in opened.words if "⁨ill⁩" in x or ("第 1 层，头 0。" in x and "奈特" in x)]
    assert ("layer 1, head 0" in said) == (language == "en")
    assert "models-off" not in opened.said
    if language == "en":
        assert "goes from 98% to 0.58%" in said
        opened.test.multiselect(key="models-off-heads.en").set_value([]).run()
        assert opened.healthy().said["models-off"] == "none"
        assert any(x.startswith("Nothing is off.") for x in opened.words)


def test_what_is_off_is_in_the_link_and_what_is_not_there_is_left_out(models):
    query = {"models-part": "off", "models-off": "0.1,9.9", "models-cut": "1.0.5.2,1.0.999.0"}
    opened = models(
        lang="en", **query, **{"models-hidden": "3,4,9999", "models-at": "7"}
    ).healthy()
    words = " ".join(opened.words)
    assert "Off: layer 0, head 1." in words
    assert "1 query–key pair is cut." in words and "2 tokens are hidden." in words
    assert json.loads(opened.parts[0].proto.bytes)["chosen"] == 7
    assert sum(x["type"] == "line" for x in opened.figures[0]["layout"]["shapes"]) == 2
    opened.test.button(key="models-cut").click().run()
    assert "2 query–key pairs are cut." in " ".join(opened.healthy().words)
    assert opened.said["models-cut"].count(",") == 1


def test_masked_tokens_are_compared_and_a_click_masks_one(page, kinds):
    query = {"model": kinds("bert"), "lang": "en", "models-part": "off"}
    opened = page("models", text="the quick fox said: hello.", **query).healthy()
    assert locale("en")["models.off.mask"] in opened.words
    masked = page("models", text="the [MASK] fox said hello.", **query).healthy()
    assert any("For the masked token at 2" in x for x in masked.words)


@pytest.mark.parametrize(
    ("kind", "said"), [("bart", "After"), ("mpt", "can't be changed"), ("gpt2", "After")]
)
def test_switching_off_in_every_kind_of_model(page, kinds, kind, said):
    query = {"lang": "en", "models-part": "off", "models-hidden": "1"}
    opened = page("models", model=kinds(kind), text=TEXT, **query).healthy()
    assert any(said in x for x in opened.words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mechanism_is_transplanted(page, language):
    opened = page("models", lang=language, **{"models-part": "transplant"}).healthy()
    (minding,) = opened.figures
    assert len(minding["data"][0]["text"]) == 4
    words = locale(language)
    assert words["models.transplant.caption"] in opened.words
    name = words["mechanism.window.name"]
    assert any(name in x and "4" in x and "." in x for x in opened.words)


def test_softmax_in_one_layer_changes_nothing(models):
    query = {"models-part": "transplant", "models-with": "softmax", "models-layers": "1"}
    opened = models(lang="en", **query).healthy()
    (said,) = [x for x in opened.words if x.startswith("With Full attention in 1 layer")]
    assert "move by 0.00 nats" in said and not opened.figures
    opened.test.multiselect(key="models-transplant-layers.en").set_value([0, 1]).run()
    assert "models-layers" not in opened.healthy().said


@pytest.mark.parametrize("key", list(MECHANISMS))
def test_every_mechanism_is_transplanted_or_refused_in_words(models, key):
    query = {"models-part": "transplant", "models-with": key, "text": TEXT}
    opened = models(lang="en", **query).healthy()
    name = locale("en")[f"mechanism.{key}.name"]
    said = [
        x for x in opened.words if x.startswith((f"With {name} in all", "This can't be shown"))
    ]
    assert len(said) == 1


@pytest.mark.parametrize(("kind", "said"), [("bart", "With Window"), ("bert", "doesn't predict")])
def test_transplants_in_models_of_both_sides(page, kinds, kind, said):
    query = {"lang": "en", "models-part": "transplant", "text": "the [MASK] fox said hello."}
    opened = page("models", model=kinds(kind), **query).healthy()
    assert any(said in x for x in opened.words)
