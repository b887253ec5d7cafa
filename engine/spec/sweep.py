"""One choice of a sweep, and how a URL and a command line spell it.

Keys: `of` (mechanisms, `softmax,window:window=64:sinks=0`), `lengths` (`256,512`, or doublings
`256-16384`), `source`, `s.*` (its parameters), `seeds`, `match` (entropy, needle_mass, none),
`match_at`, `rows`. A command line takes the same, each after `--`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from engine.contract import Choice, Pairs, Refusal, one_of, params_of
from engine.dilution.sweep import (
    MOST_BYTES,
    ROWS,
    Match,
    Plan,
    plan,
)
from engine.mechanisms import MECHANISMS
from engine.sources import SWEPT, Passage, Passages
from engine.spec.fields import Problem
from engine.spec.picture import declarations

MOST_MECHANISMS = 12
LONGEST = 2**17
MATCHES = ("none", "entropy", "needle_mass")


def doublings(first: int, last: int) -> tuple[int, ...]:
    """first, 2·first, … up to last."""
    found = [first]
    while found[-1] * 2 <= last:
        found.append(found[-1] * 2)
    return tuple(found)


@dataclass(frozen=True)
class Lab:
    """A sweep as a person chooses it; what is allowed together is checked by `plan`.

    Attributes:
        mechanisms: keys with those parameters that are not at their defaults.
        lengths: keys, rising. source, source_params: as in a Spec, without n and seed.
        seeds: how many. match: "none", "entropy" or "needle_mass"; match_at: at this many keys, 0
            for the shortest length. rows: looked at in long texts.

    Raises:
        ValueError: a value that is not allowed.
    """

    mechanisms: tuple[Choice, ...] = (
        ("softmax", ()), ("ssmax", ()), ("entmax", ()), ("window", ()), ("relative", ()),
    )  # fmt: skip
    lengths: tuple[int, ...] = doublings(256, 4096)
    source: str = "planted"
    source_params: Pairs = field(default=())
    seeds: int = 2
    match: str = "needle_mass"
    match_at: int = 0
    rows: int = ROWS

    def __post_init__(self) -> None:
        if not 1 <= len(self.mechanisms) <= MOST_MECHANISMS:
            raise Refusal("a sweep compares 1 … {most} mechanisms", most=MOST_MECHANISMS)
        checked = []
        for key, pairs in self.mechanisms:
            if key not in MECHANISMS:
                raise Refusal(
                    "no mechanism {key!r}; there are {known}", key=key, known=", ".join(MECHANISMS)
                )
            checked.append((key, _checked(params_of(MECHANISMS[key]), pairs, f"{key}: ")))
        if len(set(checked)) < len(checked):
            raise Refusal("the same mechanism with the same parameters stands there twice")
        object.__setattr__(self, "mechanisms", tuple(checked))
        one_of("source", self.source, SWEPT)
        own = {k: p for k, p in params_of(SWEPT[self.source]).items() if k not in ("n", "seed")}
        object.__setattr__(self, "source_params", _checked(own, self.source_params, "s."))
        if any(not 1 <= n <= LONGEST for n in self.lengths):
            raise Refusal("lengths must lie in 1 … {longest:,}", longest=LONGEST)
        if not 1 <= self.seeds <= 100:
            raise Refusal("seeds must be 1 … 100, not {seeds}", seeds=self.seeds)
        one_of("match", self.match, MATCHES)
        if not 0 <= self.match_at <= LONGEST:
            raise Refusal("match_at must lie in 0 … {longest:,}", longest=LONGEST)
        if not 1 <= self.rows <= 2**16:
            raise Refusal("rows must be 1 … 65,536, not {rows}", rows=self.rows)

    def plan(
        self, device: str = "cpu", most_bytes: int = MOST_BYTES, text: str | None = None
    ) -> Plan:
        """The sweep, checked as a whole.

        Args:
            text: read instead of the sample, where the source is a passage.

        Raises:
            ValueError: says what does not go together.
        """
        given: dict[str, Any] = dict(self.source_params)
        source: str | Passages = self.source
        if text is not None:
            if self.source != Passage.key or "sample" in given:
                raise Refusal("a text of your own takes the source passage, and no sample")
            source = Passages(text, **given)
        return plan(
            [(key, dict(pairs)) for key, pairs in self.mechanisms],
            self.lengths, source, self.seeds,
            source_params=given if text is None else {}, most_bytes=most_bytes,
            match=cast(Match, "" if self.match == "none" else self.match),
            match_at=self.match_at or None, rows=self.rows, device=device,
        )  # fmt: skip

    def query_params(self) -> dict[str, str]:
        """What a URL says: only what differs from the default."""
        said, plain = {}, Lab()
        if self.mechanisms != plain.mechanisms:
            said["of"] = ",".join(spell(choice) for choice in self.mechanisms)
        if self.lengths != plain.lengths:
            said["lengths"] = ",".join(map(str, self.lengths))
        for name in ("source", "seeds", "match", "match_at", "rows"):
            if getattr(self, name) != getattr(plain, name):
                said[name] = str(getattr(self, name))
        return said | {f"s.{k}": _spelt(v) for k, v in self.source_params}

    def command(self) -> str:
        """The command line that makes the same sweep."""
        flags = (f"--{key} {value!r}" if " " in value else f"--{key} {value}"
                 for key, value in self.query_params().items())  # fmt: skip
        return " ".join(["python -m engine sweep", *flags])


def spell(choice: Choice) -> str:
    """`window:window=64:sinks=0`."""
    key, pairs = choice
    return ":".join([key, *(f"{name}={_spelt(value)}" for name, value in pairs)])


def _spelt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _checked(declared: Mapping[str, Any], pairs: Pairs, prefix: str) -> Pairs:
    given = dict(pairs)
    if unknown := given.keys() - declared.keys():
        known = ", ".join(declared) or Refusal("none")
        raise Refusal(
            "{prefix}no parameter {name}; there are {known}",
            prefix=prefix, name=min(unknown), known=known,
        )  # fmt: skip
    found = {k: p.check(f"{prefix}{k}", given[k]) for k, p in declared.items() if k in given}
    return tuple((k, v) for k, v in found.items() if v != declared[k].default)


def parse(text: str) -> Choice:
    """A mechanism from its spelling.

    Raises:
        ValueError: no such mechanism or parameter, or a value that is not valid.
    """
    key, *parts = text.strip().split(":")
    declared = declarations(MECHANISMS, key)
    if key not in MECHANISMS:
        raise Refusal(
            "no mechanism {key!r}; there are {known}", key=key, known=", ".join(MECHANISMS)
        )
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


def _lengths(text: str) -> tuple[int, ...]:
    first, dash, last = text.partition("-")
    try:
        if dash:
            return doublings(max(1, int(first)), min(int(last), LONGEST))
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise Refusal(
            "lengths are numbers with commas, or 256-4096 for doublings, not {text!r}", text=text
        ) from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refusal("a whole number is needed, not {text!r}", text=text) from None


def parsed(query: Mapping[str, str]) -> Lab:
    """A sweep from its spelling, strictly.

    Raises:
        ValueError: a key or a value that is not allowed.
    """
    fields: dict[str, Any] = {}
    source = query.get("source", Lab().source)
    declared = declarations(SWEPT, source)
    pairs = []
    for key, value in query.items():
        if key == "of":
            fields["mechanisms"] = tuple(parse(part) for part in value.split(","))
        elif key == "lengths":
            fields["lengths"] = _lengths(value)
        elif key in ("source", "match"):
            fields[key] = value
        elif key in ("seeds", "match_at", "rows"):
            fields[key] = _whole(value)
        elif key.startswith("s.") and key[2:] in declared:
            pairs.append((key[2:], declared[key[2:]].parse(key, value)))
        else:
            raise Refusal("a sweep has no {key!r}", key=key)
    return Lab(**fields, source_params=tuple(pairs))


KEYS = ("of", "lengths", "source", "seeds", "match", "match_at", "rows")


def read(query: Mapping[str, str]) -> tuple[Lab, list[Problem]]:
    """A sweep from a URL, leniently: what can't be used is left out and listed."""
    kept: dict[str, str] = {}
    problems = []
    ours = {k: query[k] for k in KEYS if k in query}  # the source before its parameters
    ours |= {k: v for k, v in query.items() if k.startswith("s.")}
    for key, value in ours.items():
        alone = {"source": kept["source"]} if "source" in kept and key.startswith("s.") else {}
        try:
            parsed({**alone, key: value})
            kept[key] = value
        except ValueError as error:
            problems.append(Problem(key, value, error))
    return parsed(kept), problems
