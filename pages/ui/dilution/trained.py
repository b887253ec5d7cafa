"""The same small model trained from scratch with each mechanism: what its cards say of theory."""

import html
from collections.abc import Sequence

import streamlit as st

from engine.dilution import trained as findings
from engine.dilution.trained import REFERENCE, Cards, Found
from engine.figures.dilution.trained import Line, by_position, lines, role
from engine.models.zoo import kept
from engine.models.zoo.recipes import KINDS, LEFT_OUT, ON_REQUEST
from engine.text import quantities
from pages.ui.dilution.shared import caption, place, sentence
from pages.ui.shared import frame
from pages.ui.shared.settings import setting, trained_name
from pages.ui.shared.strings import language, spoken, t
from pages.ui.url import linked
from pages.ui.url.linked import Fields, one_of

BOOKS = ("en", "zh")
ZOO = Fields("zoo-", {"model": one_of(tuple(KINDS)), "book": one_of(BOOKS)})
THINNING = ("effective_tokens", "needle_mass")
MARKS = {"holds": "✓", "fails": "✗", "none": "=", "unknown": "?"}


def draw() -> None:
    """Controls, loss by position, attention by length, predictions, all models."""
    cards = kept.measured()
    there = [name for name in KINDS if name in cards]
    if REFERENCE not in there:
        with st.container(key="trouble"):
            st.text(t("zoo.empty"))
        return
    others = [name for name in there if name != REFERENCE]
    with st.sidebar:
        book = linked.segments(
            ZOO, "book", t("zoo.book"), lambda tag: t(f"zoo.book.{tag}"), default=language()
        )
        chosen = REFERENCE
        if others:
            chosen = linked.select(
                ZOO, "model", t("zoo.model"), trained_name, there, default=others[0]
            )
    trained = findings.trained_length(cards[REFERENCE])
    st.subheader(t("zoo.title"), anchor=False)
    drawn = by_position(cards, book, chosen, trained_name)
    place(lines(drawn, trained=trained, theme=frame.theme(), t=t), "zoo-loss")
    told(cards, book, chosen)
    caption(t("zoo.setup", **recipe(cards)), "zoo-setup")
    thinning(cards, book, chosen, trained)
    st.subheader(t("zoo.findings"), anchor=False)
    predictions(findings.findings(cards, book), chosen)
    caption(chance(cards, book), "zoo-chance")
    st.subheader(t("zoo.table"), anchor=False)
    table(cards, book, chosen, trained)
    caption(t("zoo.table_caption"), "zoo-table")
    with st.expander(t("zoo.left_out")):
        for key, reason in LEFT_OUT.items():
            name = t(f"mechanism.{key}.name")
            st.text(t("zoo.left_out.one", name=name, reason=spoken(reason)))
        if further := [trained_name(name) for name in ON_REQUEST if name not in cards]:
            st.text(t("zoo.on_request", names=t("list.join").join(further)))


def by_length(cards: Cards, book: str, chosen: str, metric: str) -> list[Line]:
    """A statistic of every model's attention, and of the chosen mechanism over the reference's
    Q and K."""
    drawn = []
    for name in (name for name in KINDS if name in cards):
        if found := findings.over_length(cards[name], book, metric):
            drawn.append(Line(trained_name(name), found, role(name, chosen)))
    if applied := findings.over_length(cards[chosen], book, metric, "applied"):
        drawn.append(Line(t("zoo.applied"), applied, "applied"))
    return drawn


def recipe(cards: Cards) -> dict[str, int]:
    """What all models share, for words."""
    training = cards[REFERENCE]["training"]
    return {
        "steps": training["step"], "tokens": training["tokens"],
        "trained": findings.trained_length(cards[REFERENCE]),
        "layers": training["layers"], "heads": training["heads"],
        "parameters": cards[REFERENCE]["measured"]["parameters"],
    }  # fmt: skip


def told(cards: Cards, book: str, chosen: str) -> None:
    """The chosen model's loss within and beyond the trained length, beside the reference's."""
    own, full = (findings.losses(cards[name], book) for name in (chosen, REFERENCE))
    facts = {
        "name": trained_name(chosen), "trained": min(own), "last": max(own),
        "first": own[min(own)], "end": own[max(own)],
        "full_first": full[min(full)], "full_end": full[max(full)],
    }  # fmt: skip
    if chosen == REFERENCE:
        sentence(t("zoo.says.reference", **facts))
        return
    words = [t("zoo.says", **facts)]
    off = findings.chance(cards, lambda card: findings.losses(card, book).get(facts["last"]))
    if off is not None and abs(facts["end"] - facts["full_end"]) <= off:
        words.append(t("zoo.says.none", chance=off))
    sentence(t("dilution.sentences").join(words))


def thinning(cards: Cards, book: str, chosen: str, trained: int) -> None:
    """Effective tokens and needle mass over the text's length."""
    for column, metric in zip(st.columns(2, gap="large"), THINNING, strict=True):
        with column:
            st.subheader(t(f"zoo.{metric}"), anchor=False)
            drawn = by_length(cards, book, chosen, metric)
            if not drawn:
                st.text(t("zoo.unmeasured"))
                continue
            place(
                lines(drawn, trained=trained, metric=metric, theme=frame.theme(), t=t, height=380),
                f"zoo-{metric}",
            )
            if said := spread(cards, book, chosen, metric):
                sentence(said, f"-{metric}")
            caption(t(f"zoo.{metric}_caption"), f"zoo-{metric}")


def spread(cards: Cards, book: str, chosen: str, metric: str) -> str:
    """The chosen model's statistic at the trained length and at the longest, and the same of the
    mechanism over the reference's Q and K."""
    own = findings.over_length(cards[chosen], book, metric)
    if not own:
        return t("zoo.signed", name=trained_name(chosen))
    number = quantities.share if metric == "needle_mass" else "{:,.1f}".format
    facts = {
        "name": trained_name(chosen), "first": min(own), "last": max(own),
        "before": number(own[min(own)]), "after": number(own[max(own)]),
    }  # fmt: skip
    words = [t(f"zoo.{metric}.says", **facts)]
    if applied := findings.over_length(cards[chosen], book, metric, "applied"):
        ends = number(applied[min(applied)]), number(applied[max(applied)])
        words.append(t("zoo.applied.says", before=ends[0], after=ends[1]))
    return t("dilution.sentences").join(words)


def predictions(found: Sequence[Found], chosen: str) -> None:
    """What theory predicts, and what was found."""
    rows = []
    for one in found:
        claim = one.prediction.claim
        own = ' class="chosen"' if one.prediction.model == chosen else ""
        cells = [
            t(f"zoo.verdict.{one.verdict}"), t(f"zoo.claim.{claim}"),
            t(f"zoo.found.{claim}", **one.facts), one.prediction.source or t("zoo.formula"),
        ]  # fmt: skip
        rows.append(
            f"<tr{own}><th>{html.escape(trained_name(one.prediction.model))}</th>"
            f'<td class="{one.verdict}">{MARKS[one.verdict]} {html.escape(cells[0])}</td>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[1:])
            + "</tr>"
        )
    head = "".join(
        f"<th>{html.escape(t(f'zoo.column.{name}'))}</th>"
        for name in ("model", "verdict", "claim", "found", "source")
    )
    st.html(
        f'<table class="figures findings"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def chance(cards: Cards, book: str) -> str:
    """By how much seeds alone differ, or that it isn't known."""
    off = findings.chance(cards, lambda card: findings.bits(card, book))
    loss = findings.chance(cards, lambda card: findings.rise(card, book))
    if off is None or loss is None:
        return t("zoo.chance.unknown", still=findings.STILL)
    names = [name for name in KINDS if len(findings.seeds(cards, name)) > 1]
    return t(
        "zoo.chance", names=t("dilution.join").join(map(trained_name, names)), bits=off, loss=loss,
        still=findings.STILL,
    )  # fmt: skip


def table(cards: Cards, book: str, chosen: str, trained: int) -> None:
    """Every model's figures."""
    head = [t("zoo.column.model"), *(t("zoo.column.bits", book=t(f"zoo.book.{x}")) for x in BOOKS)]
    head += [t("zoo.column.loss", n=times * trained) for times in findings.TIMES]
    head += [t("zoo.column.needle", n=times * trained) for times in findings.TIMES[:2]]
    rows = []
    for line in findings.table(cards, book):
        cells = [*(line.bits.get(x) for x in BOOKS)]
        said = [_number(x, 3) for x in cells] + [_number(x, 2) for x in line.losses]
        said += [_number(x, 2) for x in line.needles[:2]]
        own = ' class="chosen"' if line.name == chosen else ""
        name, more = map(html.escape, (trained_name(line.name), _settings(line.name)))
        rows.append(
            f"<tr{own}><th>{name}<small>{more}</small></th>"
            + "".join(f"<td>{x}</td>" for x in said)
            + "</tr>"
        )
    st.html(
        '<table class="figures models"><thead><tr>'
        + "".join(f"<th>{html.escape(x)}</th>" for x in head)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _settings(name: str) -> str:
    """The parameters that were said of a model, unless it has a name of its own for them."""
    kind = KINDS[name]
    parameters = kind.parameters.items() if name == kind.key else ()
    return "".join(f" · {setting(kind.key, key, value)}" for key, value in parameters)
