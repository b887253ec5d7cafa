"""How the parameters of mechanisms and sources are declared, checked and spelt."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from engine.contract.refusal import Refusal, one_of

Value = int | float | bool | str
Pairs = tuple[tuple[str, Value], ...]
Choice = tuple[str, Pairs]
"""A mechanism's key and those of its parameters that are not at their defaults."""
LONGEST = 400
"""Characters of a name or path."""


FAR = 1e9
"""What numbers may be at most, and one over it what those above 0 may be at least: beyond, powers
and products of them leave what single precision holds."""


@dataclass(frozen=True)
class Param:
    """How one parameter of a mechanism or source is declared.

    Attributes:
        kind: int, float, bool or str. default: its value when nothing is said.
        low, high: what is mathematically valid (inclusive); None is unbounded, up to FAR.
        open_low: low itself is not allowed.
        slider: the range that a control offers. step: the control's step.
        choices: the allowed strings. unit: id of the unit's name, if any.
        log: the control moves on a logarithmic scale.
        later: declared after results were kept, which leave it out where it is at its default.
    """

    kind: type
    default: Any
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    slider: tuple[float, float] | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    log: bool = False
    later: bool = False

    def check(self, name: str, value: Any) -> Any:
        """The value in its type.

        Raises:
            ValueError: it is outside what is valid; says what is allowed.
        """
        if self.choices:
            one_of(name, value, self.choices)
            return value
        if self.kind is str:
            if value == self.default:
                return value
            if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
                raise Refusal(
                    "{name} must be a word or a path of at most {most} characters",
                    name=name, most=LONGEST,
                )  # fmt: skip
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise Refusal(
                    "{name} must be true or false, not {value!r}", name=name, value=value
                )
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refusal("{name} must be a number, not {value!r}", name=name, value=value)
        if self.kind is int and (value != value or value != int(value)):
            raise Refusal("{name} must be a whole number, not {value}", name=name, value=value)
        if value != value:
            raise Refusal("{name} must be a number, not {value!r}", name=name, value=value)
        if isinstance(value, int):  # more than a float holds can't be written below
            value = min(max(value, -(10**300)), 10**300)
        low, high = self.low, self.high
        if low is not None and self.open_low and value <= low:
            raise Refusal(
                "{name} must be above {low:g}, not {value:g}", name=name, low=low, value=value
            )
        high = FAR if high is None else high
        if self.kind is float:
            low = -FAR if low is None else max(low, 1 / FAR) if self.open_low else low
        if low is not None and value < low:
            raise Refusal(
                "{name} must be at least {low:g}, not {value:g}", name=name, low=low, value=value
            )
        if value > high:
            raise Refusal(
                "{name} must be at most {high:g}, not {value:g}", name=name, high=high, value=value
            )
        return self.kind(value)

    def parse(self, name: str, text: str) -> Any:
        """The value that a URL or a command line spells.

        Raises:
            ValueError: the text is no such value, or the value is not valid.
        """
        if self.choices or self.kind is str:
            return self.check(name, text)
        if self.kind is bool:
            if text not in ("true", "false"):
                raise Refusal("{name} must be true or false, not {value!r}", name=name, value=text)
            return text == "true"
        try:
            return self.check(name, float(text) if self.kind is float else int(text))
        except Refusal:
            raise
        except (ValueError, OverflowError):
            raise Refusal(
                "{name} must be a number, not {value!r}", name=name, value=text
            ) from None


def param(default: Any, **declared: Any) -> Any:
    """A dataclass field with its declaration."""
    return field(default=default, metadata={"param": Param(type(default), default, **declared)})


def params_of(cls: type) -> dict[str, Param]:
    """The declared parameters of a mechanism or source, in order."""
    return {f.name: f.metadata["param"] for f in dataclasses.fields(cls) if "param" in f.metadata}
