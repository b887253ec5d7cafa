"""A mechanism's parameters in words."""

from collections.abc import Callable
from typing import Any

from engine.contract import params_of
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.models import embedded
from engine.models.zoo.recipes import KINDS
from engine.spec.spelling import declarations
from pages.ui.shared import strings


def setting(mechanism: str, name: str, value: Any, t: Callable[..., str] = strings.t) -> str:
    """One parameter and its value, as people read them.

    Args:
        t: words, where no page runs.
    """
    stem = f"mechanism.{mechanism}.param.{name}"
    if declarations(MECHANISMS, mechanism)[name].choices:
        return f"{t(stem)} {t(f'{stem}.{value}')}"
    if isinstance(value, bool):
        return f"{t(stem)} {'✓' if value else '✗'}"
    return f"{t(stem)} {value:g}" if isinstance(value, float) else f"{t(stem)} {value}"


def trained_name(name: str) -> str:
    """What a model of the zoo is called, by its name there: as its mechanism is, unless it has a
    name of its own."""
    key = KINDS[name].key
    return strings.t(f"mechanism.{key}.name" if name == key else f"model.zoo.{name}")


def settings(made: Mechanism) -> str:
    """All parameters, "" if there are none."""
    pairs = (setting(made.key, name, getattr(made, name)) for name in params_of(type(made)))
    return strings.t("dilution.join").join(pairs)


def trained_settings(own: Mechanism) -> str:
    """The parameters that a model was trained with, "" if there are none; not those that it
    learnt."""
    learnt = {} if own.learned is None else own.learned.weights
    pairs = (
        setting(own.key, name, getattr(own, name))
        for name in params_of(type(own))
        if name.rstrip("_") not in learnt
    )
    return strings.t("dilution.join").join(pairs)


def model_name(name: str, words: str = "model.zoo") -> str:
    """What a model is called: in words if it comes with the project, else as it is.

    Args:
        words: of those of the zoo; "model.zoo.short" in a list.
    """
    if embedded.kind_of(name) is not None:
        return strings.t(words, name=trained_name(name.removeprefix(embedded.PREFIX)))
    return strings.t("model.tiny") if name == embedded.EMBEDDED else name
