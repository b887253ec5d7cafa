"""The page's header: a button that copies the link, and the page's name where menus are folded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from pages.ui.components.looks import registered, script, words
from pages.ui.server.windows import PLOTLY

WORDS = ("copy_help", "copied", "keep_help")
HTML = """
<div class="hd">
  <button class="hd-keep" type="button">
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"
      stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d="M4 5h16v11H4z M9 20h6 M12 16v4 M12 8v5 M9.5 10.5h5"/>
    </svg>
  </button>
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


def header(
    t: Callable[..., str],
    *,
    page: str,
    note: str = "",
    draft: str | None = None,
    told: tuple[int, str] = (0, ""),
    on_keep: Callable[[], None] | None = None,
    on_restore: Callable[[str], None] | None = None,
) -> None:
    """Draw it.

    Args:
        t: words, `component.header.*`. page: its name. note: what a person who follows the link
            needs besides, said when it is copied.
        draft: the person's own talk, which the browser keeps; "" if it was emptied; None: what the
            browser has is asked for. told: words to say, and their number.
        on_keep: called when what is shown is to be kept as a scene.
        on_restore: called with a talk that the browser has and the session has not.
    """

    def kept() -> None:
        if st.session_state["page-header"].keep and on_keep:
            on_keep()

    def restored() -> None:
        event: Any = st.session_state["page-header"].restore
        if event and on_restore:
            on_restore(str(event["text"]))

    with st.container(key="header", width="content"):
        component(
            key="page-header",
            data={
                "words": words(t, "header", WORDS),
                "page": page,
                "note": note,
                "draft": draft,
                "turn": told[0],
                "told": told[1],
                "keeps": on_keep is not None,
                "plotly": PLOTLY,
            },
            on_keep_change=kept,
            on_restore_change=restored,
            on_back_change=lambda: None,  # that the page is asked for is all
        )
