"""Quantities as people read them."""

import pytest

from engine.text.quantities import duration, memory, operations, share


@pytest.mark.parametrize(
    "said, words",
    [
        (memory(0), "0 B"),
        (memory(999.6), "1.0 kB"),
        (memory(67_800_000), "67.8 MB"),
        (memory(3e15), "3000 TB"),
        (operations(648_000), "648 k"),
        (operations(1.4e9), "1.4 G"),
        (duration(0.0234), "23 ms"),
        (duration(0.9999), "1.0 s"),
        (duration(59.99), "1 min 0 s"),
        (duration(125), "2 min 5 s"),
        (share(0.0), "0%"),
        (share(1 / 256), "0.39%"),
        (share(0.0302), "3%"),
        (share(0.0996), "10%"),
        (share(0.994), "99%"),
        (share(1e-6), "< 0.001%"),
    ],
)
def test_words(said, words):
    assert said == words
