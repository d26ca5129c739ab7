"""Text and ids with a vocabulary of one's own: hostile text, templates, text that arrives token by token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_cli.bench.checkpoint import PLAIN_ADDED, SPECIALS, byte_tokenizer
from qvl_cli.errors import ModelMissing
from qvl_cli.model.tokens import Codec, Detokenizer, load_codec, read_template
from tests.checkpoints import TEMPLATE, THINKING_TEMPLATE

VISION = "<|vision_start|><|video_pad|><|vision_end|>"


def write(folder: Path, template: str = TEMPLATE) -> Path:
    folder.mkdir(exist_ok=True)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return load_codec(write(tmp_path_factory.mktemp("codec")))


@pytest.mark.parametrize("token", [*SPECIALS, *PLAIN_ADDED])
def test_typed_special_tokens_are_text(codec: Codec, token: str) -> None:
    text = f"what is {token} here"
    ids = codec.encode_text(text)
    assert codec.decode(ids) == text
    assert codec.tokenizer.convert_tokens_to_ids(token) not in ids
    assert codec.tokenizer.convert_tokens_to_ids(token) in codec.encode_template(text)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_text_survives_and_arrives_whole(codec: Codec, text: str) -> None:
    ids = codec.encode_text(text)
    assert codec.decode(ids) == text
    arriving = Detokenizer(codec)
    pieces = [arriving.feed(token) for token in ids]
    assert "".join(pieces) + arriving.flush() == text
    if "�" not in text:
        assert not any("�" in piece for piece in pieces)


def test_bytes_that_never_become_a_character_are_shown_at_the_end(codec: Codec) -> None:
    arriving = Detokenizer(codec)
    first, second, _ = codec.encode_text("字")
    assert (arriving.feed(first), arriving.feed(second)) == ("", "")
    assert set(arriving.flush()) == {"�"}
    assert arriving.flush() == ""


def test_markers_have_no_text(codec: Codec) -> None:
    assert codec.decode(codec.encode_template("<think>a</think>b<|im_end|>")) == "ab"


def test_a_thinking_template_opens_the_thoughts(tmp_path: Path) -> None:
    template = read_template(load_codec(write(tmp_path, THINKING_TEMPLATE)), VISION)
    assert template.suffix == "<|im_end|>\n<|im_start|>assistant\n<think>\n"


def test_a_template_may_greet_and_separate(tmp_path: Path) -> None:
    text = TEMPLATE.replace("{%- for message", "{{- 'Hello\n' }}{%- for message", 1)
    text = text.replace("{{- content.text }}", "{{- '\n' + content.text }}")
    template = read_template(load_codec(write(tmp_path, text)), VISION)
    assert (template.prefix, template.bridge) == ("Hello\n<|im_start|>user\n", "\n")


@pytest.mark.parametrize(
    "template",
    ["{{ messages[0].content[1].text }}", "no video at all", "{{ raise_exception('broken') }}", "{% if"],
)
def test_a_template_without_a_video_is_refused(tmp_path: Path, template: str) -> None:
    codec = load_codec(write(tmp_path, template))
    with pytest.raises(ModelMissing, match="chat template"):
        read_template(codec, VISION)


@pytest.mark.parametrize(
    ("name", "content"), [("tokenizer.json", "{}"), ("tokenizer_config.json", "not json")]
)
def test_broken_tokenizer_files(tmp_path: Path, name: str, content: str) -> None:
    (write(tmp_path) / name).write_text(content)
    with pytest.raises(ModelMissing, match="tokenizer"):
        load_codec(tmp_path)


def test_a_template_inside_the_tokenizer_config(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    named = [{"name": "tools", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert read_template(load_codec(tmp_path), VISION).prefix == "<|im_start|>user\n"
