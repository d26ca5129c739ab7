"""What a packet's own headers say: whether its picture is shown, and whether other pictures need it.

Containers have a flag for packets nothing depends on, but hardly a muxer sets it: the NAL headers tell.
Sources: ITU-T H.264 7.3.1, 7.3.2.1, 7.4.1; H.265 7.3.1.2, 7.4.2.2; RFC 6386 9.1; VP9 bitstream guide 6.2.
"""

from __future__ import annotations

from collections.abc import Iterator

_H264_SLICE, _H264_SPS = 1, 7
_H264_ASIDE = frozenset({6, 9, 12})  # SEI, access unit delimiter, filler
_H264_WITH_CHROMA = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_H265_LAST_SLICE = 31
_H265_UNUSED = frozenset(range(0, 16, 2))  # the *_N types: no reference within their temporal layer
_H265_ASIDE = frozenset({35, 38, 39, 40})  # access unit delimiter, filler, SEI before and after


class References:
    """Reads one stream's packets in order and finds those whose picture no other picture needs.

    extradata: the parameter sets as the container holds them. fields: the stream may be coded in fields, so
    that one picture takes two packets; known for certain only after the last packet.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        head = extradata or b""
        self._codec = codec
        self._length_bytes = 0  # start codes instead
        if codec == "h264" and len(head) > 6 and head[0] == 1:
            self._length_bytes = (head[4] & 3) + 1
        elif codec == "hevc" and len(head) > 22 and head[0] == 1:
            self._length_bytes = (head[21] & 3) + 1
        self.fields = codec == "h264" and any(_codes_fields(unit) for unit in _h264_head(head))
        self._layers = bytearray()  # one a packet: 0 = needed, else 1 + its temporal layer
        self._top = 0

    def read(self, data: memoryview) -> None:
        """Take the next packet's bytes."""
        layer = 0
        if self._codec == "h264":
            layer = self._h264(data)
        elif self._codec == "hevc":
            layer = self._h265(data)
        self._layers.append(layer)

    def spare(self) -> bytes:
        """One byte a packet: 1 where its picture is needed by no other."""
        if self.fields:
            return bytes(len(self._layers))
        # A picture unused within its own layer may still be used from the layers above.
        highest = self._top + 1
        return bytes(layer == highest for layer in self._layers)

    def _h264(self, data: memoryview) -> int:
        layer = 0
        for unit in _units(data, self._length_bytes):
            kind = unit[0] & 31
            if kind == _H264_SPS:
                self.fields = self.fields or _codes_fields(bytes(unit))
            if kind == _H264_SLICE and not unit[0] & 0x60:  # nal_ref_idc == 0
                layer = 1
            elif kind not in _H264_ASIDE:
                return 0
        return layer

    def _h265(self, data: memoryview) -> int:
        layer, needed = 0, False
        for unit in _units(data, self._length_bytes):
            if len(unit) < 2:
                continue
            kind, other_view = unit[0] >> 1 & 63, unit[0] & 1 or unit[1] >> 3
            if kind <= _H265_LAST_SLICE:
                layer = max(layer, unit[1] & 7)
                self._top = max(self._top, (unit[1] & 7) - 1)
                needed = needed or kind not in _H265_UNUSED or bool(other_view)
            elif kind not in _H265_ASIDE:
                needed = True
        return 0 if needed else layer


def is_shown(data: memoryview, codec: str) -> bool:
    """VP8 and VP9 store reference pictures that are never shown."""
    if codec in ("vp8", "libvpx"):
        return bool(data[0] & 0x10)
    if codec in ("vp9", "libvpx-vp9"):
        last = data[-1]
        size_bytes, count = ((last >> 3) & 3) + 1, (last & 7) + 1
        index = 2 + size_bytes * count
        if last & 0xE0 == 0xC0 and len(data) > index and data[-index] == last:
            at, table = 0, data[len(data) - index + 1 : -1]
            for n in range(count):
                if at < len(data) and _vp9_shown(data[at]):
                    return True
                at += int.from_bytes(table[n * size_bytes : (n + 1) * size_bytes], "little")
            return False
        return _vp9_shown(data[0])
    return True


def _vp9_shown(head: int) -> bool:
    if head & 0x30 == 0x30:  # profile 3 has one more reserved bit
        head <<= 1
    return bool(head & 0x08 or head & 0x02)  # show_existing_frame, show_frame


def _units(data: memoryview, length_bytes: int) -> Iterator[memoryview]:
    """The NAL units of a packet, with at least one byte each."""
    at, size = 0, len(data)
    if length_bytes:
        while at + length_bytes < size:
            start = at + length_bytes
            at = start + int.from_bytes(data[at:start], "big")
            if at > start:
                yield data[start:at]
        return
    whole = bytes(data)
    at = whole.find(b"\0\0\1")
    while at >= 0:
        start = at + 3
        at = whole.find(b"\0\0\1", start)
        if unit := data[start : at if at >= 0 else size]:
            yield unit


def _h264_head(extradata: bytes) -> Iterator[bytes]:
    """The sequence parameter sets outside the packets: an avcC record, or units with start codes."""
    if extradata[:1] != b"\1":
        units = (bytes(unit) for unit in _units(memoryview(extradata), 0))
        yield from (unit for unit in units if unit[0] & 31 == _H264_SPS)
        return
    at = 6
    for _ in range(extradata[5] & 31 if len(extradata) > 5 else 0):
        length = int.from_bytes(extradata[at : at + 2], "big")
        yield extradata[at + 2 : at + 2 + length]
        at += 2 + length


class _Bits:
    """Reads a parameter set bit by bit. Past its end there are zeros."""

    def __init__(self, unit: bytes) -> None:
        payload = unit[1:].replace(b"\0\0\3", b"\0\0")  # emulation prevention
        self._bits = "".join(f"{byte:08b}" for byte in payload)
        self._at = 0

    def fixed(self, count: int) -> int:
        taken = self._bits[self._at : self._at + count].ljust(count, "0")
        self._at += count
        return int(taken, 2)

    def golomb(self) -> int:
        """ue(v); a signed value is read the same way, only its length matters here."""
        zeros = 0
        while zeros < 32 and not self.fixed(1):
            zeros += 1
        return (1 << zeros) - 1 + (self.fixed(zeros) if zeros else 0)


def _codes_fields(unit: bytes) -> bool:
    """Whether a sequence parameter set allows pictures in fields (frame_mbs_only_flag is 0)."""
    bits = _Bits(unit)
    profile = bits.fixed(8)
    bits.fixed(16)  # constraint flags, level
    bits.golomb()  # seq_parameter_set_id
    if profile in _H264_WITH_CHROMA:
        chroma = bits.golomb()
        if chroma == 3:
            bits.fixed(1)
        for _ in range(2):  # bit depths
            bits.golomb()
        bits.fixed(1)
        if bits.fixed(1):  # scaling matrices follow: rare, and not worth reading past
            return True
    bits.golomb()  # log2_max_frame_num_minus4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.fixed(1)
        for _ in range(2):
            bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()
    bits.golomb()  # max_num_ref_frames
    bits.fixed(1)
    for _ in range(2):  # width, height
        bits.golomb()
    return not bits.fixed(1)
