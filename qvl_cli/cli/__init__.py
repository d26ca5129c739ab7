"""The commands: they parse and print, nothing else.

entry      main(): what the shell starts
app        main(): the Typer app, and the one table from errors to exit codes
options    the flags all video commands share, in one place
console    results to stdout, notes and progress to stderr; the only module that imports rich
answering  what ask, locate and summarize share
ask, locate, summarize, index, probe, models, eval, version   one command each
cache      the group `qvl cache ls|show|rm|prune|verify|path`
"""
