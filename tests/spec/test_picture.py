"""Every choice survives a URL, a command line and JSON; what can't be used is said, not raised."""

import json
from urllib.parse import parse_qsl, urlencode

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

import engine
from engine.contract import Param
from engine.contract.params import FAR, params_of
from engine.mechanisms import MECHANISMS
from engine.sources import SOURCES
from engine.sources.drawings import DRAWINGS
from engine.spec.fields import (
    COLOURS,
    CONTENT,
    GROUPINGS,
    LANGUAGES,
    LONGEST_TEXT,
    MOST_COLUMNS,
    POOLS,
    READINGS,
    SIGHTS,
    TRAININGS,
)
from engine.spec.links import parsed, read
from engine.spec.picture import DEFAULT, Spec, digest, is_full
from engine.spec.spelling import allowed, declarations, from_flags, to_flags

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=LONGEST_TEXT)
POSITIONS = st.integers(0, 10**8)
DIGESTS = st.text("0123456789abcdef", min_size=16, max_size=16)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=20)


def values(declared: Param):
    """Any valid value of a parameter."""
    if declared.choices:
        return st.sampled_from(declared.choices)
    if declared.kind is str:
        return DIGESTS
    if declared.kind is bool:
        return st.booleans()
    low, high = declared.low, declared.high
    if declared.kind is int:
        first = int(low or 0) + (1 if declared.open_low else 0)
        return st.integers(first, int(high) if high is not None else first + 10**6)
    if declared.open_low:
        low = max(low or 0, 1 / FAR)
    return st.floats(
        low if low is not None else -FAR, high if high is not None else FAR, allow_nan=False
    )


@st.composite
def pairs(draw, registry, key):
    declared = declarations(registry, key)
    chosen = {k: draw(values(p)) for k, p in declared.items() if draw(st.booleans())}
    return tuple(chosen.items())


@st.composite
def choices(draw):
    key = draw(st.sampled_from(tuple(MECHANISMS)))
    return key, draw(pairs(MECHANISMS, key))


@st.composite
def specs(draw):
    source = draw(st.sampled_from((*CONTENT, *SOURCES)))
    content = {"sample": NAMES, "text": TEXTS, "file": DIGESTS, "arrays": DIGESTS}.get(source)
    mechanism = draw(st.sampled_from(tuple(MECHANISMS)))
    r0, c0 = draw(POSITIONS), draw(POSITIONS)
    window = (r0, r0 + 1 + draw(POSITIONS), c0, c0 + 1 + draw(POSITIONS))
    return Spec(
        source=source,
        content="" if content is None else draw(content),
        source_params=draw(pairs(SOURCES, source)),
        model=draw(st.sampled_from(("tiny", "/some/folder with spaces", "owner/name", "模型"))),
        second=draw(st.just("") | NAMES),
        picture=draw(st.sampled_from(("", *DRAWINGS)) | DIGESTS),
        by=draw(st.sampled_from(READINGS)),
        sight=draw(st.sampled_from(SIGHTS)),
        layer=draw(st.none() | POSITIONS),
        mechanism=mechanism,
        params=draw(pairs(MECHANISMS, mechanism)),
        trained=draw(st.sampled_from(TRAININGS)),
        others=draw(st.none() | st.lists(choices(), max_size=MOST_COLUMNS - 1).map(tuple)),
        column=draw(st.none() | st.integers(1, MOST_COLUMNS)),
        head=draw(st.none() | st.just("all") | POSITIONS),
        query=draw(st.none() | POSITIONS),
        colour=draw(st.sampled_from(COLOURS)),
        pool=draw(st.sampled_from(POOLS)),
        group=draw(st.sampled_from(("words", "sentences", "segments", "blocks", "64"))),
        block=draw(st.integers(1, 10**6)),
        grouping=draw(st.sampled_from(GROUPINGS)),
        hide=tuple(draw(st.lists(POSITIONS, max_size=8))),
        zoom=draw(st.none() | st.just(window)),
        language=draw(st.none() | st.sampled_from(LANGUAGES)),
    )


@settings(max_examples=300)
@given(specs())
def test_round_trips(spec):
    url = urlencode(spec.query_params())
    again, problems = read(dict(parse_qsl(url, keep_blank_values=True)))
    assert (again, problems) == (spec, [])
    assert parsed(from_flags(to_flags(spec.query_params()))) == spec
    assert Spec.from_json(spec.to_json()) == spec
    json.loads(spec.to_json())


def test_the_default_says_nothing():
    assert DEFAULT.query_params() == {}
    assert read({}) == (DEFAULT, [])


@pytest.mark.parametrize(
    "key, value",
    [
        ("mechanism", "telepathy"),
        ("by", "syllables"),
        ("sight", "sideways"),
        ("trained", "somehow"),
        ("grouping", "pie"),
        ("source", "nowhere"),
        ("sample", "../../etc/passwd"),
        ("file", "xyz"),
        ("arrays", "<script>"),
        ("layer", "-1"),
        ("layer", "1.5"),
        ("head", "everyone"),
        ("query", "９９九"),
        ("query", "1" * 400),
        ("colour", "rainbow"),
        ("pool", ""),
        ("group", "<b>"),
        ("block", "0"),
        ("hide", "1,,2"),
        ("hide", ",".join("1" for _ in range(300))),
        ("zoom", "5,5,0,9"),
        ("zoom", "1,2,3"),
        ("lang", "tlh"),
        ("model", ""),
        ("m.window", "0"),
        ("m.window", "many"),
        ("m.window", "nan"),
        ("m.window", "9" * 400),
        ("m.window", "1000000001"),
        ("m.nothing", "1"),
        ("m2.window", "5"),
        ("m4.window", "5"),
        ("column", "0"),
        ("column", "5"),
        ("with", "telepathy"),
        ("with", "softmax,,window"),
        ("with", "softmax,softmax,softmax,softmax"),
        ("s.gap", "3"),
    ],
)
def test_a_wrong_value_is_said_and_the_rest_is_kept(key, value):
    query = {"mechanism": "window", "m.sinks": "7", "text": "a b", "query": "1"} | {key: value}
    if key in ("source", "sample", "file", "arrays"):
        del query["text"]
    spec, problems = read(query)
    assert [p.field for p in problems] == [key] or key == "mechanism"
    assert key in str(problems[0])
    assert bool(problems[0].allowed) == (problems[0].kind != "unknown")
    if key != "mechanism":
        assert spec.mechanism == "window" and dict(spec.params)["sinks"] == 7
    if key != "query":
        assert spec.query == 1


def test_a_text_too_long_for_a_url_is_cut_and_said():
    spec, problems = read({"text": "x" * (LONGEST_TEXT + 1)})
    assert spec.content == "x" * LONGEST_TEXT
    assert [p.kind for p in problems] == ["length"]


def test_a_long_text_is_named_by_its_digest():
    text = "word " * 1000
    spec = DEFAULT.with_text(text)
    assert (spec.source, spec.content) == ("file", digest(text))
    assert DEFAULT.with_text("short").content == "short"


def test_unknown_samples_are_refused_only_where_samples_are_known():
    assert read({"sample": "nope"})[0].content == "nope"
    spec, problems = read({"sample": "nope"}, samples=("lamp",))
    assert spec.content == DEFAULT.content and problems[0].allowed == "lamp"


def test_changing_the_text_drops_what_pointed_into_the_old_one():
    spec = Spec(query=7, zoom=(0, 4, 0, 4), hide=(0, 5), head=2)
    new = spec.replace(source="text", content="another")
    assert (new.query, new.zoom, new.hide, new.head) == (None, None, (0,), 2)
    spelt = spec.replace(by="characters")  # other positions, too
    assert (spelt.query, spelt.zoom, spelt.hide, spelt.head) == (None, None, (0,), 2)
    assert spelt.reading_key() != spec.reading_key() and spelt.source_key() != spec.source_key()
    assert spec.replace(colour="log").query == 7


def test_another_mechanism_has_its_own_parameters():
    spec = Spec(mechanism="window", params=(("window", 5),))
    assert spec.arguments()["window"] == 5
    assert spec.replace(mechanism="softmax").params == ()


def of(mechanism) -> dict:
    """A mechanism's parameters."""
    return {name: getattr(mechanism, name) for name in params_of(type(mechanism))}


@given(st.integers(1, 3000))
def test_what_was_not_chosen_suits_the_text_and_what_was_stays(n):
    given = engine.QKV(*torch.zeros(3, 1, n, 2).unbind(0))
    own = Spec(mechanism="window").suited(given)
    made = MECHANISMS["window"]().suited(n)
    assert own.arguments() == of(made)
    assert own.suited(given) == own
    chosen = Spec(mechanism="window", params=(("window", 64),))  # which is the default
    assert chosen.query_params()["m.window"] == "64"
    assert chosen.suited(given).arguments() == of(made) | {"window": 64}


def test_a_window_over_an_image_suits_its_side():
    given = SOURCES["image"]().make()
    assert given.grid is not None
    side = max(given.grid.rows, given.grid.cols)
    assert Spec(mechanism="window").suited(given).arguments()["window"] <= side // 4


def test_full_attention_is_itself_however_it_is_spelt():
    plain = Spec(mechanism="softmax", params=(("temperature", 1.0),))
    assert is_full((plain.mechanism, plain.params)) and len(plain.columns) == 3
    assert not is_full(("softmax", (("temperature", 2.0),)))


@pytest.mark.parametrize(
    "fields",
    [
        {"mechanism": "telepathy"},
        {"source": "text", "content": "x" * (LONGEST_TEXT + 1)},
        {"query": -1},
        {"query": True},
        {"zoom": (3, 2, 0, 1)},
        {"mechanism": "window", "params": (("window", 0),)},
        {"mechanism": "window", "params": (("radius", 3),)},
        {"others": (("telepathy", ()),)},
        {"others": (("window", (("window", 0),)),)},
        {"others": (("window", ()),) * MOST_COLUMNS},
        {"column": 0},
    ],
)
def test_making_is_strict(fields):
    with pytest.raises(ValueError):
        Spec(**fields)


def test_columns_are_spelt_readably():
    spec = Spec(
        mechanism="window", params=(("window", 8),),
        others=(("window", (("window", 64), ("sinks", 0))), ("softmax", ()), ("segmented", ())),
        column=2,
    )  # fmt: skip
    assert urlencode(spec.query_params(), safe=",") == (
        "mechanism=window&m.window=8&with=window,softmax,segmented&m2.window=64"
        "&m2.sinks=0&column=2"
    )


def test_a_wrong_column_is_left_out_and_the_others_keep_their_parameters():
    spec, problems = read({"with": "telepathy,window", "m2.x": "1", "m3.window": "8"})
    assert spec.others == (("window", (("window", 8),)),)
    assert [p.field for p in problems] == ["with"]
    assert read({"with": ""}) == (Spec(others=()), [])


def test_what_stands_side_by_side_by_default():
    assert [key for key, _ in DEFAULT.columns][:2] == ["softmax", "window"]
    assert len(DEFAULT.columns) == 3
    window = ("window", (("window", 5),))
    assert Spec(mechanism=window[0], params=window[1]).columns == (window, ("softmax", ()))
    warm = Spec(params=(("temperature", 2.0),))
    assert warm.columns == (("softmax", (("temperature", 2.0),)), ("softmax", ()))
    assert Spec(others=()).columns == (("softmax", ()),)


def test_columns_are_changed_as_one():
    spec = DEFAULT.replace(column=3).with_columns([("window", ()), ("softmax", ())])
    assert (spec.mechanism, spec.others, spec.column) == ("window", (("softmax", ()),), None)
    first = DEFAULT.first(1)
    assert [key for key, _ in first.columns] == [
        "window", "softmax", *(key for key, _ in DEFAULT.columns[2:]),
    ]  # fmt: skip
    assert first.columns == first.replace(query=3).columns


def test_cache_keys_tell_apart_what_differs():
    a, b = Spec(), Spec(mechanism="window")
    assert a.source_key() == b.source_key() and a.attention_key() != b.attention_key()
    assert a.attention_key() == a.replace(query=3, colour="log", head=1).attention_key()
    assert a.source_key() != a.replace(layer=0).source_key()


def test_allowed_is_said_in_symbols():
    assert allowed(Param(int, 1, low=1, high=64)) == "1 … 64"
    assert allowed(Param(float, 1.0, low=0, open_low=True)) == "> 0"
    assert allowed(Param(str, "a", choices=("a", "b"))) == "a, b"
