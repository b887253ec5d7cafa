"""The command line, as a person uses it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.__main__ import ROOT, main
from engine.dilution import opening
from engine.models import embedded, load
from engine.runtime.paths import TINY
from engine.spec.sweep import Lab


def run(capsys, *argv: str) -> tuple[int, str, str]:
    status = main(argv)
    out = capsys.readouterr()
    return status, out.out, out.err


def test_attend_prints_a_table(capsys):
    status, out, _ = run(
        capsys, "attend", "--text", "Quill sings. Quill sleeps.", "--mechanism", "window",
        "--window", "4", "--stats",
    )  # fmt: skip
    lines = out.splitlines()
    assert status == 0 and "'window': 4" in lines[0]
    assert lines[-5].split()[:2] == ["head", "effective_tokens"] or "effective_tokens" in out
    first = [float(x) for x in lines[-1].split()]
    assert 1 <= first[1] <= 8 and first[9] == pytest.approx(1, abs=1e-4)


def test_a_text_is_read_by_characters(capsys):
    status, out, _ = run(
        capsys, "attend", "--text", "the lamp", "--by", "characters", "--mechanism",
        "hierarchical", "--aggregate", "max",
    )  # fmt: skip
    assert status == 0 and "9 queries" in out  # one for each, and BOS


@pytest.mark.skipif("zoo-ssmax" not in embedded.trained(), reason="it is not trained")
def test_the_model_that_was_trained_so_attends_with_what_it_learnt(capsys):
    text = "the lamp and the bell and the lamp"
    asked = ["attend", "--text", text, "--mechanism", "ssmax", "--trained", "own", "--layer", "1"]
    status, out, _ = run(capsys, *asked)
    assert status == 0 and "text · ssmax · layer 1" in out
    trace = load(embedded.folder_of("zoo-ssmax"), device="cpu").read(text)
    own = trace.own(1).attend(trace.layer(1)).rows().means()["effective_tokens"]
    table = [float(line.split()[1]) for line in out.splitlines()[-len(own) :]]
    assert table == pytest.approx(own.tolist(), rel=1e-3)


def test_attend_writes_a_page_that_needs_no_network(capsys, tmp_path):
    page = tmp_path / "out.html"
    status, out, _ = run(
        capsys, "attend", "--source", "planted", "--s.n", "64", "--s.heads=1", "--html", str(page)
    )
    text = page.read_text("utf-8")
    assert status == 0 and "wrote" in out and "planted" in text
    assert "<script src=" not in text and "cdn.plot.ly" not in text.split("Plotly.newPlot")[-1]


def test_tokens_in_the_page_are_inert(capsys, tmp_path):
    page = tmp_path / "out.html"
    hostile = "<script>alert(1)</script> <b>bold</b> $x^2$ %{z}"
    status, _, _ = run(capsys, "attend", "--text", hostile, "--html", str(page))
    assert status == 0 and "<script>alert(1)" not in page.read_text("utf-8")


def test_own_arrays(capsys, tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, weights=np.eye(5)[None])
    status, out, _ = run(capsys, "attend", "--arrays-file", str(path))
    assert status == 0 and "w.npz" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--mechanism", "sofmax"), "mechanism"),
        (("--mechanism", "window", "--window", "0"), "window"),
        (("--windw", "3"), "unknown flag --windw"),
        (("--text", ""), "text"),
        (("--text", "   "), "text"),
        (("--text", "x", "--layer", "99"), "layer"),
        (("--text", "x", "--model", "/no/such/folder"), "/no/such/folder"),
        (("--text-file", "/no/such/file"), "/no/such/file"),
        (("--source", "planted", "--s.n", "5", "--s.needles", "9"), "needles"),
        (("--device", "warp", "--source", "planted"), "no device 'warp'"),
        (("loose",), "expected a flag"),
        (("--head",), "needs a value"),
    ],
)
def test_what_is_wrong_gets_a_sentence(capsys, argv, words):
    status, _, err = run(capsys, "attend", *argv)
    assert status == 2 and err.startswith("error: ") and words in err
    assert "Traceback" not in err


def test_a_sweep_prints_and_writes(tmp_path, capsys) -> None:
    out = tmp_path / "found.json"
    words = ["--of", "softmax,window:window=4", "--lengths", "16-32", "--seeds", "1"]
    assert main(["sweep", *words, "--out", str(out), "--folder", str(tmp_path / "kept")]) == 0
    said = capsys.readouterr().out
    assert "window" in said and f"wrote {out}" in said
    found = json.loads(out.read_text("utf-8"))
    assert [r["n"] for r in found] == sorted(r["n"] for r in found) and len(found) == 16
    assert len(list((tmp_path / "kept").glob("*.json"))) == 4


def test_a_sweep_over_a_text_of_ones_own(tmp_path, capsys) -> None:
    file, kept = tmp_path / "own.txt", tmp_path / "kept"
    file.write_text("The boats came home before the storm. " * 20, "utf-8")
    words = ["--of", "softmax", "--lengths", "16-32", "--seeds", "1", "--match", "none"]
    words += ["--source", "passage", "--text-file", str(file), "--folder", str(kept)]
    for _ in range(2):
        assert main(["sweep", *words]) == 0
        assert capsys.readouterr().out.count("softmax") == 2 * 6
    assert len(list(kept.glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--memory", "0.1"], "the bound is 100 MB"),
        (["--text-file", "README.md"], "takes the source passage"),
        (["--of", "dreams"], "no mechanism"),
        (["--lengths", "64,32"], "rise"),
        (["--out", "found.xlsx"], "csv"),
        (["--colour", "red"], "no setting 'colour'"),
        (["lengths"], "expected a flag"),
    ],
)
def test_a_sweep_that_can_not_be_is_a_sentence(words, reason, capsys) -> None:
    assert main(["sweep", *words]) == 2
    assert reason in capsys.readouterr().err


def test_what_the_lab_opens_with_is_measured(tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(opening, "write", lambda *given: asked.append(given))
    assert main(["measure-lab", "--out", str(tmp_path)]) == 0
    ((folder, plan, reader, model, _),) = asked
    assert (folder, plan, model) == (tmp_path, Lab().plan(), TINY)
    assert reader.name == "tiny"


def test_the_table_is_written_between_its_marks(tmp_path, capsys) -> None:
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- mechanisms -->\nold\n<!-- /mechanisms -->\nafter\n", "utf-8")
    assert main(["mechanisms"]) == 0
    table = capsys.readouterr().out
    assert main(["mechanisms", "--write", str(file)]) == 0
    expected = f"before\n<!-- mechanisms -->\n{table}<!-- /mechanisms -->\nafter\n"
    assert file.read_text("utf-8") == expected
    file.write_text("before\n", "utf-8")
    assert main(["mechanisms", "--write", str(file)]) == 2
    assert "marks" in capsys.readouterr().err and file.read_text("utf-8") == "before\n"


def test_the_readme_holds_the_table_of_mechanisms(capsys) -> None:
    assert main(["mechanisms"]) == 0
    assert capsys.readouterr().out.strip() in (ROOT / "README.md").read_text("utf-8")
