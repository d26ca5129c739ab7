"""qvl: ask a long video, get an answer and the seconds that prove it.

The modules, in the order of the data (each imports only from those above it):

    errors        every failure a user can meet, as one tree
    closing       what is held and let go of again
    timeline      exact times and half-open spans
    filesystems   which folders lie on no disk
    digests       sha256 of files, remembered while they stand unchanged
    prompts       every sentence qvl itself says to a model
    config        flag > QVL_* > ./qvl.toml > user file
    registry      which models exist, and what a checkpoint folder says of itself
    answer        the Answer document every command ends in
    media         container -> MediaInfo and frames with exact presentation times
    scan          video -> Activity: where the picture changes
    sampling      duration + activity + budget -> SamplePlan (pure)
    weave         plan + subtitles -> the steps carry the cues read in front of them
    memory        full | window | retrieve: how much of what was watched is kept
    budget        what a plan costs in positions and memory, and how much there is
    refusals      what is said where a plan does not fit, and the settings that would
    static        which patches of a step show something new (`--drop-static`)
    chunks        source x plan -> FrameChunks, prefetched
    model         pixels and text -> Qwen3-VL forward passes (torch starts here)
    cache         the KV cache carried from chunk to chunk, and its saved form
    generate      the decode loop
    stream        StreamSession: watch, ask, fork
    index         what was watched before: found, resumed, or saved
    align         text <-> time: alignment head, textual times, boundaries to the frame
    sessions      a plan and blocks watched before -> StreamSession
    tasks         ask, locate, summarize
    coverage      which seconds an answer stands on
    request       settings -> what to do with which video
    fitting       a plan and the machine -> how much of the video is kept
    subtitled     which subtitles a run reads, woven into its plan
    pipeline      the one place that sees every stage
    indexing      the same without a question: `qvl index`
    render        Answer -> txt, json, jsonl, srt
    live          a stream without an end: each event as it is found, `qvl watch`
    tiny          the embedded model: its world, its recipe, its weights
    evals         metrics and suites
    heads         alignment heads for any checkpoint: features once, training, calibration
    bench         speed and memory, side by side in fresh processes
    cli           the Typer commands; console.py alone imports rich
"""

__version__ = "0.1.0"
