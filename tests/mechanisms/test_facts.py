"""What mechanisms say of themselves: what they cost, how sharp they are, and what suits a text."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import engine
from engine.mechanisms import MECHANISMS
from engine.mechanisms._distances import LEARNED
from engine.mechanisms.cost import Alive
from tests.refusals import refused

CLOSED = [
    ("softmax", {"temperature": 2.0}), ("ssmax", {"s": 0.6}), ("ssmax", {"b": 0.7}),
    ("ssmax", {"form": "late", "start": 8}), ("ssmax", {"form": "stepped", "start": 8}),
    ("entmax", {"alpha": 1.5}),
    ("entmax", {"alpha": 1.0}), ("adaptive_temperature", {}),
]  # fmt: skip
LEARNING = [
    ("additive", {"hidden": 5}), ("linformer", {"rank": 8, "projection": "fitted"}),
    ("linformer", {"rank": 8, "projection": "svd"}), ("memory_tokens", {"segment": 8, "slots": 3}),
    ("gated", {}), ("nsa", {"block": 4}), ("infini", {"segment": 8}), ("log_linear", {}),
    ("routing", {"width": 5}),
    ("indexer", {"width": 3, "top_k": 4}),
    ("capsule", {"capsules": 3}), ("kmeans", {"clusters": 3}),
    *(("relative", {"kind": kind}) for kind in LEARNED),
    *(("combined", {"bias": kind}) for kind in LEARNED),
]  # fmt: skip


def made(n: int = 48, heads: int = 2, dim: int = 8, seed: int = 0, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(heads, n, dim, generator=draw) for _ in range(3))
    return engine.QKV(q, k, v, **more)


class Untouched(TorchDispatchMode):
    """Refuses any operation on the tensors that it was given."""

    def __init__(self, qkv: engine.QKV) -> None:
        super().__init__()
        self.given = {x.untyped_storage().data_ptr() for x in (qkv.q, qkv.k, qkv.v)}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for x in tree_leaves((args, kwargs or {})):
            if isinstance(x, torch.Tensor):
                assert x.untyped_storage().data_ptr() not in self.given, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("key", MECHANISMS)
def test_costs_are_known_from_shapes_at_once(key, causal):
    one = torch.ones(1, 1, 1)
    q, k = one.expand(4, 2**17, 1), one.expand(2, 2**17, 1)
    qkv = engine.QKV(q, k, k, causal=causal and MECHANISMS[key].causal_ok)
    mechanism = MECHANISMS[key]()
    with Untouched(qkv):
        found = engine.estimate(mechanism, qkv)
    assert found.flops > 0 and found.bytes > 0
    seconds = []
    with one_thread():
        for _ in range(3):
            began = time.thread_time()
            engine.estimate(mechanism, qkv)
            seconds.append(time.thread_time() - began)
    assert min(seconds) < 0.05


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # pieces then run here, where they are seen
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("key", "n"),
    [(k, n) for k in MECHANISMS for n in (512, 1024 if k == "truncated_svd" else 2048)],
)  # truncated_svd takes at most 1,024 positions
def test_memory_is_at_most_what_was_said_and_not_far_below(key, n):
    mechanism = MECHANISMS[key]()
    qkv = engine.sources.planted(n=n, heads=2, dim=32, causal=mechanism.causal_ok)
    with torch.no_grad(), one_thread(), Alive([qkv.q, qkv.k, qkv.v]) as alive:
        mechanism.attend(qkv).summary(512)
    assert alive.peak <= engine.estimate(mechanism, qkv).bytes <= 8 * alive.peak


AWAY = [
    ("additive", {"hidden": 1024}), ("kmeans", {"clusters": 256}), ("lsh", {"rounds": 16}),
    ("capsule", {"capsules": 32}), ("linformer", {"rank": 512}), ("nystrom", {"landmarks": 256}),
    ("linear", {"feature_map": "exp"}), ("indexer", {"top_k": 512}), ("routing", {"width": 256}),
    ("window", {"random": 512}), ("memory_tokens", {"slots": 64}), ("infini", {"segment": 16}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "parameters"), AWAY)
def test_memory_is_at_most_what_was_said_away_from_the_defaults(key, parameters):
    mechanism = engine.make(key, **parameters)
    qkv = engine.sources.planted(n=768, heads=2, dim=32, causal=mechanism.causal_ok)
    with torch.no_grad(), one_thread(), Alive([qkv.q, qkv.k, qkv.v]) as alive:
        mechanism.attend(qkv).summary(512)
    assert alive.peak <= engine.estimate(mechanism, qkv).bytes


@pytest.mark.parametrize("key", MECHANISMS)
def test_work_counts_the_summary_and_grows_as_it_does(key):
    """Products of matrices, as torch counts them, of output, statistics and maps."""
    counted, said = [], []
    for n in (256, 1024):
        mechanism = MECHANISMS[key]()
        qkv = engine.sources.planted(n=n, heads=2, dim=32, causal=mechanism.causal_ok)
        fitted = mechanism.fit(qkv)  # which is not counted, as training is not
        with torch.no_grad(), one_thread(), FlopCounterMode(display=False) as counter:
            fitted.attend(qkv).summary(512)
        counted.append(counter.get_total_flops())
        said.append(engine.estimate(mechanism, qkv).work)
    assert all(c <= 3 * s for c, s in zip(counted, said, strict=True))
    assert counted[1] / counted[0] <= 4 * said[1] / said[0]


@pytest.mark.parametrize(("key", "parameters"), [*AWAY, ("capsule", {"iterations": 200})])
def test_work_counts_what_parameters_ask_for(key, parameters):
    mechanism = engine.make(key, **parameters)
    qkv = engine.sources.planted(n=256, heads=2, dim=32, causal=mechanism.causal_ok)
    fitted = mechanism.fit(qkv)
    with torch.no_grad(), one_thread(), FlopCounterMode(display=False) as counter:
        fitted.attend(qkv).summary(512)
    assert counter.get_total_flops() <= 3 * engine.estimate(mechanism, qkv).work


@pytest.mark.parametrize(("key", "parameters"), CLOSED)
@pytest.mark.parametrize("n", [2, 40])
def test_closed_forms_are_the_engines(key, parameters, n):
    """One key ahead of equal others: what a row gives it."""
    mechanism = engine.make(key, **parameters)
    for gap in (0.0, 0.7, 3.0):
        k = torch.zeros(1, n, 1, dtype=torch.float64)
        k[0, 0] = gap
        qkv = engine.QKV(torch.ones(1, 1, 1, dtype=torch.float64), k, k, scale=1.0)
        weight = float(mechanism.attend(qkv).weights()[0, 0, 0])
        assert float(mechanism.needle_mass(n, gap)) == pytest.approx(weight, abs=1e-6)
    assert np.shape(mechanism.needle_mass([2, 3, 4], 1.0)) == (3,)


def test_only_those_have_a_closed_form():
    assert {k for k, cls in MECHANISMS.items() if cls().needle_mass(10, 1.0) is not None} == {
        key for key, _ in CLOSED
    }


@pytest.mark.parametrize("key", MECHANISMS)
def test_a_gap_that_holds_is_where_length_stops_to_matter(key):
    mechanism = MECHANISMS[key]()
    gap = mechanism.holding_gap
    assert (gap < math.inf) == (key in ("ssmax", "entmax"))
    if gap < math.inf:
        for factor, higher in ((1.2, True), (0.8, False)):
            short, long = mechanism.needle_mass(np.array([2.0**10, 2.0**30]), factor * gap)
            assert (long >= short) == higher


SUMMED = [("softmax1", {}), ("sigmoid", {}), ("stick_breaking", {"current": True})]


@pytest.mark.parametrize(("key", "parameters"), SUMMED)
def test_sums_of_shifted_rows_are_the_engines(key, parameters):
    z = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
    shifts = np.array([-3.0, 0.0, 1.5])
    mechanism = engine.make(key, **parameters)
    found = mechanism.row_sum(z.numpy(), shifts)
    assert found is not None
    for by, total in zip(shifts, found, strict=True):
        k = (z + by)[None, :, None]
        qkv = engine.QKV(torch.ones(1, 1, 1, dtype=torch.float64), k, k, causal=True, scale=1.0)
        assert total == pytest.approx(float(mechanism.attend(qkv).weights().sum()), abs=1e-6)


def test_what_sums_to_one_has_no_sum_to_shift():
    shifting = {k for k, cls in MECHANISMS.items() if cls().row_sum([0.0], [1.0]) is not None}
    assert shifting == {key for key, _ in SUMMED}


@pytest.mark.parametrize(
    ("key", "parameters"),
    [
        ("softmax", {"temperature": 3.0}),
        ("ssmax", {}),
        ("ssmax", {"b": 0.5}),
        ("ssmax", {"form": "late", "start": 7}),
        ("ssmax", {"form": "stepped", "start": 7}),
    ],
)
def test_sharpened_it_is_softmax_of_so_many_times_the_scores(key, parameters):
    qkv = made(causal=False)
    mechanism = engine.make(key, **parameters).sharpened(1.7, qkv.m)
    expected = engine.attend(qkv.replace(scale=1.7 * qkv.factor), "softmax").weights()
    torch.testing.assert_close(mechanism.attend(qkv).weights(), expected)


def test_a_sharpened_kernel_has_distances_so_many_times_as_large():
    qkv = made()
    narrow = engine.make("gaussian").sharpened(4.0, qkv.m)
    wide = qkv.replace(q=2 * qkv.q, k=2 * qkv.k)
    torch.testing.assert_close(
        narrow.attend(qkv).weights(), engine.attend(wide, "gaussian", width=1.0).weights()
    )


@pytest.mark.parametrize("key", MECHANISMS)
def test_keys_get_exactly_nothing_only_where_that_is_said(key):
    qkv = made(96, causal=MECHANISMS[key].causal_ok)
    mechanism = MECHANISMS[key]().suited(qkv.n)
    weights = mechanism.attend(qkv).weights()
    seen = torch.ones(96, 96).tril() if qkv.causal else torch.ones(96, 96)
    assert bool((weights[:, seen.bool()] == 0).any()) == (
        mechanism.exact_zeros or mechanism.selects
    )


@pytest.mark.parametrize("key", MECHANISMS)
def test_what_suits_a_short_text_shows_several_of_its_sizes(key):
    mechanism = MECHANISMS[key]()
    short = mechanism.suited(103)
    assert all(getattr(short, name) <= 16 for name in mechanism.sizes)
    assert mechanism.suited(2**17) == mechanism
    assert short.suited(103) == short and mechanism.suited(1).suited(1) == mechanism.suited(1)


@pytest.mark.parametrize(("key", "parameters"), LEARNING)
def test_a_fit_is_made_anew_and_then_held_to(key, parameters):
    mechanism = engine.make(key, **parameters)
    qkv, other = made(), made(seed=1)
    first = mechanism.fit(qkv)
    again, moved = first.fit(qkv), first.fit(other)
    assert first.learned is not None and again.learned is not None and moved.learned is not None
    names = first.learned.weights
    assert all(torch.equal(names[x], again.learned.weights[x]) for x in names)
    assert any(not torch.equal(names[x], moved.learned.weights[x]) for x in names)
    # what is carried is what is used: on the other text the two fits differ
    torch.testing.assert_close(first.attend(qkv).output, mechanism.attend(qkv).output)
    torch.testing.assert_close(moved.attend(other).output, mechanism.attend(other).output)
    assert not torch.equal(first.attend(other).output, moved.attend(other).output)
    shapes = mechanism.learns(qkv)
    assert shapes.keys() == names.keys()
    for name, shape in shapes.items():
        assert all(b in (None, a) for a, b in zip(names[name].shape, shape, strict=True))


@pytest.mark.parametrize(("key", "parameters"), LEARNING)
def test_a_fit_of_other_sizes_is_refused_and_made_anew(key, parameters):
    fitted = engine.make(key, **parameters).fit(made())
    other = made(n=40, heads=4, dim=6)
    with refused(match="was fitted to another layer"):
        fitted.attend(other)
    fitted.fit(other).attend(other)


def test_a_fit_with_other_parameters_is_refused():
    fitted = engine.make("relative", kind="shaw").fit(made())
    with refused(match="its t5 is none"):
        replace(fitted, kind="t5").attend(made())


@pytest.mark.parametrize("key", MECHANISMS)
def test_who_learns_says_what(key):
    qkv = made(causal=MECHANISMS[key].causal_ok)
    mechanism = MECHANISMS[key]()
    assert (mechanism.fit(qkv).learned is None) == (mechanism.learns(qkv) == {})
