"""What opens is a row that looks back, and that the mechanism changes."""

import torch

import engine
from engine.structure.highlights import sharpest
from engine.structure.opening import opening


def made(n: int = 40) -> engine.QKV:
    draw = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, 2, n, 8, generator=draw).unbind(0)
    return engine.QKV(3 * q, k, v, causal=True)


def test_without_anything_to_compare_it_is_the_sharpest():
    att = engine.attend(made(), "softmax")
    assert opening(att, att.rows(), None) == sharpest(att.rows())
    assert opening(att, att.rows(), None, head=1)[0] == 1


def test_a_row_that_the_mechanism_leaves_alone_is_passed_over():
    qkv = made()
    att, full = engine.attend(qkv, "window", window=16, sinks=0), engine.attend(qkv, "softmax")
    head, row = opening(att, att.rows(), full)
    kept = full.weights(torch.tensor([row]))[head, 0, row - 15 : row + 1].sum()
    assert row >= 16 and float(kept) < 0.9, "rows that see no more than a window are as they were"


def test_delta_opens_on_a_key_that_comes_again():
    qkv = made()
    k = qkv.k.clone()
    k[:, 33] = k[:, 6]
    att = engine.attend(qkv.replace(k=k), "delta")
    full = engine.attend(qkv.replace(k=k), "softmax")
    assert opening(att, att.rows(), full)[1] == 33


def test_a_stick_opens_where_several_keys_break_it():
    qkv = made()
    att, full = engine.attend(qkv, "stick_breaking"), engine.attend(qkv, "softmax")
    head, row = opening(att, att.rows(), full)
    assert float(att.rows().effective_tokens[head, row]) > 2
