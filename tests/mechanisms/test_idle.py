"""Parameters that are not offered change nothing, and those that are change something."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

import engine
from engine.contract import Param, params_of
from engine.mechanisms import MECHANISMS


def other(declared: Param, value: object) -> object:
    """A valid value that is quite another."""
    if declared.kind is bool:
        return not value
    if declared.high is None:
        return declared.kind(value * 2 + 1)
    return declared.high if value != declared.high else declared.low


def cases() -> list:
    """Each mechanism, in each combination of its choices."""
    found = []
    for key, cls in MECHANISMS.items():
        declared = params_of(cls)
        names = [name for name, p in declared.items() if p.choices]
        for values in product(*(declared[name].choices for name in names)):
            chosen = dict(zip(names, values, strict=True))
            if key == "combined" and chosen["normaliser"] in ("softmax1", "sigmoid"):
                continue  # nothing depends on which of these it is
            made = cls(**chosen)
            if made.idle:
                found.append(pytest.param(made, id=f"{key}-{'-'.join(values)}"))
    return found


@pytest.mark.parametrize("mechanism", cases())
def test_what_is_idle_changes_nothing(mechanism):
    qkv = engine.sources.planted(n=24, heads=2, seed=3, causal=type(mechanism).causal_ok)
    expected = mechanism.reference(qkv)
    declared = params_of(type(mechanism))
    for name in mechanism.idle:
        value = other(declared[name], getattr(mechanism, name))
        changed = replace(mechanism, **{name: value})
        assert value != getattr(mechanism, name)
        torch.testing.assert_close(changed.reference(qkv), expected)


@pytest.mark.parametrize("more", [{}, {"dilation": 2}, {"random": 2}, {"sinks": 12}])
def test_sinks_that_see_all_are_idle_causally_alone(more):
    made = engine.make("window", **{"window": 4, "sinks": 3} | more)
    sinks = replace(made, whole=True)
    for causal in (True, False):
        qkv = engine.sources.planted(n=24, heads=2, seed=3, causal=causal)
        same = torch.equal(made.reference(qkv), sinks.reference(qkv))
        assert same == ("whole" in made.idle_on(causal)) == causal


@pytest.mark.parametrize(("made", "name"), [
    (engine.make("relative", kind="cope"), "max_distance"),
    (engine.make("relative", kind="yarn"), "stretch"),
    (engine.make("relative", kind="prope"), "part"),
    (engine.make("relative", kind="fire"), "curve"),
    (engine.make("ssmax"), "b"),
    (engine.make("ssmax", form="stepped", start=4), "start"),
    (engine.make("window", window=4, sinks=0, random=2), "seed"),
    (engine.make("lsh", scope="chunk", buckets=2, rounds=1, chunk=4), "chunk"),
    (engine.make("linear", feature_map="exp"), "seed"),
    (engine.make("linformer", projection="random", rank=4), "seed"),
    (engine.make("segmented", segment=4, integrate="pool"), "corrected"),
    (engine.make("indexer", top_k=4, block=1), "width"),
    (engine.make("combined", pattern="hashed"), "count"),
    (engine.make("combined", scale="ssmax"), "s"),
])  # fmt: skip
def test_what_is_offered_changes_something(made, name):
    qkv = engine.sources.planted(n=40, heads=2, seed=3, causal=type(made).causal_ok)
    assert name not in made.idle
    declared = params_of(type(made))
    value = (
        2
        if name in ("max_distance", "width", "count")
        else other(declared[name], getattr(made, name))
    )
    changed = replace(made, **{name: value}).reference(qkv)
    assert (changed - made.reference(qkv)).abs().max() > 1e-6
