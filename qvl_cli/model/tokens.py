"""Text <-> token ids: the checkpoint's own tokenizer and chat template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from qvl_cli.errors import ModelMissing
from qvl_cli.registry import read_chat_template

_SENTINEL = "qvl user text"


@dataclass(frozen=True, slots=True)
class Template:
    """A user's turn as the checkpoint's chat template writes it: prefix, the video, bridge, text, suffix.

    prefix: `<|im_start|>user\\n` and whatever comes before; suffix: end of turn and the opened assistant's
    turn. bridge: what the template puts between the video and the text; released templates put nothing.
    """

    prefix: str
    bridge: str
    suffix: str


class Codec:
    """Encodes templates with special tokens and everything else without.

    `tokenizer` is the transformers tokenizer; `plain` is the same model without any added token, so that no
    text, whoever wrote it, can become a special token (`split_special_tokens` would still match `<think>` and
    `<tool_call>`, which the released checkpoints mark as added but not special).
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        backend: Tokenizer = tokenizer.backend_tokenizer
        self.plain = Tokenizer(backend.model)
        if backend.normalizer is not None:
            self.plain.normalizer = backend.normalizer
        if backend.pre_tokenizer is not None:
            self.plain.pre_tokenizer = backend.pre_tokenizer
        if backend.decoder is not None:
            self.plain.decoder = backend.decoder
        self._added = frozenset(backend.get_added_tokens_decoder())

    def encode_text(self, text: str) -> list[int]:
        """Ids of text as text: no special token, no added token."""
        ids: list[int] = self.plain.encode(text, add_special_tokens=False).ids
        return ids

    def encode_template(self, text: str) -> list[int]:
        """Ids of the checkpoint's own template text, special tokens recognised."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids; added tokens (markers, not text) are left out. Incomplete UTF-8 shows as U+FFFD."""
        text: str = self.plain.decode([i for i in ids if i not in self._added], skip_special_tokens=False)
        return text

    def token_id(self, token: str) -> int | None:
        """The id of an added token, or None where the vocabulary has no such token."""
        found: int | None = self.tokenizer.backend_tokenizer.token_to_id(token)
        return found if found in self._added else None


def load_codec(folder: Path) -> Codec:
    """The tokenizer of a checkpoint folder: tokenizer.json, else vocab.json + merges.txt +
    tokenizer_config.json.

    Built from the files alone, so that a vocabulary of one's own keeps its own pre-tokenizer whatever class
    name its config carries. Raises ModelMissing where the files are missing or broken.
    """
    try:
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        names = {
            key: token["content"] if isinstance(token, dict) else token
            for key in ("eos_token", "pad_token", "bos_token", "unk_token")
            if (token := config.get(key))
        }
        if (folder / "tokenizer.json").is_file():
            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
            merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
            backend = Qwen2Tokenizer(vocab=vocab, merges=merges).backend_tokenizer
            added = sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0]))
            backend.add_tokens([AddedToken(**token) for _, token in added])
        return Codec(
            PreTrainedTokenizerFast(
                tokenizer_object=backend, chat_template=read_chat_template(folder), **names
            )
        )
    except ModelMissing:
        raise
    # tokenizers raises bare Exception for files it cannot read
    except Exception as error:
        raise ModelMissing(
            f"cannot read the tokenizer in {folder}: {error}", "fetch tokenizer.json of the checkpoint"
        ) from error


def read_template(codec: Codec, vision: str) -> Template:
    """Render the chat template around a sentinel and cut it at the video placeholder `vision` and the
    sentinel.

    Raises ModelMissing where the template does not place a video before the user's text.
    """
    content = [{"type": "video"}, {"type": "text", "text": _SENTINEL}]
    try:
        text: str = codec.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a template is a program and may raise anything
        raise ModelMissing(
            f"the chat template fails: {error}", "use the checkpoint's released template"
        ) from error
    prefix, found, rest = text.partition(vision)
    bridge, also, suffix = rest.partition(_SENTINEL)
    if not (found and also):
        raise ModelMissing(
            "the chat template does not put a video before the user's text",
            "use the checkpoint's released template",
        )
    return Template(prefix, bridge, suffix)


class Detokenizer:
    """Ids in, text out as soon as it is whole UTF-8; the pieces concatenate to the text of all ids."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._held: list[int] = []

    def feed(self, token: int) -> str:
        """The text that became complete with `token`; empty while a character is still open."""
        self._held.append(token)
        text = self._codec.decode(self._held)
        if text.endswith("�"):
            return ""
        self._held.clear()
        return text

    def flush(self) -> str:
        """What is still held, with U+FFFD for bytes that never became a character."""
        text = self._codec.decode(self._held)
        self._held.clear()
        return text
