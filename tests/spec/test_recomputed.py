"""A figure's notebook computes the figure."""

import json

import pytest
import torch

import engine
from engine.spec import recomputed
from engine.spec.picture import Spec
from engine.talks.attended import Studio

TEXT = 'Quill "kept" a lamp.\nThen Quill lit the lamp: 灯亮了。'
CHOICES = (
    {},
    {"mechanism": "window", "params": (("window", 4), ("sinks", 1))},
    {"mechanism": "linformer"},
    {"mechanism": "lsh", "hide": (0, 3)},
    {"colour": "uniform", "zoom": (3, 12, 0, 9), "by": "characters"},
    {"mechanism": "forgetting", "model": "zoo/forgetting", "trained": "own"},
    {"source": "planted", "content": "", "source_params": (("n", 64), ("gap", 4.0))},
)


@pytest.mark.parametrize("more", CHOICES, ids=lambda more: "-".join(map(str, more)) or "plain")
def test_it_makes_the_same_map(more, tmp_path):
    spec = Spec(**{"source": "text", "content": TEXT, **more})
    made = Studio({}, tmp_path).attended(spec)
    own = made.mechanism.learned is not None and spec.trained == "own"
    book = recomputed.notebook(
        made.spec, TEXT, made.mechanism, head=made.head, query=made.row, trained=own,
        about="a figure", link="http://here/explore?a=b",
    )  # fmt: skip
    cells = json.loads(book)["cells"]
    assert cells[0]["cell_type"] == "markdown" and "http://here/explore?a=b" in cells[0]["source"]
    names: dict = {}
    for cell in cells[1:]:
        exec(cell["source"].replace("engine.show(", "shown = engine.show("), names)
    zoom = spec.zoom or (0, made.attention.frame.n, 0, made.attention.frame.m)
    colour = "weight" if spec.colour == "log" else spec.colour
    here = made.attention.heatmap(
        512, spec.pool, slice(*zoom[:2]), slice(*zoom[2:]), colour
    )[made.head]  # fmt: skip
    assert torch.allclose(names["cells"], here, atol=1e-5)
    assert torch.allclose(names["row"], made.weights, atol=1e-5)
    assert names["shown"].shown["head"] == made.head


def test_it_is_a_notebook():
    nbformat = pytest.importorskip("nbformat")
    spec = Spec(source="text", content=TEXT, layer=1)
    made = engine.make("softmax")
    book = recomputed.notebook(spec, TEXT, made, head=0, query=1, trained=False, about="a")
    nbformat.validate(nbformat.reads(book.decode(), as_version=4))


def test_what_a_person_brought_is_refused():
    spec = Spec(source="arrays", content="0" * 16)
    with pytest.raises(engine.Refusal, match="brought along"):
        made = engine.make("softmax")
        recomputed.notebook(spec, "", made, head=0, query=0, trained=False, about="")
