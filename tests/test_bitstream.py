"""Which pictures nothing refers to, from hand-made NAL units (H.264 7.3.1, H.265 7.3.1.2)."""

from __future__ import annotations

import pytest

from qvl_cli.media.bitstream import References

START = b"\0\0\1"
IDR, REF, SPARE = b"\x65\x88\x80", b"\x41\x9a\x20", b"\x01\x9e\x40"
SEI, DELIMITER, SPS = b"\x06\x05\x01\xff\x80", b"\x09\xf0", b"\x67\x42\xc0\x1e\xf4\x0a\x0f\xc8"


def h264_sps(frames_only: bool) -> bytes:
    """Baseline, poc type 2, one reference, 16x16."""
    bits = "".join(
        [
            f"{66:08b}", f"{0:08b}", f"{30:08b}",
            "1",  # seq_parameter_set_id 0
            "1",  # log2_max_frame_num_minus4 0
            "011",  # pic_order_cnt_type 2
            "010",  # max_num_ref_frames 1
            "0", "1", "1",  # gaps; width and height of one macroblock
            "1" if frames_only else "0",
        ]
    )  # fmt: skip
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def packed(*units: bytes, length: int = 0) -> memoryview:
    if not length:
        return memoryview(b"".join(START + unit for unit in units))
    return memoryview(b"".join(len(unit).to_bytes(length, "big") + unit for unit in units))


def avcc(length: int, *sets: bytes) -> bytes:
    head = bytes([1, 66, 0, 30, 0xFC | (length - 1), 0xE0 | len(sets)])
    return head + b"".join(len(each).to_bytes(2, "big") + each for each in sets)


def spare(codec: str, extradata: bytes | None, *packets: memoryview) -> list[int]:
    references = References(codec, extradata)
    for packet in packets:
        references.read(packet)
    return list(references.spare())


@pytest.mark.parametrize("length", [0, 2, 4])
def test_h264_pictures_are_spare_where_no_slice_is_a_reference(length: int) -> None:
    extradata = avcc(length, h264_sps(True)) if length else START + h264_sps(True)
    packets = [
        (IDR,), (REF,), (SPARE,), (SPARE, SPARE), (DELIMITER, SEI, SPARE), (SEI,),
        (SPARE, REF), (h264_sps(True), SPARE),
    ]  # fmt: skip
    found = spare("h264", extradata, *(packed(*units, length=length) for units in packets))
    assert found == [0, 0, 1, 1, 1, 0, 0, 0]


def test_h264_in_fields_has_no_spare_packets() -> None:
    fields, frames = h264_sps(False), h264_sps(True)
    assert spare("h264", avcc(4, frames), packed(SPARE, length=4)) == [1]
    assert spare("h264", avcc(4, fields), packed(SPARE, length=4)) == [0]
    assert spare("h264", START + fields, packed(SPARE)) == [0]
    # ... also where the stream turns to fields later on.
    assert spare("h264", START + frames, packed(SPARE), packed(fields, IDR), packed(SPARE)) == [0, 0, 0]


def hevc(kind: int, layer: int = 0, view: int = 0) -> bytes:
    return bytes([kind << 1 | view >> 5, (view & 31) << 3 | layer + 1, 0x80])


def test_hevc_pictures_are_spare_in_the_highest_layer_alone() -> None:
    trail_n, trail_r, rasl_n, idr, prefix = 0, 1, 8, 19, 39
    one_layer = [packed(hevc(kind)) for kind in (idr, trail_r, trail_n, rasl_n)]
    assert spare("hevc", None, *one_layer) == [0, 0, 1, 1]
    with_aside = [packed(hevc(prefix), hevc(trail_n)), packed(hevc(trail_n), hevc(trail_r)), packed(hevc(62))]
    assert spare("hevc", None, *with_aside) == [1, 0, 0]
    # Layer 1 may refer to the layer-0 picture that calls itself unused within layer 0.
    layers = [packed(hevc(idr)), packed(hevc(trail_n)), packed(hevc(trail_n, layer=1))]
    assert spare("hevc", None, *layers) == [0, 0, 1]
    assert spare("hevc", None, packed(hevc(trail_n), hevc(trail_n, view=1))) == [0]


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0\1", b"\0\0\0\xff", b"\xff\xff\xff\xff\x01", b"\0\0\1\x41"]
)
def test_scraps_are_kept_and_break_nothing(data: bytes) -> None:
    for codec in ("h264", "hevc", "vp9"):
        for extradata in (None, b"\1", b"\1" * 30, avcc(4, h264_sps(True)), avcc(4, b"\x67")):
            assert spare(codec, extradata, memoryview(data))[0] in (0, 1)
