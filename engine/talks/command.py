"""The command line's `talk`: what there is, whether a file is right, and a talk made ready."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.contract import Refusal
from engine.spec import talk as talks
from engine.spec.fields import LANGUAGES
from engine.spec.talk import Fault, Talk, said
from engine.talks import deck as decks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`list`, `check FILE`, `pack FILE`."""
    deeds = parser.add_subparsers(dest="deed", required=True)
    deeds.add_parser("list", help="the talks that come with the project")
    checking = deeds.add_parser("check", help="whether a talk's file is right")
    packing = deeds.add_parser(
        "pack", help="compute all results of a talk, so that it plays at once"
    )
    for one in (checking, packing):
        one.add_argument("file", help="a talk's file (JSON), or the name of one of `list`")
    for one in (packing,):
        one.add_argument(
            "--language", choices=LANGUAGES, help="en by default; pack makes all of them"
        )
    packing.add_argument("--cache", type=Path, help="another folder than the app's")


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
    for language in [args.language] if args.language else LANGUAGES:
        pack(talk, faults, language, args.cache or decks.folder())
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


def pack(talk: Talk, faults: list[Fault], language: str, cache: Path) -> None:
    """Makes a talk ready in one language, unless it is."""
    path = decks.place(talk, language, cache)
    if decks.packed(path) is None:
        made = decks.deck(talk, language, cache, faults)
        for number, scene in enumerate(made["scenes"], 1):
            for beat in scene["beats"]:
                if trouble := beat.get("trouble"):
                    print(f"scene {number}: {trouble}", file=sys.stderr)
        decks.pack(made, path)
    print(f"{language}: {path} ({path.stat().st_size / 1000:,.0f} kB)")
