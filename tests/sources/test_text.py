"""Tokens give the text back; units partition them at every level, the finer inside the coarser."""

import random
from itertools import pairwise

import pytest
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from engine.contract import Frame
from engine.text.offsets import display_tokens, show_bytes, whole_offsets
from engine.text.units import units, word_starts

STORY = (
    "Quill, the fox, didn't wait. “Run!” he said (twice).\n"
    "It cost 3.14 dollars… e.g. nothing.\n\n"
    "他说：“你好，世界！”然后走了。第二天，他又来了。\n"
    "नमस्ते दुनिया। مرحبا بالعالم! 👩‍👩‍👧 🙂\n\n\n"
    "  The end — or not? "
)


def byte_level(trim: bool = False) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(["the fox said  nothing 你好 你好 走了"] * 4, trainer)
    made.post_processor = (
        processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
        if trim
        else processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    )
    return made


def word_piece() -> Tokenizer:
    vocabulary = {"[UNK]": 0, "the": 1, "fo": 2, "##x": 3, "了": 4, "quill": 5, ",": 6}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def metaspace() -> Tokenizer:
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    bytewise = [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<unk>", *bytewise], show_progress=False
    )
    made.train_from_iterator(["the fox said  nothing 你好 你好 走了"] * 4, trainer)
    return made


def spans_of(tokenizer: Tokenizer, text: str) -> tuple[list[str], torch.Tensor]:
    coded = tokenizer.encode(text)
    return coded.tokens, whole_offsets(
        text, torch.tensor(coded.offsets, dtype=torch.long).reshape(-1, 2)
    )


def spell(tokens: tuple[str, ...], offsets: torch.Tensor, text: str) -> str:
    """The text that the tokens spell: each token's characters that no earlier one has spelt."""
    said, end = "", 0
    for (start, stop), _ in zip(offsets.tolist(), tokens, strict=True):
        said += text[max(start, end) : stop]
        end = max(end, stop)
    return said


@pytest.mark.parametrize(
    "tokenizer", [byte_level(), byte_level(trim=True), word_piece(), metaspace()]
)
@pytest.mark.parametrize("text", [STORY, " a", "a ", "\n\n", "  中𓂀  ", "x"])
def test_every_character_belongs_to_a_token(tokenizer, text):
    _, offsets = spans_of(tokenizer, text)
    tokens = display_tokens(text, offsets)
    if not len(offsets):  # BERT drops spaces: a text of nothing else has no tokens
        return
    assert spell(tokens, offsets, text) == text


def test_without_shared_characters_the_tokens_joined_are_the_text():
    text = "the fox said  nothing\n\n the fox"
    for tokenizer in (byte_level(), byte_level(trim=True)):
        assert "".join(display_tokens(text, spans_of(tokenizer, text)[1])) == text


def test_a_shared_character_says_which_part_each_token_is():
    pieces, offsets = spans_of(byte_level(), "𓂀x")
    assert len(pieces) == 6
    shown = display_tokens("𓂀x", offsets, {0: "<s>"})
    assert shown == ("<s>", "𓂀¹⁄₄", "𓂀²⁄₄", "𓂀³⁄₄", "𓂀⁴⁄₄", "x")
    # a token with whole characters and a part of one
    assert display_tokens("ab中", torch.tensor([[0, 3], [2, 3]])) == ("ab中¹⁄₂", "中²⁄₂")


def test_special_tokens_have_names_and_no_text():
    assert display_tokens("hi", torch.tensor([[0, 0], [0, 2]]), {0: "<|bos|>"}) == (
        "<|bos|>",
        "hi",
    )


def test_bytes_that_are_no_character_are_shown_as_bytes():
    assert show_bytes("中".encode()[:2]) == "⟨E4·B8⟩"
    assert show_bytes("中".encode()) == "中"


def words(text: str) -> list[str]:
    starts = word_starts(text)
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, big world.", ["Hello,", " big", " world."]),
        ("don't (stop) 3.14 U.S. a_b", ["don't", " (stop)", " 3.14", " U.S.", " a_b"]),
        ("你好，世界！", ["你好，", "世界！"]),
        ("说：“走”。", ["说：", "“走”。"]),
        ("GPT模型2号", ["GPT", "模型", "2", "号"]),
        ("每天清早，他送孩子们", ["每天", "清早，", "他", "送", "孩子", "们"]),
        ("今日は東京です", ["今日", "は", "東京", "です"]),
        ("ผมชื่อสมชาย ทำงาน", ["ผม", "ชื่อ", "สมชาย", " ทำงาน"]),
        ("한국어를 공부", ["한국어를", " 공부"]),
        ("🙂🙂 Dr. 𓂀x 你好", ["🙂", "🙂", " Dr.", " 𓂀x", " 你好"]),
        ("a\ud83d 你好b", ["a\ud83d", " 你好", "b"]),
        ("नमस्ते दुनिया", ["नमस्ते", " दुनिया"]),
        ("مرحبا بالعالم", ["مرحبا", " بالعالم"]),
        ("né nai\u0308ve", ["né", " nai\u0308ve"]),
        ("a — b", ["a", " —", " b"]),
        ("one\n\n  two\n", ["one\n\n", "  two\n"]),
        ("hi 👩‍👩‍👧🙂", ["hi", " 👩‍👩‍👧", "🙂"]),
        ("x = <b>1</b>", ["x", " =", " <b>", "1</", "b>"]),
        ("   ", ["   "]),
        ("a  ", ["a  "]),
        ("\n\nHi", ["\n\nHi"]),
        ("...", ["..."]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def by_character(text: str) -> torch.Tensor:
    at = torch.arange(len(text))
    return torch.stack([at, at + 1], 1)


def pieces(text: str, level: str) -> list[str]:
    return [text[a:b] for a, b in units(text, by_character(text))[level].tolist()]


def test_sentences_and_paragraphs():
    assert pieces(STORY, "sentences") == [
        "Quill, the fox, didn't wait.",
        " “Run!” he said (twice).\n",
        "It cost 3.14 dollars… e.g. nothing.\n\n",
        "他说：“你好，世界！”",
        "然后走了。",
        "第二天，他又来了。\n",
        "नमस्ते दुनिया।",
        " مرحبا بالعالم!",
        " 👩‍👩‍👧 🙂\n\n\n",
        "  The end — or not? ",
    ]
    assert [p[:5] for p in pieces(STORY, "paragraphs")] == ["Quill", "他说：“你", "  The"]
    assert pieces("One. Two? three!Four", "sentences") == ["One.", " Two? three!Four"]
    assert pieces("a\r\n\r\nb", "paragraphs") == ["a\r\n\r\n", "b"]
    # a wrapped line goes on; without blank lines each line is a paragraph
    assert pieces("The fox\nran. It\nStayed", "sentences") == ["The fox\nran.", " It\n", "Stayed"]
    assert pieces("他来了。\n他走了。", "paragraphs") == ["他来了。\n", "他走了。"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Ray met Mr. Fox. He ran.", ["Dr. Ray met Mr. Fox.", " He ran."]),
        ("By J. R. Ray, et al. Only I. Then", ["By J. R. Ray, et al. Only I.", " Then"]),
        ("At 5 p.m. he left, e.g. this. So.", ["At 5 p.m. he left, e.g. this.", " So."]),
        ("“No.” “Why?” he said. “Go!” Off.", ["“No.”", " “Why?” he said.", " “Go!”", " Off."]),
        ("他来了。她走了！“好？”他说。", ["他来了。", "她走了！", "“好？”", "他说。"]),
        ("a\r\nb\r\n\r\nc", ["a\r\nb\r\n\r\n", "c"]),
    ],
)
def test_sentences(text, expected):
    assert pieces(text, "sentences") == expected


PROGRAM = "def f(x):\n    y = x + 1\n    if y > 2:\n        return y\n    return x\n"
PROSE = "the fox came to the\nriver, and then it went\nhome. It slept until\nthe morning."


def test_lines_of_a_program_are_sentences_and_those_of_wrapped_prose_are_not():
    assert pieces(PROGRAM, "sentences") == PROGRAM.splitlines(keepends=True)
    prose = [PROSE[:49], PROSE[49:]]
    assert prose[0].endswith("home.")
    assert pieces(PROSE, "sentences") == prose
    indented = "\n".join("    " + line for line in PROSE.splitlines())
    assert len(pieces(indented, "sentences")) == 2
    both = pieces(PROSE + "\n\n" + PROGRAM, "sentences")
    assert len(both) == 2 + 5


def test_levels_partition_the_tokens_and_nest():
    random.seed(0)
    alphabet = "ab .\n!？。，中“”(1'’\u0301\u200d🙂𓂀\t\r-é"
    tokenizer = byte_level(trim=True)
    for _ in range(200):
        text = "".join(random.choices(alphabet, k=random.randint(1, 40)))
        _, offsets = spans_of(tokenizer, text)
        levels = units(text, offsets)
        Frame(heads=1, n=len(offsets), m=len(offsets), units=levels)  # checks each partition
        assert (
            list(levels) == ["tokens", "words", "sentences", "paragraphs"]
            or "characters" in levels
        )
        starts = [set(s[:, 0].tolist()) for s in levels.values()]
        assert all(coarse <= fine for fine, coarse in pairwise(starts))


def test_special_and_straddling_tokens():
    text = "One. Two."
    offsets = torch.tensor([[0, 0], [0, 3], [3, 6], [6, 9], [0, 0]])  # BOS "One" ". T" "wo." EOS
    levels = units(text, offsets)
    assert levels["sentences"].tolist() == [[0, 3], [3, 5]]
    assert levels["words"].tolist() == [[0, 3], [3, 5]]
    assert levels["paragraphs"].tolist() == [[0, 5]]
    assert levels["tokens"].tolist() == [[i, i + 1] for i in range(5)]


def test_a_text_read_by_characters_says_so():
    assert "characters" in units("abc", by_character("abc"))
