"""The page's header: a button that copies the link, and the page's name where menus are folded."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from pages.ui.components.looks import registered, script, words

WORDS = ("copy_help", "copied")
HTML = """
<div class="hd">
  <button class="hd-copy" type="button">
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"
      stroke-linecap="round" aria-hidden="true">
      <path d="M10 14a4.5 4.5 0 0 0 6.4 0l3.2-3.2a4.5 4.5 0 0 0-6.4-6.4L12 5.6"/>
      <path d="M14 10a4.5 4.5 0 0 0-6.4 0l-3.2 3.2a4.5 4.5 0 0 0 6.4 6.4L12 18.4"/>
    </svg>
  </button>
  <div class="hd-said" role="status"></div>
</div>
"""

component = registered(
    "attention_header",
    html=HTML,
    css=Path(__file__).with_name("header.css").read_text("utf-8"),
    js=script("header.js"),
    isolate_styles=False,
)


def header(t: Callable[..., str], *, page: str, note: str = "") -> None:
    """Draw it.

    Args:
        t: words, `component.header.*`. page: its name. note: what a person who follows the link
            needs besides, said when it is copied.
    """
    with st.container(key="header", width="content"):
        component(
            key="page-header",
            data={"words": words(t, "header", WORDS), "page": page, "note": note},
        )
