"""Multi-head attention against torch's own, and a head left out."""

from pathlib import Path

import pytest
import torch

import engine
from engine.lessons import heads
from tests.refusals import refused

ROOT = Path(__file__).parents[2]
TEXT = "On a rock in the bay, Quill kept a lamp."


@pytest.fixture(scope="module")
def trace():
    return engine.models.load(ROOT / "assets" / "models" / "tiny").read(TEXT)


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_torchs_multi_head_attention(causal):
    torch.manual_seed(0)
    n, width, count = 7, 24, 4
    theirs = torch.nn.MultiheadAttention(width, count, bias=False, batch_first=True).eval()
    x = torch.randn(n, width)
    w_q, w_k, w_v = theirs.in_proj_weight.detach().split(width)
    qkv = heads.projected(x, w_q, w_k, w_v, theirs.out_proj.weight.detach(), count, causal)
    mask = torch.ones(n, n, dtype=torch.bool).triu(1) if causal else None
    with torch.no_grad():
        output, weights = theirs(
            x[None], x[None], x[None], attn_mask=mask, average_attn_weights=False
        )
    found = heads.parts(qkv)
    torch.testing.assert_close(found.maps, weights[0])
    torch.testing.assert_close(found.output, output[0])
    assert heads.count(qkv).total == sum(p.numel() for p in theirs.parameters())


def test_without_a_head_is_the_output_with_its_values_at_zero(trace):
    qkv = trace.layer(1)
    found = heads.parts(qkv)
    v = qkv.v.clone()
    v[2] = 0
    less = heads.parts(qkv.replace(v=v))
    change = (found.output - less.output).norm(dim=-1) / found.output.norm(dim=-1)
    torch.testing.assert_close(found.without(2), change, atol=1e-5, rtol=1e-4)


def test_the_models_own_layer(trace):
    """The layer's output, from its own module's projection."""
    found = heads.parts(trace.layer(0))
    module = trace.model.net.model.layers[0].self_attn.o_proj
    with torch.no_grad():
        torch.testing.assert_close(found.output, module(found.concat), atol=1e-5, rtol=1e-4)
    counted = sum(p.numel() for p in trace.model.net.model.layers[0].self_attn.parameters())
    assert heads.count(trace.layer(0)).total == counted == 147_456


def test_distance_is_the_weighted_mean_and_even_is_that_of_even_rows(trace):
    qkv = trace.layer(0)
    found = heads.parts(qkv)
    at = torch.arange(qkv.n)
    away = (at[:, None] - at).abs()
    rest = found.maps[:, 1:, 1:]  # the first token is set aside
    rest = rest / rest.sum(-1, keepdim=True)
    torch.testing.assert_close(found.distance, (rest * away[1:, 1:]).sum(-1).mean(-1))
    assert found.even == pytest.approx((qkv.n - 2) / 4)
    assert float(found.distance[0]) == pytest.approx(1, abs=0.1)  # the previous-token head


def test_random_heads_look_about_evenly_and_more_of_them_cost_no_more(trace):
    qkv = trace.layer(0)
    for count in (2, 8):
        drawn = heads.drawn(qkv, count)
        found = heads.parts(drawn)
        assert len(found.maps) == count
        assert (found.distance - found.even).abs().max() < 0.25 * found.even
        assert heads.count(drawn).total == heads.count(qkv).total
    assert torch.equal(heads.drawn(qkv, 2, 1).q, heads.drawn(qkv, 2, 1).q)
    assert not torch.equal(heads.drawn(qkv, 2, 1).q, heads.drawn(qkv, 2, 2).q)


def test_additive_inside_says_how_well_it_follows(trace):
    found = heads.parts(trace.layer(1), "additive")
    assert found.fidelity is not None and found.fidelity.shape == (6,)
    torch.testing.assert_close(found.maps.sum(-1), torch.ones(found.maps.shape[:2]))
    assert heads.parts(trace.layer(1)).fidelity is None


def test_what_does_not_fit_is_refused():
    x, w = torch.randn(5, 12), torch.randn(12, 12)
    with refused(match="5 heads do not divide"):
        heads.projected(x, w, w, w, w, 5)
    with refused(match="no tokens"):
        heads.projected(x[:0], w, w, w, w, 3)
    with refused(match="output projection is not known"):
        heads.parts(engine.sources.planted(n=8))
    with refused(match="input is not known"):
        heads.drawn(engine.sources.planted(n=8), 2)


@pytest.mark.parametrize(("inside", "count", "off"), [("softmax", None, None), ("additive", 4, 2)])
def test_the_code_lines_run_and_find_the_same(trace, monkeypatch, inside, count, off):
    monkeypatch.chdir(ROOT)
    scope: dict = {}
    exec(heads.code(TEXT, 1, inside, count, 5, off), scope)
    qkv = trace.layer(1) if count is None else heads.drawn(trace.layer(1), count, 5)
    found = heads.parts(qkv, inside)
    if off is None:
        torch.testing.assert_close(scope["out"], found.output)
    else:
        change = (found.output - scope["out"]).norm(dim=-1) / found.output.norm(dim=-1)
        torch.testing.assert_close(change, found.without(off), atol=1e-5, rtol=1e-4)
