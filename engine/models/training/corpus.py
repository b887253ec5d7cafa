"""What the embedded model is trained on: books as tokens, and random tokens that repeat."""

import lzma
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from engine.models.training.tokenizer import train_tokenizer

GOLDEN = (math.sqrt(5) - 1) / 2
HELD_OUT_CHARACTERS = 400_000


def read_books(path: Path) -> list[str]:
    """The books of one .txt or .txt.xz file, which a blank line separates."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        return [book for book in file.read().split("\n\n") if book.strip()]


def hold_out(books: Sequence[str], least: int = HELD_OUT_CHARACTERS) -> tuple[list[str], str]:
    """Set one whole book aside: the shortest of at least `least` characters, or else the last.

    Raises:
        ValueError: if there are fewer than two books.
    """
    if len(books) < 2:
        raise ValueError("a file needs two books or more, one of them to be held out")
    long = [i for i, book in enumerate(books) if len(book) >= least]
    chosen = min(long, key=lambda i: len(books[i])) if long else len(books) - 1
    return [book for i, book in enumerate(books) if i != chosen], books[chosen]


def unseen(paths: Sequence[Path]) -> dict[str, str]:
    """language -> the book of each file that is set aside."""
    return {language(path): hold_out(read_books(path))[1] for path in paths}


def language(path: Path) -> str:
    """books-en.txt.xz is "en"."""
    return path.name.split(".")[0].split("-")[-1]


def repeated_random(
    generator: torch.Generator, count: int, length: int, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """BOS and then random tokens repeated at a period of a sixteenth to half of the length.

    The period's logarithm is drawn uniformly. Were it always short, heads would learn its few
    values by heart, and not look for the earlier occurrence.

    Returns: ids (count, length), periods (count), both int64.
    """
    least = max(2, length // 16)
    drawn = torch.rand(count, generator=generator)
    periods = (least * ((length - 1) / 2 / least) ** drawn).long()
    tokens = torch.randint(1, vocabulary, (count, length), generator=generator)
    ids = tokens.gather(1, torch.arange(length - 1)[None] % periods[:, None])
    return torch.cat([torch.zeros(count, 1, dtype=torch.int64), ids], 1), periods


def windows(tokens: np.ndarray, first: int, count: int, length: int) -> torch.Tensor:
    """Windows number first, first + 1, ... of an endless walk that covers the text evenly.

    Window k starts at the fractional part of k times the golden ratio, so that neighbours are far
    apart, no order has to be stored, and a resumed run sees what it would have seen. Each starts
    with BOS.

    Returns: ids (count, length), int64.
    """
    starts = (np.arange(first, first + count) * GOLDEN % 1.0 * (len(tokens) - length + 1)).astype(
        int
    )
    text = np.stack([tokens[start : start + length - 1] for start in starts]).astype(np.int64)
    return torch.cat([torch.zeros(count, 1, dtype=torch.int64), torch.from_numpy(text)], 1)


def prepare(
    paths: Sequence[Path], vocabulary: int, work: Path
) -> tuple[PreTrainedTokenizerFast, dict[str, np.ndarray], dict[str, str]]:
    """Tokenizer, training tokens and held-out book of each language; tokens stay in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    books = {language(path): hold_out(read_books(path)) for path in paths}
    held_out = {name: book for name, (_, book) in books.items()}
    folder = work / "tokenizer"
    if (folder / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    else:
        print("learning the vocabulary", flush=True)
        share = min(sum(map(len, kept)) for kept, _ in books.values()) * 3
        sample = (piece for kept, _ in books.values() for piece in thin(kept, share))
        tokenizer = train_tokenizer(sample, vocabulary)
        tokenizer.save_pretrained(folder)
    corpora = {}
    for name, (kept, _) in books.items():
        cache = work / f"tokens-{name}.npy"
        if not cache.exists():
            print(f"cutting {name} into tokens", flush=True)
            np.save(cache, encode(tokenizer, kept))
        corpora[name] = np.load(cache)
    return tokenizer, corpora, held_out


def thin(books: Sequence[str], characters: int) -> list[str]:
    """Paragraphs spread evenly over the books, about so many characters in all."""
    lines = [line for book in books for line in book.splitlines(keepends=True)]
    return lines[:: max(1, round(sum(map(len, lines)) / characters))]


def encode(tokenizer: PreTrainedTokenizerFast, books: Sequence[str]) -> np.ndarray:
    """All books as token ids, each after a BOS, 1-D uint16."""
    rows = []
    for book in books:
        pieces = tokenizer(book.splitlines(keepends=True), add_special_tokens=False)["input_ids"]
        rows.append(np.fromiter((i for piece in [[0], *pieces] for i in piece), np.uint16))
    return np.concatenate(rows)
