"""What tokens are, for who is sent where."""

from engine.structure import routing


def test_kinds_of_tokens():
    found = routing.kinds(["The", " cat", "s", " 12", ",", " ", "\n", "猫"])
    assert found.tolist() == [1, 0, 1, 3, 4, 5, 5, 2]
