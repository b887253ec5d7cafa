"""`engine.show`: what a notebook gets is what was computed, with a kernel and without."""

import base64
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import engine
from engine.notebook import Kept, bundle, page
from engine.runtime.paths import TINY

TEXT = "Quill kept a lamp by the harbour. Then Quill lit the lamp."


@pytest.fixture(scope="module")
def trace():
    return engine.models.load(TINY).read(TEXT)


def cells(answer: bytes) -> tuple[dict, np.ndarray]:
    size = int.from_bytes(answer[:4], "little")
    head = json.loads(answer[4 : 4 + size])
    return head, np.frombuffer(answer[4 + size :], "<f4").reshape(head["shape"])


def answered(shown, **said) -> tuple[dict, list[bytes]]:
    """What the widget tells a browser that asks it."""
    told = []
    shown.send = lambda content, buffers: told.append((content, buffers))
    shown._asked(shown, {"id": 7, **said}, [])
    return told[0]


def test_maps_that_come_along_are_the_heads(trace):
    shown = engine.show(trace, layer=1, head=2)
    assert next(iter(shown.tiles)) == "1.2" and len(shown.tiles) == 24
    head, found = cells(shown.tiles["1.2"])
    weights = trace.attention(1).weights()[2].numpy()
    assert np.nan_to_num(found) == pytest.approx(weights, abs=1e-6)
    assert np.isnan(found[0, 1]) and head["queries"][1] == "Q"


def test_a_window_is_answered(trace):
    shown = engine.show(trace, mechanism="window", window=4, sinks=0)
    asked = {"layer": 1, "head": 3, "r0": 4, "r1": 9, "c0": 2, "c1": 6, "pool": "max"}
    told, (data,) = answered(shown, kind="tile", colour="weight", **asked)
    whole = engine.attend(trace.layer(1), "window", window=4, sinks=0).weights()[3]
    assert told == {"id": 7}
    assert np.nan_to_num(cells(data)[1]) == pytest.approx(whole[4:9, 2:6].numpy(), abs=1e-6)
    told, data = answered(shown, kind="tile", colour="weight", **asked | {"head": 99})
    assert "no layer 1 with a head 99" in told["error"] and not data


def test_lines_are_the_heads(trace):
    shown = engine.show(trace, layer=1, view="lines")
    told, _ = answered(shown, kind="lines", layer=0)
    weights = trace.attention(0).weights()
    for head, one in enumerate(told["lines"]):
        q, k, weight = one["lines"][:3]
        assert weight == pytest.approx(float(weights[head, q, k]), rel=1e-2)
    assert len(shown.shown["lines"][1]) == len(weights)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"layer": 9}, "no layer 9"),
        ({"head": 9}, "head 9 isn"),
        ({"query": 900}, "row 900 of head"),
    ],
)
def test_what_is_not_there_is_refused(trace, more, words):
    with pytest.raises(engine.Refusal, match=words):
        engine.show(trace, **{"query": 3, **more})


def test_lines_need_tokens():
    att = engine.attend(engine.sources.planted(n=64, gap=6.0), "softmax")
    with pytest.raises(engine.Refusal, match="lines run between tokens"):
        engine.show(att, view="lines")


def test_an_attention_shows_itself(trace):
    att = engine.attend(trace.layer(1), "softmax")
    found = att._repr_mimebundle_()
    found = found[0] if isinstance(found, tuple) else found
    assert {"text/html", "application/vnd.jupyter.widget-view+json"} <= found.keys()
    assert bundle(att, {"text/plain"}) is None  # a terminal computes nothing
    far = engine.attend(engine.sources.planted(n=2**14, gap=6.0, heads=1), "softmax")
    assert bundle(far) is None  # nor does what takes long without being asked


def test_without_anywidget_it_is_a_page(trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "engine.notebook.widget", None)
    made = engine.show(trace, layer=1)
    assert isinstance(made, Kept)
    html = made._repr_html_()
    data = json.loads(re.search(r'-data">(.*?)</script>', html, re.DOTALL)[1])
    _, found = cells(base64.b64decode(data["tiles"][f"1.{made.made.head}"]))
    weights = trace.attention(1).weights()[made.made.head].numpy()
    assert np.nan_to_num(found) == pytest.approx(weights, abs=1e-6)
    assert data["shown"]["tokens"][1] == "Q"


def test_tokens_end_nothing(trace):
    hostile = engine.models.load(TINY).read("</script><b>x")
    html = engine.show(hostile)._repr_mimebundle_()
    html = (html[0] if isinstance(html, tuple) else html)["text/html"]
    data = re.search(r'-data">(.*?)</script>', html, re.DOTALL)[1]
    assert "<" not in data and json.loads(data)["shown"]["tokens"]


class Shell:
    """As much of a kernel's shell as pictures ask for."""

    def __init__(self) -> None:
        self.display_formatter = SimpleNamespace(active_types=["text/html", "text/plain"])
        self.display_pub = SimpleNamespace(publish=lambda data, *_: self.shown.append(data))
        self.shown: list[dict] = []
        self.parent = {}

    def get_parent(self) -> dict:
        return self.parent

    def run(self, cell: str, run: str, thing) -> list[dict]:
        self.parent = {"metadata": {"cellId": cell}, "header": {"msg_id": run}}
        self.shown = []
        thing._ipython_display_()
        return self.shown


def test_a_page_stays_where_the_widget_goes(trace, monkeypatch):
    """Two outputs, since JupyterLab shows no other part of one that had a widget; the library is
    with the first, and comes again with the cell that had it."""
    att = engine.attend(trace.layer(1), "softmax")
    with pytest.raises(NotImplementedError):
        att._ipython_display_()  # no kernel
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(page, "_brought", {})
    kept, live = shell.run("a", "1", att)
    name = re.search(r'<div id="([\w-]+)" class="ae-page"', kept["text/html"])[1]
    data = json.loads(re.search(r'-data">(.*?)</script>', kept["text/html"], re.DOTALL)[1])
    assert data["shown"]["page"] == name
    assert "application/vnd.jupyter.widget-view+json" in live and "text/html" not in live
    brings = [
        "attention-explorer-plotly" in shell.run(cell, run, att)[0]["text/html"].split("<div")[0]
        for cell, run in (("a", "1"), ("b", "2"), ("a", "3"), ("a", "3"))
    ]
    assert brings == [False, False, True, False]
    shell.display_formatter.active_types = ["text/plain"]
    with pytest.raises(NotImplementedError):
        shell.run("a", "4", engine.show(trace))  # a terminal
