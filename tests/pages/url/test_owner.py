"""Every declared choice of every page survives the URL, and no two claim the same key."""

from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from engine.contract import Param
from engine.sources import samples
from engine.spec.fields import LANGUAGES
from engine.spec.picture import Spec
from engine.spec.spelling import Field
from pages.ui import dilution, foundations, talk
from pages.ui.compare.heads import COMPARED
from pages.ui.dilution.probes import PROBES
from pages.ui.dilution.shared import LAB, SWEEP
from pages.ui.dilution.trained import ZOO
from pages.ui.foundations.frame import CHOSEN
from pages.ui.models.fields import MODELS
from pages.ui.url import owner, state
from pages.ui.url.linked import Fields, OneOf, flag, number, one_of
from tests.spec.test_picture import specs, values
from tests.spec.test_sweep import LABS

FIELDS = (
    dilution.OPEN, LAB, PROBES, ZOO, COMPARED, MODELS, talk.OPEN, foundations.OPEN,
    *CHOSEN.values(),
)  # fmt: skip
WRITTEN = {
    "talk": st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True),
    "lab-which": st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True),
    "compare-heads": st.from_regex(
        r"[0-9]{1,2}\.[0-9]{1,2}(,[0-9]{1,2}\.[0-9]){0,2}", fullmatch=True
    ),
    "models-heads": st.from_regex(r"[0-9]{1,2}\.[0-9](,[0-9]\.[0-9]){0,2}", fullmatch=True),
    "models-row": st.integers(0, 999),
    "models-other-model": st.sampled_from(["gpt2", "owner/name"]),
    "models-other-text": st.text(st.characters(exclude_categories=("Cs",)), max_size=200),
    "models-off": st.just("none")
    | st.from_regex(r"[0-9]{1,2}\.[0-9](,[0-9]\.[0-9]){0,2}", fullmatch=True),
    "models-cut": st.from_regex(r"[0-9]\.[0-9]\.[0-9]{1,3}\.[0-9]", fullmatch=True),
    "models-hidden": st.from_regex(r"[0-9]{1,3}(,[0-9]){0,3}", fullmatch=True),
    "models-with": st.sampled_from(["softmax", "window:window=7", "lsh:rounds=2"]),
    "models-layers": st.from_regex(r"[0-9]{1,2}(,[0-9]){0,3}", fullmatch=True),
    "models-at": st.integers(0, 999),
    "heads-off": st.just("none") | st.integers(0, 99).map(str),
    "masking-own": st.text("0123456789abcdef", min_size=16, max_size=16),
    **dict.fromkeys(
        ("positions-sentence-en", "positions-sentence-zh"),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=200),
    ),
}
"""Any value of what neither a list nor a range says."""
WRONG = "§" * 5000


def any_value(key: str, declared: Param):
    if isinstance(declared, OneOf):
        return st.sampled_from(declared.options)
    return WRITTEN[key] if isinstance(declared, Field) else values(declared)


def chosen(fields: Fields):
    """Any choices, as the owner holds them."""
    every = {
        name: any_value(fields.key(name), declared) for name, declared in fields.declared.items()
    }
    return st.fixed_dictionaries({}, optional=every).map(
        lambda found: {k: v for k, v in found.items() if v != fields.declared[k].default}
    )


EVERYTHING = st.fixed_dictionaries(
    {
        state.PICTURE.name: specs().filter(lambda spec: spec.source != "sample"),
        SWEEP.name: LABS,
        **{fields.group.name: chosen(fields) for fields in FIELDS},
    }
)


@settings(max_examples=50)
@given(EVERYTHING)
def test_everything_at_once_survives_the_url(everything):
    assert everything.keys() == owner.GROUPS.keys()
    said = [owner.GROUPS[name].say(value) for name, value in everything.items()]
    query = {key: text for one in said for key, text in one.items()}
    assert len(query) == sum(map(len, said))
    again = dict(parse_qsl(urlencode(query), keep_blank_values=True))
    for name, value in everything.items():
        group = owner.GROUPS[name]
        own = {key: text for key, text in again.items() if group.owns(key)}
        assert group.read(own) == (value, [])
    for key in again:
        assert sum(group.owns(key) for group in owner.GROUPS.values()) == 1


@pytest.mark.parametrize("sample", samples.ids())
@pytest.mark.parametrize("language", [None, *LANGUAGES])
def test_a_sample_stays_in_every_language(sample, language):
    spec = Spec(content=sample, language=language)
    assert state.PICTURE.read(state.PICTURE.say(spec)) == (spec, [])


@pytest.mark.parametrize(
    ("fields", "name"),
    [(fields, name) for fields in FIELDS for name in fields.declared],
    ids=lambda one: one if isinstance(one, str) else one.group.name,
)
@settings(max_examples=3)
@given(data=st.data())
def test_a_wrong_value_is_said_and_the_others_are_kept(fields, name, data):
    value = {k: v for k, v in data.draw(chosen(fields)).items() if k != name}
    said = fields.group.say(value) | {fields.key(name): WRONG}
    again, (problem,) = fields.group.read(said)
    assert again == value
    assert (problem.field, problem.value) == (fields.key(name), WRONG) and problem.allowed


@pytest.mark.parametrize("fields", [one for one in FIELDS if one.prefix], ids=lambda f: f.prefix)
def test_an_unknown_key_is_said(fields):
    again, (problem,) = fields.group.read({fields.key("telepathy"): "1"})
    assert again == {} and problem.field == fields.key("telepathy")


class Query(dict):
    """The URL of a session."""

    to_dict = dict.copy

    def from_dict(self, query: dict[str, str]) -> None:
        self.clear()
        self.update(query)


@pytest.fixture
def session(monkeypatch):
    """A session of its own, with a URL."""
    one = SimpleNamespace(session_state={}, query_params=Query())
    monkeypatch.setattr(owner, "st", one)
    monkeypatch.setattr(owner, "GROUPS", {})
    return one


def test_the_url_is_read_where_it_says_something_new_and_says_what_is_chosen(session):
    fields = Fields("a-", {"n": number(0, 9, 3), "on": flag(), "of": one_of((0.5, 1.0), 0.5)})
    query = session.query_params
    query |= {"a-n": "4", "a-on": "true", "embed": "true", "b-n": "7"}
    owner.begin()
    assert (fields["n"], fields["on"], fields["of"]) == (4, True, 0.5)
    fields.choose("of", 1.0)
    owner.begin()
    assert fields["of"] == 1.0
    assert query == {"a-n": "4", "a-on": "true", "a-of": "1.0", "embed": "true", "b-n": "7"}
    query.from_dict({"a-n": "5"})  # as after going back
    owner.begin()
    assert (fields["n"], fields["on"], fields["of"]) == (5, False, 0.5)
    query.clear()  # as on another page and back
    owner.begin()
    assert fields["n"] == 5 and query == {"a-n": "5"}
    fields.choose("n", 3)
    assert fields["n"] == 3 and query == {}


def run(monkeypatch, page: str, back: bool = False) -> None:
    """A run of a page begins."""
    one = SimpleNamespace(page_script_hash=page, is_history_navigation=back)
    monkeypatch.setattr(owner, "get_script_run_ctx", lambda **_: one)
    owner.begin()


def chosen_anew(session, monkeypatch, fields: Fields) -> Query:
    """The URL said 4, and 7 was chosen."""
    query = session.query_params
    query |= {"a-n": "4"}
    run(monkeypatch, "explore")
    assert fields["n"] == 4
    fields.choose("n", 7)
    assert fields["n"] == 7 and query == {"a-n": "7"}
    return query


def test_an_url_that_the_browser_says_late_takes_nothing_back(session, monkeypatch):
    """As of who chooses twice before the first answer has come: the second choice still comes
    with the URL from before the first."""
    fields = Fields("a-", {"n": number(0, 9, 3), "on": flag(), "m": number(0, 9, 3)})
    query = chosen_anew(session, monkeypatch, fields)
    for name, value in (("on", True), ("m", 5)):
        query.from_dict({"a-n": "4"})
        fields.choose(name, value)  # reported before the run begins
        run(monkeypatch, "explore")
        assert (fields["n"], fields[name]) == (7, value)
    assert query == {"a-n": "7", "a-on": "true", "a-m": "5"}


@pytest.mark.parametrize("way", ("heard", "back", "another page"))
def test_who_goes_to_an_url_that_was_there_before_gets_it(session, monkeypatch, way):
    fields = Fields("a-", {"n": number(0, 9, 3)})
    query = chosen_anew(session, monkeypatch, fields)
    if way == "heard":
        run(monkeypatch, "explore")
        assert fields["n"] == 7
    query.from_dict({"a-n": "4"})
    run(monkeypatch, "home" if way == "another page" else "explore", way == "back")
    assert fields["n"] == 4 and query == {"a-n": "4"}


def test_what_was_wrong_is_past_when_something_is_chosen(session):
    fields = Fields("a-", {"n": number(0, 9, 3), "on": flag()})
    session.query_params |= {"a-n": "12", "a-on": "true"}
    owner.begin()
    assert [problem.field for problem in fields.problems] == ["a-n"]
    assert fields["on"] and session.query_params == {"a-on": "true"}
    owner.begin()
    assert fields.problems  # until then they are said
    fields.choose("n", 2)
    assert not fields.problems and session.query_params == {"a-on": "true", "a-n": "2"}


def test_a_choice_is_newer_than_where_a_script_has_moved_the_url(session):
    """As a talk, which goes from scene to scene by itself, and is then left."""
    fields = Fields("", {"talk": Field(str, None), "scene": number(1, 99, 1)})
    session.query_params |= {"talk": "one", "lang": "en"}
    owner.begin()
    assert fields["talk"] == "one"
    session.query_params |= {"scene": "3"}
    owner.put(fields.group, {}, newest=True)
    owner.begin()
    assert (fields["talk"], fields["scene"]) == (None, 1)
    assert session.query_params == {"lang": "en"}


def test_a_page_says_only_what_it_asks_for(session):
    Fields("a-", {"n": number(0, 9, 3)}).choose("n", 4)
    assert session.query_params == {}
    other = Fields("b-", {"n": number(0, 9, 3)})
    session.query_params |= {"a-n": "8"}
    owner.begin()
    assert other["n"] == 3 and session.query_params == {"a-n": "8"}


def test_what_cannot_be_chosen_is_passed_over(session):
    """As a list reports words that it doesn't offer any more when a text changes under it."""
    fields = Fields("a-", {"n": number(0, 9, 3), "of": one_of((0.5, 1.0), 0.5)})
    fields.choose("n", 4)
    for name, value in (("n", "12 · lamp"), ("n", 10), ("of", "half")):
        fields.choose(name, value)
    owner.begin()
    assert (fields["n"], fields["of"]) == (4, 0.5)
