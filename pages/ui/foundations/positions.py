"""Self-attention and positions: a sentence permuted, encodings, and what a layer costs."""

import streamlit as st

from engine.dilution import trained as findings
from engine.figures.lessons import positions as pictures
from engine.lessons import positions
from engine.models.zoo import kept
from engine.sources import samples
from engine.spec.fields import LANGUAGES
from engine.spec.picture import Spec
from engine.spec.spelling import Field
from engine.text.quantities import tiny
from engine.text.tokens import isolated
from pages.ui.foundations.frame import (
    choice,
    closing,
    declare,
    notice,
    opening,
    picture,
    scientific,
    slider,
    stacked,
    stops,
    toggle,
    trouble,
    words,
)
from pages.ui.shared import frame
from pages.ui.shared.strings import language, t
from pages.ui.url import linked
from pages.ui.url.linked import flag, number, one_of

PART = "positions"
LONGEST = 65536
MOST = 4096  # tokens that Explore is opened with: more take it long
SENTENCE = 200  # characters
CHOSEN = declare(
    PART,
    view=one_of(("permute", "encoding", "cost"), "permute"),
    kind=one_of(positions.KINDS, positions.KINDS[0]),
    order=one_of(positions.ORDERS, positions.ORDERS[0]),
    causal=flag(),
    seed=number(0, 20, 0),
    length=number(0, 128, 64),
    width=number(2, 64, 32),
    framed=number(0, 63, 8),
    offset=number(0, 64, 8),
    n=one_of([2**i for i in range(4, 17)], 1024),
    d=one_of([2**i for i in range(5, 14)], 512),
    kernel=number(2, 15, 3),
    **{
        f"sentence-{tag}": Field(
            str, None, fits=lambda text: len(text) <= SENTENCE, said=f"≤ {SENTENCE}"
        )
        for tag in LANGUAGES
    },
)


def draw() -> None:
    """The part."""
    opening(PART)
    view = choice(PART, "view")
    {"permute": permute, "encoding": encoding, "cost": cost}[view]()


def permute() -> None:
    """A sentence in another order: do its outputs only change places?"""
    kind = choice(PART, "kind")
    with st.sidebar:
        sentence = linked.line(
            CHOSEN, f"sentence-{language()}", words(PART, "sentence"),
            words(PART, "sentence.first"), SENTENCE,
        )  # fmt: skip
        order = choice(PART, "order")
        causal = toggle(PART, "causal")
        seed = slider(PART, "seed")
    try:
        tokens = positions.words(sentence)
    except ValueError:
        trouble(PART, "sentence")
        return
    moved = positions.order_of(order, len(tokens), seed)
    found = positions.permuted(tokens, moved, kind, causal=causal, seed=seed)
    st.text(words(PART, "moved", sentence=" ".join(isolated(tokens[i]) for i in moved.tolist())))
    figures = pictures.outputs(found, tokens, theme=frame.theme(), t=t)
    for column, name, figure in zip(
        st.columns(3, gap="medium"), ("before", "after", "gap"), figures, strict=True
    ):
        with column:
            picture(PART, name, figure)
    same = found.difference < 1e-4
    said = tiny(found.difference) if same else f"{found.difference:.2f}"
    notice(PART, "notice.same" if same else "notice.differ", difference=said)
    formula = stacked(
        r"\mathrm{Attn}(PX) " + ("=" if same else r"\neq") + r" P\,\mathrm{Attn}(X)",
        r"\max|P^\top\mathrm{Attn}(PX)-\mathrm{Attn}(X)|",
        rf"\quad ={scientific(found.difference)}",
    )
    code = positions.code(
        "permute", tokens=tokens, order=moved.tolist(), kind=kind, causal=causal, seed=seed
    )
    here = Spec(source="text", content=sentence)
    closing(PART, formula, code, turned(here) if kind == "rotary" else here, more=("permute",))


def turned(here: Spec) -> Spec:
    """Rotary positions put on the model's queries and keys."""
    return here.replace(mechanism="relative", params=(("kind", "rope"),))


def encoding() -> None:
    """Sinusoids as a table and as curves, the rotation, learned and rotary positions beside."""
    with st.sidebar:
        n = slider(PART, "length")
        width = slider(PART, "width")
        dimension = slider(PART, "framed")
        offset = slider(PART, "offset")
        seed = slider(PART, "seed")
    try:
        table = positions.sinusoidal(n, width)
    except ValueError:
        if n < 1:
            trouble(PART, "length")
        else:
            trouble(PART, "width", width=width, less=width - 1, more=width + 1)
        return
    dimension = min(dimension, width - 1)
    theme = frame.theme()
    left, right = st.columns(2, gap="large")
    with left:
        picture(PART, "table", pictures.encoding(table, dimension, theme=theme, t=t))
    with right:
        picture(PART, "curves", pictures.curves(table, dimension, theme=theme, t=t))
    error = positions.rotation_error(n, width, offset)
    notice(PART, "notice.encoding", offset=offset, error=tiny(error), length=n)
    for column, kind in zip(st.columns(3, gap="medium"), positions.KINDS[1:], strict=True):
        scores = positions.likeness(kind, n, width, seed)
        with column:
            picture(PART, kind, pictures.likeness(scores, kind, offset, theme=theme, t=t))
            if offset < n:
                spread = positions.spread(scores, offset)
                told = tiny(spread) if spread < 1e-4 else f"{spread:.2f}"
                st.text(words(PART, f"{kind}.says", offset=offset, spread=told))
    trained()
    turn = rf"{offset}\,\omega_j"
    formula = stacked(
        r"p_{i,2j}=\sin(i\,\omega_j),\ p_{i,2j+1}=\cos(i\,\omega_j)",
        rf"\omega_j=10000^{{-2j/{width}}}",
        rf"\begin{{pmatrix}}p_{{i+{offset},2j}}\\p_{{i+{offset},2j+1}}\end{{pmatrix}}=R_{{{offset}}}"
        r"\begin{pmatrix}p_{i,2j}\\p_{i,2j+1}\end{pmatrix}",
        rf"R_{{{offset}}}=\begin{{pmatrix}}\cos {turn}&\sin {turn}\\"
        rf"-\sin {turn}&\cos {turn}\end{{pmatrix}}",
        rf"\max_i|p_{{i+{offset}}}-R_{{{offset}}}\,p_i|={scientific(error)}",
    )
    closing(
        PART, formula, positions.code("encoding", n=n, width=width, offset=offset),
        turned(Spec(content=samples.first(language()))), more=("encoding",),
    )  # fmt: skip


def trained() -> None:
    """What language models that differ in their positions alone make of longer texts, where they
    are there."""
    cards = kept.measured()
    if not {"softmax", "nope", "alibi"} <= cards.keys():
        return
    losses = {
        name: findings.losses(cards[name], language()) for name in ("softmax", "nope", "alibi")
    }
    first, last = min(losses["softmax"]), max(losses["softmax"])
    facts = {
        f"{name}_{end}": of[n]
        for name, of in losses.items()
        for end, n in (("first", first), ("last", last))
    }
    st.text(words(PART, "trained", first=first, last=last, **facts))


def cost() -> None:
    """Operations, steps and paths of self-attention, recurrence and convolution."""
    with st.sidebar:
        n = stops(PART, "n", "{:,}".format)
        width = stops(PART, "d", "{:,}".format)
        kernel = slider(PART, "kernel")
    figures = pictures.costs(n, width, kernel, LONGEST, theme=frame.theme(), t=t)
    for column, (name, figure) in zip(st.columns(3, gap="medium"), figures.items(), strict=True):
        with column:
            picture(PART, name, figure)
    attention = positions.cost("attention", n, width, kernel)
    recurrence = positions.cost("recurrence", n, width, kernel)
    ratio = attention.operations / recurrence.operations
    notice(PART, "notice.cost" if ratio <= 1 else "notice.dear", n=n, d=width,
           ratio=ratio if ratio > 1 else 1 / ratio, steps=int(recurrence.steps))  # fmt: skip
    forms = {
        "attention": ("n^2d", "1"), "recurrence": ("nd^2", "n"),
        "convolution": ("knd^2", "n/k"), "dilated": ("knd^2", r"\log_k n"),
    }  # fmt: skip
    operations, paths = [], []
    for layer, (made, path) in forms.items():
        found = positions.cost(layer, n, width, kernel)
        operations.append(rf"{in_formula(layer)} & {made}={scientific(found.operations)}")
        long = path if path == "1" else rf"{path}={found.path:.{0 if found.path >= 10 else 1}f}"
        paths.append(rf"{in_formula(layer)} & {long}")
    tables = (  # one under the other: side by side they are wider than a column
        rf"\begin{{array}}{{l|l}} & {in_formula(f'{name}.short')}\\ \hline "
        + r"\\".join(lines) + r"\end{array}"
        for name, lines in (("operations", operations), ("path", paths))
    )  # fmt: skip
    closing(
        PART, stacked(*tables), positions.code("cost", n=n, width=width, kernel=kernel),
        Spec(source="planted", source_params=(("n", min(n, MOST)),)), more=("cost",),
    )  # fmt: skip


def in_formula(name: str) -> str:
    """Words inside a formula."""
    return rf"\text{{{words(PART, name)}}}"
