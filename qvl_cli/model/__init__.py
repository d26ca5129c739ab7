"""Qwen3-VL itself; torch starts here.

memory       free bytes, and running out of them
tokens       text <-> ids: the checkpoint's tokenizer and chat template; user text stays text
preprocess   frames -> patches; a step's tokens and MRoPE positions
attention    the registered attention: past without a mask, present causally, KV heads never repeated
load         folder -> LoadedModel
vision       patches -> vision tokens and DeepStack rows
regions      hidden states -> what a step says of each part of its picture
language     tokens at positions -> hidden states, through a cache it knows nothing about
"""
