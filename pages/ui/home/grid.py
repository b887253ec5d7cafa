"""Every mechanism as a small map of the same text, with a line of words; a click opens it."""

import html
from itertools import groupby
from urllib.parse import urlencode

import streamlit as st

from engine.mechanisms import MECHANISMS
from pages.ui.server.thumbnails import spec_of
from pages.ui.shared import frame
from pages.ui.shared.strings import language, t


def draw() -> None:
    """By family, in the order in which mechanisms are offered."""
    tag, theme = language(), frame.theme().name
    st.subheader(t("home.grid"), anchor=False)
    st.text(t("home.grid.help"))
    parts = []
    kinds = sorted(MECHANISMS.values(), key=lambda kind: families().index(kind.family))
    for family, members in groupby(kinds, key=lambda kind: kind.family):
        parts.append(f"<h4>{html.escape(t(f'family.{family}'))}</h4><div class='places'>")
        parts += [place(kind.key, tag, theme) for kind in members]
        parts.append("</div>")
    with st.container(key="grid"):
        st.html(f"<div class='grid'>{''.join(parts)}</div>")


def families() -> list[str]:
    """In the order in which they are first met."""
    return list(dict.fromkeys(kind.family for kind in MECHANISMS.values()))


def place(key: str, tag: str, theme: str) -> str:
    """One mechanism: its map, its name, what it does."""
    link = f"explore?{urlencode(spec_of(key, tag).query_params())}"
    asked = urlencode({"mechanism": key, "language": tag, "theme": theme})
    name, short = (html.escape(t(f"mechanism.{key}.{part}")) for part in ("name", "short"))
    return (
        f"<a href='{html.escape(link)}'><img src='api/thumbnail?{html.escape(asked)}' alt='' "
        f"loading='lazy' width='96' height='96'><span><b>{name}</b><br>{short}</span></a>"
    )
