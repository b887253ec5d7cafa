"""Byte-level BPE that gives every text back exactly, for English and Chinese.

A Han character is never merged with its neighbours, so that a token of Chinese is one character,
or a few bytes of a rare one; elsewhere words are cut as in GPT-2, and a token holds at most 16
bytes.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS = "<|bos|>"
LONGEST_TOKEN = 16  # bytes

WORDS = Regex(
    r"['’](?i:[sdmt]|ll|ve|re)\b|\p{Han}| ?[\p{L}&&[^\p{Han}]]+| ?\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn a lossless byte-level BPE whose every sequence starts with BOS (id 0).

    Args:
        texts: pieces of text; their proportions decide how the vocabulary is shared out.
        vocabulary: number of tokens, BOS and the 256 bytes included.

    Raises:
        ValueError: if the vocabulary cannot hold BOS and the 256 bytes.

    Source: Sennrich et al. 2016 (BPE); Radford et al. 2019 (on bytes).
    """
    if vocabulary < 257:
        raise ValueError(f"a vocabulary of {vocabulary} cannot hold BOS and the 256 bytes")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=LONGEST_TOKEN,
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        pad_token=BOS,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,  # "<|bos|>" in a person's text stays text
    )
