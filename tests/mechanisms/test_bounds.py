"""Whole numbers as large as they may be: what they cost is bounded by the text, or known."""

import time

import pytest
import torch

import engine
from engine.contract import params_of
from engine.mechanisms import MECHANISMS
from engine.mechanisms.combined import PATTERNS
from engine.mechanisms.cost import Alive
from engine.runtime.threads import here
from engine.runtime.watch import watched

N = 24
FAR = 10**7
SMALL = 2**25
"""Bytes that nobody has to be asked about."""
VARIANTS = {
    "segmented": [{"integrate": x} for x in ("none", "pool", "attention", "concat")],
    "combined": [{"pattern": x} for x in PATTERNS],
    "linear": [{"feature_map": "exp"}],
    "indexer": [{"score": x} for x in ("learned", "mean", "bounds", "max")],
    "hierarchical": [{}, {"aggregate": "max"}],
    "lsh": [{}, {"scope": "chunk"}],
    "relative": [{"kind": x} for x in ("t5", "shaw", "music", "cope", "fire")],
}
WHOLE = [
    pytest.param(key, base, name, id="-".join(map(str, (key, *base.values(), name))))
    for key in MECHANISMS
    for base in VARIANTS.get(key, [{}])
    for name, declared in params_of(MECHANISMS[key]).items()
    if declared.kind is int and name != "seed"
]
QKV = engine.sources.planted(n=N, heads=2, dim=8)


class Late(BaseException):
    pass


@pytest.mark.parametrize(("key", "base", "name"), WHOLE)
def test_the_largest_whole_number_takes_no_more_than_is_said(key, base, name):
    high = params_of(MECHANISMS[key])[name].high
    mechanism = engine.make(key, **base, **{name: FAR if high is None else int(high)})
    end = time.monotonic() + 60

    def look() -> None:
        if time.monotonic() > end:
            raise Late

    given = QKV.replace(causal=mechanism.causal_ok)
    with torch.no_grad(), here(), Alive([QKV.q, QKV.k, QKV.v]) as alive, watched(look):
        mechanism.attend(given).summary(512)
    assert alive.peak <= max(SMALL, engine.estimate(mechanism, given).bytes)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("key", "base", "name"), [x for x in WHOLE if x.values[2] in MECHANISMS[x.values[0]].spans]
)
def test_beyond_the_text_a_span_says_what_it_says_at_its_end(key, base, name, causal):
    for n, m in ((N, N), (7, N), (N, 7)):
        q, k, v = QKV.q[:, :n], QKV.k[:, :m], QKV.v[:, :m]
        given = engine.QKV(q, k, v, causal=causal)
        far, near = (engine.make(key, **base, **{name: value}).attend(given) for value in (FAR, N))
        torch.testing.assert_close(far.weights(), near.weights())
        torch.testing.assert_close(far.output, near.output)
