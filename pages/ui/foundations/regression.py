"""Nadaraya–Watson kernel regression: the fit, one query's weights, training while one watches."""

import time
from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.figures.lessons import regression as pictures
from engine.figures.lessons.regression import Fit
from engine.lessons import regression
from engine.lessons.regression import EPOCHS, KERNELS, RATE, SPAN, START, STEPS, Data, Step
from engine.spec.picture import Spec
from pages.ui.foundations.frame import (
    choice,
    closing,
    declare,
    moves,
    notice,
    opening,
    scientific,
    signed,
    slider,
    stacked,
    stops,
    trouble,
    words,
)
from pages.ui.server.jobs import JOBS, Busy, Say
from pages.ui.server.waiting import obtain
from pages.ui.shared import frame as page
from pages.ui.shared.strings import speaker, t
from pages.ui.url.linked import flag, number, one_of

PART = "regression"
POOLS = ("average", "gaussian", "learned")
RATES = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 50.0)
PACE = 1 / 16  # seconds a step takes at least, so that it can be seen
SHORT = 1.02
"""Times the least loss of any w above which training has stopped short of it."""
CHOSEN = declare(
    PART,
    pool=one_of(POOLS, "gaussian"),
    w=number(0.0, 20.0, 1.0, 0.1),
    kernel=one_of(KERNELS, KERNELS[0]),
    keys=one_of(("others", "all"), "others"),
    rate=one_of(RATES, 0.02),
    n=number(1, 300, 50),
    tests=number(2, 100, 50),
    noise=number(0.0, 2.0, 0.5, 0.05),
    seed=number(0, 50, 0),
    span=number(0.0, SPAN, SPAN, 0.5),
    query=number(0.0, SPAN, SPAN / 2, 0.05),
    article=flag(),
)


@dataclass(frozen=True)
class Choice:
    """What decides the data and what is learned from them."""

    n: int
    tests: int
    noise: float
    seed: int
    span: float
    w: float
    kernel: str
    rate: float
    others: bool

    def data(self) -> Data:
        return regression.draw(self.n, self.tests, self.noise, self.seed, self.span)


def draw() -> None:
    """Controls, the fit beside its weights, training, what it says, the article's questions."""
    opening(PART)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pool = choice(PART, "pool")
        st.button(
            words(PART, "article"), key=f"{PART}-article-button", on_click=as_in_the_article,
            help=words(PART, "article.help"),
        )  # fmt: skip
    with st.sidebar:
        chosen = controls(pool)
    data = chosen.data()
    learns = pool == "learned"
    why = regression.trouble(data, chosen.w, chosen.others if learns else False)
    run = st.session_state.get("regression-run")
    article = learns and not why and CHOSEN["article"]
    watched = learns and not article and run is not None and run["choice"] == chosen
    mine = run if watched else None
    job = running(mine)
    steps = list(mine["steps"]) if mine else []
    if article:
        steps = list(regression.train(data, chosen.w, chosen.rate, EPOCHS, chosen.others))
    w = steps[-1].w if steps else chosen.w
    query = CHOSEN["query"]
    if mine:
        mine["query"] = query
    if learns and not why:
        start(chosen, job)
    shapes = pictures_of(chosen, data, w, query)
    left, right = st.columns([3, 2], gap="large")
    with left:
        moves(PART, "picture", shapes[0], job=job)
        slider(PART, "query")
    with right:
        moves(PART, "matrix", shapes[1], job=job, slot="matrix")
    if why and (learns or why != "flat"):  # a w of 0 is fine where nothing is learned
        trouble(PART, why)
    elif learns:
        descent(chosen, data, steps, job, EPOCHS if article else STEPS)
    if job is not None:
        notice(PART, "notice.training")
    elif why in ("", "flat"):
        told(pool, chosen, data, steps, w, query, article)
    closing(PART, formula(data, chosen, w, query), code(pool, chosen, query, article), door(w))
    if why in ("", "flat"):
        answers(chosen, data, steps, w)


def controls(pool: str) -> Choice:
    """What is chosen in the sidebar; what a pooling has no use for is not asked."""
    w, kernel, rate, others = 0.0, "gaussian", 0.02, True
    if pool != "average":
        w = slider(PART, "w", help=words(PART, f"w.{pool}"))
    if pool == "gaussian":
        kernel = choice(PART, "kernel")
    if pool == "learned":
        others = choice(PART, "keys") == "others"
        rate = stops(PART, "rate", "{:g}".format)
    with st.expander(words(PART, "data")):
        return Choice(
            n=slider(PART, "n"), tests=slider(PART, "tests"), noise=slider(PART, "noise"),
            seed=slider(PART, "seed"), span=slider(PART, "span", help=words(PART, "span.help")),
            w=w, kernel=kernel, rate=rate, others=others,
        )  # fmt: skip


def pictures_of(chosen: Choice, data: Data, w: float, query: float) -> tuple[Any, Any]:
    """The fit and the matrix."""
    theme = page.theme()
    return (
        pictures.fit(Fit(data, query, chosen.kernel), w, theme=theme, t=t),
        pictures.matrix(data, w, chosen.kernel, query, theme=theme, t=t),
    )


# -- training ------------------------------------------------------------------------------------


def running(run: dict[str, Any] | None) -> str | None:
    """The token of a training that goes on."""
    job = JOBS.get(run["token"]) if run else None
    return run["token"] if run and job is not None and not job.done else None


def start(chosen: Choice, job: str | None) -> None:
    """The button that starts it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            words(PART, "train"), on_click=begin, args=(chosen,), type="primary",
            key=f"{PART}-start", disabled=job is not None,
        )  # fmt: skip
        st.text(st.session_state.pop("regression-refused", words(PART, "train.text", n=STEPS)))


def as_in_the_article() -> None:
    """Its data and its five steps, whatever was chosen before."""
    whole = {name: declared.default for name, declared in CHOSEN.declared.items()}
    given = {"pool": "learned", "w": START, "rate": RATE, "article": True}
    for name, value in (whole | given).items():
        CHOSEN.choose(name, value)


def descent(chosen: Choice, data: Data, steps: list[Step], job: str | None, total: int) -> None:
    """The loss as it falls, and over w."""
    first = Step(0, chosen.w, regression.loss(data, chosen.w, chosen.others)[0] / len(data.x))
    shape = pictures.descent(
        regression.scan(data, chosen.others), steps or [first], total, theme=page.theme(), t=t
    )
    moves(PART, "descent", shape, job=job, slot="descent")


def begin(chosen: Choice) -> None:
    """Start to train."""
    CHOSEN.choose("article", False)
    t, theme, data = speaker(), page.theme(), chosen.data()
    run: dict[str, Any] = {"choice": chosen, "steps": [], "query": CHOSEN["query"]}

    def work(say: Say) -> None:
        for step in regression.train(data, chosen.w, chosen.rate, STEPS, chosen.others):
            began = time.monotonic()
            run["steps"].append(step)
            note = t("lesson.regression.note", step=step.step, w=abs(step.w), loss=step.loss)
            cells, _, _ = pictures.cells(data, step.w, chosen.kernel)
            say(
                {
                    "traces": Fit(data, run["query"], chosen.kernel).changing(step.w, theme),
                    "note": note,
                    "share": step.step / STEPS,
                    "matrix": {"traces": [pictures.shares(cells)]},
                    "descent": {"traces": pictures.walk(run["steps"])},
                }
            )
            time.sleep(max(0.0, PACE - (time.monotonic() - began)))

    try:
        run["token"] = JOBS.start(work)
    except Busy:
        st.session_state["regression-refused"] = words(PART, "busy")
        return
    st.session_state["regression-run"] = run


# -- words and numbers ---------------------------------------------------------------------------


def told(
    pool: str, chosen: Choice, data: Data, steps: list[Step], w: float, query: float,
    article: bool,
) -> None:  # fmt: skip
    """What to notice, by what is shown."""
    facts: dict[str, Any] = {
        "query": query, "w": abs(w), "start": chosen.w, "noise": chosen.noise,
        "error": regression.error(data, w, chosen.kernel), "mean": regression.error(data, 0.0),
        "before": regression.error(data, chosen.w), "tests": chosen.tests, "rate": chosen.rate,
    }  # fmt: skip
    if pool == "average" or w == 0:
        notice(PART, "notice.average", **facts | {"value": float(data.y.mean())})
    elif pool == "gaussian":
        gaps = int(regression.predict(data, data.at, w, chosen.kernel).isnan().sum())
        rows = regression.at(data, query, w, chosen.kernel)
        if gaps:
            notice(PART, "notice.gaps", gaps=gaps, reach=1 / w, **facts)
        else:
            notice(PART, "notice.gaussian", points=rows[0], largest=rows[1], **facts)
    elif not steps:
        notice(PART, "notice.untrained", **facts)
    else:
        first, last = steps[0], steps[-1]
        best, least = regression.best(data, chosen.others)
        facts |= {"first": first.loss, "loss": last.loss, "steps": last.step, "best": best,
                  "least": least}  # fmt: skip
        if article:
            facts |= {"jump": abs(steps[1].w), "turns": regression.sharpness(data, w).turns,
                      "truth": regression.turns(regression.truth(pictures.FINE))}  # fmt: skip
        kind = (
            "article" if article
            else "diverged" if last.end == "diverged"
            else "own" if not chosen.others
            else "short" if last.loss > SHORT * least
            else "learned"
        )  # fmt: skip
        notice(PART, f"notice.{kind}", **facts)


def formula(data: Data, chosen: Choice, w: float, query: float) -> str:
    """The estimate at the query."""
    value = regression.value(data, query, w, chosen.kernel)
    said = r"\text{–}" if value is None else f"{value:.3f}"
    if chosen.kernel == "boxcar" and w:
        return (
            rf"f({query:g}) = \operatorname{{mean}}\{{\, y_i : |{query:g} - x_i| \le "
            rf"{scientific(1 / abs(w))} \,\}} = {said}"
        )
    if not w:
        return rf"f({query:g}) = \frac{{1}}{{{len(data.x)}}} \sum_i y_i = {said}"
    return stacked(
        rf"\alpha_i = \operatorname{{softmax}}_i\left(-\tfrac12 \big(({query:g} - x_i)"
        rf"\cdot {scientific(abs(w))}\big)^2\right)",
        rf"f({query:g}) = \sum_i \alpha_i y_i = {said}",
    )


def code(pool: str, chosen: Choice, query: float, article: bool) -> str:
    """The same in a notebook."""
    lines = [
        "import torch",
        "from engine.lessons import regression",
        f"data = regression.draw({chosen.n}, {chosen.tests}, noise={chosen.noise:g}, "
        f"seed={chosen.seed}, span={chosen.span:g})",
    ]
    w = f"{chosen.w:g}"
    if pool == "learned":
        few = f"steps={EPOCHS}, " if article else ""
        lines.append(
            f"*_, last = regression.train(data, w={w}, rate={chosen.rate:g}, {few}"
            f"others={chosen.others})"
        )
        w = "last.w"
    lines.append(
        f'regression.predict(data, torch.tensor([{query:g}]).double(), {w}, "{chosen.kernel}")'
    )
    return "\n".join(lines)


def door(w: float) -> Spec:
    """The same kernel over a text's queries and keys."""
    if not w:
        return Spec(mechanism="gaussian")
    return Spec(mechanism="gaussian", params=(("width", round(1 / abs(w), 4) or 1e-4),))


def answers(chosen: Choice, data: Data, steps: list[Step], w: float) -> None:
    """The article's questions, answered with the person's own numbers."""
    st.subheader(words(PART, "questions"), anchor=False)
    trained = bool(steps) and steps[-1].end != "diverged"
    best, _ = regression.best(data)
    learned = abs(w) if trained else best
    before, after = (regression.sharpness(data, each) for each in (START, learned))
    *_, five = regression.train(data, START, RATE, EPOCHS)
    facts: dict[str, Any] = {
        "start": START, "learned": learned, "width": 1 / START, "narrow": 1 / learned,
        "points": before.points, "fewer": after.points, "largest": before.largest,
        "sharper": after.largest, "noise": chosen.noise, "five": abs(five.w),
        "turns": before.turns, "more": after.turns, "restless": regression.sharpness(
            data, five.w).turns, "truth": regression.turns(regression.truth(pictures.FINE)),
        "best": best, "error": regression.error(data, best), "was": regression.error(data, START),
    }  # fmt: skip
    with st.container(key="caption-answers"):
        st.text(words(PART, "answer.trained" if trained else "answer.scanned", **facts))
    left, right = st.columns(2, gap="large")
    with left, st.container(key="lesson-answers"):
        for name in ("smooth", "sharp", "better", "own"):
            st.text(words(PART, f"question.{name}"))
            with st.container(key=f"caption-answer-{name}"):
                wider = name in ("smooth", "sharp") and learned <= START
                st.text(words(PART, f"answer.{'wider' if wider else name}", **facts))
    with right:
        st.text(words(PART, "question.more"))
        shown = abs(chosen.w if steps and not trained else w) or 1.0
        found = obtain(
            f"consistency:{shown}:{chosen.n}:{chosen.noise}:{chosen.seed}", words(PART, "more"),
            lambda report: grown(shown, chosen, report), lambda made: 1000,
        )  # fmt: skip
        moves(PART, "more", pictures.more_data(found, theme=page.theme(), t=t))
        with st.container(key="caption-answer-more"):
            blurred = found.fixed[-1] > found.shrinking[-1]
            st.text(
                words(
                    PART, "answer.more" if blurred else "answer.narrow",
                    w=shown, n=chosen.n, last=found.sizes[-1],
                    fixed=found.fixed[-1], shrinking=found.shrinking[-1],
                    flat=signed(found.slope("fixed"), "+.2f"),
                    slope=signed(found.slope("shrinking"), "+.2f"),
                    draws=regression.DRAWS,
                )
            )  # fmt: skip


def grown(w: float, chosen: Choice, report: Any) -> regression.Consistency:
    """More and more data, saying how far it is."""
    found = None
    for found in regression.consistency(w, chosen.n, chosen.noise, chosen.seed):
        report(len(found.sizes) / len(regression.SIZES))
    assert found is not None
    return found
