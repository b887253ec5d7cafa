"""Scores of heads on attention that is made by hand: 1 where a head does just that, 0 if not."""

import math

import pytest
import torch

from engine.measure.attention import Attention
from engine.measure.patterns import PATTERNS, patterns

IDS = torch.tensor([0, 5, 6, 7, 9, 5, 6, 7, 9, 8])  # BOS, abcd, abcd, e
N = len(IDS)
SEPARATORS = IDS == 9
SINKS = torch.tensor([0])


def one_hot(target) -> torch.Tensor:
    """Weights (n n) all on target(i), on the first key where that is None."""
    w = torch.zeros(N, N)
    for i in range(N):
        w[i, target(i) or 0] = 1
    return w


def earlier(i: int, step: int) -> int | None:
    """Where the token of row i came up before, a step on."""
    return i - 4 + step if 5 <= i <= 8 else None


HEADS = {
    "previous": one_hot(lambda i: i - 1 if i > 1 else None),
    "duplicate": one_hot(lambda i: earlier(i, 0)),
    "induction": one_hot(lambda i: earlier(i, 1)),
    "sink": one_hot(lambda i: None),
    "separator": one_hot(lambda i: 4),
    "needle": one_hot(lambda i: 3 if i >= 3 else None),
}


def scores(w: torch.Tensor, **more) -> dict[str, float]:
    att = Attention.from_weights(w[None], causal=more.pop("causal", True))
    needles = torch.tensor([3])
    found = patterns(att, IDS, SEPARATORS, SINKS, needles=needles, **more)
    return {name: float(x[0]) for name, x in found.items()}


@pytest.mark.parametrize("name", ["previous", "duplicate", "induction", "sink", "needle"])
def test_a_head_that_does_one_thing_is_told_by_that(name):
    found = scores(HEADS[name])
    assert found[name] == 1
    others = {"previous", "duplicate", "induction", "needle"} - {name}
    if name != "needle":  # that looks at one token, which is the one before at times
        assert {found[other] for other in others} == {0}


def test_one_on_separators_and_one_that_spreads():
    assert scores(HEADS["separator"], causal=False)["separator"] == 1
    assert scores(HEADS["sink"])["separator"] == 0
    even = torch.ones(N, N).tril()
    even /= even.sum(1, keepdim=True)
    found = scores(even)
    assert found["entropy"] == pytest.approx(1, abs=1e-6)
    assert found["sink"] == pytest.approx(sum(1 / (i + 1) for i in range(1, N)) / (N - 1))
    for name in ("previous", "induction", "needle"):
        assert scores(HEADS[name])["entropy"] == pytest.approx(0, abs=1e-6)


def test_sinks_are_set_aside_before_a_head_is_called_positional():
    """Nine tenths of its weight on the first token, and the rest on the one before."""
    w = 0.9 * HEADS["sink"] + 0.1 * HEADS["previous"]
    found = scores(w)
    assert found["previous"] == pytest.approx(1) and found["distance"] == pytest.approx(8 / 9)
    assert found["sink"] == pytest.approx((1 + 8 * 0.9) / 9)
    parked = scores(HEADS["sink"])
    assert parked["previous"] == parked["distance"] == 0


def test_retrieval_is_told_by_the_largest_weight_on_the_next_token():
    # what follows rows 4 … 7 came up before, what follows row 8 did not
    ahead = one_hot(lambda i: i - 3 if 4 <= i <= 7 else None)
    assert scores(ahead)["retrieval"] == 1 and scores(ahead)["induction"] == 0.75
    assert scores(HEADS["induction"])["retrieval"] == 0.75
    assert scores(HEADS["duplicate"])["retrieval"] == 0


def by_hand(w: torch.Tensor) -> dict[str, float]:
    """The definitions once more, one row and one key at a time, in float64."""
    v = w.double().clone()
    v[:, 0] = 0
    v /= v.sum(1, keepdim=True).clamp_min(1e-12)
    rows = range(N)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    twins = {i: [j for j in range(1, i) if IDS[j] == IDS[i]] for i in rows}
    after = {i: [j + 1 for j in range(1, i - 1) if IDS[j] == IDS[i]] for i in rows}
    copied = {i: [j for j in range(1, i + 1) if IDS[j] == IDS[i + 1]] for i in rows if i + 1 < N}
    return {
        "previous": mean([float(v[i, i - 1]) for i in rows if i > 1]),
        "duplicate": mean([float(v[i, js].sum()) for i, js in twins.items() if js]),
        "induction": mean([float(v[i, js].sum()) for i, js in after.items() if js]),
        "sink": mean([float(w[i, 0]) for i in rows if i]),
        "separator": mean([float(w[i, SEPARATORS].sum()) for i in rows]),
        "entropy": mean([
            -sum(p * math.log(p) for p in v[i].tolist() if p) / math.log(i) for i in rows if i > 1
        ]),
        "distance": mean([
            sum(float(v[i, j]) * abs(i - j) for j in rows) for i in rows if i > 0
        ]),
        "needle": float(v[N - 1, 3]),
        "retrieval": mean([float(int(v[i].argmax()) in js) for i, js in copied.items() if js]),
    }  # fmt: skip


def test_any_attention_against_the_definitions():
    w = torch.randn(N, N, generator=torch.Generator().manual_seed(0)).mul(2)
    w = w.masked_fill(torch.ones(N, N).triu(1).bool(), -torch.inf).softmax(-1)
    found, expected = scores(w), by_hand(w)
    assert list(found) == list(PATTERNS)
    for name in PATTERNS:
        assert found[name] == pytest.approx(expected[name], abs=1e-5), name


def test_nothing_is_said_where_nothing_can_be():
    w = torch.eye(3)[None]
    found = patterns(
        Attention.from_weights(w, causal=True), torch.tensor([0, 1, 2]),
        torch.zeros(3, dtype=torch.bool), SINKS,
    )  # fmt: skip
    for name in ("duplicate", "induction", "separator", "needle", "retrieval"):
        assert bool(found[name].isnan().all())
    with pytest.raises(ValueError, match="no shares"):
        patterns(
            Attention.from_weights(-w), torch.tensor([0, 1, 2]),
            torch.zeros(3, dtype=torch.bool), SINKS,
        )  # fmt: skip


def test_rows_of_a_sample_and_keys_of_another_text():
    w = HEADS["previous"]
    assert scores(w, rows=torch.tensor([3, 9]))["previous"] == 1
    cross = patterns(
        Attention.from_weights(torch.full((1, 4, N), 1 / N)), IDS, SEPARATORS, SINKS
    )  # fmt: skip
    assert bool(cross["previous"].isnan()) and float(cross["separator"]) == pytest.approx(0.2)
