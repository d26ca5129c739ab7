"""The trained parts -> a checkpoint folder in the ordinary transformers format."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from qvl_cli.align.head import head_bytes
from qvl_cli.align.network import HeadNetwork
from qvl_cli.registry import HEAD_FILE
from qvl_cli.tiny.recipe import CLIP_PIXELS, FRAME_PIXELS, TEXT_STEPS
from qvl_cli.tiny.vocabulary import world_tokenizer

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}"
    "{%- for content in message.content %}"
    "{%- if content.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{%- elif content.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif 'text' in content %}{{- content.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_PIXELS = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
}


def export_checkpoint(network: Any, folder: Path) -> None:
    """Weights (float16), configs, tokenizer and chat template of the embedded network."""
    folder.mkdir(parents=True, exist_ok=True)
    # A copy: half() would also round the rotary frequencies of the network it is called on.
    copy.deepcopy(network).half().save_pretrained(folder)
    world_tokenizer().save(str(folder / "tokenizer.json"))
    end, pad = "<|im_end|>", "<|endoftext|>"
    _write(folder, "tokenizer_config.json", {"eos_token": end, "pad_token": pad, "model_max_length": 65_536})
    ids = {name: world_tokenizer().token_to_id(name) for name in (end, pad)}
    _write(folder, "generation_config.json", {"eos_token_id": [ids[end], ids[pad]], "pad_token_id": ids[pad]})
    video_size = {"shortest_edge": 4096, "longest_edge": CLIP_PIXELS}
    video = {"size": video_size, **_PIXELS, "video_processor_type": "Qwen3VLVideoProcessor"}
    _write(folder, "video_preprocessor_config.json", video)
    size = {"shortest_edge": 4096, "longest_edge": 25_165_824}
    image = {"size": size, **_PIXELS, "image_processor_type": "Qwen2VLImageProcessorFast"}
    _write(folder, "preprocessor_config.json", image)
    _write(folder, "qvl.json", {"frame_pixels": [FRAME_PIXELS, FRAME_PIXELS], "text_steps": TEXT_STEPS})
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    for file in folder.iterdir():
        file.chmod(0o644)


def export_head(head: HeadNetwork, threshold: float, folder: Path) -> None:
    (folder / HEAD_FILE).write_bytes(head_bytes(head, threshold))


def _write(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content, indent=2) + "\n")
