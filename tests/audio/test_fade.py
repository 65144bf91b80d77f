"""Fades and tails: no click, no lost speech, the same whatever the chunks were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtts_rtc.audio.fade import EdgeFade, TailTrim, fade_out

HZ = 24_000
FADE = 120  # samples in 5 ms


def run(effect, pcm, cuts=()):
    parts = np.split(pcm, sorted(cuts))
    return np.concatenate([effect.push(part, k == len(parts) - 1) for k, part in enumerate(parts)])


def tone(num_samples):
    return (np.sin(np.arange(num_samples) * 0.1 + 1) * 0.5).astype(np.float32)


def loud(seconds):
    return np.full(int(seconds * HZ), 0.25, np.float32)


def quiet(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-0.004, 0.004, int(seconds * HZ)).astype(np.float32)


def test_a_run_starts_and_ends_at_zero_and_is_untouched_between():
    pcm = tone(5_000)
    got = run(EdgeFade(HZ), pcm)
    assert got[0] == 0 and got[-1] == 0
    assert got[FADE:-FADE].tobytes() == pcm[FADE:-FADE].tobytes()
    assert np.abs(got[:FADE]).max() <= np.abs(pcm[:FADE]).max()


@given(size=st.integers(0, 600), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_fading_does_not_depend_on_the_chunks(size, cuts):
    pcm = tone(size)
    got = run(EdgeFade(HZ), pcm, [min(cut, size) for cut in cuts])
    assert got.tobytes() == run(EdgeFade(HZ), pcm).tobytes()
    assert len(got) == size


@pytest.mark.parametrize("size", [0, 1, 2, 50, 119, 120, 121, 239, 240])
def test_a_run_shorter_than_its_fades_has_no_click(size):
    got = run(EdgeFade(HZ), np.ones(size, np.float32))
    assert len(got) == size
    steps = np.abs(np.diff(got, prepend=np.float32(0), append=np.float32(0)))
    assert steps.max() < 0.02


def test_only_five_milliseconds_are_held_back():
    fade = EdgeFade(HZ)
    assert len(fade.push(tone(1_000), False)) == 1_000 - FADE
    assert len(fade.push(tone(10), False)) == 10


def test_after_its_last_chunk_the_fade_begins_a_new_run():
    fade = EdgeFade(HZ)
    first = run(fade, tone(1_000), [300])
    assert run(fade, tone(1_000), [10, 20]).tobytes() == first.tobytes()


@pytest.mark.parametrize("tail_s", [0.0, 0.05, 0.18, 0.19, 0.5, 1.0])
def test_trailing_silence_is_cut_to_the_pause_and_all_else_is_bit_exact(tail_s):
    pcm = np.concatenate([quiet(0.3), loud(0.5), quiet(0.4, 1), loud(0.2), quiet(tail_s, 2)])
    got = run(TailTrim(HZ), pcm)
    assert len(got) == int(1.4 * HZ) + min(int(tail_s * HZ), int(0.18 * HZ))
    assert got.tobytes() == pcm[: len(got)].tobytes()


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.booleans(), st.integers(1, 700)), max_size=6),
    cuts=st.lists(st.integers(0, 4_000), max_size=8),
)
def test_trimming_does_not_depend_on_the_chunks(pieces, cuts):
    parts = [np.full(size, 0.5 if is_loud else 0.001, np.float32) for is_loud, size in pieces]
    pcm = np.concatenate([np.zeros(0, np.float32), *parts])
    whole = run(TailTrim(1_000, max_hold_s=0.3), pcm)
    got = run(TailTrim(1_000, max_hold_s=0.3), pcm, [min(cut, len(pcm)) for cut in cuts])
    assert got.tobytes() == whole.tobytes()
    assert got.tobytes() == pcm[: len(got)].tobytes()
    assert not (pcm[len(got) :] >= 0.005).any()


def test_speech_never_waits_and_a_natural_pause_never_waits():
    trim = TailTrim(HZ)
    assert len(trim.push(quiet(1.0), False)) == HZ  # leading
    assert len(trim.push(loud(0.1), False)) == int(0.1 * HZ)
    assert len(trim.push(quiet(0.18), False)) == int(0.18 * HZ)
    assert trim.held_samples == 0
    assert len(trim.push(quiet(0.3), False)) == 0
    assert trim.held_samples == int(0.3 * HZ)
    assert len(trim.push(loud(0.1), False)) == int(0.3 * HZ) + int(0.1 * HZ)


def test_the_hold_is_bounded_however_long_the_silence():
    trim = TailTrim(HZ)
    trim.push(loud(0.1), False)
    out = 0
    for _ in range(100):
        out += len(trim.push(quiet(0.1), False))
        assert trim.held_samples <= HZ
    assert out == 9 * HZ


def test_a_silent_segment_passes_whole_and_the_next_one_is_trimmed_anew():
    trim = TailTrim(HZ)
    assert len(run(trim, quiet(0.5))) == int(0.5 * HZ)
    assert len(run(trim, np.concatenate([loud(0.1), quiet(0.5)]))) == int(0.1 * HZ) + int(0.18 * HZ)
    assert len(run(trim, quiet(0.5))) == int(0.5 * HZ)


def test_a_cut_begins_at_full_level_and_is_silent_after_five_milliseconds():
    frame = np.full(480, 0.8, np.float32)
    got = fade_out(frame, HZ)
    assert got[0] == frame[0]
    assert len(got) == len(frame) and not got[FADE:].any()
    assert np.abs(np.diff(got)).max() < 0.02


@pytest.mark.parametrize("size", [0, 1, 60])
def test_a_cut_of_less_than_five_milliseconds_is_faded_over_its_length(size):
    got = fade_out(np.ones(size, np.float32), HZ)
    assert len(got) == size
    assert size < 2 or got[-1] < 0.1
