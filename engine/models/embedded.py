"""The models that come with the project, by name: the embedded one, and those of the zoo."""

from __future__ import annotations

from collections.abc import Iterable

from engine.contract import Pairs, params_of
from engine.mechanisms import MECHANISMS, make
from engine.models.masks import ModelError
from engine.models.zoo.recipes import KINDS, Kind
from engine.runtime.paths import TINY, ZOO
from engine.runtime.public import listed, public

EMBEDDED = "tiny"
PREFIX = "zoo-"
"""How the names of the zoo's models begin."""
REFERENCE = f"{PREFIX}softmax"
"""The one that others are set against: trained with full attention from the same recipe."""


def folder_of(name: str) -> str:
    """A model's folder by its name here; any other name (a folder, a hub id) as it is.

    Raises:
        ModelError: strangers are served, and it is none of those put up for them: told alike of
            a folder that is there and of one that isn't.
    """
    if name == EMBEDDED:
        return str(TINY)
    if kind_of(name):
        return str(ZOO / name.removeprefix(PREFIX))
    if name in (own := listed()):
        return own[name]
    if public():
        raise ModelError(
            "this server reads only the models in its list: choose one of those under “Model”"
        )
    return name


def kind_of(name: str) -> Kind | None:
    """What a model of the zoo attends with, by its name here; None for any other name."""
    return KINDS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None


def trained() -> list[str]:
    """The zoo's models that are there, by name, in their order."""
    return [f"{PREFIX}{x}" for x in KINDS if (ZOO / x / "model.safetensors").exists()]


def settings(kind: Kind) -> Pairs:
    """All parameters that a kind of model was trained with, said or not."""
    made = make(kind.key, **kind.parameters)
    return tuple((name, getattr(made, name)) for name in params_of(type(made)))


def trained_with(mechanism: str, chosen: Pairs = (), among: Iterable[str] | None = None) -> str:
    """The name of the model that was trained with a mechanism, "" if there is none.

    Numbers may differ (it was trained with one window, and another is chosen), but not what is a
    choice or a switch. Of several the first that rotates positions is taken, if one does.

    Args:
        chosen: parameters that a person chose. among: names; those that are there if None.
    """
    found = []
    for name in trained() if among is None else among:
        kind = kind_of(name)
        if kind is None or kind.key != mechanism:
            continue
        had, declared = dict(settings(kind)), params_of(MECHANISMS[mechanism])
        if all(declared[k].kind in (int, float) or had[k] == v for k, v in chosen):
            found.append((not kind.rotary, name))
    return min(found)[1] if found else ""
