"""Every mechanism's pictures can be drawn and said of any input, whatever is set aside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import engine
from engine.contract import QKV, Layer, Refusal
from engine.figures.base.theme import LIGHT
from engine.figures.structure.pictures import Context, Picture, pictures
from engine.mechanisms.relative import KINDS
from engine.text.locale import locale, speaker

N, ROW = 40, 37
SPOKEN = {tag: speaker(tag) for tag in ("en", "zh")}
SMALL: dict[str, list[dict[str, Any]]] = {
    "lsh": [{"buckets": 4, "rounds": 2}, {"scope": "chunk", "chunk": 6, "shared_qk": True}],
    "linformer": [{"rank": 6}],
    "nystrom": [{"landmarks": 6}],
    "truncated_svd": [{"rank": 6}],
    "window": [
        {"window": 6, "sinks": 2},
        {"window": 3, "dilation": 4, "whole": True, "random": 2},
    ],
    "segmented": [{"segment": 8}, {"segment": 8, "integrate": "attention"}],
    "transformer_xl": [{"segment": 8, "memory": 5}],
    "memory_tokens": [{"segment": 8, "slots": 3}],
    "differential": [{}, {"version": "2"}],
    "infini": [{"segment": 8}, {"segment": 8, "update": "delta"}],
    "landmark": [{"block": 8}, {"block": 8, "aggregate": "logsumexp"}, {"block": 8, "top_k": 2}],
    "log_linear": [{}, {"feature_map": "none"}],
    "kmeans": [{"clusters": 4, "window": 8}],
    "moba": [{"block": 8, "top_k": 2}],
    "nsa": [{"block": 8, "top_k": 2, "window": 6}],
    "indexer": [{"top_k": 4}, {"block": 8, "top_k": 2, "score": "bounds"}],
    "relative": [{"kind": kind} for kind in KINDS],
    "combined": [{}, {"normaliser": "entmax", "size": 8}, {"normaliser": "sigmoid"}],
}
"""Parameters that cut a short text up; defaults of the others."""


def text() -> QKV:
    """Shaped like a layer that has read a text: grouped keys, tokens, units, the layer's input."""
    draw = torch.Generator().manual_seed(5)
    x, w_q, w_k, w_v, w_o = (
        torch.randn(*shape, generator=draw)
        for shape in ((N, 16), (16, 16), (8, 16), (8, 16), (16, 16))
    )
    q, k, v = ((x @ w.mT / 4).unflatten(1, (-1, 8)).transpose(0, 1) for w in (w_q, w_k, w_v))
    edges = {"words": range(0, N + 1, 2), "sentences": (0, 12, 30, N), "paragraphs": (0, 30, N)}
    units = {
        name: torch.tensor(list(zip(list(at)[:-1], list(at)[1:], strict=True)))
        for name, at in edges.items()
    }
    return QKV(
        q, k, v, units=units, tokens=tuple(f" t{i}" for i in range(N)),
        layer=Layer(x=x, q=q, k=k, w_o=w_o),
    )  # fmt: skip


SOURCES = {
    "planted": lambda: engine.sources.planted(n=N, heads=2, dim=8, gap=4.0),
    "identical": lambda: engine.sources.identical(n=N, heads=2, dim=8),
    "text": text,
}
CASES = [(key, more) for key in engine.MECHANISMS for more in SMALL.get(key, [{}])]


def contexts(
    key: str, source: str, more: dict[str, Any], hide: tuple[int, ...]
) -> Iterator[Context]:
    """The attention of one source, bidirectional and causal where it can be."""
    for causal in (False, True):
        qkv = SOURCES[source]().replace(causal=causal)
        mechanism = engine.make(key, **more)
        try:
            att = mechanism.attend(qkv)
        except Refusal:
            assert causal and not mechanism.causal_ok
            continue
        if hide:
            att = att.hide(torch.tensor(hide))
        yield Context(att, 1, ROW, qkv, mechanism, LIGHT, SPOKEN["en"])


def numbers(x: Any) -> Iterator[float]:
    """All numbers in what Plotly is given."""
    if isinstance(x, dict):
        for value in x.values():
            yield from numbers(value)
    elif isinstance(x, np.ndarray) and x.dtype != object:
        yield from x.ravel().tolist() if x.dtype.kind == "f" else ()
    elif isinstance(x, (list, tuple, np.ndarray)):
        for value in x:
            yield from numbers(value)
    elif isinstance(x, (float, np.floating)):
        yield float(x)


def check(picture: Picture) -> None:
    for tag, t in SPOKEN.items():
        assert all(locale(tag)[f"picture.{picture.key}.{x}.formula"] for x in picture.formulas)
        assert t(f"picture.{picture.key}.title")
        said = t(f"picture.{picture.key}.caption", **picture.facts)
        assert not re.search(r"\b(nan|inf)\b", said), said
    if picture.figure is None:
        assert picture.formulas or len(picture.labels or ()) == N
        return
    drawn = picture.figure.to_plotly_json()
    assert all(np.isfinite(list(numbers(drawn["layout"])))), "a layout has no gaps"
    assert not any(np.isinf(list(numbers([drawn["data"], drawn.get("frames")]))))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("key", "more"), CASES)
def test_pictures_are_drawn_and_said_whatever_is_set_aside(key, more, source):
    whole, rest = (contexts(key, source, more, hide) for hide in ((), (0, 3)))
    for pair in zip(whole, rest, strict=True):
        found = [pictures(context) for context in pair]
        for picture in found[0] + found[1]:
            check(picture)
        keys = [[re.sub("_pattern|_sparse", "", p.key) for p in made] for made in found]
        assert keys[0] == keys[1], "what is hidden takes no picture away"
