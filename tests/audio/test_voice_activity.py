"""Real speech over noise, and what is not speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from xtts_rtc.audio.voice_activity import Change, LevelMeter, VoiceActivity
from xtts_rtc.errors import InvalidParameter

HZ = 8_000
CLIP = Path(__file__).parents[2] / "speakers" / "default.wav"


@pytest.fixture(scope="module")
def speech():
    """A second and a half of the packaged voice at 8 kHz, -20 dBFS, from its first loud sample on."""
    clip, hz = soundfile.read(CLIP, dtype="float32")
    voice = soxr.resample(clip, hz, HZ)
    loud = np.flatnonzero(np.abs(voice) > 0.1 * np.abs(voice).max())
    voice = voice[loud[0] : loud[0] + 12_000]
    return (voice * (0.1 / np.sqrt(np.mean(voice[np.abs(voice) > 0.02] ** 2)))).astype(np.float32)


def silence(seconds, hz=HZ):
    return np.zeros(round(seconds * hz), np.float32)


def noise(seconds, db, kind="white", seed=0, hz=HZ):
    samples = np.random.default_rng(seed).standard_normal(round(seconds * hz))
    if kind == "pink":
        spectrum = np.fft.rfft(samples)
        samples = np.fft.irfft(spectrum / np.maximum(1, np.sqrt(np.arange(len(spectrum)))), len(samples))
    if kind == "hum":
        time_s = np.arange(len(samples)) / hz
        samples = np.sin(2 * np.pi * 50 * time_s) + 0.3 * np.sin(2 * np.pi * 150 * time_s)
    return (samples / np.std(samples) * 10 ** (db / 20)).astype(np.float32)


def watch(pcm, voice=None, size=160, ours=None, hz=HZ):
    """Each change and the time at which it was known, in ms of audio."""
    voice = voice or VoiceActivity(hz)
    seen = []
    for start in range(0, len(pcm), size):
        if ours is not None:
            voice.said(ours[start : start + size])
        piece = pcm[start : start + size]
        seen += [((start + len(piece)) / hz * 1000, change) for change in voice.push(piece)]
    return seen


@pytest.mark.parametrize(("kind", "db"), [("white", -90), ("white", -50), ("white", -40), ("pink", -40), ("hum", -30)])
@pytest.mark.parametrize("level_db", [0, -8])
def test_speech_is_found_in_noise_within_a_fifth_of_a_second_and_its_end_after_it(speech, kind, db, level_db):
    line = np.concatenate([silence(1), speech * 10 ** (level_db / 20), silence(1)])
    seen = watch(line + noise(4, db, kind)[: len(line)])
    assert [change for _, change in seen] in ([Change.STARTED, Change.ENDED], [Change.STARTED, Change.ENDED] * 2)
    assert 1_040 <= seen[0][0] <= 1_200
    assert 2_500 <= seen[-1][0] <= 3_100


@pytest.mark.parametrize(("kind", "db"), [("white", -60), ("white", -40), ("white", -25), ("pink", -30), ("hum", -20)])
def test_a_minute_of_steady_noise_is_nobody(kind, db):
    assert watch(noise(60, db, kind)) == []


def test_nothing_at_all_is_nobody():
    assert watch(silence(10)) == []


def test_lost_packets_in_a_noisy_line_are_nobody():
    line = noise(20, -40)
    for start in range(4_000, len(line), 4_000):
        line[start : start + 320] = 0
    assert watch(line) == []


def test_a_click_and_a_short_beep_are_nobody():
    line = noise(3, -60)
    line[8_000] += 0.9
    line[16_000:16_320] += 0.3 * np.sin(np.arange(320) * 0.6).astype(np.float32)
    assert watch(line) == []


def test_a_noise_that_starts_and_stays_is_taken_for_speech_only_until_the_floor_has_risen():
    """What the docstring owns up to: 20 dB more, at 4 dB a second."""
    seen = watch(np.concatenate([noise(2, -60), noise(12, -40, seed=1)]))
    assert [change for _, change in seen] == [Change.STARTED, Change.ENDED]
    assert seen[1][0] < 8_000


@pytest.mark.parametrize("delay_ms", [40, 300])
@pytest.mark.parametrize("loss_db", [20, 30])
def test_our_own_voice_that_comes_back_is_not_the_caller(speech, loss_db, delay_ms):
    ours = np.concatenate([speech, speech[::-1], speech])
    delay = silence(delay_ms / 1000)
    echo = np.concatenate([delay, ours])[: len(ours)] * 10 ** (-loss_db / 20)
    assert watch(echo + noise(5, -60)[: len(ours)], ours=ours) == []
    assert watch(echo, ours=np.zeros_like(ours)) or loss_db == 30, "it would be, if we had not said it"


def test_a_caller_is_found_over_the_echo_of_our_voice(speech):
    ours = np.concatenate([speech, speech, speech])
    line = ours * 10 ** (-25 / 20) + noise(5, -55)[: len(ours)]
    line[16_000:28_000] += speech
    seen = watch(line, ours=ours)
    assert seen[0][1] is Change.STARTED and 2_040 <= seen[0][0] <= 2_200


@pytest.mark.parametrize("hz", [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000])
def test_the_moment_hardly_depends_on_the_rate(speech, hz):
    line = np.concatenate([silence(1), speech, silence(1)]) + noise(4, -50)[: 12_000 + 2 * HZ]
    at_rate = soxr.resample(line, HZ, hz) if hz != HZ else line
    seen = watch(at_rate.astype(np.float32), hz=hz, size=hz // 50)
    assert abs(seen[0][0] - watch(line)[0][0]) <= 20


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 20_000), max_size=10))
def test_the_cut_into_pieces_changes_no_decision(cuts):
    line = np.concatenate([noise(0.5, -60), noise(0.8, -20, seed=2), noise(1.2, -60, seed=3)])
    voice = VoiceActivity(HZ)
    seen = [change for piece in np.split(line, sorted(cuts)) for change in voice.push(piece)]
    assert seen == [change for _, change in watch(line)] == [Change.STARTED, Change.ENDED]


def test_the_level_of_a_full_scale_sine_is_minus_3_dbfs():
    levels = LevelMeter(HZ).push(np.sin(2 * np.pi * 1_000 * np.arange(HZ) / HZ).astype(np.float32))
    assert len(levels) == 99
    assert np.allclose(levels, -3.01, atol=0.1)


def test_a_rate_under_that_of_a_phone_is_refused():
    with pytest.raises(InvalidParameter, match="8000 Hz on"):
        VoiceActivity(4_000)
