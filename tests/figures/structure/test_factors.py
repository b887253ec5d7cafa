"""Pictures of low rank hold the numbers of the maps they are drawn from."""

import json

import numpy as np
import pytest
import torch

import engine
from engine.contract.views import Factors
from engine.figures.attention.mosaic import reduced
from engine.figures.base.picture import Context
from engine.figures.base.theme import DARK, LIGHT
from engine.figures.structure import factors
from engine.mechanisms import MECHANISMS
from engine.mechanisms.linear import FEATURE_MAPS
from engine.mechanisms.linformer import PROJECTIONS
from engine.structure import spectra
from engine.text.locale import speaker


def t(key, /, **facts):
    return key + "".join(f" {v}" for v in facts.values())


def drawn(qkv, key, hide=(), row=30, head=1, theme=LIGHT, **parameters):
    mechanism = MECHANISMS[key](**parameters)
    att = mechanism.attend(qkv)
    view = att.view(Factors)
    if len(hide):
        att = att.hide(torch.tensor(hide))
    context = Context(
        att=att, head=head, row=row, qkv=qkv, mechanism=mechanism, theme=theme, t=t
    )  # fmt: skip
    return {p.key: p for p in factors.pictures(view, context)}


def made(n=60, **more):
    qkv = engine.sources.planted(n=n, heads=2, dim=8, gap=3.0, **more)
    return qkv.replace(tokens=tuple(f"<b>{i}" for i in range(n)))


CASES = [
    *(("linformer", {"rank": 6, "projection": p}) for p in PROJECTIONS),
    ("nystrom", {"landmarks": 6}), ("truncated_svd", {"rank": 6}),
    *(("linear", {"feature_map": f, "features": 12}) for f in FEATURE_MAPS),
]  # fmt: skip


@pytest.mark.parametrize(("key", "parameters"), CASES)
def test_every_picture_has_its_words_and_says_its_numbers(key, parameters):
    found = drawn(made(), key, theme=DARK, **parameters)
    assert list(found)[-4:] == [
        "spectrum", "rank_error_best" if key == "truncated_svd" else "rank_error", "implied",
        "factors",
    ]  # fmt: skip
    for tag in ("en", "zh"):
        for picture in found.values():
            for part in ("title", "caption"):
                assert speaker(tag)(f"picture.{picture.key}.{part}", **picture.facts)
    text = json.dumps([p.figure.to_plotly_json() for p in found.values()], default=str)
    assert "<b>" not in text


def test_the_spectrum_is_full_attentions():
    qkv = made()
    found = drawn(qkv, "linformer", rank=6)["spectrum"]
    full = engine.attend(qkv, "softmax").weights()[1].double()
    sigma = torch.linalg.svdvals(full).numpy()
    values, energy = found.figure.data
    shown = ~np.isnan(values.y)
    np.testing.assert_allclose(np.array(values.y)[shown], (sigma / sigma[0])[shown], rtol=1e-4)
    np.testing.assert_allclose(energy.y, np.cumsum(sigma**2) / (sigma**2).sum(), rtol=1e-6)
    p = sigma / sigma.sum()
    assert found.facts["effective"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-3)
    assert found.facts["stable"] == pytest.approx((sigma**2).sum() / sigma[0] ** 2, rel=1e-6)
    assert found.facts["held"] == pytest.approx(energy.y[5]) and found.facts["note"] == ""
    lines = [s for s in found.figure.layout.shapes if s.type == "line"]
    assert [s.x0 for s in lines] == [6, 6] and lines[0].line.color == LIGHT.accent


def test_errors_are_the_mechanisms_and_the_least():
    qkv = made()
    found = drawn(qkv, "linformer", rank=6)["rank_error"]
    best, _, own, output = found.figure.data
    assert list(own.x) == [1, 2, 4, 6, 8, 16, 32, 60]
    full = engine.attend(qkv, "softmax")
    a, o = full.weights()[1], full.output[1]
    for k, error, gone in zip(own.x, own.y, output.y, strict=True):
        att = engine.attend(qkv, "linformer", rank=k)
        if k == 60:
            assert np.isnan(error), "exact: nothing to draw"
            continue
        assert error == pytest.approx(float((att.weights()[1] - a).norm() / a.norm()), rel=1e-4)
        assert gone == pytest.approx(float((att.output[1] - o).norm() / o.norm()), rel=1e-4)
        assert best.y[list(best.x).index(k)] <= error
    assert found.facts["map"] == own.y[3] and found.facts["best_map"] == best.y[3]


def test_maps_share_one_signed_scale():
    qkv = made()
    found = drawn(qkv, "nystrom", landmarks=6)["implied"]
    full = engine.attend(qkv, "softmax").weights()[1].numpy()
    own = engine.attend(qkv, "nystrom", landmarks=6).weights()[1].float().numpy()
    for trace, cells in zip(found.figure.data, (full, own, own - full), strict=True):
        np.testing.assert_allclose(trace.z, cells, atol=1e-6)
        assert trace.zmin == -trace.zmax and trace.zmax == found.figure.data[0].zmax
        assert trace.colorscale[4][1] == LIGHT.paper
    assert found.facts["low"] == pytest.approx(own.sum(1).min(), abs=1e-5)
    assert found.facts["negative"] == pytest.approx(
        -own.clip(max=0).sum() / np.abs(own).sum(), abs=1e-5
    )


def test_factors_are_the_views():
    qkv = made()
    found = drawn(qkv, "truncated_svd", rank=5)["factors"]
    view = engine.attend(qkv, "truncated_svd", rank=5).view(Factors).factors(1)
    for trace, cells in zip(found.figure.data, view.values(), strict=True):
        np.testing.assert_allclose(np.abs(trace.z), cells.abs().numpy(), atol=1e-5)
    assert found.facts["numbers"] == 2 * 5 * 60 and found.facts["whole"] == 3600
    mean = drawn(qkv, "linformer", rank=6)["factors"].figure.data
    assert [trace.zmin for trace in mean] == [0, 0], "weights are not drawn about 0"


def test_a_kernels_row_lies_beside_softmaxs():
    qkv = made(causal=True)
    found = drawn(qkv, "linear", row=30)["kernel_row"]
    soft, own = found.figure.data
    scores = engine.attend(qkv, "softmax").steps(1, 30).logits
    order = scores[:31].argsort(stable=True).tolist()
    np.testing.assert_allclose(own.x, scores[order], rtol=1e-6)
    weights = engine.attend(qkv, "linear").weights()[1, 30]
    np.testing.assert_allclose(own.y, weights[order], rtol=1e-5)
    line = np.log(np.array(soft.y)) - np.array(soft.x)
    np.testing.assert_allclose(line, line[0], atol=1e-4)
    assert found.facts["own"] == pytest.approx(float(weights.max()), rel=1e-5)
    assert found.facts["count"] == 31 and found.facts["zeros"] == 0


def test_keys_set_aside_are_out_of_every_map():
    found = drawn(made(), "linformer", hide=(3, 17), rank=6)
    full, own, _ = found["implied"].figure.data
    assert (full.z[:, [3, 17]] == 0).all() and (own.z[:, [3, 17]] == 0).all()
    np.testing.assert_allclose(np.array(full.z).sum(1), 1, atol=1e-5)


def test_long_texts_are_sampled_and_pooled_and_say_so():
    qkv = engine.sources.planted(n=2000, heads=1, dim=8, gap=4.0)
    found = drawn(qkv, "linformer", head=0, rank=16)
    for key in ("spectrum", "rank_error", "implied"):
        assert "factors.sampled 128 2000" in found[key].facts["note"]
    assert "factors.cells" in found["implied"].facts["note"]
    points = sum(np.size(trace.z) for p in found.values() for trace in p.figure.data
                 if trace.type == "heatmap")  # fmt: skip
    assert points < 150_000
    rows = spectra.sampled(2000)
    cells = engine.attend(qkv, "softmax").weights(rows)[0].numpy()
    trace = found["implied"].figure.data[0]
    np.testing.assert_allclose(trace.z, reduced(cells[None], 160)[0], atol=1e-6)
    assert trace.y[0] == rows[0] and trace.y[-1] == rows[-1]
    assert max(found["rank_error"].figure.data[0].x) == 64


def test_nothing_to_see_draws_nothing():
    qkv = made().replace(key_mask=torch.zeros(60, dtype=torch.bool))
    assert drawn(qkv, "linformer") == {}
