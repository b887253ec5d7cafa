"""How choices are spelt and read, in a URL and on a command line alike.

A value is `true`, `3`, `0.5` or a word; a list `256,512`, or doublings `256-16384`; a mechanism
with those of its parameters that are not at their defaults `window:window=16:sinks=0`. Parameters
that have keys of their own have them under a prefix: `m.window=16`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.contract import Choice, Pairs, Param, Refusal, params_of
from engine.mechanisms import MECHANISMS

LONGEST = 2**17
"""Keys of the longest length that can be asked for."""


@dataclass(frozen=True)
class Problem:
    """One value that could not be used.

    Attributes:
        field: the URL key. value: what was found. allowed: what may stand there, in symbols, or
            the sentence that refused it.
        kind: "choice" (not among those allowed), "number" (not one, or out of range), "length",
            "unknown" (what is chosen has nothing of the kind).
    """

    field: str
    value: str
    allowed: str | ValueError
    kind: str = "choice"

    def __str__(self) -> str:
        value = self.value if len(self.value) <= 40 else self.value[:39] + "…"
        if self.kind == "unknown":
            return f"{self.field}={value!r} is left out: nothing chosen here has it."
        return f"{self.field} can't be {value!r}; allowed: {self.allowed}. The default is used."


@dataclass(frozen=True)
class Field(Param):
    """A declared value that needs more than a range or a list of words to say what it may be.

    Attributes:
        read: its spelling -> the value; raises a ValueError. fits: whether a value is allowed.
        said: what is allowed, in symbols or words, asked for each time if that may change; ""
            where what refuses it says that.
    """

    read: Callable[[str], Any] = str
    fits: Callable[[Any], bool] = lambda value: True
    said: str | ValueError | Callable[[], str] = ""

    def check(self, name: str, value: Any) -> Any:
        """The value.

        Raises:
            Refusal: it is not allowed.
        """
        if not self.fits(value):
            raise Refusal(
                "{name} can't be {value!r}; allowed: {allowed}",
                name=name, value=value, allowed=allowed(self),
            )  # fmt: skip
        return value

    def parse(self, name: str, text: str) -> Any:
        """The value that a URL or a command line spells.

        Raises:
            ValueError: the text is no such value, or the value is not allowed.
        """
        return self.check(name, self.read(text))


def allowed(declared: Param) -> str | ValueError:
    """What a value may be, in symbols (`a, b`, `1 … 64`, `> 0`) or words."""
    if isinstance(declared, Field):
        return declared.said() if callable(declared.said) else declared.said
    if declared.choices:
        return ", ".join(declared.choices)
    if declared.kind is bool:
        return "true, false"
    if declared.kind is str:
        return "text"
    low, high = declared.low, declared.high
    if low is not None and high is not None and not declared.open_low:
        return f"{low:,g} … {high:,g}"
    above = None if low is None else f"{'>' if declared.open_low else '≥'} {low:,g}"
    below = None if high is None else f"≤ {high:,g}"
    return ", ".join(part for part in (above, below) if part) or "a number"


# -- values --------------------------------------------------------------------------------------


def spell(value: Any) -> str:
    """A value, or a list of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ",".join(map(spell, value))
    return repr(value) if isinstance(value, float) else str(value)


def whole(text: str) -> int:
    """A whole number from 0 up.

    Raises:
        Refusal: it is none, or has more than nine digits.
    """
    if not re.fullmatch(r"\d{1,9}", text):
        raise Refusal("a whole number is needed, not {text!r}", text=text)
    return int(text)


def wholes(text: str) -> tuple[int, ...]:
    """Whole numbers from 0 up, with commas.

    Raises:
        Refusal: one of them is none.
    """
    return tuple(map(whole, text.split(",")))


def doublings(first: int, last: int) -> tuple[int, ...]:
    """first, 2·first, … up to last."""
    found = [first]
    while found[-1] * 2 <= last:
        found.append(found[-1] * 2)
    return tuple(found)


def lengths(text: str) -> tuple[int, ...]:
    """Lengths, with commas or as doublings.

    Raises:
        Refusal: they are neither.
    """
    first, dash, last = text.partition("-")
    try:
        if dash:
            return doublings(max(1, whole(first)), min(whole(last), LONGEST))
        return wholes(text)
    except ValueError:
        raise Refusal(
            "lengths are numbers with commas, or 256-4096 for doublings, not {text!r}", text=text
        ) from None


# -- mechanisms and parameters -------------------------------------------------------------------


def declarations(registry: Mapping[str, type], key: str) -> dict[str, Param]:
    """The declared parameters of one mechanism or source; none if it has none."""
    return params_of(registry[key]) if key in registry else {}


def mechanism(key: str) -> str:
    """The key of a mechanism.

    Raises:
        Refusal: there is no such mechanism.
    """
    if key not in MECHANISMS:
        raise Refusal(
            "no mechanism {key!r}; there are {known}", key=key, known=", ".join(MECHANISMS)
        )
    return key


def canonical(declared: Mapping[str, Param], pairs: Pairs, prefix: str) -> Pairs:
    """Those that are not at their defaults, checked, in the order of the declarations."""
    return tuple((k, v) for k, v in checked(declared, pairs, prefix) if v != declared[k].default)


def checked(declared: Mapping[str, Param], pairs: Pairs, prefix: str) -> Pairs:
    """All that are said, checked, in the order of the declarations.

    Args:
        prefix: how their names begin where they are spelt.

    Raises:
        Refusal: one is unknown, or its value is not valid.
    """
    given = dict(pairs)
    if unknown := given.keys() - declared.keys():
        known = ", ".join(declared) or Refusal("none")
        raise Refusal(
            "there is no parameter {name}; there are {known}",
            name=f"{prefix}{min(unknown)}", known=known,
        )  # fmt: skip
    return tuple((k, p.check(f"{prefix}{k}", given[k])) for k, p in declared.items() if k in given)


def spell_choice(choice: Choice) -> str:
    """`window:window=64:sinks=0`, parameters in the order in which they are declared."""
    key, pairs = choice
    order = list(params_of(MECHANISMS[key]))
    pairs = sorted(pairs, key=lambda pair: order.index(pair[0]))
    return ":".join([key, *(f"{name}={spell(value)}" for name, value in pairs)])


def parse_choice(text: str) -> Choice:
    """A mechanism with parameters from its spelling.

    Raises:
        Refusal: no such mechanism or parameter, or a value that is not valid.
    """
    key, *parts = text.strip().split(":")
    declared = declarations(MECHANISMS, mechanism(key))
    pairs = []
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or name not in declared:
            known = ", ".join(declared) or Refusal("none")
            raise Refusal(
                "{key} has no parameter {name!r}; it has {known}", key=key, name=name, known=known
            )
        pairs.append((name, declared[name].parse(name, value)))
    return key, tuple(pairs)


def parse_choices(text: str) -> tuple[Choice, ...]:
    """Mechanisms with parameters, with commas between them; raises as `parse_choice`."""
    return tuple(map(parse_choice, text.split(",")))


def spell_pairs(prefix: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Parameters under a prefix, as keys and values."""
    return {f"{prefix}{name}": spell(value) for name, value in pairs}


def read_pairs(
    query: Mapping[str, str],
    prefix: str,
    declared: Mapping[str, Param],
    problems: list[Problem],
) -> Pairs:
    """Parameters under a prefix; those that are unknown or not valid are left out.

    Args:
        problems: what can't be used is added here.
    """
    pairs = []
    for key in (k for k in query if k.startswith(prefix)):
        name = key.removeprefix(prefix)
        if name not in declared:
            choices = ", ".join(prefix + k for k in declared)
            problems.append(Problem(key, query[key], choices, "choice" if choices else "unknown"))
            continue
        pairs += [(name, value) for value in read_value(query, key, declared[name], problems)]
    return tuple(pairs)


def read_value(
    query: Mapping[str, str], key: str, declared: Param, problems: list[Problem]
) -> list[Any]:
    """The value of one key, alone in a list; none if it can't be used, which is then a problem."""
    try:
        return [declared.parse(key, query[key])]
    except ValueError as error:
        number = declared.kind in (int, float) and not isinstance(declared, Field)
        kind = "number" if number else "choice"
        problems.append(Problem(key, query[key], allowed(declared) or error, kind))
        return []


# -- command lines -------------------------------------------------------------------------------


def from_flags(words: Sequence[str]) -> dict[str, str]:
    """Keys and values of a command line, `--key value` or `--key=value`.

    Raises:
        ValueError: a word is no flag, or a flag has no value.
    """
    given, left = {}, list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"expected a flag, not {word!r}")
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            if not left:
                raise ValueError(f"--{key} needs a value")
            value = left.pop(0)
        given[key] = value
    return given


def to_flags(query: Mapping[str, str]) -> list[str]:
    """The words of a command line that say the same."""
    return [word for key, value in query.items() for word in (f"--{key}", value)]
