"""How heads thin out as one text grows."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import engine
from engine.dilution import growth
from engine.dilution.growth import Grown, Needle
from tests.models.made import encoded
from tests.refusals import refused

ASSETS = Path(__file__).parents[2] / "assets"
TEXT = (ASSETS / "examples" / "harbour.txt").read_text("utf-8")


@pytest.fixture(scope="module")
def tiny() -> engine.models.Model:
    return engine.models.load(ASSETS / "models" / "tiny", device="cpu")


def test_spread_is_that_of_the_logits() -> None:
    z = torch.randn(2, 3, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = z[..., 1:].std(-1, correction=0).mean(1)
    torch.testing.assert_close(growth.logit_spread(z.softmax(-1)), expected)
    hidden = z.clone()
    hidden[..., 250:] = -torch.inf
    expected = z[..., 1:250].std(-1, correction=0).mean(1)
    torch.testing.assert_close(growth.logit_spread(hidden.softmax(-1)), expected)


def test_random_logits_thin_out_as_theory_says() -> None:
    assert growth.random_effective(100, 0.0) == pytest.approx(100)
    n = 8192
    assert growth.random_effective(n, 1.0) / n == pytest.approx(math.exp(-0.5), rel=0.02)


def test_measured_on_known_heads() -> None:
    flat = engine.sources.identical(n=256)
    (one,) = growth.measure(flat, 3, 128)
    assert one.effective_tokens == pytest.approx(256, rel=1e-4) and one.layer == 3
    assert one.normalised_entropy == pytest.approx(1, rel=1e-5) and one.beyond
    assert one.spread == pytest.approx(0, abs=1e-4) and one.baseline == pytest.approx(
        256, rel=1e-4
    )
    assert one.sink_mass == pytest.approx(1 / 256, rel=1e-4) and one.needle_mass is None
    noisy = engine.sources.planted(n=2048, heads=2, gap=0.0, noise=1.0, needles=0)
    for head in growth.measure(noisy, 0, None):
        assert head.spread == pytest.approx(1, rel=0.05) and not head.beyond
        assert head.effective_tokens == pytest.approx(head.baseline, rel=0.1)


def grown(n: int, h: int, effective: float, beyond: bool = False) -> Grown:
    return Grown(n, 0, h, n, 0.0, effective, 0.0, None, 0.0, 0.0, beyond)


def test_exponents() -> None:
    found = growth.exponents(
        [g for n in (64, 128, 256) for g in (grown(n, 0, n / 2), grown(n, 1, 7.0))]
    )
    assert found[0, 0] == pytest.approx(1) and found[0, 1] == pytest.approx(0)
    assert growth.middle(found | {(0, 2): 0.5}) == (0, 2)


def test_what_lies_beyond_training_is_not_fitted() -> None:
    """A head that holds as far as it was trained, and not beyond."""
    held = [grown(n, 0, 2.0) for n in (128, 256, 512, 1024)]
    far = [grown(n, 0, n / 300, beyond=True) for n in (2048, 4096)]
    assert growth.exponents(held + far) == growth.exponents(held)
    assert growth.exponents(held + far)[0, 0] == pytest.approx(0)
    with refused(match="two lengths"):
        growth.exponents(held[:1] + far)


def test_the_first_head_of_the_model_here_holds_within_training(tiny) -> None:
    """Fitted over all lengths, with extrapolation, it would be 0.3."""
    found = [g for some in growth.grow(tiny, TEXT, [128, 512, 1024, 2048]) for g in some]
    assert {g.n for g in found if g.beyond} == {2048}
    assert growth.exponents(found)[0, 0] == pytest.approx(0.02, abs=0.01)


def test_a_text_grows(tiny) -> None:
    wanted = [128, 256]
    seen = []
    made = list(growth.grow(tiny, TEXT, wanted, progress=seen.append))
    for heads, n in zip(made, wanted, strict=True):
        assert abs(heads[0].n - n) <= 1
    assert all(len(heads) == tiny.layers * tiny.heads for heads in made)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1)
    for head in made[-1]:
        assert 1 <= head.effective_tokens <= head.visible + 1e-3
        assert 0 <= head.normalised_entropy <= 1 + 1e-6


def test_a_needle_is_found_by_a_head_that_copies(tiny) -> None:
    needle = replace(growth.NEEDLES["en"], depth=0.3)
    short, long = growth.grow(tiny, TEXT, [300, 1000], needle)
    best = max(short, key=lambda head: head.needle_mass or 0)
    same = next(g for g in long if (g.layer, g.head) == (best.layer, best.head))
    assert best.needle_mass is not None and same.needle_mass is not None
    assert best.needle_mass > 0.5 > same.needle_mass  # the same head, diluted
    text = growth.cut(tiny, TEXT, 400, needle)
    assert text.count(needle.sentence) == 1 and text.endswith(needle.cue)
    assert 0.15 < text.index(needle.sentence) / len(text) < 0.45


STORY = "Quill kept a lamp. Every evening she climbed the steps. Boats came. She slept."
NEEDLE = growth.NEEDLES["en"]


def test_passages_are_inserted_between_the_needle_and_its_cue() -> None:
    pool = [f"Paragraph {i} is dull. It says nothing." for i in range(9)]
    made = growth.insert(STORY, pool, NEEDLE, 4, seed=1)
    assert made.startswith(f"Quill kept a lamp. {NEEDLE.sentence} Every") and made.endswith(
        NEEDLE.cue
    )
    assert sum(paragraph in made for paragraph in pool) == 4
    assert made != growth.insert(STORY, pool, NEEDLE, 4, seed=2)
    alone = growth.insert(STORY, pool, NEEDLE, 0, seed=1)
    assert alone.replace(f" {NEEDLE.sentence}", "").startswith(STORY)


def test_irrelevant_passages_take_mass_and_then_rank(tiny) -> None:
    seen: list[float] = []
    counts = (0, 1, 4)
    found = list(growth.disturb(tiny, STORY, TEXT, NEEDLE, counts, 3, seen.append))
    assert [one[0].passages for one in found] == list(counts) and seen[-1] == pytest.approx(1)
    assert all(len(one) == tiny.layers * tiny.heads for one in found)
    best = max(found[0], key=lambda one: one.needle_mass)
    same = [next(d for d in one if (d.layer, d.head) == (best.layer, best.head)) for one in found]
    assert same[0].needle_mass > same[1].needle_mass > same[2].needle_mass
    assert same[0].needle_hit == 1 and same[0].tokens < same[1].tokens < same[2].tokens
    # the mean of what one pass says
    (one,) = growth.disturb(tiny, STORY, TEXT, NEEDLE, (0,), 1)
    trace = tiny.read(growth.insert(STORY, [], NEEDLE, 0, 0))
    wanted = growth.planted(trace.text, trace.offsets, NEEDLE)
    w = engine.attend(trace.layer(best.layer), "softmax").weights()[best.head, -1]
    mine = next(d for d in one if (d.layer, d.head) == (best.layer, best.head))
    assert mine.needle_mass == pytest.approx(float(w[wanted].sum()), rel=1e-5)
    with refused(match="1 paragraph; it needs 5"):
        next(growth.disturb(tiny, STORY, "One. Two.", NEEDLE, (5,)))


def test_refusals(tiny) -> None:
    with refused(match="beginning"):
        Needle("One sentence.", "Another")
    with refused(match="depth"):
        Needle("One sentence.", "One", 1.5)
    with refused(match="rise"):
        next(growth.grow(tiny, TEXT, [256, 128]))
    with refused(match="too few"):
        growth.cut(tiny, TEXT, 8, Needle("The brass key hangs behind the door.", "The brass"))
    with refused(match="it needs"):
        growth.cut(tiny, "A short text.", 500)


def test_lengths_double_up_to_the_text(tiny) -> None:
    found = growth.lengths(tiny, TEXT)
    assert found[0] == 128 and all(b == 2 * a for a, b in pairwise(found))
    assert growth.lengths(tiny, "A short text.") == [
        len(growth._spans(tiny, "A short text.", None))
    ]
    assert growth.lengths(tiny, TEXT, NEEDLE) == found


def test_lengths_begin_within_what_a_model_was_trained_on(tiny, monkeypatch) -> None:
    monkeypatch.setattr(tiny, "trained_length", 256)
    assert growth.lengths(tiny, TEXT)[:4] == [32, 64, 128, 256]
    first = growth.lengths(tiny, TEXT, NEEDLE)[0]
    assert growth.cut(tiny, TEXT, first, NEEDLE).count(NEEDLE.sentence) == 1
    monkeypatch.setattr(tiny, "trained_length", 64)
    assert growth.lengths(tiny, TEXT)[0] == growth.LEAST


def test_of_a_long_text_a_beginning_is_encoded(tiny, monkeypatch) -> None:
    text = TEXT * 40
    expected = growth.cut(tiny, TEXT, 200), growth.lengths(tiny, TEXT, most=256)
    lengths = encoded(monkeypatch)
    assert (growth.cut(tiny, text, 200), growth.lengths(tiny, text, most=256)) == expected
    assert 0 < max(lengths) < 10_000 < len(text)
