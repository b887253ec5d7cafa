"""Masked softmax against torch's own, and what happens to a row with nothing to see."""

import pytest
import torch
import torch.nn.functional as F

from engine.lessons import masking
from engine.lessons.masking import FILL, SIDE
from tests.refusals import refused

OWN = "80c0e0f0783c1e00"


def batches():
    return {
        "lengths": masking.padded((8, 5, 2, 1)),
        "causal": [masking.square(causal=True)],
        "own": [masking.painted(masking.read("80c0e0f0783c1eff"))],
    }


@pytest.mark.parametrize("kind", ["lengths", "causal", "own"])
def test_weights_and_outputs_are_torchs(kind):
    batch = batches()[kind]
    found = masking.masked(batch)
    plain = found.logits.masked_fill(~found.mask, -torch.inf).softmax(-1)
    torch.testing.assert_close(found.after, plain)
    each = SIDE // len(batch)
    for i, qkv in enumerate(batch):
        rows = slice(i * each, (i + 1) * each)
        output = F.scaled_dot_product_attention(qkv.q, qkv.k, qkv.v, found.mask[rows])[0]
        torch.testing.assert_close(found.after[rows] @ qkv.v[0], output)


@pytest.mark.parametrize("kind", ["lengths", "causal", "own"])
def test_what_is_hidden_is_zero_and_the_rest_keeps_its_proportions(kind):
    found = masking.masked(batches()[kind])
    assert (found.after[~found.mask] == 0).all() and bool((~found.mask).any())
    assert not found.empty.any()
    for row in range(SIDE):
        scaled = found.before[row] / found.kept(row)
        torch.testing.assert_close(found.after[row], scaled * found.mask[row])


def test_nothing_to_see_three_ways():
    found = masking.masked([masking.painted(masking.read(OWN))])
    assert found.empty.tolist() == [False] * 7 + [True]
    ways = found.ways(7)
    assert (ways["engine"] == 0).all()
    torch.testing.assert_close(ways["filled"], torch.full((SIDE,), 1 / SIDE))
    assert ways["infinite"].isnan().all()
    # torch's own: zeros, as ours
    q, k, v = torch.randn(3, 1, SIDE, 16)
    output = F.scaled_dot_product_attention(q, k, v, found.mask)
    assert (output[0, 7] == 0).all()
    agree = found.ways(3)
    for way in ("filled", "infinite"):
        torch.testing.assert_close(agree["engine"], agree[way])
    assert FILL == -1e6


def test_a_mask_as_hexadecimal_digits():
    mask = masking.read(OWN)
    assert masking.spelt(mask.tolist()) == OWN
    assert mask[0].tolist() == [True] + [False] * 7 and not mask[7].any()
    for bad in ("", "80", OWN[:-1] + "g", OWN + "0", "0x" + OWN[2:]):
        with refused(match="16 hexadecimal digits"):
            masking.read(bad)


def test_lengths_out_of_range_are_refused():
    for bad in ((1, 2, 3), (0, 0, 0, 9), (-1, 0, 0, 0)):
        with refused(match="lengths of 0 … 8"):
            masking.padded(bad)


@pytest.mark.parametrize("kind", ["lengths", "causal", "own"])
def test_the_code_lines_run_and_find_the_same(kind):
    lengths = (8, 5, 2, 0)
    scope: dict = {}
    exec(masking.code(kind, 3, lengths, OWN), scope)
    batch = {
        "lengths": lambda: masking.padded(lengths, 3),
        "causal": lambda: [masking.square(3, causal=True)],
        "own": lambda: [masking.painted(masking.read(OWN), 3)],
    }[kind]()
    weights = masking.masked(batch).after
    last = scope["att"].weights()[0]
    torch.testing.assert_close(last, weights[-len(last) :])
