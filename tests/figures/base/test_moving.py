"""Pictures that move, taken apart."""

import numpy as np
import plotly.graph_objects as go

from engine.figures.base.moving import change, film


def test_a_change_is_x_y_and_the_name_of_every_trace() -> None:
    figure = go.Figure([go.Scatter(x=np.arange(3), y=[1.0, None, 2.0], name="a"), go.Scatter()])
    assert change(figure, "so far", 0.5) == {
        "traces": [{"x": [0, 1, 2], "y": [1.0, None, 2.0], "name": "a"}, {"x": [], "y": []}],
        "note": "so far", "share": 0.5,
    }  # fmt: skip


def test_a_film_is_what_stands_still_and_what_changes() -> None:
    figure = go.Figure([go.Scatter(y=[0]), go.Scatter(y=[9])])
    figure.frames = [go.Frame(data=[go.Scatter(y=[i])], traces=[1], name=f"{i}") for i in range(3)]
    steps = [{"label": f"{i}", "method": "animate"} for i in range(3)]
    figure.update_layout(
        sliders=[{"active": 2, "steps": steps, "currentvalue": {"prefix": "a &lt; "}}],
        updatemenus=[{"type": "buttons"}],
    )
    made = film(figure)
    assert not made.figure.frames and not made.figure.layout.sliders
    assert not made.figure.layout.updatemenus and len(made.figure.data) == 2
    assert made.labels == ["a < 0", "a < 1", "a < 2"] and made.at == 2
    assert [frame["traces"][0] for frame in made.frames] == [{}] * 3
    assert [frame["traces"][1]["y"] for frame in made.frames] == [[0], [1], [2]]
