"""One choice of text, model, mechanism and view, and how a URL, a command line and JSON spell it.

A `Spec` is frozen and canonical: what a source is given at its defaults is left out, so equal
choices are equal specs. Of a mechanism's parameters all that were chosen are kept: the others suit
the text. Making one is strict; reading what a URL says of it (`spec.links`) is lenient.

URL keys: `sample` `text` `file` `arrays` or `source` (where Q, K, V come from), `s.*` (its
parameters), `model` `second` `picture` `by` `item` `crop` `sight` `layer` `mechanism` `m.*` (its
own), `trained`, `with` (what stands beside it, with commas) `m2.*` `m3.*` `m4.*` (theirs, by
column), `column` `head` `query` `colour` `pool` `group` `block` `grouping` `hide` `zoom` `lang`. A
command line takes the same, after `--`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from engine.contract import QKV, Choice, Pairs, Param, Pool, Refusal, one_of, params_of
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.models import embedded
from engine.sources import SOURCES
from engine.sources.stacks import Crop
from engine.spec.fields import (
    CONTENT,
    CONTENT_FIELDS,
    FIELDS,
    LONGEST_TEXT,
    MOST_COLUMNS,
    TEXTUAL,
)
from engine.spec.spelling import (
    canonical,
    checked,
    declarations,
    mechanism,
    spell,
    spell_pairs,
)


def digest(content: str | bytes) -> str:
    """The name of a text or upload that is too long for a URL: 16 hexadecimal digits."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]


def choice(mechanism: Mechanism) -> Choice:
    """The key of a mechanism, and those of its parameters that are not at their defaults."""
    declared = params_of(type(mechanism))
    pairs = ((name, getattr(mechanism, name)) for name in declared)
    return mechanism.key, tuple((k, v) for k, v in pairs if v != declared[k].default)


@dataclass(frozen=True)
class Spec:
    """One choice of everything a page can show.

    Attributes:
        source: where Q, K, V come from: "sample", "text", "file" (a long text), "arrays" (an
            upload), or a key of SOURCES.
        content: the sample's id, the text itself (2,000 characters at most), or a digest.
        source_params: of a generated source, those not at their defaults.
        model: one that comes with the project ("tiny"), a folder or a hub id. second: a second
            text: what its decoder writes, or the other text of a pair; "" for none. picture: an
            image that it reads with the text, a drawing's id or an upload's digest; "" for none.
            by: what it reads one by one, "tokens" or "characters". item, crop: of a person's own
            weights, the text of the batch, and which keys are kept where there are more than
            tokens. sight: "own", or "both" ways where the layer looks back only, which is not the
            model's own attention. layer: None = the model's own pick.
        mechanism, params: a key of MECHANISMS and those parameters that were chosen; the others
            suit what is attended (`suited`).
        trained: "same", the mechanism is applied to the Q and K of `model`, or "own", to those of
            the model that was trained with it, where there is one (`as_trained`).
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
    content: str = CONTENT_FIELDS["sample"].default
    source_params: Pairs = ()
    model: str = FIELDS["model"].default
    second: str = FIELDS["second"].default
    picture: str = FIELDS["picture"].default
    by: str = FIELDS["by"].default
    item: int = FIELDS["item"].default
    crop: Crop = FIELDS["crop"].default
    sight: str = FIELDS["sight"].default
    layer: int | None = FIELDS["layer"].default
    mechanism: str = FIELDS["mechanism"].default
    params: Pairs = ()
    trained: str = FIELDS["trained"].default
    others: tuple[Choice, ...] | None = None
    column: int | None = FIELDS["column"].default
    head: int | str | None = FIELDS["head"].default
    query: int | None = FIELDS["query"].default
    colour: str = FIELDS["colour"].default
    pool: Pool = FIELDS["pool"].default
    group: str = FIELDS["group"].default
    block: int = FIELDS["block"].default
    grouping: str = FIELDS["grouping"].default
    hide: tuple[int, ...] = FIELDS["hide"].default
    zoom: tuple[int, int, int, int] | None = FIELDS["zoom"].default
    language: str | None = FIELDS["lang"].default

    def __post_init__(self) -> None:
        one_of("source", self.source, (*CONTENT, *SOURCES))
        if self.source in CONTENT:
            CONTENT_FIELDS[self.source].check(self.source, self.content)
        else:
            object.__setattr__(self, "content", "")
        for key, declared in FIELDS.items():
            value = getattr(self, field_of(key))
            if value is not None or declared.default is not None:
                declared.check(key, value)
        object.__setattr__(self, "hide", tuple(sorted(set(self.hide))))
        pairs = canonical(declarations(SOURCES, self.source), self.source_params, "s.")
        object.__setattr__(self, "source_params", pairs)
        pairs = checked(declarations(MECHANISMS, self.mechanism), self.params, "m.")
        object.__setattr__(self, "params", pairs)
        if self.others is not None:
            if len(self.others) >= MOST_COLUMNS:
                raise Refusal("at most {most} mechanisms can be compared", most=MOST_COLUMNS)
            choices = tuple(
                (key, checked(declarations(MECHANISMS, mechanism(key)), pairs, prefix_of(i)))
                for i, (key, pairs) in enumerate(self.others, 2)
            )
            object.__setattr__(self, "others", choices)

    # -- asking ------------------------------------------------------------------------------

    @property
    def textual(self) -> bool:
        """True if Q, K, V come from a text read by a model."""
        return self.source in TEXTUAL

    @property
    def encoder(self) -> str:
        """The vision model that reads the image; "" for none."""
        return str(dict(self.source_params).get("encoder", ""))

    def arguments(self) -> dict[str, Any]:
        """All parameters of the mechanism, defaults included."""
        return _filled(declarations(MECHANISMS, self.mechanism), self.params)

    def suited(self, given: QKV) -> Self:
        """The same with every parameter said: those that were not chosen as they show something
        on a text of this length, or an image of this size."""
        made = MECHANISMS[self.mechanism](**self.arguments()).suited_to(given)
        fitting = {name: getattr(made, name) for name in params_of(type(made))}
        return replace(self, params=tuple((fitting | dict(self.params)).items()))

    def as_trained(self) -> Self | None:
        """The same as the model reads it that was trained with this mechanism, with what it was
        trained with; None where there is no such model, or no text."""
        name = self.textual and embedded.trained_with(self.mechanism, self.params)
        if not name:
            return None
        kind = embedded.kind_of(name)
        assert kind is not None
        return self.replace(model=name, params=embedded.settings(kind))

    @property
    def columns(self) -> tuple[Choice, ...]:
        """What is compared, this mechanism first: with full softmax by default, or, where it is
        full softmax itself, with two that see less."""
        own = (self.mechanism, self.params)
        if self.others is not None:
            return (own, *self.others)
        if not is_full(own):
            return own, FULL
        return (own, *((key, ()) for key in BESIDE_FULL))

    def source_arguments(self) -> dict[str, Any]:
        """All parameters of a generated source, defaults included."""
        return _filled(declarations(SOURCES, self.source), self.source_params)

    def reading_key(self) -> str:
        """What decides one pass of a model over a text or an image, as a string for caches."""
        if self.encoder:
            return json.dumps([self.source, self.source_params])
        return json.dumps([self.source, self.content, *self._read])

    def source_key(self) -> str:
        """What decides Q, K and V, as a string for caches."""
        where: tuple[Any, ...] = (*self._read, self.layer) if self.textual else ()
        if self.encoder:
            where = (self.layer,)
        if self.source == "arrays":
            where = (self.layer, self.item, self.crop)
        return json.dumps([self.source, self.content, self.source_params, where, self.sight])

    @property
    def _read(self) -> tuple[str, ...]:
        more = (self.second, self.picture)
        return (self.model, self.by, *(more if any(more) else ()))

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
        told = ("source", "content", "source_params", "by", "second", "picture")
        if all(getattr(new, name) == getattr(self, name) for name in told):
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
        if self.source not in CONTENT:
            said["source"] = self.source
        elif (self.source, self.content) != (DEFAULT.source, DEFAULT.content):
            said[self.source] = self.content
        said |= spell_pairs("s.", self.source_params)
        for key, declared in FIELDS.items():
            value = getattr(self, field_of(key))
            if value != declared.default:
                said[key] = spell(value)
            if key == "mechanism":
                said |= spell_pairs("m.", self.params) | self._said_beside()
        return said

    def _said_beside(self) -> dict[str, str]:
        """What a URL says of the columns beside the first."""
        if self.others is None:
            return {}
        said = {"with": spell(tuple(key for key, _ in self.others))}
        for i, (_, pairs) in enumerate(self.others, 2):
            said |= spell_pairs(prefix_of(i), pairs)
        return said

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


def _filled(declared: Mapping[str, Param], pairs: Pairs) -> dict[str, Any]:
    return {k: p.default for k, p in declared.items()} | dict(pairs)


def field_of(key: str) -> str:
    """The field of a spec that a URL's key stands for."""
    return "language" if key == "lang" else key


def prefix_of(column: int) -> str:
    """How the parameters of a column (from 1) begin in a URL."""
    return "m." if column == 1 else f"m{column}."


FULL: Choice = ("softmax", ())


def is_full(choice: Choice) -> bool:
    """True of full softmax with all at its defaults, said or not."""
    key, pairs = choice
    return key == FULL[0] and not canonical(params_of(MECHANISMS[key]), pairs, "m.")


BESIDE_FULL = sorted(
    (key for key, cls in MECHANISMS.items() if cls.beside_full),
    key=lambda key: MECHANISMS[key].beside_full,
)
DEFAULT = Spec()
