"""Resampling: no seam, no lost sample, no surprise in length."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from xtts_rtc.audio.resample import RATES_HZ, Resampler
from xtts_rtc.errors import InvalidParameter


def noise(num_samples, seed=0):
    return (np.random.default_rng(seed).standard_normal(num_samples) * 0.3).astype(np.float32)


def stream(pcm, in_hz, out_hz, cuts):
    resampler = Resampler(in_hz, out_hz)
    parts = [resampler.push(part) for part in np.split(pcm, sorted(cuts))]
    return np.concatenate([*parts, resampler.flush()])


@pytest.mark.parametrize("in_hz", RATES_HZ)
@pytest.mark.parametrize("out_hz", RATES_HZ)
def test_chunks_give_what_one_go_gives_at_every_pair_of_rates(in_hz, out_hz):
    pcm = noise(in_hz // 2 + 7)
    got = stream(pcm, in_hz, out_hz, range(0, len(pcm), in_hz // 50))
    whole = pcm if in_hz == out_hz else soxr.resample(pcm, in_hz, out_hz, quality="HQ")
    assert abs(len(got) - round(len(pcm) * out_hz / in_hz)) <= 1
    assert got.dtype == np.float32
    assert np.abs(got[: len(whole)] - whole[: len(got)]).max() <= 1e-6


@settings(max_examples=40, deadline=None)
@given(data=st.data(), out_hz=st.sampled_from([48_000, 16_000, 8_000, 22_050]), size=st.integers(0, 3_000))
def test_the_cut_into_chunks_changes_no_sample(data, out_hz, size):
    cuts = data.draw(st.lists(st.integers(0, size), max_size=8))
    pcm = noise(size)
    got = stream(pcm, 24_000, out_hz, cuts)
    assert abs(len(got) - round(size * out_hz / 24_000)) <= 1
    np.testing.assert_allclose(got, stream(pcm, 24_000, out_hz, []), atol=1e-6)


def test_single_sample_chunks_lose_nothing():
    pcm = noise(2_400)
    got = stream(pcm, 24_000, 48_000, range(len(pcm)))
    np.testing.assert_allclose(got, soxr.resample(pcm, 24_000, 48_000), atol=1e-6)


def test_a_tone_keeps_its_place_and_its_level():
    seconds = np.arange(24_000) / 24_000
    got = stream(np.sin(2 * np.pi * 440 * seconds).astype(np.float32), 24_000, 48_000, range(0, 24_000, 500))
    wanted = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    assert np.abs(got - wanted)[500:-500].max() < 1e-3


@pytest.mark.parametrize(
    ("out_hz", "lag_ms"),
    [(48_000, 40), (44_100, 40), (32_000, 40), (22_050, 40), (16_000, 40), (12_000, 80), (8_000, 75)],
)
def test_the_output_lags_by_no_more_than_documented(out_hz, lag_ms):
    resampler = Resampler(24_000, out_hz)
    lags, out = [], 0
    for step in range(1, 200):
        out += len(resampler.push(noise(240)))
        lags.append(step * 10 - out * 1000 / out_hz)
    assert max(lags) <= lag_ms


def test_equal_rates_pass_the_samples_untouched():
    pcm = noise(1_000)
    resampler = Resampler(24_000, 24_000)
    assert resampler.push(pcm).tobytes() == pcm.tobytes()
    assert len(resampler.flush()) == 0


def test_a_second_flush_gives_nothing():
    resampler = Resampler(24_000, 48_000)
    resampler.push(noise(1_000))
    assert len(resampler.flush()) > 0
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize("hz", [0, -1, 7_999, 44_101, 96_000])
def test_another_rate_is_refused_with_the_rates_there_are(hz):
    with pytest.raises(InvalidParameter, match="48000, 44100, 32000, 24000, 22050, 16000, 12000, 8000"):
        Resampler(24_000, hz)
    with pytest.raises(InvalidParameter):
        Resampler(hz, 24_000)
