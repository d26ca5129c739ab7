"""What was watched before: found, used, resumed, or saved while the video is watched.

settings   where, how much, and whether at all
opening    key -> a locked index; who waits for whom
index      Index: sessions out of stored blocks, and stored blocks out of sessions

Whatever is wrong with a saved index (damaged, newer, locked, no room) costs the time of watching again, is
said, and never changes an answer.
"""

from qvl_cli.index.settings import IndexSettings

__all__ = ["IndexSettings"]
