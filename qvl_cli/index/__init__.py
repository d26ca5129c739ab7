"""What was watched before: found, used, resumed, or saved while the video is watched.

settings   where, how much, and whether at all
opening    name -> a locked index, checked; who waits for whom
writer     session -> stored blocks
index      Index: one run's hold on what is saved
captions   CaptionIndex: a summary without its video
opened     from what a run is about to its Index

Whatever is wrong with a saved index (damaged, newer, locked, no room) costs the time of watching again, is
said, and never changes an answer.
"""

from qvl_cli.index.settings import IndexSettings

__all__ = ["IndexSettings"]
