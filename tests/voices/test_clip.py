"""Reading a clip: what is good is read alike from every kind, what is bad is told at once."""

import io
import time

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.voices.sounds import HZ, file_bytes, talk, wav
from xtts_rtc.audio.encode import WavEncoder
from xtts_rtc.errors import BadClip
from xtts_rtc.types import MODEL_HZ
from xtts_rtc.voices import clip as clip_module
from xtts_rtc.voices.clip import clip_kind, read_clip


def m4a(pcm, hz=HZ):
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=hz, layout="mono")
        for start in range(0, len(pcm), 1024):
            frame = av.AudioFrame.from_ndarray(pcm[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize("hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_a_wav_becomes_mono_at_the_models_rate(hz):
    pcm = talk(2, hz)
    clip = read_clip(file_bytes(pcm, hz, subtype="FLOAT"))
    assert (clip.kind, clip.sample_rate, clip.channels, clip.is_cut) == ("wav", hz, 1, False)
    assert clip.duration_s == 2
    assert clip.pcm.dtype == np.float32
    np.testing.assert_allclose(clip.pcm, soxr.resample(pcm, hz, MODEL_HZ, quality="HQ"), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "container", "subtype"),
    [("flac", "FLAC", None), ("ogg", "OGG", "VORBIS"), ("ogg", "OGG", "OPUS"), ("mp3", "MP3", None)],
)
def test_compressed_kinds_sound_like_the_wav(kind, container, subtype):
    pcm = talk(2)
    clip = read_clip(file_bytes(pcm, kind=container, subtype=subtype))
    assert clip.kind == kind
    assert clip.duration_s == pytest.approx(2, abs=0.06)
    wanted = read_clip(file_bytes(pcm)).pcm
    size = min(len(wanted), len(clip.pcm))
    assert np.corrcoef(wanted[:size], clip.pcm[:size])[0, 1] > 0.95


def test_an_m4a_is_read_through_pyav():
    clip = read_clip(m4a(talk(2)))
    assert (clip.kind, clip.sample_rate, clip.channels) == ("m4a", HZ, 1)
    assert len(clip.pcm) == pytest.approx(2 * MODEL_HZ, abs=2_500)
    assert np.abs(clip.pcm).max() > 0.2


def test_an_m4a_without_pyav_says_what_to_do(monkeypatch):
    data = m4a(talk(1.2))
    monkeypatch.setattr(clip_module, "_pyav", lambda: None)
    with pytest.raises(BadClip, match="needs the package av .* or convert it to WAV"):
        read_clip(data)


def test_channels_are_mixed_and_counted():
    left, right = talk(2), talk(2, seed=1, level=0.1)
    clip = read_clip(file_bytes(np.stack([left, right], axis=1), subtype="FLOAT"))
    assert clip.channels == 2
    np.testing.assert_allclose(clip.pcm, soxr.resample((left + right) / 2, HZ, MODEL_HZ), atol=1e-6)


def test_a_path_and_its_bytes_give_the_same(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav())
    assert read_clip(tmp_path / "a.wav").pcm.tobytes() == read_clip(wav()).pcm.tobytes()


def test_of_a_long_clip_the_first_thirty_seconds_are_read():
    pcm = talk(45, 8_000)
    clip = read_clip(file_bytes(pcm, 8_000, subtype="FLOAT"))
    assert (clip.is_cut, clip.duration_s) == (True, 45)
    assert len(clip.pcm) == 30 * MODEL_HZ
    exact = read_clip(file_bytes(talk(30, 8_000), 8_000))
    assert (exact.is_cut, exact.duration_s) == (False, 30)


def test_our_own_streamed_wav_of_unknown_length_is_read():
    encoder = WavEncoder(HZ)
    data = encoder.push((talk(2) * 32_767).astype(np.int16)) + encoder.finish()
    assert read_clip(data).duration_s == 2


def test_a_two_hour_clip_is_refused_without_decoding_it():
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 8_000, 1, "PCM_16", format="FLAC") as file:
        minute = np.zeros(8_000 * 60, np.int16)
        for _ in range(120):
            file.write(minute)
    start = time.perf_counter()
    with pytest.raises(BadClip, match="120 minutes long; the limit is 10"):
        read_clip(out.getvalue())
    assert time.perf_counter() - start < 0.2  # decoding two hours takes over a second


@pytest.mark.parametrize(("seconds", "is_cut"), [(10, False), (60, True)])
def test_a_flac_without_a_length_in_its_header_is_read_for_thirty_seconds_at_most(seconds, is_cut, monkeypatch):
    data = bytearray(file_bytes(talk(seconds, 8_000), 8_000, kind="FLAC"))
    data[21] &= 0xF0  # STREAMINFO's 36 bits of total samples: 0 is "unknown", as a pipe writes it
    data[22:26] = bytes(4)
    pytest.importorskip("av")
    clip = read_clip(bytes(data))
    assert len(clip.pcm) == min(seconds, 30) * MODEL_HZ
    assert (clip.duration_s, clip.is_cut) == (min(seconds, 30), is_cut)
    monkeypatch.setattr(clip_module, "_pyav", lambda: None)
    with pytest.raises(BadClip, match="does not say how long it is; convert it to WAV"):
        read_clip(bytes(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello, this is no audio", "not a WAV, FLAC, OGG, MP3, M4A or WebM file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a WAV"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "not a WAV"),
        (b"RIFF\x00\x00\x00\x00WAVE", "damaged"),
        (b"fLaC" + bytes(500), "damaged"),
        (b"OggS" + bytes(500), "damaged"),
        (b"ID3" + bytes(500), "damaged"),
        (b"\x00\x00\x00\x18ftypM4A " + bytes(500), "damaged|no audio"),
        (b"\x1a\x45\xdf\xa3" + bytes(500), "damaged|no audio"),
        (wav(0.0), "0.00 s long; it must be at least 1 s"),
        (wav(0.9), "0.90 s long"),
        (file_bytes(np.zeros(HZ * 2, np.float32)), "silent; check the microphone"),
        (file_bytes(talk(2, 4_000), 4_000), "sample rate is 4000 Hz"),
        (file_bytes(np.tile(talk(1.5)[:, None], 9)), "9 channels"),
        (file_bytes(np.full(HZ * 2, np.nan, np.float32), subtype="FLOAT"), "not numbers"),
    ],
)
@pytest.mark.parametrize("has_pyav", [True, False])
def test_a_bad_clip_gives_one_clear_error(data, why, has_pyav, monkeypatch):
    if not has_pyav:
        monkeypatch.setattr(clip_module, "_pyav", lambda: None)
        why += "|needs the package av"
    with pytest.raises(BadClip, match=why) as caught:
        read_clip(data)
    assert "\n" not in caught.value.message


def test_a_file_over_fifty_megabytes_is_refused_before_it_is_opened(tmp_path):
    path = tmp_path / "big.wav"
    with path.open("wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(BadClip, match="50 MB"):
        read_clip(path)


def test_a_flac_that_was_cut_off_is_refused():
    data = file_bytes(talk(6, noise=0.05), kind="FLAC")
    with pytest.raises(BadClip, match="cut off|damaged"):
        read_clip(data[: len(data) // 2])


def test_a_missing_file_and_a_folder_are_bad_clips(tmp_path):
    for path in (tmp_path, tmp_path / "none.wav"):
        with pytest.raises(BadClip, match="is not a file"):
            read_clip(path)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 2_000), junk=st.binary(min_size=1, max_size=40), kind=st.sampled_from(["WAV", "FLAC", "OGG"]))
def test_damage_is_a_bad_clip_or_harmless_but_nothing_else(at, junk, kind):
    data = DAMAGED[kind]
    try:
        clip = read_clip(data[:at] + junk + data[at + len(junk) :])
    except BadClip:
        return
    assert np.isfinite(clip.pcm).all() and len(clip.pcm) <= 30 * MODEL_HZ


DAMAGED = {kind: file_bytes(talk(1.2), kind=kind) for kind in ("WAV", "FLAC", "OGG")}


def test_clipping_is_counted_over_all_channels():
    pcm = talk(2)
    pcm[:480] = 1.0
    clip = read_clip(file_bytes(np.stack([pcm, talk(2)], axis=1)))
    assert clip.clipped_share == pytest.approx(480 / (4 * HZ), rel=0.01)
    assert np.abs(clip.pcm).max() <= 1


def test_the_kind_is_seen_in_the_bytes():
    assert clip_kind(wav()) == "wav"
    assert clip_kind(file_bytes(talk(1), kind="FLAC")) == "flac"
    assert clip_kind(file_bytes(talk(1), kind="MP3")) == "mp3"
