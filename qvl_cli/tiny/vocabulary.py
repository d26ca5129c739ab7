"""Byte-level vocabulary of the embedded model: bytes, merges of its few words, single digits, specials."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY_SIZE = 768  # rows of the embedding: bytes, merges, specials, and room
_SPLIT = r"\p{N}| ?\p{L}+|[^\s\p{L}\p{N}]|\s"


def build_tokenizer(corpus: Iterable[str]) -> Tokenizer:
    """Train the merges on the world's own sentences; any other text falls back to bytes.

    Digits are never merged, so a time reads the same at every place.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY_SIZE - len(SPECIALS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
            special_tokens=[],
        ),
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    return tokenizer


@functools.cache
def world_tokenizer() -> Tokenizer:
    """The tokenizer over a fixed sample of training sentences: the same on every machine."""
    from qvl_cli.tiny.telling import sample_sentences

    return build_tokenizer(sample_sentences())


def special_ids() -> dict[str, int]:
    """Ids of the specials; they follow the text tokens."""
    vocabulary = world_tokenizer().get_vocab(with_added_tokens=True)
    return {name: vocabulary[name] for name in SPECIALS}
