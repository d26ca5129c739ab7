"""The commands: they parse and print, nothing else.

app       main(): the Typer app, and the one table from errors to exit codes
options   the flags all video commands share, in one place
console   stderr for people: notes, progress; the only module that imports rich
ask, locate, summarize, probe, models, version   one command each
"""
