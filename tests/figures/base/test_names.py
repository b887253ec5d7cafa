"""Names of properties, parsed once: the same figures in less time."""

import plotly.graph_objects as go
from plotly import basedatatypes

from engine.figures.base import names
from engine.figures.base.theme import LIGHT, figure

KEYS = ("x", "error_x_color", "xaxis_title_text", "a__b", "_c", "d_", "shapes[0].line_width", "")


def drawn() -> str:
    made = figure(LIGHT, 200, xaxis_title_text="keys", legend_orientation="v", margin_l=3)
    made.add_scatter(x=[1, 2], y=[2, 1], line_width=2, error_x_array=[1, 1])
    made.update_yaxes(title_text="weight", tickfont_size=9)
    return str(made.to_json())


def test_a_name_is_taken_apart_as_plotly_does_and_once(monkeypatch):
    names.remember()
    kept = getattr(basedatatypes, names.PARSER)
    own = kept.__wrapped__
    assert [kept(key) for key in KEYS] == [own(key) for key in KEYS]
    said = drawn()
    misses = kept.cache_info().misses
    assert drawn() == said
    assert kept.cache_info().misses == misses
    monkeypatch.setattr(basedatatypes, names.PARSER, own)
    assert drawn() == said


def test_it_is_left_alone_where_there_is_no_such_parser(monkeypatch):
    monkeypatch.delattr(basedatatypes, names.PARSER)
    names.remember()
    assert not hasattr(basedatatypes, names.PARSER)
    assert go.Figure().to_json()
