"""Any mechanisms over lengths and seeds, measured: charts that fill as records come."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from engine.contract import params_of
from engine.dilution import measuring, opening
from engine.dilution.sweep import MOST_BYTES, Plan, Task
from engine.figures.base.moving import change
from engine.figures.base.theme import Words
from engine.figures.dilution import curves
from engine.mechanisms import MECHANISMS
from engine.models import embedded
from engine.sources import SWEPT, Passage, samples
from engine.sources.reading import lend
from engine.spec import sweep
from engine.spec.spelling import doublings, spell_choice
from engine.spec.sweep import Lab
from engine.store import records
from engine.text import quantities
from pages.ui.components.moving import moving
from pages.ui.dilution.shared import SWEEP, caption, label, pick, place, sentence
from pages.ui.server.desk import DESK
from pages.ui.server.jobs import JOBS, Busy, Say
from pages.ui.server.limits import limits
from pages.ui.server.waiting import TOLD, Trouble, bounded
from pages.ui.shared import frame
from pages.ui.shared.disk import folder
from pages.ui.shared.guard import worded
from pages.ui.shared.reading import model
from pages.ui.shared.strings import keyed, language, speaker, spoken, t
from pages.ui.url import owner

BESIDE = ("normalised_entropy", "max_weight", "participation", "output_error", "needle_hit",
          "seconds")  # fmt: skip
SHOWN = ("gap", "noise", "needles", "heads", "sample", "layer")  # of a source's parameters
READ = 4096  # tokens at most of a sample text
QUICK = 15.0  # seconds, below which the first sweep starts by itself
RECORD = 2_000  # bytes of a record in memory
SPEED = {"": 1.5e8}  # scores a second, by mechanism once this machine has shown its own


def choose(**fields: Any) -> None:
    """Choose these, keep the rest; what does not go is said and not chosen."""
    try:
        owner.put(SWEEP, replace(owner.value(SWEEP), **fields))
    except ValueError as error:
        st.session_state["sweep-refused"] = spoken(error)


def draw() -> None:
    """Controls, the chart that fills, the others, the table."""
    choice = owner.value(SWEEP)
    metrics = [key for key in curves.METRICS if choice.needles or key not in curves.NEEDLE]
    with st.sidebar:
        metric = pick("metric", metrics, metrics[0], lambda key: t(f"stat.{key}"))
        controls(choice)
    for problem in owner.problems(SWEEP):
        st.text(t("dilution.problem", field=problem.field, reason=spoken(problem.allowed)))
    if refused := st.session_state.pop("sweep-refused", None):
        st.text(t("error.refused", reason=refused))
    try:
        if choice.source == Passage.key:  # through the desk, and asked about; the engine takes it
            name = str(dict(choice.source_params).get("model", embedded.EMBEDDED))
            lend(embedded.folder_of(name), model(name))
        plan = choice.plan()
        bounded(plan.bytes)
    except (ValueError, Trouble) as error:
        with st.container(key="trouble"):
            st.text(worded(error))
        return
    done = opening.done(plan, folder("sweeps"))
    unsaved = {task: made for task in plan.tasks if task not in done if (made := _unsaved(task))}
    done |= unsaved
    found = [record for records in done.values() for record in records]
    span = (choice.lengths[0], max(choice.lengths[-1], choice.lengths[0] + 1))
    job = running(choice)

    theme, say = frame.theme(), speaker()
    reads = choice.source == Passage.key
    causal = reads or bool(dict(choice.source_params).get("causal"))

    def chart(made: list[dict[str, Any]], of: str, **how: Any) -> Any:
        lines = curves.measured(made, names(choice, made, say), of)
        trained = next((r["trained_length"] for r in made), None)
        return curves.curves(
            lines, metric=of, theme=theme, t=say, span=span, causal=causal, trained=trained, **how
        )

    moving("sweep", chart(found, metric), t, alt=t(f"stat.{metric}"), job=job, height=460,
           on_done=finished)  # fmt: skip
    start(choice, plan, [task for task in plan.tasks if task not in done], job, chart, metric)
    told(found, choice, metric)
    if unsaved:
        caption(t("dilution.disk"), "disk")
    notes(found, choice, all(opening.kept_records(task) for task in plan.tasks))
    if not found:
        return
    st.subheader(t("dilution.others"), anchor=False)
    columns = st.columns(2, gap="large")
    for i, other in enumerate(of for of in BESIDE if of in metrics and of != metric):
        with columns[i % 2]:
            place(chart(found, other, height=300, legend=False), other)
    st.subheader(t("dilution.take"), anchor=False)
    with st.container(horizontal=True):
        for form in records.FORMS:
            st.download_button(
                form.upper() if form != "parquet" else "Parquet",
                data=lambda form=form: records.encoded(found, form), on_click="ignore",
                file_name=f"dilution.{form}", key=f"take-{form}",
            )  # fmt: skip
    st.code(choice.command(), language="bash")


def controls(choice: Lab) -> None:
    """What is swept."""

    def several() -> None:
        own = dict(choice.mechanisms)
        keys = st.session_state[keyed("lab-of")]
        choose(mechanisms=tuple((key, own.get(key, ())) for key in keys))

    st.session_state[keyed("lab-of")] = list(dict.fromkeys(key for key, _ in choice.mechanisms))
    st.multiselect(
        t("dilution.mechanisms"), list(MECHANISMS), key=keyed("lab-of"), on_change=several,
        format_func=lambda key: t(f"mechanism.{key}.name"), max_selections=sweep.MOST_MECHANISMS,
    )  # fmt: skip
    ends = (choice.lengths[0], choice.lengths[-1])
    stops = sorted({*doublings(16, sweep.LONGEST), *ends})
    pair = f"lab-lengths-{ends[0]}-{ends[1]}"  # a pair has to be the widget's own value
    st.select_slider(
        t("dilution.lengths"), stops, value=ends, key=pair, format_func=lambda n: f"{n:,}",
        on_change=lambda: choose(lengths=doublings(*st.session_state[pair])),
    )  # fmt: skip
    st.session_state[keyed("lab-match")] = choice.match
    st.selectbox(
        t("dilution.match"), [m for m in sweep.MATCHES if m != "needle_mass" or choice.needles],
        key=keyed("lab-match"), help=t("dilution.match.help"),
        format_func=lambda key: t(f"dilution.match.{key}"),
        on_change=lambda: choose(match=st.session_state[keyed("lab-match")]),
    )  # fmt: skip

    def sourced() -> None:
        source = st.session_state[keyed("lab-source")]
        read = source == Passage.key
        choose(
            source=source,
            source_params=(("sample", samples.long(language())[0]),) if read else (),
            match="entropy" if choice.match == "needle_mass" else choice.match,
            lengths=tuple(n for n in choice.lengths if n <= READ or not read) or (READ // 4, READ),
        )  # fmt: skip

    st.session_state[keyed("lab-source")] = choice.source
    st.selectbox(
        t("explore.source"), list(SWEPT), key=keyed("lab-source"), on_change=sourced,
        format_func=lambda key: t(f"source.{key}.name"),
    )  # fmt: skip
    own = dict(choice.source_params)
    declared = params_of(SWEPT[choice.source])

    def settled(name: str, key: str) -> None:
        choose(source_params=tuple((own | {name: st.session_state[key]}).items()))

    for name in (name for name in SHOWN if name in declared):
        one, key = declared[name], keyed(f"lab-source-{name}")
        words = t(f"source.{choice.source}.param.{name}")
        st.session_state[key] = own.get(name, one.default)
        if one.choices:
            st.selectbox(
                words, samples.long(language()), key=key, on_change=settled, args=(name, key),
                format_func=lambda sample: t(samples.listing()[sample]["title"]),
            )  # fmt: skip
            continue
        low, high = one.slider or (0, 1)
        if name == "layer":
            high = layers(str(own.get("model", "tiny"))) - 1
        st.slider(
            words, one.kind(low), one.kind(max(high, st.session_state[key])), key=key,
            step=one.kind(one.step or 1), on_change=settled, args=(name, key),
        )  # fmt: skip
    st.session_state["lab-seeds"] = choice.seeds
    st.slider(
        t("dilution.seeds"), 1, max(8, choice.seeds), key="lab-seeds",
        on_change=lambda: choose(seeds=st.session_state["lab-seeds"]),
    )  # fmt: skip


def layers(name: str) -> int:
    """How many a model has; as many as are looked at without it, where it can't be opened."""
    try:
        return model(name).layers
    except Trouble:
        return 1 + int((params_of(Passage)["layer"].slider or (0, 0))[1])


def names(choice: Lab, found: Sequence[Mapping[str, Any]], t: Words) -> dict[str, str]:
    """Spelling of each mechanism -> what it is called, with how it was set, as far as is known."""
    settings: dict[str, dict[int, tuple[Mapping[str, Any], float]]] = {}
    for r in found:
        one = spell_choice((r["mechanism"], tuple(r["params"].items())))
        settings.setdefault(one, {})[r["seed"]] = r["calibrated"], r["scale"]
    return {
        spell_choice(one): label(one, list(settings.get(spell_choice(one), {}).values()), t)
        for one in choice.mechanisms
    }


def running(choice: Lab) -> str | None:
    """The token of the job that makes this sweep for this person, if one does."""
    token, of = st.session_state.get("sweep-job", (None, None))
    if token is None or of != choice:
        return None
    job = JOBS.get(token)
    return token if job is not None and not job.done else None


def finished() -> None:
    """The job has ended: what it made is on disk."""
    st.session_state.pop("sweep-job", None)


def expected(task: Task) -> float:
    """Seconds that a task will take here, as far as is known: right within a factor of four."""
    return measuring.work(task) / SPEED.get(task.mechanism, SPEED[""])


def start(
    choice: Lab, plan: Plan, left: list[Task], job: str | None, chart: Any, metric: str
) -> None:
    """The button that starts, with what the tasks that are left will take."""
    if not left or job is not None:
        return
    seconds = sum(map(expected, left))
    if seconds > limits().job:
        st.text(t("dilution.too_long", seconds=quantities.duration(seconds)))
        return
    facts = {
        "seconds": quantities.duration(seconds),
        "memory": quantities.memory(plan.bytes),
        "bound": quantities.memory(MOST_BYTES),
        "tasks": len(left),
    }

    def begin() -> None:
        st.session_state["sweep-begun"] = choice
        try:
            token = JOBS.start(lambda say: gather(plan, say, chart, metric), "sweep", plan.bytes)
        except Busy:
            st.session_state["sweep-refused"] = t("dilution.busy")
            return
        st.session_state["sweep-job"] = (token, choice)

    if seconds < QUICK and st.session_state.get("sweep-begun") is None:
        begin()  # a first picture, before anything is asked
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(t("dilution.run"), on_click=begin, type="primary", key="lab-run")
        st.text(t("dilution.estimate", **facts))


def _unsaved(task: Task) -> list[dict[str, Any]]:
    """The records of a task that this server made, and no disk took."""
    return DESK.kept.get(("records", task)) or []


def gather(plan: Plan, say: Say, chart: Any, metric: str) -> None:
    """Make the records, task by task, and say how the chart looks by now."""
    made: list[dict[str, Any]] = []
    total, done, began = sum(measuring.work(task) for task in plan.tasks), 0.0, time.monotonic()
    for task in plan.tasks:
        say({"share": done / total})
        start = time.monotonic()
        new = opening.records(task, plan.make, folder("sweeps"))
        DESK.kept.put(("records", task), new, RECORD * len(new))
        made += new
        done += measuring.work(task)
        if (spent := time.monotonic() - start) > TOLD:  # made, and not found on disk
            SPEED[""] = SPEED[task.mechanism] = measuring.work(task) / spent
        left = (time.monotonic() - began) * (total - done) / done
        words = f"n = {task.n:,} · {quantities.duration(left)}"
        say(change(chart(made, metric), words, done / total))


def notes(found: list[dict[str, Any]], choice: Lab, kept: bool) -> None:
    """What about the figures is not the plain mean of all rows of mechanisms as they are, measured
    here and now."""
    lines = [t("dilution.own")]
    if choice.match != "none":
        at = choice.match_at or choice.lengths[0]
        lines = [t(f"dilution.matched.{choice.match}", n=at)]
        lost = {r["mechanism"]: r["calibrated"] for r in found if not r["matched"]}
        alone = {key for key, own in lost.items() if MECHANISMS[key](**own).sets_temperature}
        for words, keys in (("alone", alone), ("unmatched", lost.keys() - alone)):
            if keys:
                listed = t("dilution.join").join(
                    t(f"mechanism.{key}.name") for key in sorted(keys)
                )
                lines.append(t(f"dilution.{words}", names=listed))
    if any(r["extrapolated"] for r in found):
        rows = next(r["rows_sampled"] for r in found if r["extrapolated"])
        lines.append(t("dilution.sampled", rows=rows))
    trained = next((r["trained_length"] for r in found if r["trained_length"]), None)
    if trained is not None and any(r["n"] > trained for r in found):
        lines.append(t("dilution.shaded", trained=trained))
    lines.append(t("dilution.band"))
    if kept:
        lines.append(t("dilution.kept"))
    caption(t("dilution.sentences").join(lines), "sweep")


def told(found: list[dict[str, Any]], choice: Lab, metric: str) -> None:
    """Which holds and which thins out, from the shortest to the longest length measured; of a
    model, within the lengths that it was trained on."""
    share = metric not in (*curves.LOG, *curves.ANY) or metric == "max_weight"
    words = "dilution.told.share" if share else "dilution.told"
    within = [r for r in found if r["n"] <= (r["trained_length"] or r["n"])]
    ends = [
        (curve.name, curve.y[0], curve.y[-1])
        for curve in curves.measured(within, short(choice), metric)
        if len(curve.n) > 1 and curve.y[0] is not None and curve.y[-1] is not None
    ]
    if metric in ("needle_mass", "needle_hit", "max_weight"):  # the one that holds best is first
        ends.sort(key=lambda end: -end[2])
    if ends:
        parts = [t(words, name=name, first=first, last=last) for name, first, last in ends]
        first, last = (of(r["n"] for r in within) for of in (min, max))
        sentence(t("dilution.told.all", metric=t(f"stat.{metric}"), first=first, last=last,
                   parts=t("dilution.told.join").join(parts)))  # fmt: skip


def short(choice: Lab) -> dict[str, str]:
    """What each mechanism is called in a sentence: its name alone, where no other has it."""
    keys = [key for key, _ in choice.mechanisms]
    return {
        spell_choice(one): label(one, (), t) if keys.count(one[0]) > 1
        else t(f"mechanism.{one[0]}.name")
        for one in choice.mechanisms
    }  # fmt: skip
