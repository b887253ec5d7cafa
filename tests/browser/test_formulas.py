"""Every formula fits the narrowest column that the pages give it: nothing is cut off."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from engine.spec.fields import LANGUAGES
from engine.text.locale import locale
from tests.browser.conftest import ROOT, served

WIDTH = 346
"""Pixels of that column, on a phone and beside a picture."""
PAGE = """
import streamlit as st
from pathlib import Path
from engine.text.locale import locale
st.html("<style>" + Path({style!r}).read_text("utf-8") + "</style>")
with st.container(width={width}):
    for key, words in locale(st.query_params["lang"]).items():
        if key.endswith(".formula"):
            st.container(key=key.replace(".", "-")).latex(words)
"""
MEASURED = """[...document.querySelectorAll(".katex-display")].map(e => [
  e.closest("[class*=formula]").className.match(/st-key-(\\S+)/)[1],
  e.scrollWidth - e.clientWidth, e.querySelectorAll(".katex-error").length])"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("formulas")
    script = folder / "formulas.py"
    style = str(ROOT / "assets" / "style.css")
    script.write_text(PAGE.format(style=style, width=WIDTH), "utf-8")
    with served(script, folder) as address:
        yield address


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_formula_is_wider_than_its_column(browser: Browser, place: str, language: str) -> None:
    count = sum(key.endswith(".formula") for key in locale(language))
    page = browser.new_page()
    page.goto(f"{place}/?lang={language}")
    page.wait_for_function(f"document.querySelectorAll('.katex-display').length == {count}")
    page.evaluate("document.fonts.ready")
    measured = page.evaluate(MEASURED)
    assert not [name for name, over, wrong in measured if over > 3 or wrong]
    page.close()
