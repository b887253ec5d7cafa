"""One choice of text, model, mechanism and view, and how a URL, a command line and JSON spell it.

A `Spec` is frozen and canonical: parameters at their defaults are left out, so equal choices are
equal specs. Reading is lenient (`read` keeps what is right and lists what is not), making strict.

URL keys: `sample` `text` `file` `arrays` or `source` (where Q, K, V come from), `s.*` (its
parameters), `model` `by` `sight` `layer` `mechanism` `m.*` (its parameters), `with` (what stands
beside it, with commas) `m2.*` `m3.*` `m4.*` (theirs, by column), `column` `head` `query` `colour`
`pool` `group` `block` `grouping` `hide` `zoom` `lang`. A command line takes the same, after `--`.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from engine.contract import Choice, Pairs, Param, Pool, params_of
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.sources import SOURCES
from engine.spec.fields import (
    ALLOWED,
    CHECKS,
    CONTENT,
    CONTENT_CHECKS,
    LONGEST_TEXT,
    MOST_COLUMNS,
    PARSERS,
    TEXTUAL,
    Problem,
    allowed,
)


def digest(content: str | bytes) -> str:
    """The name of a text or upload that is too long for a URL: 16 hexadecimal digits."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]


def declarations(registry: Mapping[str, type], key: str) -> dict[str, Param]:
    """The declared parameters of one mechanism or source; none if it has none."""
    return params_of(registry[key]) if key in registry else {}


def choice(mechanism: Mechanism) -> Choice:
    """The key of a mechanism, and those of its parameters that are not at their defaults."""
    declared = params_of(type(mechanism))
    pairs = ((name, getattr(mechanism, name)) for name in declared)
    return mechanism.key, tuple((k, v) for k, v in pairs if v != declared[k].default)


def _canonical(declared: Mapping[str, Param], pairs: Pairs, prefix: str) -> Pairs:
    given = dict(pairs)
    if unknown := given.keys() - declared.keys():
        raise ValueError(f"unknown parameter {prefix}{min(unknown)}")
    checked = {k: p.check(f"{prefix}{k}", given[k]) for k, p in declared.items() if k in given}
    return tuple((k, v) for k, v in checked.items() if v != declared[k].default)


@dataclass(frozen=True)
class Spec:
    """One choice of everything a page can show.

    Attributes:
        source: where Q, K, V come from: "sample", "text", "file" (a long text), "arrays" (an
            upload), or a key of SOURCES.
        content: the sample's id, the text itself (2,000 characters at most), or a digest.
        source_params: of a generated source, those not at their defaults.
        model: "tiny" (the embedded one), a folder or a hub id. by: what it reads one by one,
            "tokens" or "characters". sight: "own", or "both" ways where the layer looks back
            only, which is not the model's own attention. layer: None = the model's own pick.
        mechanism, params: a key of MECHANISMS and those parameters not at their defaults.
        others: what stands beside it where mechanisms are compared, three at most; None = what
            suits it. column: the one (from 1) that is looked at more closely; None = the page's.
        head: a head, "all", or None = the one that looks back most sharply.
        query: a position, or None = the row that looks back most sharply.
        colour: what a cell's colour means. pool: how a cell stands for many pairs.
        group: level of units, "segments" or "blocks"; block: tokens in one of them.
        grouping: how mass by group is drawn, "matrix" or "icicle".
        hide: keys set aside, in order. zoom: rows r0:r1 and columns c0:c1, or None = everything.
        language: "en", "zh" or None = the browser's.

    Raises:
        ValueError: a value that is not allowed.
    """

    source: str = "sample"
    content: str = "lamp"
    source_params: Pairs = ()
    model: str = "tiny"
    by: str = "tokens"
    sight: str = "own"
    layer: int | None = None
    mechanism: str = "softmax"
    params: Pairs = ()
    others: tuple[Choice, ...] | None = None
    column: int | None = None
    head: int | str | None = None
    query: int | None = None
    colour: str = "weight"
    pool: Pool = "max"
    group: str = "words"
    block: int = 16
    grouping: str = "matrix"
    hide: tuple[int, ...] = ()
    zoom: tuple[int, int, int, int] | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        if self.source in SOURCES:
            object.__setattr__(self, "content", "")
        for name, check in CHECKS.items():
            check(name, getattr(self, name))
        if self.source in CONTENT:
            CONTENT_CHECKS[self.source](self.source, self.content)
        object.__setattr__(self, "hide", tuple(sorted(set(self.hide))))
        for name, prefix, registry, key in (
            ("source_params", "s.", SOURCES, self.source),
            ("params", "m.", MECHANISMS, self.mechanism),
        ):
            pairs = _canonical(declarations(registry, key), getattr(self, name), prefix)
            object.__setattr__(self, name, pairs)
        if self.others is not None:
            if len(self.others) >= MOST_COLUMNS:
                raise ValueError(f"at most {MOST_COLUMNS} mechanisms can be compared")
            for key, _ in self.others:
                CHECKS["mechanism"]("with", key)
            choices = tuple(
                (key, _canonical(declarations(MECHANISMS, key), pairs, prefix_of(i)))
                for i, (key, pairs) in enumerate(self.others, 2)
            )
            object.__setattr__(self, "others", choices)

    # -- asking ------------------------------------------------------------------------------

    @property
    def textual(self) -> bool:
        """True if Q, K, V come from a text read by a model."""
        return self.source in TEXTUAL

    def arguments(self) -> dict[str, Any]:
        """All parameters of the mechanism, defaults included."""
        return _filled(declarations(MECHANISMS, self.mechanism), self.params)

    @property
    def columns(self) -> tuple[Choice, ...]:
        """What is compared, this mechanism first: with full softmax by default, or, where it is
        full softmax itself, with two that see less."""
        own = (self.mechanism, self.params)
        if self.others is not None:
            return (own, *self.others)
        if own != FULL:
            return own, FULL
        return (own, *((key, ()) for key in BESIDE_FULL))

    def source_arguments(self) -> dict[str, Any]:
        """All parameters of a generated source, defaults included."""
        return _filled(declarations(SOURCES, self.source), self.source_params)

    def reading_key(self) -> str:
        """What decides one pass of a model over a text, as a string for caches."""
        return json.dumps([self.source, self.content, self.model, self.by])

    def source_key(self) -> str:
        """What decides Q, K and V, as a string for caches."""
        where = (self.model, self.by, self.layer) if self.textual else ()
        return json.dumps([self.source, self.content, self.source_params, where, self.sight])

    def attention_key(self) -> str:
        """What decides the weights, as a string for caches."""
        return json.dumps([self.source_key(), self.mechanism, self.params, self.hide])

    # -- changing ----------------------------------------------------------------------------

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; parameters of another source or mechanism are dropped,
        and what pointed into the old text (query, zoom, hidden keys) with it."""
        if "source" in changes and "source_params" not in changes:
            changes["source_params"] = ()
        if "mechanism" in changes and "params" not in changes:
            changes["params"] = ()
        new = replace(self, **changes)
        if (new.source, new.content, new.source_params, new.by) == (
            self.source, self.content, self.source_params, self.by,
        ):  # fmt: skip
            return new
        stale = {"query": None, "zoom": None, "hide": tuple(i for i in new.hide if i == 0)}
        return replace(new, **{k: v for k, v in stale.items() if k not in changes})

    def with_columns(self, columns: Sequence[Choice]) -> Self:
        """The same with these mechanisms side by side."""
        (mechanism, params), *others = columns
        column = self.column if self.column and self.column <= len(columns) else None
        return self.replace(
            mechanism=mechanism, params=params, others=tuple(others), column=column
        )

    def first(self, column: int) -> Self:
        """The same with one of the columns (from 0) first, the rest in their order."""
        columns = self.columns
        return self.with_columns([columns[column], *columns[:column], *columns[column + 1 :]])

    def with_text(self, text: str) -> Self:
        """The same over a person's own text, by itself if it is short, by its digest if not."""
        if len(text) <= LONGEST_TEXT:
            return self.replace(source="text", content=text)
        return self.replace(source="file", content=digest(text))

    # -- writing -----------------------------------------------------------------------------

    def query_params(self) -> dict[str, str]:
        """What a URL says; defaults are left out."""
        said: dict[str, str] = {}
        if self.source in CONTENT:
            if (self.source, self.content) != (DEFAULT.source, DEFAULT.content):
                said[self.source] = self.content
        else:
            said["source"] = self.source
        said |= {f"s.{k}": _spelt(v) for k, v in self.source_params}
        for key in ("model", "by", "sight", "layer", "mechanism"):
            _say(said, key, getattr(self, key), getattr(DEFAULT, key))
        said |= {f"m.{k}": _spelt(v) for k, v in self.params}
        if self.others is not None:
            said["with"] = ",".join(key for key, _ in self.others)
            for i, (_, pairs) in enumerate(self.others, 2):
                said |= {f"{prefix_of(i)}{k}": _spelt(v) for k, v in pairs}
        for key in (
            "column", "head", "query", "colour", "pool", "group", "block", "grouping", "hide",
            "zoom",
        ):  # fmt: skip
            _say(said, key, getattr(self, key), getattr(DEFAULT, key))
        _say(said, "lang", self.language, None)
        return said

    def argv(self) -> list[str]:
        """What a command line says."""
        return [f"--{key}={value}" for key, value in self.query_params().items()]

    def to_json(self) -> str:
        """Everything, defaults included, as a JSON object."""
        plain = asdict(self)
        plain["source_params"], plain["params"] = dict(self.source_params), dict(self.params)
        if self.others is not None:
            plain["others"] = [[key, dict(pairs)] for key, pairs in self.others]
        return json.dumps(plain, ensure_ascii=False)

    # -- reading -----------------------------------------------------------------------------

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The spec that `to_json` wrote.

        Raises:
            ValueError: the text is no JSON object of a spec, or a value is not allowed.
        """
        plain = json.loads(text)
        names = {f.name for f in fields(cls)}
        if not isinstance(plain, dict) or plain.keys() - names:
            raise ValueError("not a spec: an object with the fields of Spec is expected")
        for name in ("source_params", "params"):
            if name in plain:
                plain[name] = tuple(plain[name].items())
        for name in ("hide", "zoom"):
            if plain.get(name) is not None:
                plain[name] = tuple(plain[name])
        if plain.get("others") is not None:
            plain["others"] = tuple((key, tuple(pairs.items())) for key, pairs in plain["others"])
        return cls(**plain)

    @classmethod
    def from_argv(cls, argv: Sequence[str]) -> Self:
        """The spec that a command line says, `--key=value` each.

        Raises:
            ValueError: something on it can't be used; says what is allowed.
        """
        query = {}
        for word in argv:
            key, equals, value = word.removeprefix("--").partition("=")
            if not (word.startswith("--") and equals):
                raise ValueError(f"expected --key=value, not {word!r}")
            query[key] = value
        spec, problems = read(query, cls)
        if problems:
            raise ValueError(str(problems[0]))
        return spec


def _filled(declared: Mapping[str, Param], pairs: Pairs) -> dict[str, Any]:
    return {k: p.default for k, p in declared.items()} | dict(pairs)


def _spelt(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value)
    return repr(value) if isinstance(value, float) else str(value)


def _say(said: dict[str, str], key: str, value: Any, default: Any) -> None:
    if value != default:
        said[key] = _spelt(value)


FULL: Choice = ("softmax", ())
BESIDE_FULL = sorted(
    (key for key, cls in MECHANISMS.items() if cls.beside_full),
    key=lambda key: MECHANISMS[key].beside_full,
)
DEFAULT = Spec()


def read(
    query: Mapping[str, str], cls: type[Any] = Spec, *, samples: Collection[str] | None = None
) -> tuple[Any, list[Problem]]:
    """The spec that a URL says, and what in it could not be used.

    Every value that is right is kept; for each that is not, the default stands. Keys that are
    not ours are left alone.

    Args:
        query: key -> value. samples: ids of the sample texts there are, if known.
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []

    for key in CONTENT:
        if key not in query or "source" in found:
            continue
        value = query[key]
        if key == "text" and len(value) > LONGEST_TEXT:
            problems.append(Problem(key, value, f"≤ {LONGEST_TEXT:,}", "length"))
            value = value[:LONGEST_TEXT]
        try:
            CONTENT_CHECKS[key](key, value)
            if key == "sample" and samples is not None and value not in samples:
                raise ValueError
            found |= {"source": key, "content": value}
        except ValueError:
            choices = ALLOWED.get(key) or ", ".join(samples or (DEFAULT.content,))
            problems.append(Problem(key, value, choices))
    if "source" in query and "source" not in found:
        if query["source"] in SOURCES:
            found["source"] = query["source"]
        else:
            problems.append(Problem("source", query["source"], ", ".join(SOURCES)))

    for key, parse in PARSERS.items():
        if key not in query:
            continue
        name = "language" if key == "lang" else key
        try:
            value = parse(query[key])
            CHECKS[name](key, value)
            found[name] = value
        except ValueError:
            choices = ALLOWED.get(key) or ", ".join(MECHANISMS)
            problems.append(Problem(key, query[key], choices))

    for prefix, name, registry, chosen in (
        ("s.", "source_params", SOURCES, found.get("source", DEFAULT.source)),
        ("m.", "params", MECHANISMS, found.get("mechanism", DEFAULT.mechanism)),
    ):
        found[name] = _parameters(query, prefix, declarations(registry, chosen), problems)
    if "with" in query:
        found["others"] = _others(query, problems)
    columns = query.get("with", "").count(",") + 1 if query.get("with") else 0
    for i in range(2 + columns, MOST_COLUMNS + 1):
        stray = [key for key in query if key.startswith(prefix_of(i))]
        problems += [Problem(key, query[key], "with=…") for key in stray]
    return cls(**found), problems


def prefix_of(column: int) -> str:
    """How the parameters of a column (from 1) begin in a URL."""
    return "m." if column == 1 else f"m{column}."


def _others(query: Mapping[str, str], problems: list[Problem]) -> tuple[Choice, ...]:
    """The columns beside the first; one that can't be used is left out, the rest keep theirs."""
    keys = query["with"].split(",") if query["with"] else []
    if len(keys) >= MOST_COLUMNS:
        problems.append(Problem("with", query["with"], f"≤ {MOST_COLUMNS - 1}", "number"))
    found = []
    for i, key in enumerate(keys[: MOST_COLUMNS - 1], 2):
        if key not in MECHANISMS:
            problems.append(Problem("with", key, ", ".join(MECHANISMS)))
            continue
        declared = declarations(MECHANISMS, key)
        found.append((key, _parameters(query, prefix_of(i), declared, problems)))
    return tuple(found)


def _parameters(
    query: Mapping[str, str],
    prefix: str,
    declared: Mapping[str, Param],
    problems: list[Problem],
) -> Pairs:
    """What a URL says of the parameters with this prefix."""
    pairs = []
    for key in (k for k in query if k.startswith(prefix)):
        parameter = declared.get(key.removeprefix(prefix))
        if parameter is None:
            choices = ", ".join(prefix + k for k in declared) or "–"
            problems.append(Problem(key, query[key], choices))
            continue
        try:
            pairs.append((key.removeprefix(prefix), parameter.parse(key, query[key])))
        except ValueError:
            kind = "choice" if parameter.choices or parameter.kind is bool else "number"
            problems.append(Problem(key, query[key], allowed(parameter), kind))
    return tuple(pairs)
