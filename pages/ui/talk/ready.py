"""Talks that can be opened, and what plays of them: made once, kept on disk."""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from engine.spec import talk as talks
from engine.spec.talk import Fault, Talk
from engine.talks import deck as decks
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import contents
from pages.ui.shared.disk import folder
from pages.ui.shared.strings import language, t

OWN = "own-"
"""What the names of people's own talks begin with."""


@cache
def bundled() -> dict[str, Talk]:
    """Those that come with the project, by name."""
    return talks.bundled()


def find(name: str) -> tuple[Talk, list[Fault]]:
    """A talk by its name in the URL.

    Raises:
        Trouble: there is no such talk here.
    """
    if name in bundled():
        return bundled()[name], []
    if name.startswith(OWN):
        kept = contents.get(name.removeprefix(OWN))
        if kept is not None and isinstance(kept[0], str):
            return talks.read(kept[0])
        with suppress(OSError):
            return talks.read(_file(name).read_text("utf-8"))
    raise Trouble(t("talk.gone", name=name))


def named(talk: Talk) -> str:
    """The name under which a person's own talk plays: in other windows too, and from a server that
    was started anew."""
    text = talk.to_json()
    name = OWN + contents.keep(text, "talk.json")
    with suppress(OSError):  # without room on disk, as long as this server runs
        _file(name).parent.mkdir(parents=True, exist_ok=True)
        _file(name).write_text(text, "utf-8")
    return name


def _file(name: str) -> Path:
    """Where a person's own talk is kept, by its name."""
    return folder("talks") / f"{name}.json"


def deck(talk: Talk, faults: list[Fault], name: str = "") -> dict[str, Any]:
    """What plays: as it was packed, or made now and packed.

    Args:
        name: of a talk that comes with the project.

    Raises:
        Trouble: it can't be made.
    """
    tag = language()
    kept = folder("talks").parent
    path = decks.place(talk, tag, kept)

    def work(report: Any) -> dict[str, Any]:
        made = decks.packed(path)
        if made is None and name:
            made = decks.packed(decks.beside(talks.named(name), tag))
            made = made if made and made["of"] == decks.of(talk, tag) else None
        if made is None:
            made = decks.deck(talk, tag, kept, faults, report)
            with suppress(OSError):  # keeping it saves work; without room, it is made again
                decks.pack(made, path)
        return made

    what = t("talk.preparing", title=talks.said(talk.title, tag))
    return obtain(f"talk:{path.name}", what, work, lambda made: 8 * 2**20)
