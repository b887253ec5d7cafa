"""What thinning out costs: small probes trained on few items and tested on many; train one."""

from typing import Any

import streamlit as st

from engine.dilution import probe_results, probes
from engine.dilution.probes import Recipe
from engine.figures.dilution import probes as pictures
from engine.text import quantities
from pages.ui.components.moving import moving
from pages.ui.dilution.shared import caption, place, sentence
from pages.ui.server.jobs import JOBS, Busy, Say
from pages.ui.shared import frame
from pages.ui.shared.strings import speaker, spoken, t
from pages.ui.url import linked
from pages.ui.url.linked import Fields, number, one_of

LONGEST = (8, 16, 32, 64)
STEPS = Recipe().steps
NEW = 3
"""The first seed that is not among those that were kept."""
TESTING = 0.85
"""Share of a run at which training ends and testing begins."""
PROBES = Fields(
    "probes-",
    {
        "task": one_of(probes.TASKS, probes.TASKS[0]),
        "metric": one_of(probes.METRICS, probes.METRICS[0]),
        "mechanism": one_of(probes.KINDS, "softmax"),
        "longest": one_of(LONGEST, 16),
        "seed": number(0, 9999, NEW),
    },
)


def draw() -> None:
    """The kept probes over length, what they say, and a probe of one's own."""
    try:
        found = probe_results.results()
    except ValueError as error:
        with st.container(key="trouble"):
            st.text(t("error.refused", reason=spoken(error)))
        return
    with st.container(horizontal=True):
        task = choice("task")
        metric = choice("metric")
    records = [r for r in found["records"] if r["task"] == task]
    trained = (found["recipe"]["shortest"], found["recipe"]["longest"])
    settle()
    own = st.session_state.get("probes-made", {}).get(task)
    place(
        pictures.lengths(
            records, metric, {key: t(f"probes.kind.{key}") for key in probes.KINDS},
            trained=trained[1], theme=frame.theme(), t=t,
            own=own["records"] if own else (), own_name=named(own["recipe"]) if own else "",
        ),
        "probes",
    )  # fmt: skip
    said = [
        t(f"probes.found.{name}", **facts | {"named": t(f"probes.kind.{facts['mechanism']}")})
        for name, facts in probe_results.findings(records, task, trained[1])
    ]
    sentence(t("probes.join").join(said[:2]))
    caption(t("probes.setup", task=t(f"probes.task.{task}.text")), "probes-setup")
    caption(
        t("probes.caption", sets=found["sets"],
          seeds=len(found["recipe"]["seeds"]), steps=found["recipe"]["steps"],
          shortest=trained[0], longest=trained[1], torch=found["torch"],
          seconds=quantities.duration(max(r["seconds"] for r in found["training"]))),
        "probes",
    )  # fmt: skip
    with st.container(key="lesson-more-probes"):
        for words in said[2:]:
            st.text(words)
    train_one(task, own)


def choice(name: str) -> str:
    """One of a few; labels `probes.<name>.<option>`."""
    return linked.segments(
        PROBES, name, t(f"probes.{name}"), lambda option: t(f"probes.{name}.{option}")
    )


def named(recipe: Recipe) -> str:
    """What a person's own probe is called."""
    name = t(f"probes.kind.{recipe.mechanism}")
    return t("probes.own", name=name, longest=recipe.longest, seed=recipe.seeds[0])


def train_one(task: str, made: dict[str, Any] | None) -> None:
    """Controls of a training, and its picture in place."""
    st.subheader(t("probes.train"), anchor=False)
    left, right = st.columns([1, 2], gap="large")
    with left:
        st.text(t("probes.train.text", task=t(f"probes.task.{task}")))
        mechanism = linked.select(
            PROBES, "mechanism", t("explore.mechanism"), lambda key: t(f"probes.kind.{key}")
        )
        longest = linked.stops(
            PROBES, "longest", t("probes.longest"), str, help=t("probes.longest.help")
        )
        seed = linked.counter(PROBES, "seed", t("probes.seed"))
        recipe = Recipe(
            task=task, mechanism=mechanism, seeds=(seed,), steps=STEPS, longest=longest
        )
        run = st.session_state.get("probes-run")
        st.button(
            t("probes.train.start"), on_click=begin, args=(recipe,), type="primary",
            key="probes-start", disabled=run is not None and run["token"] is not None,
        )  # fmt: skip
        if refused := st.session_state.pop("probes-refused", None):
            st.text(refused)
    with right:
        if run is not None:
            one = run["recipe"]
            st.text(f"{t(f'probes.task.{one.task}')} · {named(one)}")
            moving(
                "probes-training",
                pictures.training(run["history"], one.steps, theme=frame.theme(), t=t), t,
                alt=t("probes.train.alt"), job=run["token"], height=380, on_done=settle,
            )  # fmt: skip
        if made is not None:
            ends = {"n": made["recipe"].longest, "last": max(probes.LENGTHS)}
            at = [probe_results.mean(made["records"], "accuracy", n=n) for n in ends.values()]
            st.text(
                t("probes.own.says", name=named(made["recipe"]), right=at[0],
                  right_last=at[1], **ends)
            )  # fmt: skip


def begin(recipe: Recipe) -> None:
    """Start to train."""
    words = speaker()

    def work(say: Say) -> dict[str, Any]:
        history: list[pictures.Point] = []

        def told(step: int, loss: float, accuracy: float) -> None:
            history.append((step, loss, accuracy))
            note = words("probes.train.note", step=step, loss=loss, accuracy=accuracy)
            say(pictures.points(history) | {"note": note, "share": TESTING * step / recipe.steps})

        probe = probes.train(recipe, told)
        drawn = pictures.points(history) | {"note": words("probes.train.testing")}
        records = probes.evaluate(
            probe, say=lambda share: say(drawn | {"share": TESTING + (1 - TESTING) * share})
        )
        return {"recipe": recipe, "records": records, "history": history}

    try:
        token = JOBS.start(work)
    except Busy:
        st.session_state["probes-refused"] = t("probes.busy")
        return
    st.session_state["probes-run"] = {"token": token, "recipe": recipe, "history": ()}


def settle() -> None:
    """Keep what a training that has ended came to."""
    run = st.session_state.get("probes-run")
    if run is None or run["token"] is None:
        return
    job = JOBS.get(run["token"])
    if job is not None and not job.done:
        return
    st.session_state["probes-run"] = run | {"token": None}
    if job is not None and job.result is not None:
        st.session_state["probes-run"]["history"] = job.result["history"]
        kept = st.session_state.get("probes-made", {})
        st.session_state["probes-made"] = kept | {run["recipe"].task: job.result}
