"""Speed and memory, side by side: every run a fresh process, the variants in turn.

row      Bench, Flag, Variant: what a benchmark is
process  one child process and what it took
harness  rounds of variants -> medians, ranges, the JSON line
startup  how soon a command answers, and a model; startup_run is one run of it
decode   sampling frames beside PyAV and decord; decode_run is one run of it
stream   chunked streaming beside transformers' one-shot forward; stream_run is one run of it
sampling adaptive beside even sampling; sampling_run is one run of it
scale    hours beside minutes; scale_run is one run of it
index    a second question about a watched video; killed runs; index_run is one part of it

shapes   random models by name
checkpoint  random weights of a shape, as a complete folder
noise    clips without content
footage  1080p of any length, as x264 writes it
ticks    small clips whose frames show their numbers
still_clips  drawn clips in which little happens
first_word when an answer began
page_cache files the kernel is told to forget
one_shot the peer: transformers' own forward

A new benchmark is a module with a row, and its name in `table`; what a variant runs is a command line, most
often `python_module("qvl_cli.bench....", ...)`, which may print one JSON object of its own figures last.
"""
