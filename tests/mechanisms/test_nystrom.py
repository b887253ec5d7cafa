"""Nyström attention: by hand, in the exact limits, against another's code."""

from __future__ import annotations

import pytest
import torch

import engine
from engine.mechanisms.nystrom import Nystrom
from tests import oracle
from tests.mechanisms.low_rank import made, weights

close = torch.testing.assert_close


@pytest.mark.parametrize(("n", "m", "landmarks"), [(24, 24, 24), (24, 40, 40), (40, 24, 99)])
def test_a_landmark_a_position_is_full_attention(n, m, landmarks):
    qkv = made(n, 2, m=m, sinks=torch.randn(4), softcap=3.0)
    close(weights(Nystrom(landmarks), qkv), oracle.softmax(qkv), atol=1e-6, rtol=1e-5)


def test_nystrom_is_nystromformers_own():
    """With as many steps of its iteration as it takes, on a text that landmarks divide."""
    from transformers import NystromformerConfig
    from transformers.models.nystromformer.modeling_nystromformer import NystromformerSelfAttention

    torch.manual_seed(0)
    n, h, d = 24, 2, 8
    config = NystromformerConfig(
        hidden_size=h * d, num_attention_heads=h, num_landmarks=6, segment_means_seq_len=n,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    net = NystromformerSelfAttention(config).double().eval()
    net.conv_kernel_size = None  # a convolution of the values, added to the output
    steps = net.iterative_inv
    setattr(net, "iterative_inv", lambda kernel: steps(kernel, 60))  # noqa: B010
    x = 6 * torch.randn(1, n, h * d, dtype=torch.float64)
    q, k, v = (
        f(x).view(n, h, d).transpose(0, 1).detach() for f in (net.query, net.key, net.value)
    )
    # HF divides q and k by d^¼ each
    att = Nystrom(6).attend(engine.QKV(q, k, v))
    expected = net(x)[0][0].view(n, h, d).transpose(0, 1)
    close(att.output, expected.detach(), atol=1e-8, rtol=1e-8)


def test_nystrom_by_hand():
    """One landmark: every row is the mean query's softmax, since 1·1⁺·row is that row."""
    qkv = made(20)
    mean = qkv.replace(q=qkv.q.mean(1, keepdim=True))
    close(weights(Nystrom(1), qkv), oracle.softmax(mean).expand(-1, 20, -1), atol=1e-6, rtol=1e-5)


def test_equal_landmarks_are_no_trouble():
    """The middle softmax has rank 1 then, and no inverse."""
    qkv = engine.sources.identical(n=64, heads=2, dim=8)
    close(weights(Nystrom(8), qkv), torch.full((2, 64, 64), 1 / 64, dtype=torch.float64))
