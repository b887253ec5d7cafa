"""Under which licences that which the app runs on is given, read off what is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CLASS = "License :: "
SHORT = 60
"""Characters beyond which a licence's field holds its text and not its name."""


def required(path: Path) -> Iterator[Distribution]:
    """What a list of requirements names, and all that this needs, as installed here; by name.

    Raises:
        PackageNotFoundError: something that is named is not installed.
    """
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    named = [Requirement(line) for line in lines if line and not line.startswith("-")]
    found: dict[str, Distribution] = {}
    left = [(one, True) for one in named]
    while left:
        wanted, must = left.pop()
        name = canonicalize_name(wanted.name)
        if name in found or not (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            if must:
                raise
            continue
        left += [(Requirement(one), False) for one in found[name].requires or ()]
    yield from (found[name] for name in sorted(found))


def licence(of: Distribution) -> str:
    """What a distribution says of its licence: an expression, its classes, or the name that it
    writes; "not said" where it says nothing."""
    about = of.metadata
    if "License-Expression" in about:
        return about["License-Expression"]
    classes = [x for x in about.get_all("Classifier") or () if x.startswith(CLASS)]
    if classes:
        return "; ".join(x.rpartition(" :: ")[2] for x in classes)
    said = about["License"].strip() if "License" in about else ""
    return said if said and len(said) <= SHORT and "\n" not in said else "not said"


def table(path: Path) -> str:
    """A line for each: name, version, licence."""
    rows = [(x.metadata["Name"], x.version, licence(x)) for x in required(path)]
    wide = max(len(name) for name, _, _ in rows)
    return "\n".join(f"{name:<{wide}}  {version:<18} {said}" for name, version, said in rows)
