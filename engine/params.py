"""How the parameters of mechanisms and sources are declared, checked and spelt."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Param:
    """How one parameter of a mechanism or source is declared.

    Attributes:
        kind: int, float, bool or str. default: its value when nothing is said.
        low, high: what is mathematically valid (inclusive); None is unbounded.
        open_low: low itself is not allowed.
        slider: the range that a control offers. step: the control's step.
        choices: the allowed strings. unit: id of the unit's name, if any.
        log: the control moves on a logarithmic scale.
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

    def check(self, name: str, value: Any) -> Any:
        """The value in its type.

        Raises:
            ValueError: it is outside what is valid; says what is allowed.
        """
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"{name} must be one of {', '.join(self.choices)}, not {value!r}")
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, not {value!r}")
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} must be a number, not {value!r}")
        if value != value or (self.kind is int and value != int(value)):
            raise ValueError(
                f"{name} must be {'a whole' if self.kind is int else 'a'} number, not {value}"
            )
        low, high = self.low, self.high
        if low is not None and (value < low or (self.open_low and value == low)):
            raise ValueError(
                f"{name} must be {'above' if self.open_low else 'at least'} {low:g}, not {value:g}"
            )
        if high is not None and value > high:
            raise ValueError(f"{name} must be at most {high:g}, not {value:g}")
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
                raise ValueError(f"{name} must be true or false, not {text!r}")
            return text == "true"
        try:
            return self.check(name, float(text) if self.kind is float else int(text))
        except (ValueError, OverflowError) as error:
            if "must be" in str(error):
                raise
            raise ValueError(f"{name} must be a number, not {text!r}") from None


def param(default: Any, **declared: Any) -> Any:
    """A dataclass field with its declaration."""
    return field(default=default, metadata={"param": Param(type(default), default, **declared)})


def params_of(cls: type) -> dict[str, Param]:
    """The declared parameters of a mechanism or source, in order."""
    return {f.name: f.metadata["param"] for f in dataclasses.fields(cls) if "param" in f.metadata}
