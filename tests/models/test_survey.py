"""Every architecture of the installed transformers, read; and the table of them."""

from pathlib import Path

import pytest

from engine.__main__ import SURVEY, main
from engine.models import survey

DOCS = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.mark.parametrize(
    ("kind", "outcome", "said"),
    [
        ("gpt2", "equal", ""),
        ("t5", "equal", ""),
        ("bloom", "weights only", "code of its own"),
        ("mamba", "refused", "has no attention"),
        ("clip", "equal", ""),
        ("vilt", "refused", "together with an image"),
    ],
)
def test_how_some_are_read(kind, outcome, said):
    (row,) = survey.survey([kind])
    assert row.outcome == outcome and said in row.reason
    assert (row.difference is not None and row.difference < 1e-5) == (outcome == "equal")
    made = survey.table([row])
    assert f"| `{kind}` | {row.network} |" in made
    (again,) = survey.tabled(made)
    assert (again.kind, again.outcome, again.reason, again.parts) == (
        row.kind, row.outcome, row.reason, row.parts,
    )  # fmt: skip


def test_the_command_puts_rows_among_those_that_are_there(tmp_path, capsys):
    file = tmp_path / "models.md"
    file.write_text("\n".join(["before", *SURVEY, "after"]))
    for kinds in (["gpt2", "mamba"], ["bert"]):
        assert main(["models", *kinds, "--write", str(file)]) == 0
    assert [row.kind for row in survey.tabled(file.read_text("utf-8"))] == [
        "bert", "gpt2", "mamba",
    ]  # fmt: skip
    assert "mamba has no attention" in capsys.readouterr().out
    text = file.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter")


def test_the_table_is_in_the_documentation():
    text = DOCS.read_text("utf-8")
    assert all(text.count(mark) == 1 for mark in SURVEY)
    for name in ("gpt2", "llama", "bert", "t5", "bart"):
        assert f"| `{name}` |" in text.partition("## Equal")[2].partition("\n## ")[0]


@pytest.mark.sweep
def test_all_that_could_be_read_still_can():
    """Against the table: a new transformers may add rows, but lose none."""
    text = DOCS.read_text("utf-8")
    found = {row.kind: row for row in survey.survey()}
    known = set(survey.kinds())
    for outcome in ("equal", "weights only"):
        for kind in (row.kind for row in survey.tabled(text) if row.outcome == outcome):
            assert kind not in known or found[kind].outcome == outcome, found[kind]
    assert all(r.difference < 1e-4 for r in found.values() if r.difference is not None)
