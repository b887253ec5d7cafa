"""What a URL or a command line says of a picture: lenient, or strict for programs."""

from collections.abc import Collection, Mapping
from typing import Any

from engine.contract import Choice
from engine.mechanisms import MECHANISMS
from engine.sources import SOURCES
from engine.spec.fields import CONTENT, CONTENT_FIELDS, FIELDS, LONGEST_TEXT, MOST_COLUMNS
from engine.spec.picture import DEFAULT, Spec, field_of, prefix_of
from engine.spec.spelling import Problem, allowed, declarations, read_pairs, read_value


def read(
    query: Mapping[str, str], *, samples: Collection[str] | None = None
) -> tuple[Spec, list[Problem]]:
    """The spec that a URL says, and what in it could not be used.

    Every value that is right is kept; for each that is not, the default stands. Keys that are
    not ours are left alone.

    Args:
        query: key -> value. samples: ids of the sample texts there are, if known.
    """
    problems: list[Problem] = []
    found = _content(query, samples, problems)
    for key, declared in FIELDS.items():
        if key in query:
            found |= {field_of(key): v for v in read_value(query, key, declared, problems)}
    for prefix, name, registry, chosen in (
        ("s.", "source_params", SOURCES, found.get("source", DEFAULT.source)),
        ("m.", "params", MECHANISMS, found.get("mechanism", DEFAULT.mechanism)),
    ):
        found[name] = read_pairs(query, prefix, declarations(registry, chosen), problems)
    if "with" in query:
        found["others"] = _others(query, problems)
    columns = query.get("with", "").count(",") + 1 if query.get("with") else 0
    for i in range(2 + columns, MOST_COLUMNS + 1):
        stray = [key for key in query if key.startswith(prefix_of(i))]
        problems += [Problem(key, query[key], "with=…") for key in stray]
    return Spec(**found), problems


def parsed(query: Mapping[str, str]) -> Spec:
    """The spec that these keys say, strictly.

    Raises:
        ValueError: something can't be used; says what is allowed.
    """
    spec, problems = read(query)
    if problems:
        raise ValueError(str(problems[0]))
    return spec


def _content(
    query: Mapping[str, str], samples: Collection[str] | None, problems: list[Problem]
) -> dict[str, Any]:
    """Where Q, K and V come from: the first of the keys that name it."""
    for key in (key for key in CONTENT if key in query):
        value = query[key]
        if key == "text" and len(value) > LONGEST_TEXT:
            problems.append(Problem(key, value, f"≤ {LONGEST_TEXT:,}", "length"))
            value = value[:LONGEST_TEXT]
        declared = CONTENT_FIELDS[key]
        try:
            declared.check(key, value)
            if key == "sample" and samples is not None and value not in samples:
                raise ValueError
            return {"source": key, "content": value}
        except ValueError:
            choices = allowed(declared) or ", ".join(samples or (DEFAULT.content,))
            problems.append(Problem(key, value, choices))
    if "source" in query:
        if query["source"] in SOURCES:
            return {"source": query["source"]}
        problems.append(Problem("source", query["source"], ", ".join(SOURCES)))
    return {}


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
        found.append((key, read_pairs(query, prefix_of(i), declared, problems)))
    return tuple(found)
