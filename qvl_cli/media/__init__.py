"""Containers to frames with exact presentation times. `open_video` is the only door."""
