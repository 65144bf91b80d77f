"""The AudioSocket protocol without a socket."""

from __future__ import annotations

import struct
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtts_rtc.errors import ProtocolError
from xtts_rtc.transports.audiosocket.frames import (
    AUDIO_HZ,
    Audio,
    FrameParser,
    Hangup,
    Identity,
    Key,
    audio_frame,
    frame,
)

ID = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")


def parse(pieces):
    """What was understood, as values that can be compared, and the error that ended it."""
    parser, seen = FrameParser(), []
    try:
        for piece in pieces:
            for message in parser.push(piece):
                is_audio = isinstance(message, Audio)
                seen.append((message.hz, message.pcm.tobytes()) if is_audio else message)
    except ProtocolError as error:
        return seen, error.message
    return seen, None


def cut(data, cuts):
    marks = [0, *sorted(mark % (len(data) + 1) for mark in cuts), len(data)]
    return [data[start:end] for start, end in zip(marks, marks[1:], strict=False)]


def test_the_frames_of_the_protocol_are_understood():
    data = bytes.fromhex("010010") + ID.bytes + b"\x03\x00\x01#" + b"\x10\x00\x04\x01\x00\xff\xff" + b"\x00\x00\x00"
    seen, error = parse([data])
    assert error is None
    assert seen == [Identity(ID), Key("#"), (8_000, np.array([1, -1], "<i2").tobytes()), Hangup()]


@pytest.mark.parametrize(
    ("kind", "hz"),
    [(0x10, 8_000), (0x11, 12_000), (0x12, 16_000), (0x13, 24_000), (0x14, 32_000), (0x15, 44_100), (0x16, 48_000)],
)
def test_the_kind_of_audio_tells_its_rate_both_ways(kind, hz):
    pcm = np.arange(-3, 4).astype(np.int16)
    data = audio_frame(pcm, hz)
    assert data == struct.pack(">BH", kind, 14) + pcm.astype("<i2").tobytes()
    assert parse([data]) == ([(hz, pcm.tobytes())], None)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"\x10\x01\x41", "321 bytes does not hold whole 16-bit samples"),
        (b"\x01\x00\x0f", "holds 15 bytes; it must hold 16"),
        (b"\x03\x00\x02", "holds 2 bytes; it must hold 1"),
        (b"\x17\x0f\x00", "over 48 kHz; let Asterisk dial with slin48 or less"),
        (b"\x47ET", "kind 0x47 is not one of AudioSocket's"),
    ],
)
def test_a_bad_frame_is_refused_by_its_header_and_what_came_before_is_kept(header, words):
    seen, error = parse([b"\x03\x00\x015" + header])
    assert seen == [Key("5")]
    assert words in error


def test_an_error_of_the_peer_ends_the_call_with_its_code():
    assert parse([b"\xff\x00\x01\x02"]) == ([Hangup(2)], None)
    assert parse([b"\xff\x00\x00"]) == ([Hangup(0)], None)


def test_silence_says_nothing():
    assert parse([frame(0x02), frame(0x02, b"\x01")]) == ([], None)


@settings(max_examples=1_000, deadline=None)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_in_any_split_give_the_same_messages_and_the_same_error(data, cuts):
    assert parse(cut(data, cuts)) == parse([data])


good_frames = st.one_of(
    st.binary(min_size=16, max_size=16).map(lambda raw: frame(0x01, raw)),
    st.binary(min_size=1, max_size=1).map(lambda raw: frame(0x03, raw)),
    st.binary(max_size=5).map(lambda raw: frame(0x02, raw)),
    st.tuples(st.sampled_from(list(AUDIO_HZ)), st.binary(max_size=160)).map(
        lambda one: frame(one[0], one[1][: len(one[1]) // 2 * 2])
    ),
    st.just(frame(0x00)),
)


@settings(max_examples=300, deadline=None)
@given(frames=st.lists(good_frames, max_size=12), junk=st.binary(max_size=40), cuts=st.lists(st.integers(0, 4_000)))
def test_good_frames_are_all_understood_whatever_comes_after_them(frames, junk, cuts):
    alone, error = parse([b"".join(frames)])
    assert error is None
    assert len(alone) == sum(one[0] != 0x02 for one in frames)
    seen, _ = parse(cut(b"".join(frames) + junk, cuts))
    assert seen[: len(alone)] == alone


def test_a_frame_that_never_ends_is_held_once_and_understood_when_it_does():
    parser = FrameParser()
    assert list(parser.push(b"\x10\xff\xfe")) == []
    assert [len(list(parser.push(bytes(1_000)))) for _ in range(65)] == [0] * 65
    assert [len(message.pcm) for message in parser.push(bytes(534))] == [65_534 // 2]
    assert list(parser.push(b"")) == []
