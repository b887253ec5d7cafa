"""Rotations for longer texts, against transformers' own."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import engine
from engine.contract import QKV, Grid, Layer
from engine.contract.views import Bias
from engine.kernels import positions
from engine.kernels.turning import Turning
from tests import oracle

close = torch.testing.assert_close


def made(n: int = 60, d: int = 64, **more) -> QKV:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, d, generator=draw, dtype=torch.float64) for _ in range(3))
    return QKV(q, k, v, causal=True, **more)


@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize(("stretch", "length"), [(4.0, 1024), (16.0, 4096), (2.0, 256)])
def test_yarn_is_transformers(width, stretch, length):
    config = LlamaConfig(
        hidden_size=4 * width, num_attention_heads=4, max_position_embeddings=length,
        rope_parameters={"rope_type": "yarn", "rope_theta": 10_000.0, "factor": stretch,
                         "original_max_position_embeddings": length},
    )  # fmt: skip
    turns, sharper = ROPE_INIT_FUNCTIONS["yarn"](config, torch.device("cpu"))
    ours = Turning("yarn", stretch=stretch, length=length)
    close(ours.frequencies(width).float(), turns)
    assert ours.sharpness == pytest.approx(sharper**2)


@pytest.mark.parametrize("part", [0.25, 0.5, 1.0])
def test_p_rope_is_transformers_proportional(part):
    config = LlamaConfig(
        hidden_size=256, num_attention_heads=4, head_dim=64,
        rope_parameters={"rope_type": "proportional", "rope_theta": 10_000.0,
                         "partial_rotary_factor": part},
    )  # fmt: skip
    turns, _ = ROPE_INIT_FUNCTIONS["proportional"](config, torch.device("cpu"))
    close(Turning("prope", part=part).frequencies(64).float(), turns)


def test_ends_of_the_scales_are_rope_and_no_positions():
    qkv = made()
    rope, nope = (engine.attend(qkv, "relative", kind=x).weights() for x in ("rope", "nope"))
    close(nope, oracle.softmax(qkv))
    close(engine.attend(qkv, "relative", kind="yarn", stretch=1.0).weights(), rope)
    close(engine.attend(qkv, "relative", kind="prope", part=1.0).weights(), rope)
    close(engine.attend(qkv, "relative", kind="prope", part=0.0).weights(), nope)


def test_without_positions_a_model_s_rotation_is_taken_out():
    qkv, at = made(), torch.arange(60)
    turned = qkv.replace(
        q=positions.rotated(qkv.q, at), k=positions.rotated(qkv.k, at),
        layer=Layer(q=qkv.q, k=qkv.k, rotary=True),
    )  # fmt: skip
    att = engine.attend(turned, "relative", kind="nope")
    close(att.weights(), oracle.softmax(qkv))
    assert (att.view(Bias).decay == 1).all()
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    whole = turned.replace(causal=False)
    moved = whole.replace(k=whole.k[:, shuffled], v=whole.v[:, shuffled], layer=Layer(
        q=qkv.q, k=qkv.k[:, shuffled], rotary=True))  # fmt: skip
    expected = engine.attend(whole, "relative", kind="nope").output
    close(engine.attend(moved, "relative", kind="nope").output, expected)


def test_yarn_scores_grow_with_the_stretch():
    """At distance 0 nothing turns: the score is (0.1 ln 8 + 1)² times what it was."""
    qkv = made(1)
    att = engine.attend(qkv, "relative", kind="yarn", stretch=8.0)
    score = att.steps(0, 0).logits[0] / engine.attend(qkv, "softmax").steps(0, 0).logits[0]
    assert float(score) == pytest.approx((0.1 * 2.0794415416798357 + 1) ** 2)


def test_on_an_image_no_positions_are_none():
    grid = Grid(3, 3, torch.cartesian_prod(torch.arange(3), torch.arange(3)))
    qkv = made(9).replace(grid=grid, causal=False)
    close(engine.attend(qkv, "relative", kind="nope").weights(), oracle.softmax(qkv))
