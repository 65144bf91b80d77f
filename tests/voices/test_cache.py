"""Conditioning is remembered, and a file on disk is believed only when it proves itself."""

import logging
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from xtts_rtc.types import Conditioning
from xtts_rtc.voices.cache import ConditioningCache


def conditioning(key, seed=0, dim=64):
    rng = np.random.default_rng(seed)
    return Conditioning(
        key, rng.standard_normal((32, dim)).astype(np.float32), rng.standard_normal(512).astype(np.float32)
    )


def same(a, b):
    return (
        a is not None
        and a.key == b.key
        and a.gpt_latents.tobytes() == b.gpt_latents.tobytes()
        and a.speaker_embedding.tobytes() == b.speaker_embedding.tobytes()
    )


def only_file(folder):
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("dim", [64, 1024])
def test_what_was_put_comes_back_in_the_next_process(tmp_path, dim):
    put = conditioning("k", dim=dim)
    ConditioningCache(tmp_path / "deep" / "cache", "m").put(put)
    got = ConditioningCache(tmp_path / "deep" / "cache", "m").get("k")
    assert same(got, put)
    assert got.gpt_latents.flags.writeable and got.gpt_latents.flags.owndata


def test_another_clip_or_another_model_is_not_found(tmp_path):
    ConditioningCache(tmp_path, "m").put(conditioning("k"))
    assert ConditioningCache(tmp_path, "m").get("k2") is None
    assert ConditioningCache(tmp_path, "m2").get("k") is None


def test_memory_answers_without_the_disk_and_forgets_the_oldest(tmp_path):
    cache = ConditioningCache(None, "m", max_voices=2)
    for key in ("a", "b"):
        cache.put(conditioning(key))
    assert cache.get("a") is not None  # now b is the oldest
    cache.put(conditioning("c"))
    assert [cache.get(key) is not None for key in ("a", "b", "c")] == [True, False, True]
    assert cache.get("a") is cache.get("a")


def test_what_memory_forgot_is_still_on_disk(tmp_path):
    cache = ConditioningCache(tmp_path, "m", max_voices=1)
    for key in ("a", "b"):
        cache.put(conditioning(key))
    assert same(cache.get("a"), conditioning("a"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 0.999), bit=st.integers(0, 7), size=st.one_of(st.none(), st.floats(0, 0.999)))
def test_any_flipped_bit_and_any_missing_end_is_noticed(tmp_path, where, bit, size):
    put = conditioning("k")
    ConditioningCache(tmp_path, "m").put(put)
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    if size is None:
        data[int(where * len(data))] ^= 1 << bit
    else:
        del data[int(size * len(data)) :]
    path.write_bytes(data)
    cache = ConditioningCache(tmp_path, "m")
    got = cache.get("k")
    # A bit of the header's padding or key order may be harmless: then the arrays are the right ones.
    assert got is None or same(got, put)
    cache.put(put)
    assert same(ConditioningCache(tmp_path, "m").get("k"), put)


def test_a_flipped_bit_in_the_numbers_is_noticed_and_logged(tmp_path, caplog):
    ConditioningCache(tmp_path, "m").put(conditioning("k"))
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert ConditioningCache(tmp_path, "m").get("k") is None
    assert "damaged; the voice is computed anew" in caplog.text


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"gpt_latents": np.zeros((32, 64), np.float32)},
        {"gpt_latents": np.zeros((31, 64), np.float32), "speaker_embedding": np.zeros(512, np.float32)},
        {"gpt_latents": np.zeros((32, 64), np.float64), "speaker_embedding": np.zeros(512, np.float32)},
        {"gpt_latents": np.full((32, 64), np.nan, np.float32), "speaker_embedding": np.zeros(512, np.float32)},
        {"gpt_latents": np.zeros((32, 64), np.float32), "speaker_embedding": np.zeros(511, np.float32)},
        {"gpt_latents": np.zeros((32, 64), np.float32), "speaker_embedding": np.zeros(512, np.float32)},
    ],
)
def test_a_file_that_somebody_else_wrote_is_not_trusted(tmp_path, tensors):
    ConditioningCache(tmp_path, "m").put(conditioning("k"))
    path = only_file(tmp_path)
    path.unlink()
    save_file(tensors, path)
    assert ConditioningCache(tmp_path, "m").get("k") is None


def test_an_entry_copied_to_another_name_is_not_trusted(tmp_path):
    ConditioningCache(tmp_path, "m").put(conditioning("k"))
    mine = only_file(tmp_path)
    ConditioningCache(tmp_path, "m").put(conditioning("other"))
    (other,) = set(tmp_path.iterdir()) - {mine}
    other.write_bytes(mine.read_bytes())
    assert ConditioningCache(tmp_path, "m").get("other") is None


def test_a_full_disk_costs_a_warning_and_leaves_no_rest(tmp_path, monkeypatch, caplog):
    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    cache = ConditioningCache(tmp_path, "m")
    with caplog.at_level(logging.WARNING):
        cache.put(conditioning("k"))
    assert "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert same(cache.get("k"), conditioning("k"))


def test_a_cache_folder_that_cannot_be_made_or_read_is_survived(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = ConditioningCache(tmp_path / "file", "m")
    assert cache.get("k") is None
    cache.put(conditioning("k"))
    assert same(cache.get("k"), conditioning("k"))
