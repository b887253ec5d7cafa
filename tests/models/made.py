"""Small models with random weights and tokenizers of a few words, as folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from engine.models import smallest
from engine.models.pieces import Pieces

WORDS = [
    "the quick brown fox jumps over the lazy dog. ",
    "你好，世界！你好。 ",
    "the fox said: hello\n\n",
]


def tokenizer(last: bool = False) -> hf.PreTrainedTokenizerFast:
    """Byte-level BPE of our own words; BOS first, and EOS last if so asked."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|bos|>", "<|end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(WORDS * 4, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A" + (" <|end|>" if last else ""),
        special_tokens=[("<|bos|>", 0), ("<|end|>", 1)],
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|bos|>", eos_token="<|end|>", split_special_tokens=True
    )


def bert() -> hf.BertTokenizer:
    """Words and a few pieces of words, with [CLS], [SEP] and [MASK]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["the", "fox", "##es", "quick", "dog", "said", "hello", "?", ".", "é"]
    return hf.BertTokenizer(vocab={word: i for i, word in enumerate(special + words)})


def lively(net: Any, scale: float = 8) -> Any:
    """The same with larger weights: attention is nearly uniform at birth."""
    for p in net.parameters():
        if p.ndim > 1:
            p.data.mul_(scale)
    return net


def network(kind: str, which: int = 0, scale: float = 4, **changes: Any) -> Any:
    """A small network of that model type with random weights that do something."""
    torch.manual_seed(0)
    cls = list(smallest.classes_of(kind))[which]
    return lively(smallest.build(kind, cls, **changes), scale)


def saved(folder: Path, net: Any, tokenizer: Any) -> Path:
    """Both in Hugging Face layout."""
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the texts that tokenizers are given from now on."""
    lengths: list[int] = []
    called = Pieces._called

    def counted(self: Pieces, *texts: str, **more: Any) -> Any:
        lengths.extend(len(x) for x in (*texts, *more.values()) if isinstance(x, str))
        return called(self, *texts, **more)

    monkeypatch.setattr(Pieces, "_called", counted)
    return lengths


def rewrite(file: Path, **changes: Any) -> None:
    """Change fields of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
