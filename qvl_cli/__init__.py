"""qvl: ask a long video, get an answer and the seconds that prove it.

The modules, in the order of the data (each imports only from those above it):

    errors        every failure a user can meet, as one tree
    timeline      exact times and half-open spans
    prompts       every sentence qvl itself says to a model
    config        flag > QVL_* > ./qvl.toml > user file
    registry      which models exist, and what a checkpoint folder says of itself
    answer        the Answer document every command ends in
    media         container -> MediaInfo and frames with exact presentation times
    sampling      duration + budget -> SamplePlan (pure)
    weave         plan + subtitles -> the steps carry the cues read in front of them
    budget        what a plan costs in positions and memory, checked before any load
    chunks        source x plan -> FrameChunks, prefetched
    model         pixels and text -> Qwen3-VL forward passes (torch starts here)
    cache         the KV cache carried from chunk to chunk
    generate      the decode loop
    stream        StreamSession: watch, ask, fork
    align         text <-> time: alignment head, textual times
    tasks         ask, locate, summarize
    pipeline      the one place that sees every stage
    render        Answer -> txt, json, jsonl, srt
    tiny          the embedded model: its world, its recipe, its weights
    evals         metrics and suites
    cli           the Typer commands; console.py alone imports rich
"""

__version__ = "0.1.0"
