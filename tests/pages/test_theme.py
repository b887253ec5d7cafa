"""The page and the figures share their colours."""

import tomllib
from pathlib import Path

import pytest

from engine.figures.base.theme import DARK, LIGHT

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_colours_agree(theme):
    page = CONFIG["theme"][theme.name]
    assert page["primaryColor"] == theme.accent
    assert page["backgroundColor"] == theme.paper
    assert page["textColor"] == theme.ink
    assert page["borderColor"] == theme.grid


def test_the_stylesheet_agrees():
    style = (ROOT / "assets" / "style.css").read_text("utf-8")
    for name, colours in (
        ("paper", (LIGHT.paper, DARK.paper)),
        ("grid", (LIGHT.grid, DARK.grid)),
        ("accent", (LIGHT.accent, DARK.accent)),
    ):
        assert f"--{name}: light-dark({colours[0]}, {colours[1]})" in style
    for i, colours in enumerate(zip(LIGHT.tints, DARK.tints, strict=True)):
        assert f".tint-{i} {{ background: light-dark({colours[0]}, {colours[1]}); }}" in style


def test_nothing_leaves_the_machine():
    assert CONFIG["browser"] == {"gatherUsageStats": False, "serverAddress": "localhost"}
    assert CONFIG["server"]["headless"] and CONFIG["server"]["address"] == "127.0.0.1"
