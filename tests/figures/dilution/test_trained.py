"""Curves of trained models: one stands out, all others are named as the pointer meets them."""

import pytest

from engine.figures.base.theme import DARK, LIGHT
from engine.figures.dilution.trained import Line, lines
from engine.text.locale import speaker

t = speaker("en")
AT = {256: 4.0, 1024: 4.5, 4096: 5.0}
DRAWN = [
    Line("chosen <b>", AT, "chosen"),
    Line("another", {n: y + 1 for n, y in AT.items()}, "other"),
    Line("reference", AT, "reference", ([3.5, 4.0, 4.5], [4.5, 5.0, 5.5])),
]


def named(shape, name):
    (found,) = [x for x in shape.data if x.name == name and x.x[0] is not None]
    return found


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_loss_by_position(theme) -> None:
    shape = lines(DRAWN, trained=256, theme=theme, t=t)
    chosen, other = named(shape, "chosen &lt;b&gt;"), named(shape, "another")
    assert chosen.line.color == theme.accent and list(chosen.y) == [4.0, 4.5, 5.0]
    assert other.line.color == theme.quiet and not other.showlegend
    assert "another" in other.hovertemplate and "<b>" not in chosen.hovertemplate
    order = [x.name for x in shape.data if x.name in (chosen.name, "another", "reference")]
    assert order == ["another", "reference", chosen.name], "the chosen one lies on top"
    (band,) = [x for x in shape.data if x.fill == "toself"]
    assert list(band.y) == [3.5, 4.0, 4.5, 5.5, 5.0, 4.5]
    assert shape.layout.shapes[0].x0 == 256 and shape.layout.shapes[0].x1 == 4096
    assert shape.layout.yaxis.type == "linear"
    assert {"all other models"} <= {x.name for x in shape.data}


def test_effective_tokens_have_what_an_even_row_would_have() -> None:
    shape = lines(DRAWN[:1], trained=256, metric="effective_tokens", theme=LIGHT, t=t)
    even = named(shape, t("dilution.limit.even"))
    assert list(even.x) == list(even.y) == [256, 1024, 4096]
    assert shape.layout.yaxis.type == "log"


def test_shares_are_per_cent_and_what_is_applied_is_dashed() -> None:
    drawn = [*DRAWN, Line("applied", {256: 0.5, 4096: 0.1}, "applied")]
    shape = lines(drawn, trained=256, metric="needle_mass", theme=LIGHT, t=t)
    assert named(shape, "applied").line.dash == "dash"
    assert shape.layout.yaxis.tickformat == ".0%"
    assert not [x for x in shape.data if x.name == "all other models"]


def test_nothing_to_draw_is_an_empty_picture() -> None:
    assert not [x for x in lines([], trained=256, theme=LIGHT, t=t).data if x.x[0] is not None]
