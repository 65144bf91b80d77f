"""What FFmpeg's own decoders make of our streams: all of the samples, in time, wherever the input was cut."""

import io

import numpy as np
import pytest
import soxr

from xtts_rtc.audio.encode import find_encoding, length_patch
from xtts_rtc.audio.resample import RATES_HZ
from xtts_rtc.errors import InvalidParameter

av = pytest.importorskip("av")

COMPRESSED = ("opus", "mp3", "flac", "aac")
HZ = 24_000


def chirp(num_samples, hz=HZ):
    """200 Hz upwards at half of full scale: one place only where it fits itself."""
    time_s = np.arange(num_samples) / hz
    return (16_000 * np.sin(2 * np.pi * (200 + 150 * time_s) * time_s)).astype(np.int16)


def encode(name, pcm, hz=HZ, step=5_000):
    encoder = find_encoding(name).make(hz)
    return b"".join([*(encoder.push(pcm[at : at + step]) for at in range(0, len(pcm), step)), encoder.finish()])


def decode(data):
    """The samples as float64 in -1..1, and their rate."""
    with av.open(io.BytesIO(data)) as container:
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    pcm = np.concatenate(parts)
    return pcm / (32_768 if pcm.dtype == np.int16 else 1), rate


def at_rate(data, hz):
    pcm, rate = decode(data)
    return pcm if rate == hz else soxr.resample(pcm, rate, hz)


FRAMES = {"opus": 0.0, "flac": 0.0, "mp3": 1_152, "aac": 1_024}
"""Samples at most that a decoder may give back after the audio."""
PRIMING = {"aac": 1_024}


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("hz", RATES_HZ)
def test_every_rate_comes_back_whole_and_in_its_place(name, hz):
    pcm = chirp(hz + 123, hz)
    if name == "opus" and hz not in (48_000, 24_000, 16_000, 12_000, 8_000):
        with pytest.raises(InvalidParameter, match=f"{hz}; opus has one of 8000, 12000, 16000, 24000, 48000 Hz"):
            find_encoding(name).make(hz)
        return
    heard = at_rate(encode(name, pcm, hz), hz)[PRIMING.get(name, 0) :]
    assert 0 <= len(heard) - len(pcm) <= FRAMES[name] + 1
    inside = slice(hz // 50, len(pcm) - hz // 50)  # without the first and last 20 ms, where a codec swings in
    assert np.corrcoef(heard[: len(pcm)][inside], pcm[inside])[0, 1] > 0.99


@pytest.mark.parametrize("name", COMPRESSED)
def test_the_bytes_do_not_depend_on_the_chunks(name):
    pcm = chirp(9_000)
    assert encode(name, pcm, step=9_000) == encode(name, pcm, step=1_001) == encode(name, pcm, step=333)


def test_flac_is_the_same_samples():
    pcm = np.random.default_rng(1).integers(-32_768, 32_768, 30_001).astype(np.int16)
    assert (np.rint(decode(encode("flac", pcm))[0] * 32_768) == pcm).all()


@pytest.mark.parametrize("name", COMPRESSED)
def test_the_last_samples_are_not_lost(name):
    pcm = np.zeros(HZ + 77, np.int16)
    pcm[-480:] = chirp(480)  # the last 20 ms
    heard = at_rate(encode(name, pcm), HZ)[PRIMING.get(name, 0) :]
    assert np.sum(heard[HZ - 600 :] ** 2) > 0.8 * np.sum((pcm[-480:] / 32_768) ** 2)


@pytest.mark.parametrize(("name", "held_ms"), [("opus", 45), ("mp3", 111), ("flac", 60), ("aac", 90)])
def test_what_was_pushed_can_be_heard_before_anything_follows(name, held_ms):
    encoder = find_encoding(name).make(HZ)
    pcm = chirp(HZ)
    heard = at_rate(encoder.push(pcm), HZ)
    held = (len(pcm) - (len(heard) - PRIMING.get(name, 0))) / HZ * 1000
    assert held <= held_ms + 24  # mp3's decoder holds a frame of its own back
    encoder.finish()


@pytest.mark.parametrize("name", COMPRESSED)
def test_nothing_said_is_still_a_file(name):
    encoder = find_encoding(name).make(HZ)
    encoder.push(np.zeros(0, np.int16))
    data = encoder.finish()
    assert name in ("mp3", "aac") or data[:4] in (b"OggS", b"fLaC")  # the other two have no header


@pytest.mark.parametrize("name", COMPRESSED)
def test_an_encoder_that_is_dropped_half_way_harms_nothing(name):
    for _ in range(3):
        find_encoding(name).make(HZ).push(chirp(3_000))
    assert decode(encode(name, chirp(HZ)))[0].size >= HZ


def test_a_flac_file_can_be_told_its_length():
    pcm = chirp(HZ + 5)
    data = bytearray(encode("flac", pcm))
    at, length = length_patch("flac", HZ, len(pcm))
    data[at : at + len(length)] = length
    with av.open(io.BytesIO(bytes(data))) as container:
        assert container.duration == pytest.approx(len(pcm) / HZ * 1e6, abs=1)
    assert decode(bytes(data))[0].size == len(pcm)
    assert length_patch("opus", HZ, 5) is None
