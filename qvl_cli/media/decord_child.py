"""The process that decord lives in: frames for their numbers, over pipes. Run by `decord_source` alone.

python -m qvl_cli.media.decord_child < requests > replies

The first request is the path, its length (uint32) before it; then frame numbers (int64) until the end of
input. A reply is a status byte, a payload length (uint64) and the payload: after the path the time of every
frame (float64 seconds), after a number height and width (uint32 each) and RGB bytes; after `E` a message.
"""

from __future__ import annotations

import os
import struct
import sys
from bisect import bisect_right
from typing import IO, Any

NUMBER, LENGTH, REPLY, SIZE = (
    struct.Struct("<q"),
    struct.Struct("<I"),
    struct.Struct("<cQ"),
    struct.Struct("<II"),
)
DONE, ERROR = b"O", b"E"


def main() -> None:
    # Native code prints where it likes: replies leave through a descriptor of their own.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    path = os.fsdecode(requests.read(LENGTH.unpack(requests.read(LENGTH.size))[0]))
    try:
        reader = _open(path)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype("<f8").tobytes()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent is to tell it
        _reply(replies, ERROR, str(error).encode())
        return
    _reply(replies, DONE, times)
    keys = list(reader.get_key_indices())
    group = -1
    while len(asked := requests.read(NUMBER.size)) == NUMBER.size:
        number = NUMBER.unpack(asked)[0]
        try:
            # decord decodes ahead without end; going back to the start is what makes it let go.
            if (at := bisect_right(keys, number)) != group:
                reader.seek(0)
                group = at
            pixels = reader[number].asnumpy()
            _reply(replies, DONE, SIZE.pack(*pixels.shape[:2]), pixels.tobytes())
        except Exception as error:  # noqa: BLE001 - as above
            _reply(replies, ERROR, str(error).encode())


def _open(path: str) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        path.encode()
    except UnicodeEncodeError:  # decord takes UTF-8 names only
        path = f"/proc/self/fd/{os.open(path, os.O_RDONLY)}"
    return decord.VideoReader(path, num_threads=1)


def _reply(replies: IO[bytes], status: bytes, *payload: bytes) -> None:
    replies.write(REPLY.pack(status, sum(map(len, payload))))
    for part in payload:
        replies.write(part)
    replies.flush()


if __name__ == "__main__":
    main()
