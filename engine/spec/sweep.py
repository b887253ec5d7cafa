"""One choice of a sweep, and how a URL and a command line spell it.

Keys: `of` (mechanisms, `softmax,window:window=64:sinks=0`), `lengths` (`256,512`, or doublings
`256-16384`), `source`, `s.*` (its parameters), `seeds`, `match` (entropy, needle_mass, none),
`match_at`, `rows`. A command line takes the same, each after `--`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from engine.contract import Choice, Pairs, Param, Refusal, one_of
from engine.dilution.sweep import (
    MOST_BYTES,
    ROWS,
    Match,
    Plan,
    plan,
)
from engine.mechanisms import MECHANISMS
from engine.sources import SWEPT, Passage, Passages
from engine.spec.spelling import (
    LONGEST,
    Problem,
    canonical,
    declarations,
    doublings,
    lengths,
    mechanism,
    parse_choices,
    spell,
    spell_choice,
    spell_pairs,
    to_flags,
    whole,
)

MOST_MECHANISMS = 12
MATCHES = ("none", "entropy", "needle_mass")


@dataclass(frozen=True)
class Lab:
    """A sweep as a person chooses it; what is allowed together is checked by `plan`.

    Attributes:
        mechanisms: keys with those parameters that are not at their defaults.
        lengths: keys, rising. source, source_params: as in a Spec, without n and seed.
        seeds: how many. match: "none" for each mechanism at its paper's own setting, or what all
            are brought to equal softmax in, "entropy" or "needle_mass". match_at: at this many
            keys, 0 for the shortest length. rows: looked at in long texts.

    Raises:
        ValueError: a value that is not allowed.
    """

    mechanisms: tuple[Choice, ...] = (
        ("softmax", ()), ("ssmax", ()), ("entmax", ()), ("window", ()), ("relative", ()),
    )  # fmt: skip
    lengths: tuple[int, ...] = doublings(256, 4096)
    source: str = "planted"
    source_params: Pairs = ()
    seeds: int = 2
    match: str = "none"
    match_at: int = 0
    rows: int = ROWS

    def __post_init__(self) -> None:
        if not 1 <= len(self.mechanisms) <= MOST_MECHANISMS:
            raise Refusal(
                "a sweep compares at least one mechanism and at most {most}", most=MOST_MECHANISMS
            )
        checked = [
            (key, canonical(declarations(MECHANISMS, mechanism(key)), pairs, f"{key}:"))
            for key, pairs in self.mechanisms
        ]
        if len(set(checked)) < len(checked):
            raise Refusal("the same mechanism with the same parameters is listed twice")
        object.__setattr__(self, "mechanisms", tuple(checked))
        one_of("source", self.source, SWEPT)
        params = canonical(_declared(self.source), self.source_params, "s.")
        object.__setattr__(self, "source_params", params)
        if any(not 1 <= n <= LONGEST for n in self.lengths):
            raise Refusal("lengths must lie in 1 … {longest:,}", longest=LONGEST)
        if not 1 <= self.seeds <= 100:
            raise Refusal("seeds must be 1 … 100, not {seeds}", seeds=self.seeds)
        one_of("match", self.match, MATCHES)
        if self.match == "needle_mass" and not self.needles:
            raise Refusal("this source has no needles: match the entropy instead")
        if not 0 <= self.match_at <= LONGEST:
            raise Refusal("match_at must lie in 0 … {longest:,}", longest=LONGEST)
        if not 1 <= self.rows <= 2**16:
            raise Refusal("rows must be 1 … 65,536, not {rows}", rows=self.rows)

    @property
    def needles(self) -> bool:
        """True if the source has needles."""
        declared = _declared(self.source)
        if "needles" not in declared:
            return False
        return bool(dict(self.source_params).get("needles", declared["needles"].default))

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
        said = {}
        if self.mechanisms != Lab.mechanisms:
            said["of"] = ",".join(map(spell_choice, self.mechanisms))
        for name in ("lengths", "source", "seeds", "match", "match_at", "rows"):
            value = getattr(self, name)
            if value != getattr(Lab, name):
                said[name] = spell(value)
        return said | spell_pairs("s.", self.source_params)

    def command(self) -> str:
        """The command line that makes the same sweep."""
        return shlex.join(["python", "-m", "engine", "sweep", *to_flags(self.query_params())])


def _declared(source: str) -> dict[str, Param]:
    """The parameters of a source that are not the sweep's to choose."""
    return {k: p for k, p in declarations(SWEPT, source).items() if k not in ("n", "seed")}


def _match(text: str) -> str:
    one_of("match", text, MATCHES)
    return text


PARSERS = {
    "of": parse_choices,
    "lengths": lengths,
    "source": str,
    "seeds": whole,
    "match": _match,
    "match_at": whole,
    "rows": whole,
}
"""Key -> what reads its spelling."""


def parsed(query: Mapping[str, str]) -> Lab:
    """A sweep from its spelling, strictly.

    Raises:
        ValueError: a key or a value that is not allowed.
    """
    declared = declarations(SWEPT, query.get("source", Lab.source))
    found: dict[str, Any] = {}
    pairs = []
    for key, value in query.items():
        name = key.removeprefix("s.")
        if key in PARSERS:
            found["mechanisms" if key == "of" else key] = PARSERS[key](value)
        elif key.startswith("s.") and name in declared:
            pairs.append((name, declared[name].parse(key, value)))
        else:
            raise Refusal("a sweep has no setting {key!r}", key=key)
    return Lab(**found, source_params=tuple(pairs))


def read(query: Mapping[str, str]) -> tuple[Lab, list[Problem]]:
    """A sweep from a URL, leniently: what can't be used is left out and listed."""
    kept: dict[str, str] = {}
    problems = []
    # the source comes before its parameters, and both before what depends on them
    for key in sorted(query, key=lambda key: (key != "source", not key.startswith("s."))):
        try:
            parsed(kept | {key: query[key]})
            kept[key] = query[key]
        except ValueError as error:
            problems.append(Problem(key, query[key], error))
    return parsed(kept), problems
