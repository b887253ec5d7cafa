"""The mechanism's own pictures, each with its title and a sentence."""

import html

import streamlit as st

from engine.contract import QKV
from engine.figures.moving import film
from engine.figures.structure import Context, Picture, pictures
from engine.mechanisms import MECHANISMS
from engine.tokens import shown
from pages.ui import frame
from pages.ui.components.moving import moving
from pages.ui.scene import Scene
from pages.ui.strings import language, t
from pages.ui.waiting import obtain

PLAIN = {"displayModeBar": False}
TINTS = 8
LONGEST = 2000  # tokens of a tinted text


def structure(scene: Scene) -> None:
    """What the mechanism built: buckets, factors, levels, memory, routes, biases."""
    spec, look = scene.spec, frame.look()
    if scene.weights_only:
        return
    context = Context(
        att=scene.attention, head=scene.head, row=scene.query, look=look, t=t,
        qkv=scene.given if isinstance(scene.given, QKV) else None,
        mechanism=MECHANISMS[spec.mechanism](**spec.arguments()),
    )  # fmt: skip
    key = f"structure:{spec.attention_key()}:{scene.head}:{scene.query}:{look.name}:{language()}"
    made = obtain(
        key, t("gate.structure"), lambda report: pictures(context), lambda made: 2**18 * len(made)
    )
    fidelity(scene)
    columns = None
    for i, picture in enumerate(p for p in made if not p.wide):
        if columns is None or i % 2 == 0:
            columns = st.columns(2, gap="large")
        with columns[i % 2]:
            draw(picture, context)
    for picture in made:
        if picture.wide:
            draw(picture, context)


def fidelity(scene: Scene) -> None:
    """How near a stand-in comes to full attention, beside random weights."""
    found = scene.attention.fidelity
    if found is None:
        return
    value, chance = float(found.value[scene.head]), float(found.random[scene.head])
    with st.container(key="fidelity"):
        st.text(t(f"fidelity.{found.measure}", value=value, random=chance, head=scene.head))


def draw(picture: Picture, context: Context) -> None:
    """One picture with its words."""
    stem = f"picture.{picture.key}"
    st.subheader(t(f"{stem}.title"), anchor=False)
    if picture.figure is not None and picture.figure.frames:
        moves = film(picture.figure)
        moving(
            f"picture-{picture.key}", moves.figure, t, alt=t(f"{stem}.title"), frames=moves.frames,
            labels=moves.labels, at=moves.at, height=picture.figure.layout.height or 420,
        )  # fmt: skip
    elif picture.figure is not None:
        st.plotly_chart(picture.figure, theme=None, key=f"picture-{picture.key}", config=PLAIN)
    elif picture.labels is not None:
        st.html(tinted(picture, context))
    with st.container(key=f"caption-{picture.key}"):
        st.text(t(f"{stem}.caption", **picture.facts))


def tinted(picture: Picture, context: Context) -> str:
    """The text, each token in its group's tint; names of groups above."""
    tokens = context.tokens or [f"{i}" for i in range(context.att.frame.m)]
    labels = list(picture.labels or ())[:LONGEST]

    def mark(words: str, group: int) -> str:
        kind = f"tint tint-{group % TINTS}" if group >= 0 else "tint"
        return f'<span class="{kind}">{html.escape(words)}</span>'

    legend = "".join(mark(name, i) for i, name in enumerate(picture.names[:24]))
    body = "".join(mark(shown(x), g) for x, g in zip(tokens, labels, strict=False))
    more = "…" if context.att.frame.m > LONGEST else ""
    return f'<div class="tinted"><p class="legend">{legend}</p><p>{body}{more}</p></div>'
