"""G.711 on every input there is, against the ITU tables, CPython's audioop and FFmpeg."""

import importlib
import warnings

import numpy as np
import pytest

from xtts_rtc.audio.g711 import alaw_decode, alaw_encode, mulaw_decode, mulaw_encode

ALL_PCM = np.arange(-32_768, 32_768).astype(np.int16)
ALL_CODES = np.arange(256).astype(np.uint8)
LAWS = {"mulaw": (mulaw_encode, mulaw_decode), "alaw": (alaw_encode, alaw_decode)}


@pytest.fixture
def audioop():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return importlib.import_module("audioop")
        except ModuleNotFoundError:
            pytest.skip("Python 3.13 has no audioop")


def through_ffmpeg(name, samples):
    """Bytes of one encode or decode by FFmpeg's own codec."""
    av = pytest.importorskip("av")
    if samples.dtype == np.int16:
        codec = av.CodecContext.create(f"pcm_{name}", "w")
        codec.sample_rate, codec.layout, codec.format = 8_000, "mono", "s16"
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 8_000
        packets = [*codec.encode(frame), *codec.encode(None)]
        return np.frombuffer(b"".join(bytes(packet) for packet in packets), np.uint8)
    codec = av.CodecContext.create(f"pcm_{name}", "r")
    codec.sample_rate, codec.layout = 8_000, "mono"
    frames = [*codec.decode(av.Packet(samples.tobytes())), *codec.decode(None)]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def itu_mulaw():
    """Table 2 of G.711, written out: decision values on the 14-bit scale, segment by segment."""
    edges = [0, *range(1, 31, 2)]
    for start, step in ((31, 4), (95, 8), (223, 16), (479, 32), (991, 64), (2_015, 128), (4_063, 256)):
        edges += [start + k * step for k in range(16)]
    step_number = np.searchsorted(np.array(edges) * 4, np.abs(ALL_PCM.astype(int)), side="right") - 1
    return np.where(ALL_PCM < 0, 127 - step_number, 255 - step_number)


def itu_alaw():
    """Table 1 of G.711: decision values on the 12-bit scale; even bits inverted for the line."""
    edges = list(range(32))
    for start, step in ((32, 2), (64, 4), (128, 8), (256, 16), (512, 32), (1_024, 64)):
        edges += [start + k * step for k in range(16)]
    pcm = ALL_PCM.astype(int)
    magnitude = np.where(pcm < 0, -pcm - 1, pcm)
    step_number = np.searchsorted(np.array(edges) * 16, magnitude, side="right") - 1
    return (np.where(pcm < 0, 0, 128) + step_number) ^ 0x55


def test_every_sample_falls_into_the_step_of_the_itu_tables():
    assert mulaw_encode(ALL_PCM).tolist() == itu_mulaw().tolist()
    assert alaw_encode(ALL_PCM).tolist() == itu_alaw().tolist()


def test_alaw_equals_audioop_on_every_sample(audioop):
    assert alaw_encode(ALL_PCM).tobytes() == audioop.lin2alaw(ALL_PCM.tobytes(), 2)


def test_mulaw_equals_audioop_on_every_sample_once_its_floor_to_14_bits_is_undone(audioop):
    pcm = ALL_PCM.astype(int)
    on_14_bits = np.clip(np.sign(pcm) * (np.abs(pcm) // 4 * 4), -32_768, 32_767).astype("<i2")
    theirs = np.frombuffer(audioop.lin2ulaw(on_14_bits.tobytes(), 2), np.uint8)
    differs = mulaw_encode(ALL_PCM) != theirs
    assert ALL_PCM[differs].tolist() == [-3, -2, -1]  # their sign is lost in 14 bits
    assert mulaw_decode(mulaw_encode(ALL_PCM))[differs].tolist() == [0, 0, 0]


def test_mulaw_differs_from_plain_audioop_only_by_one_step_in_381_negative_samples(audioop):
    ours, theirs = (
        codes.astype(int)
        for codes in (mulaw_encode(ALL_PCM), np.frombuffer(audioop.lin2ulaw(ALL_PCM.tobytes(), 2), np.uint8))
    )
    differs = ours != theirs
    assert differs.sum() == 381
    assert (ALL_PCM[differs] < 0).all()
    assert (np.abs(ours - theirs)[differs] == 1).all()


@pytest.mark.parametrize("name", LAWS)
def test_decoding_equals_audioop_on_every_code(audioop, name):
    lin = {"mulaw": audioop.ulaw2lin, "alaw": audioop.alaw2lin}[name]
    assert LAWS[name][1](ALL_CODES).astype("<i2").tobytes() == lin(ALL_CODES.tobytes(), 2)


@pytest.mark.parametrize("name", LAWS)
def test_decoding_equals_ffmpeg_on_every_code(name):
    assert LAWS[name][1](ALL_CODES).tolist() == through_ffmpeg(name, ALL_CODES).tolist()


@pytest.mark.parametrize(
    ("name", "codes", "overload_dbm0", "overload_peak"),
    [("alaw", "34212134b4a1a1b4", 3.14, 4_096 * 8), ("mulaw", "1e0b0b1e9e8b8b9e", 3.17, 8_159 * 4)],
)
def test_the_digital_milliwatt_is_0_dbm0(name, codes, overload_dbm0, overload_peak):
    """G.711 tables 5 and 6: these eight codes are 1 kHz at 0 dBm0, so much under a sine that just overloads."""
    encode, decode = LAWS[name]
    tone = decode(np.frombuffer(bytes.fromhex(codes), np.uint8))
    level = np.sqrt(np.mean(tone.astype(float) ** 2) * 2) / overload_peak
    assert 20 * np.log10(level) == pytest.approx(-overload_dbm0, abs=0.005)
    assert np.abs(np.fft.rfft(np.tile(tone, 100))).argmax() == 100
    assert encode(tone).tobytes().hex() == codes


@pytest.mark.parametrize(
    ("name", "code", "value"),
    [
        *(("mulaw", 0x80, 8_031 * 4), ("mulaw", 0x00, -8_031 * 4), ("mulaw", 0xFE, 2 * 4), ("mulaw", 0x7E, -2 * 4)),
        *(("alaw", 0xAA, 4_032 * 8), ("alaw", 0x2A, -4_032 * 8), ("alaw", 0xD5, 1 * 8), ("alaw", 0x55, -1 * 8)),
    ],
)
def test_the_ends_of_the_scale_are_those_of_the_itu_tables(name, code, value):
    encode, decode = LAWS[name]
    assert decode(np.array([code], np.uint8))[0] == value
    assert encode(np.array([value], np.int16))[0] == code
    loudest = 32_767 if value > 0 else -32_768
    if abs(value) > 32_000:
        assert encode(np.array([loudest], np.int16))[0] == code, "what is louder is clipped"


@pytest.mark.parametrize(("name", "num_other"), [("mulaw", 851), ("alaw", 964)])
def test_ffmpeg_encodes_to_the_same_or_the_next_code(name, num_other):
    encode, decode = LAWS[name]
    ours, theirs = encode(ALL_PCM), through_ffmpeg(name, ALL_PCM)
    differs = np.flatnonzero(ours != theirs)
    assert len(differs) == num_other  # 1.5 % at most: ties and the samples just above a segment's edge
    inverted = 0 if name == "mulaw" else 0x55
    assert (np.abs((ours[differs] ^ inverted).astype(int) - (theirs[differs] ^ inverted)) == 1).all()
    error = np.abs(decode(ours).astype(int) - ALL_PCM)[differs]
    other = np.abs(decode(theirs).astype(int) - ALL_PCM)[differs]
    assert (error - other).max() <= 256  # a quarter of the loudest step


@pytest.mark.parametrize("name", LAWS)
def test_encoding_what_was_decoded_gives_the_same_level(name):
    encode, decode = LAWS[name]
    values = decode(ALL_CODES)
    assert decode(encode(values)).tolist() == values.tolist()


@pytest.mark.parametrize("name", LAWS)
def test_the_error_is_at_most_half_a_step(name):
    encode, decode = LAWS[name]
    pcm = ALL_PCM.astype(int)
    error = np.abs(decode(encode(ALL_PCM)).astype(int) - pcm)
    inside = np.abs(pcm) < 32_636 if name == "mulaw" else np.full(len(pcm), True)
    half_step = np.maximum(8, 2.0 ** np.floor(np.log2(np.abs(pcm) + 132)) / 32)
    assert (error <= half_step + 1)[inside].all()


def test_silence_has_its_well_known_codes():
    assert mulaw_encode(np.zeros(3, np.int16)).tolist() == [0xFF] * 3
    assert alaw_encode(np.zeros(3, np.int16)).tolist() == [0xD5] * 3
