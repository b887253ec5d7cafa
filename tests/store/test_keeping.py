"""Files that save work are whole or not there, whoever else writes them."""

import pytest

from engine.store import keeping


def test_two_that_write_one_file_at_once_both_do(tmp_path):
    """As two servers that share a folder: each writes under a name of its own first."""
    path = tmp_path / "one.json"

    def first(part):
        part.write_text("fir")
        keeping.put(path, lambda other: other.write_text("second"))
        assert path.read_text() == "second" and part.read_text() == "fir"
        part.write_text("first")

    keeping.put(path, first)
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_what_ends_halfway_leaves_nothing(tmp_path):
    path = tmp_path / "one.json"

    def half(part):
        part.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keeping.put(path, half)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_costs_the_keeping_alone(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert not keeping.keep(tmp_path / "file" / "one.json", lambda part: part.touch(), 100)
