"""What follows from blocks, however the rows fall into pieces."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch

import engine
from engine.kernels import composed, online
from engine.measure import metrics, passes
from engine.mechanisms import MECHANISMS
from engine.runtime.threads import ONE, SMALL
from tests.refusals import refused

close = torch.testing.assert_close


def made(causal: bool = True, n: int = 300) -> engine.QKV:
    qkv = engine.sources.planted(n=n, heads=4, dim=8, gap=4.0, causal=causal)
    return qkv.to(dtype=torch.float64)


@pytest.mark.parametrize("key", ["softmax", "entmax", "lsh", "differential"])
def test_groups_add_up_in_any_order(key):
    att, draw = engine.attend(made(), key), torch.Generator().manual_seed(0)
    at = torch.arange(300)
    weights = att.weights()
    for labels in (
        at // 64,
        at // 2 - 1,
        torch.randint(-1, 5, (300,), generator=draw),
        torch.randperm(300, generator=draw),
    ):
        one = torch.nn.functional.one_hot(labels + 1)[:, 1:].to(weights)
        close(att.group(labels).double(), weights @ one, atol=1e-6, rtol=1e-5)
        some = torch.tensor([7, 250, 3, 111])  # in an order of their own
        close(att.group(labels, some).double(), weights[:, some] @ one, atol=1e-6, rtol=1e-5)


@pytest.fixture
def threads():
    """Three of torch's threads, so that pieces run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "colour, causal", [("weight", False), ("weight", True), ("uniform", True), ("row", False)]
)
@pytest.mark.parametrize("key", ["entmax", "sigmoid", "lsh", "differential", "routing", "kmeans"])
def test_small_pieces_tell_the_same(monkeypatch, threads, key, causal, colour):
    """Pieces that begin and end inside cells, side by side, against one that holds every row."""
    how = {"size": 37, "pools": ("max", "mean", "sum"), "colour": colour}
    whole = engine.attend(made(causal), key).summary(**how)
    for module, name in ((composed, "BLOCK"), (passes, "AREA"), (metrics, "NEAR")):
        monkeypatch.setattr(module, name, 2**14)
    told = []
    att = engine.attend(made(causal), key)
    parts = att.summary(**how, progress=told.append)
    assert told[-1] == 1 and told == sorted(told)
    for name, x in vars(whole.rows).items():
        close(vars(parts.rows)[name].double(), x.double(), atol=2e-6, rtol=1e-5, equal_nan=True)
    for pool, x in whole.maps.items():
        close(parts.maps[pool], x, atol=2e-6, rtol=1e-5)
    close(parts.output, whole.output, atol=2e-6, rtol=1e-5)
    weights = att.weights()
    if colour == "weight":
        cells = torch.nn.functional.pad(weights, (0, -300 % 9, 0, -300 % 9), value=-torch.inf)
        cells = cells.unflatten(2, (-1, 9)).unflatten(1, (-1, 9)).amax((2, 4))
        close(parts.maps["max"].double(), cells, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("key", MECHANISMS)
def test_who_lets_an_attention_go_frees_it_at_once(key):
    """By counting references: it holds keys and values, and cycles may wait long for a collection.
    (Views of some hold it; they are made when they are asked for.)"""
    causal = key not in ("linformer", "nystrom", "truncated_svd")
    qkv = engine.sources.planted(n=64, heads=2, dim=8, gap=4.0, causal=causal)
    gc.disable()
    try:
        att = engine.attend(qkv, key)
        assert att.output.shape == qkv.v.shape
        att.summary(8)
        held = weakref.ref(att)
        del att
        assert held() is None
    finally:
        gc.enable()


def test_one_worker_makes_a_pass_of_middling_size(monkeypatch, threads):
    made_by, told_in = set(), set()
    piece = online._piece

    def seen(*args):
        made_by.add(threading.get_ident())
        return piece(*args)

    monkeypatch.setattr(online, "_piece", seen)
    draw = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 12, 320, 8, generator=draw)
    att = engine.attend(engine.QKV(q, k, v), "softmax")
    assert SMALL < 12 * 320 * 320 <= ONE
    whole = att.summary(8, progress=lambda share: told_in.add((threading.get_ident(), share)))
    me = threading.get_ident()
    assert told_in == {(me, 1.0)} and len(made_by) == 1 and made_by != {me}
    close(whole.output, att.weights() @ v, atol=1e-5, rtol=1e-5)


def test_what_progress_raises_ends_the_pass():
    threads = torch.get_num_threads()

    def stop(_: float) -> None:
        raise InterruptedError

    for key in ("entmax", "differential"):
        with pytest.raises(InterruptedError):
            engine.attend(made(), key).summary(8, progress=stop)
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("part", ["rows", "cols"])
@pytest.mark.parametrize("step", [2, -1])
def test_a_heatmap_with_a_step_is_refused(part, step):
    """It used to be the map of everything between."""
    att = engine.attend(made(n=64), "softmax")
    with refused(match=f"a step of {step} "):
        att.heatmap(16, **{part: slice(None, None, step)})
    torch.testing.assert_close(
        att.heatmap(16, **{part: slice(0, 64, 1)}), att.heatmap(16, **{part: slice(0, 64)})
    )


@pytest.mark.parametrize("rows", [torch.tensor([]), slice(5, 5)], ids=["tensor", "slice"])
@pytest.mark.parametrize("key", ["softmax", "lsh", "differential"])
def test_no_rows_have_no_statistics(key, rows):
    """Of streaming attention, of blocks, and of signed ones."""
    att = engine.attend(made(n=32), key)
    found, some = vars(att.rows(rows)), vars(att.rows(slice(0, 1)))
    assert {name: x.shape for name, x in found.items()} == dict.fromkeys(some, (4, 0))
    assert {name: x.dtype for name, x in found.items()} == {k: x.dtype for k, x in some.items()}
    assert att.weights(rows).shape == (4, 0, 32)


@pytest.mark.parametrize("key", MECHANISMS)
def test_what_was_asked_in_inference_mode_can_be_asked_again_outside(key):
    att = engine.attend(made(MECHANISMS[key].causal_ok, n=48), key)
    rows = torch.arange(0, 48, 2)
    with torch.inference_mode():
        inside = att.weights(rows)
    close(att.weights()[:, rows], inside)
