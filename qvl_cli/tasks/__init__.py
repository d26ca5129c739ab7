"""Prompts in, Answers out: ask, locate, summarize."""
