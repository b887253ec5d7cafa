"""Controls drawn from declarations: what a mechanism or a source declares is all they know.

Every control shows what the spec says and reports to `state` in its callback.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import streamlit as st

from engine.contract import Param
from engine.mechanisms import MECHANISMS
from engine.spec.picture import Spec
from engine.spec.spelling import Problem, declarations
from engine.text.tokens import shown
from pages.ui.shared.strings import keyed, spoken, t
from pages.ui.url import state
from pages.ui.url.linked import follow

FIRST = re.compile(r".*?[.。](?=\s|$|(?<=。))", re.DOTALL)
"""The first sentence of a text."""
FEW = 4  # choices that fit side by side
SHORT = 24  # characters of their words in the sidebar


def problems(found: Iterable[Problem]) -> None:
    """What in the URL could not be used."""
    if not (found := tuple(found)):
        return
    with st.container(key="problems", gap=None):
        for problem in found:
            facts = {"field": problem.field, "allowed": spoken(problem.allowed)}
            st.text(t(f"problem.{problem.kind}", value=_short(problem.value), **facts))


def _short(text: str) -> str:
    return shown(text[:40]) + ("…" if len(text) > 40 else "")


def choose(
    label: str,
    field: str,
    options: Sequence[Any],
    value: Any,
    names: Callable[[Any], str],
    *,
    key: str | None = None,
    help: str | None = None,
    on_choose: Callable[[Any], None] | None = None,
    hide_label: bool = False,
    segments: bool | None = None,
) -> None:
    """One of some options: side by side if they are few, else a list.

    Args:
        field: of the spec, changed to the option unless `on_choose` is given.
        names: an option's words. segments: side by side, or not, whatever their number.
    """
    segmented = len(options) <= FEW if segments is None else segments
    key = key or f"choose-{field}"
    if not segmented:
        key = keyed(key)
    follow(key, value)

    def chosen() -> None:
        picked = st.session_state[key]
        if picked is None:
            return
        if on_choose:
            on_choose(picked)
        else:
            state.change(**{field: picked})

    common: dict[str, Any] = {
        "format_func": names,
        "key": key,
        "help": help,
        "on_change": chosen,
        "label_visibility": "collapsed" if hide_label else "visible",
    }
    if segmented:
        st.segmented_control(label, options, required=True, **common)
    else:
        st.selectbox(label, options, **common)


def parameter(
    owner: str,
    registry: str,
    field: str,
    name: str,
    declared: Param,
    value: Any,
    change: Callable[[str, str, Any], None] = state.change_param,
) -> None:
    """One declared parameter.

    Args:
        owner: key of the mechanism or source. registry: "mechanism" or "source", for the words.
        field: of the spec that holds it. change: called with field, name and the value chosen.
    """
    words = f"{registry}.{owner}.param.{name}"
    label, help = t(words), t(f"{words}.help")
    key = f"{field}.{owner}.{name}"

    def changed() -> None:
        change(field, name, st.session_state[key])

    if declared.choices:
        options = {option: t(f"{words}.{option}") for option in declared.choices}
        choose(
            label, field, declared.choices, value, options.__getitem__, key=key, help=help,
            on_choose=lambda option: change(field, name, option),
            segments=len(options) <= FEW and sum(map(len, options.values())) <= SHORT,
        )  # fmt: skip
        return
    if declared.kind is bool:
        follow(key, value)
        st.toggle(label, key=key, help=help, on_change=changed)
        return
    if declared.kind is str or declared.slider is None:
        follow(key, value)
        common = {"key": key, "help": help, "on_change": changed}
        if declared.kind is str:
            st.text_input(label, **common)
        else:
            kind: Any = declared.kind
            low = None if declared.low is None else kind(declared.low)
            high = None if declared.high is None else kind(declared.high)
            st.number_input(label, min_value=low, max_value=high, step=_step(declared), **common)
        return
    stops = log_stops(declared, value) if declared.log else None
    follow(key, value)
    if stops:
        st.select_slider(label, stops, key=key, help=help, on_change=changed, format_func=_number)
        return
    kind = declared.kind
    low, high = min(declared.slider[0], value), max(declared.slider[1], value)
    st.slider(
        label, kind(low), kind(high), step=_step(declared), key=key, help=help, on_change=changed
    )


def _step(declared: Param) -> Any:
    if declared.step is not None:
        return declared.kind(declared.step)
    if declared.kind is int:
        return 1
    low, high = declared.slider or (0, 1)
    return (high - low) / 100


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def log_stops(declared: Param, value: Any) -> list[Any]:
    """Stops of a logarithmic slider: doublings of the low end, its ends, and the value itself."""
    assert declared.slider is not None
    low, high = declared.slider
    stops, at = {declared.kind(low), declared.kind(high), value}, low or 1
    while at < high:
        stops.add(declared.kind(at))
        at *= 2 if declared.kind is int else 2**0.5
    return sorted(stops)


def mechanism() -> None:
    """The mechanism."""
    spec = state.spec()
    choose(
        t("explore.mechanism"), "mechanism", tuple(MECHANISMS), spec.mechanism,
        lambda key: t(f"mechanism.{key}.name"), segments=False,
        help=t(f"mechanism.{spec.mechanism}.short"), on_choose=state.switch,
    )  # fmt: skip
    family = t(f"family.{MECHANISMS[spec.mechanism].family}")
    first = FIRST.match(t(f"mechanism.{spec.mechanism}.short"))
    st.caption(t("explore.variant", family=family, name=first[0] if first else ""))


def parameters(
    spec: Spec, names: Callable[[str], bool] = lambda name: True, *, causal: bool = False
) -> None:
    """The mechanism's parameters, as they are used; those alone that `names` is true of, and that
    change something as the others stand, and where attention is causal or is not."""
    values = spec.arguments()
    idle = MECHANISMS[spec.mechanism](**values).idle_on(causal)
    for name, declared in declarations(MECHANISMS, spec.mechanism).items():
        if names(name) and name not in idle:
            parameter(spec.mechanism, "mechanism", "params", name, declared, values[name])
