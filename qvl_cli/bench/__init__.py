"""Speed and memory, side by side: every run a fresh process, the variants in turn.

row      Bench, Flag, Variant: what a benchmark is
process  one child process and what it took
harness  rounds of variants -> medians, ranges, the JSON line
startup  how soon a command answers

A new benchmark is a module with a row, and its name in `table`; what a variant runs is a command line, most
often `python_module("qvl_cli.bench....", ...)`, which may print one JSON object of its own figures last.
"""
