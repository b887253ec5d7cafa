"""The Home picture: the story, its query, and the same row as the text before it grows."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from engine.lessons.induction import Picture, Reading, Row
from engine.mechanisms import MECHANISMS
from engine.text.tokens import flowing, shown
from pages.ui.components.glances import words_of
from pages.ui.components.looks import LOOKS, registered, script, words

HTML = """
<div class="home">
  <div class="home-text" role="img">
    <div class="home-past"><div class="home-before"></div></div><div class="home-story"></div>
    <svg class="home-lines"></svg>
  </div>
  <div class="home-side" aria-live="polite">
    <div class="home-count"><div class="home-number"></div>
      <div><div class="home-effective" tabindex="0"></div><div class="home-of"></div></div></div>
    <div class="home-title"></div>
    <div class="home-figure"><canvas class="home-cells"></canvas>
      <svg class="home-picture" role="img"></svg></div>
    <div class="home-did"></div>
  </div>
  <div class="home-foot">
    <div class="home-sentence" aria-live="polite"><span class="home-said"></span>
      <span class="home-beyond"></span></div>
    <div class="home-lanes">
      <div class="home-lane-name home-held"><b class="home-held-number"></b>
        <span class="home-held-label"></span></div>
      <div class="home-held"><canvas class="home-held-line"></canvas><div class="home-bar"><i
        class="home-held-past"></i><i class="home-held-story"></i><i class="home-held-target"></i>
      </div></div>
      <div class="home-funnel"></div>
      <div class="home-lane-name home-now"><b class="home-now-number"></b>
        <span class="home-now-label"></span></div>
      <div class="home-now"><canvas class="home-now-line"></canvas><div class="home-bar"><i
        class="home-now-past"></i><i class="home-now-story"></i><i class="home-now-target"></i>
      </div></div>
    </div>
    <div class="home-hands">
      <label class="home-move"><span class="home-longer"></span>
        <input class="home-slider" type="range" min="0" step="1">
        <span class="home-length"></span></label>
      <button class="home-hold"></button>
      <a class="home-door" target="_self"></a>
    </div>
    <div class="home-hands">
      <div class="home-chips" role="radiogroup"></div>
      <div class="home-variants" role="radiogroup"></div>
    </div>
    <div class="home-last">
      <div class="home-origin"></div>
      <div class="home-scale"><span class="home-share"></span><span class="home-low"></span>
        <span class="home-ramp"></span><span class="home-high"></span></div>
    </div>
  </div>
</div>
"""

component = registered(
    "attention_home",
    html=HTML,
    css=Path(__file__).with_name("home.css").read_text("utf-8"),
    js=script("home.js"),
    isolate_styles=False,
)

WORDS = (
    "longer", "door", "effective", "effective_help", "hold", "release", "lane", "lane_other",
    "part_past", "part_story", "part_target", "mechanisms", "variants", "ahead", "found", "faint",
    "unseen", "nothing", "signed", "signed_found", "aside", "of", "of_longer", "of_signed",
    "length", "share",
)  # fmt: skip


def home(
    key: str,
    picture: Picture,
    offered: Sequence[str],
    rows: Mapping[str, Sequence[Row]],
    t: Callable[..., str],
    doors: Mapping[str, Sequence[str]],
    troubles: Mapping[str, str],
    did: Callable[[Row, str, int], str],
    on_open: Callable[[str, int], None],
    on_want: Callable[[list[str]], None],
) -> None:
    """Draw it; everything moves in the browser.

    Args:
        offered: mechanisms that can be chosen; the others are shown as such.
        rows: mechanism -> what the query does in each reading; softmax at least.
        did: what a mechanism, by key, did to the row of a reading, by number, in words.
        t: words, `component.home.*`. doors: links into Explore, by mechanism and reading.
        troubles: why there are no rows, by mechanism.
        on_open: called with a mechanism and the number of a reading when the door is used.
        on_want: called with mechanisms whose rows the person will want to see.
    """
    families: dict[str, list[str]] = {}
    for name, cls in MECHANISMS.items():
        families.setdefault(cls.family, []).append(name)

    def opened() -> None:
        event: Any = st.session_state[key].open
        if event:
            on_open(str(event["mechanism"]), int(event["reading"]))

    def wanted() -> None:
        if names := st.session_state[key].want:
            on_want([str(name) for name in names])

    own = words(t, "home", WORDS, "name back target first best token n alone")
    own["origin"] = t("component.home.origin", layer=picture.layer, head=picture.head)
    if picture.trained_length:
        own["beyond"] = t("component.home.beyond", trained=picture.trained_length)
    names = {
        "families": {name: t(f"family.{name}") for name in families},
        "names": {name: t(f"mechanism.{name}.name") for name in MECHANISMS},
        "shorts": {name: t(f"mechanism.{name}.short") for name in MECHANISMS},
    }
    component(
        key=key,
        data={
            "stamp": f"{picture.name} {own['longer']}",
            "tokens": [flowing(token) for token in picture.tokens],
            "shown": [shown(token.strip() or token) for token in picture.tokens],
            "story": picture.story,
            "name": picture.name,
            "families": families,
            "offered": list(offered),
            "readings": [_reading(reading) for reading in picture.readings],
            "rows": {
                name: [
                    _row(row)
                    | {"glance": words_of(row, picture, reading, t), "did": did(row, name, i)}
                    for i, (row, reading) in enumerate(zip(found, picture.readings, strict=True))
                ]
                for name, found in rows.items()
            },
            "doors": {name: list(links) for name, links in doors.items()},
            "troubles": dict(troubles),
            "looks": LOOKS,
            "words": own,
            "names": names,
        },
        on_open_change=opened,
        on_want_change=wanted,
    )


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "n": reading.n,
        "query": reading.query,
        "target": reading.target,
        "beyond": reading.beyond,
    }


def _row(row: Row) -> dict[str, Any]:
    # the square root, so that a byte can hold small weights; what is not nothing is not 0
    roots = row.cells.clamp(0, 1).sqrt().cpu().numpy() * 255
    cells = np.where(roots > 0, roots.round().clip(1), 0).astype(np.uint8)
    return {
        "weights": _packed(row.weights.float().cpu().numpy().astype("<f4")),
        "first": row.first,
        "effective": row.effective,
        "target": row.target,
        "seen": row.seen,
        "signed": row.signed,
        "shape": cells.shape,
        "cells": _packed(cells),
    }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
