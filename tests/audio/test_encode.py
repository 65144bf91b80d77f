"""Named formats as streams, read back by other programs."""

import io
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from xtts_rtc.audio.encode import ENCODINGS, WavEncoder, find_encoding, wav_header
from xtts_rtc.audio.g711 import alaw_decode, mulaw_decode
from xtts_rtc.errors import InvalidParameter

PCM = np.random.default_rng(3).integers(-32_768, 32_767, 1_000).astype(np.int16)


def encode(encoder, parts):
    return b"".join([*(encoder.push(part) for part in parts), encoder.finish()])


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name not in ("opus", "mp3", "flac", "aac")])
@given(cuts=st.lists(st.integers(0, len(PCM)), max_size=6))
def test_the_bytes_do_not_depend_on_the_chunks(name, cuts):
    make = ENCODINGS[name].make
    assert encode(make(16_000), np.split(PCM, sorted(cuts))) == encode(make(16_000), [PCM])


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("pcm", "audio/L16; rate=24000; channels=1; endianness=little-endian"),
        ("s16le", "audio/L16; rate=24000; channels=1; endianness=little-endian"),
        ("l16be", "audio/L16; rate=24000; channels=1"),
        ("wav", "audio/wav"),
        ("mulaw", "audio/PCMU; rate=8000; channels=1"),
        ("alaw", "audio/PCMA; rate=8000; channels=1"),
        ("opus", "audio/ogg; codecs=opus"),
        ("mp3", "audio/mpeg"),
        ("flac", "audio/flac"),
        ("aac", "audio/aac"),
    ],
)
def test_each_format_says_what_it_is_at_its_own_rate(name, content_type):
    encoding = find_encoding(name)
    assert encoding.make(encoding.default_hz).content_type == content_type


def test_pcm_is_little_endian_and_l16_is_network_order():
    sample = np.array([0x0102], np.int16)
    assert encode(find_encoding("pcm").make(24_000), [sample]) == b"\x02\x01"
    assert encode(find_encoding("l16be").make(24_000), [sample]) == b"\x01\x02"


def test_g711_formats_are_one_byte_a_sample_and_decode():
    for name, decode in (("mulaw", mulaw_decode), ("alaw", alaw_decode)):
        data = encode(find_encoding(name).make(8_000), [PCM])
        assert len(data) == len(PCM)
        error = decode(np.frombuffer(data, np.uint8)).astype(int) - PCM
        assert np.abs(error).max() <= 1_024


@pytest.mark.parametrize("num_samples", [None, len(PCM)])
@pytest.mark.parametrize("hz", [8_000, 24_000, 48_000])
def test_wav_of_unknown_and_of_known_length_is_read_whole_by_others(num_samples, hz):
    data = encode(WavEncoder(hz, num_samples), [PCM[:333], PCM[333:]])
    read, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == hz and read.tobytes() == PCM.tobytes()
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (hz, 1, 2)
        assert file.readframes(len(PCM) + 1) == PCM.tobytes()


def test_ffmpeg_reads_a_wav_of_unknown_length_to_its_end():
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(encode(WavEncoder(24_000), [PCM]))) as container:
        read = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    assert read.tobytes() == PCM.tobytes()


def test_a_wav_header_of_known_length_is_the_one_the_standard_library_writes():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes(PCM.tobytes())
    assert wav_header(22_050, len(PCM)) == out.getvalue()[:44]


def test_a_wav_in_which_nothing_was_said_still_has_its_header():
    data = encode(WavEncoder(24_000), [])
    assert data == wav_header(24_000)
    with wave.open(io.BytesIO(data)) as file:
        assert file.readframes(1) == b""


def test_a_wav_over_four_gigabytes_is_refused():
    with pytest.raises(InvalidParameter, match="do not fit"):
        wav_header(48_000, 2**31)


def test_an_unknown_format_names_those_there_are():
    with pytest.raises(InvalidParameter, match=r"'mp4' is not known; use one of pcm, .*mulaw"):
        find_encoding("mp4")
