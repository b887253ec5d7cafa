"""The command line's `talk`: what there is, whether a file is right, and a talk made ready."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.contract import Refusal
from engine.runtime.owner import folder
from engine.spec import talk as talks
from engine.spec.fields import LANGUAGES
from engine.spec.talk import Fault, Talk, said
from engine.talks import deck as decks
from engine.talks import page as pages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`list`, `check FILE`, `pack FILE`, `export FILE --html OUT`."""
    deeds = parser.add_subparsers(dest="deed", required=True)
    deeds.add_parser("list", help="the talks that come with the project")
    checking = deeds.add_parser("check", help="whether a talk's file is right")
    packing = deeds.add_parser(
        "pack", help="compute all results of a talk, so that it plays at once"
    )
    exporting = deeds.add_parser("export", help="a talk as one page that opens without a network")
    exporting.add_argument("--html", type=Path, required=True, metavar="OUT", help="the page")
    for one in (checking, packing, exporting):
        one.add_argument("file", help="a talk's file (JSON), or the name of one of `list`")
    packing.add_argument("--language", choices=LANGUAGES, help="all of them by default")
    exporting.add_argument("--language", choices=LANGUAGES, default=LANGUAGES[0])
    packing.add_argument(
        "--beside", action="store_true", help="keep what was made beside the file, too"
    )


def run(args: argparse.Namespace) -> int:
    """Does it; the exit status, 2 where the file is wrong.

    Raises:
        ValueError: the file is no talk. OSError: it can't be read.
    """
    if args.deed == "list":
        for name, talk in talks.bundled().items():
            print(f"{name:<10} {len(talk.scenes):>2} scenes  {said(talk.title, LANGUAGES[0])}")
        return 0
    talk, faults = opened(args.file)
    if args.deed == "check":
        return check(talk, faults)
    if args.deed == "export":
        args.html.write_text(pages.page(made(talk, faults, args.language)), "utf-8")
        print(f"wrote {args.html} ({args.html.stat().st_size / 1e6:.1f} MB)")
        return 0
    for language in [args.language] if args.language else LANGUAGES:
        pack(talk, faults, language, talks.named(args.file) if args.beside else None)
    return 0


def opened(name: str) -> tuple[Talk, list[Fault]]:
    """A talk by the name of its file.

    Raises:
        Refusal: it is no talk. OSError: it can't be read.
    """
    try:
        text = talks.named(name).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("the file is not UTF-8 text, so it can't be a talk") from error
    return talks.read(text)


def check(talk: Talk, faults: list[Fault]) -> int:
    """Says what is wrong with each scene; 2 if anything is."""
    found = list(faults)
    for number, scene in enumerate(talk.scenes, 1):
        whys = {
            str(why): why
            for language in LANGUAGES
            for why in talks.problems(scene, language, talk.texts)
        }
        found += [Fault(number, why) for why in whys.values()]
    for fault in found:
        where = f"scene {fault.scene}: " if fault.scene else ""
        print(f"error: {where}{fault.why}", file=sys.stderr)
    if not found:
        print(f"{len(talk.scenes)} scenes, about {talk.minutes:g} minutes: nothing is wrong")
    return 2 if found else 0


def made(talk: Talk, faults: list[Fault], language: str) -> decks.Deck:
    """A talk as it was packed, else made now and kept; says what could not be shown."""
    path = decks.place(talk, language, folder())
    deck = decks.packed(path)
    if deck is None:
        deck = decks.deck(talk, language, folder(), faults)
        decks.pack(deck, path)
    for number, scene in enumerate(deck["scenes"], 1):
        for beat in scene["beats"]:
            if trouble := beat.get("trouble"):
                print(f"scene {number}: {trouble}", file=sys.stderr)
    return deck


def pack(talk: Talk, faults: list[Fault], language: str, file: Path | None) -> None:
    """Makes a talk ready in a language, unless it is; keeps it beside its file if one is given."""
    path, deck = decks.place(talk, language, folder()), made(talk, faults, language)
    if file is not None:
        path = decks.beside(file, language)
        decks.pack(deck, path)
    print(f"{language}: {path} ({path.stat().st_size / 1000:,.0f} kB)")
