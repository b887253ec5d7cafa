"""The formulas on Explore are those of the settings that are chosen."""

import pytest

from engine.text.locale import locale
from pages.ui.shared.strings import formula
from tests.pages.conftest import Page

SHOWN = [
    ("segmented", {"integrate": "none"}, [""]),
    ("segmented", {"integrate": "attention"}, ["integrated", "attention", "sized"]),
    (
        "segmented",
        {"integrate": "concat", "corrected": "false"},
        ["integrated", "concat", "unsized"],
    ),
    ("lsh", {"scope": "bucket"}, [""]),
    ("lsh", {"scope": "chunk", "shared_qk": "true"}, ["chunk", "shared_qk"]),
    ("relative", {"kind": "alibi"}, ["alibi"]),
]


@pytest.mark.parametrize("key, chosen, names", SHOWN)
def test_formulas_follow_the_parameters(page, key, chosen, names):
    shown: Page = page(
        "explore", mechanism=key, text="the cat saw a cat", lang="en",
        **{f"m.{name}": value for name, value in chosen.items()},
    ).healthy()  # fmt: skip
    wanted = {formula(f"mechanism.{key}.{name}.formula".replace("..", ".")) for name in names}
    every = {
        words for name, words in locale("en").items()
        if name.startswith(f"mechanism.{key}.") and name.endswith(".formula")
    }  # fmt: skip
    assert every & {one.value.strip("$ \n") for one in shown.test.latex} == wanted
