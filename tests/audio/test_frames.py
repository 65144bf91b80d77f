"""Frames of exact length, samples that are whole, levels that never wrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtts_rtc.audio.frames import ByteFramer, Framer, to_float32, to_int16
from xtts_rtc.errors import GenerationFailed, InvalidParameter, ProtocolError


def test_loud_samples_are_clipped_and_never_wrap():
    pcm = np.array([0, 1, -1, 1.5, -1.5, 1e30, -1e30, 0.99999], np.float32)
    assert to_int16(pcm).tolist() == [0, 32767, -32768, 32767, -32768, 32767, -32768, 32767]


def test_samples_are_rounded_and_not_truncated():
    assert to_int16(np.array([0.6, -0.6, 0.4, -0.4], np.float32) / 32768).tolist() == [1, -1, 0, 0]


def test_every_int16_survives_the_way_to_float_and_back():
    pcm = np.arange(-32_768, 32_768).astype(np.int16)
    assert to_int16(to_float32(pcm)).tobytes() == pcm.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_refused(bad):
    with pytest.raises(GenerationFailed, match="not numbers"):
        to_int16(np.array([0, bad], np.float32))
    with pytest.raises(GenerationFailed):
        Framer(24_000, 20).push(np.array([bad], np.float32))


@given(cuts=st.lists(st.integers(0, 3_000), max_size=10), frame_ms=st.integers(10, 50), pads=st.booleans())
def test_frames_do_not_depend_on_the_chunks_and_lose_nothing(cuts, frame_ms, pads):
    pcm = to_float32(np.random.default_rng(1).integers(-32_768, 32_767, 3_000).astype(np.int16))
    framer = Framer(24_000, frame_ms, pads_last=pads)
    frames = [frame for part in np.split(pcm, sorted(cuts)) for frame in framer.push(part)]
    assert framer.pending_samples < framer.frame_samples
    last = framer.finish()
    assert all(len(frame) == 24 * frame_ms for frame in frames)
    assert all(len(frame) == 24 * frame_ms or not pads for frame in last)
    joined = np.concatenate([*frames, *last])
    assert joined[:3_000].tobytes() == to_int16(pcm).tobytes()
    assert not joined[3_000:].any()
    assert pads or len(joined) == 3_000


def test_a_finished_framer_has_nothing_left():
    framer = Framer(8_000, 20)
    assert len(framer.push(np.zeros(161, np.float32))) == 1
    assert [len(frame) for frame in framer.finish()] == [160]
    assert framer.finish() == []


@pytest.mark.parametrize("frame_ms", [0, 9, 51, -20])
def test_a_frame_length_out_of_range_is_refused(frame_ms):
    with pytest.raises(InvalidParameter, match="from 10 to 50"):
        Framer(48_000, frame_ms)


def test_a_frame_of_half_a_sample_is_refused():
    assert Framer(22_050, 20).frame_samples == 441
    with pytest.raises(InvalidParameter, match="10 ms at 22050 Hz"):
        Framer(22_050, 10)


@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_bytes_split_anywhere_give_the_same_samples(data, cuts):
    framer = ByteFramer()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [framer.push(data[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    assert framer.pending_bytes == len(data) % 2
    got = np.concatenate(parts)
    assert got.tolist() == np.frombuffer(data[: len(data) // 2 * 2], "<i2").tolist()


def test_network_order_is_swapped():
    assert ByteFramer("big").push(b"\x01\x02\xff\xfe").tolist() == [0x0102, -2]


def test_half_a_sample_at_the_end_is_an_error_once():
    framer = ByteFramer()
    framer.push(b"\x00\x01\x02")
    with pytest.raises(ProtocolError, match="last byte was lost"):
        framer.finish()
    framer.finish()
    assert framer.push(b"\x05\x00").tolist() == [5]
