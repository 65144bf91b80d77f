"""KV rows, prefix cache and ragged steps of the GPT graph, on tiny random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xtts_rtc.errors import GenerationFailed, InvalidText
from xtts_rtc.model.onnx.bundle import open_bundle
from xtts_rtc.model.onnx.gpt import MAX_PREFIXES, OnnxGpt
from xtts_rtc.model.onnx.sessions import open_session
from xtts_rtc.types import Conditioning, Float32

ROW_INDEPENDENT = ("fp32", "int8-static", "int8-row", "int8-block")


def make_gpt(path: Path, num_slots: int) -> OnnxGpt:
    bundle = open_bundle(path)
    session = open_session(path / "gpt.onnx", num_threads=1)
    return OnnxGpt(session, bundle.manifest, bundle.tables(), num_slots=num_slots)


def text(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 38, length)


def alone(path: Path, voice: Conditioning, ids: np.ndarray, tokens: list[int]) -> Float32:
    """Latents [N + 1, D] of one stream that has the model for itself."""
    gpt = make_gpt(path, 1)
    latents = [gpt.prefill(0, voice, ids)[0]]
    for token in tokens:
        latents.append(gpt.step(np.zeros(1, np.int64), np.array([token]))[0][0])
    return np.stack(latents)


def plain_forward(weights: dict[str, Float32], x: Float32, num_heads: int) -> Float32:
    """The GPT without any cache in numpy: x [T, D] to latents [T, D]."""

    def norm(y: np.ndarray, name: str) -> np.ndarray:
        centred = y - y.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    y = x.astype(np.float64)
    size, dim = y.shape
    hidden = np.triu(np.full((size, size), -np.inf), 1)
    for layer in range(2):
        at = f"gpt.gpt.h.{layer}"
        qkv = norm(y, f"{at}.ln_1") @ weights[f"{at}.attn.c_attn.weight"] + weights[f"{at}.attn.c_attn.bias"]
        q, k, v = (part.reshape(size, num_heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, axis=1))
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(dim // num_heads) + hidden
        share = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = ((share / share.sum(axis=-1, keepdims=True)) @ v).transpose(1, 0, 2).reshape(size, dim)
        y = y + mixed @ weights[f"{at}.attn.c_proj.weight"] + weights[f"{at}.attn.c_proj.bias"]
        inner = norm(y, f"{at}.ln_2") @ weights[f"{at}.mlp.c_fc.weight"] + weights[f"{at}.mlp.c_fc.bias"]
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        y = y + inner @ weights[f"{at}.mlp.c_proj.weight"] + weights[f"{at}.mlp.c_proj.bias"]
    return norm(norm(y, "gpt.gpt.ln_f"), "gpt.final_norm")


def test_prefill_and_steps_equal_one_uncached_pass(
    tiny_bundles: dict[str, Path], tiny_weights: dict[str, Float32], voices: list[Conditioning]
) -> None:
    ids, tokens = text(0, 9), [5, 900, 31, 31]
    found = alone(tiny_bundles["fp32"], voices[0], ids, tokens)
    wrapped = np.concatenate([[39], ids, [0]])
    audio = [1024, *tokens]
    x = np.concatenate(
        [
            voices[0].gpt_latents,
            tiny_weights["gpt.text_embedding.weight"][wrapped]
            + tiny_weights["gpt.text_pos_embedding.emb.weight"][: wrapped.size],
            tiny_weights["gpt.mel_embedding.weight"][audio]
            + tiny_weights["gpt.mel_pos_embedding.emb.weight"][: len(audio)],
        ]
    )
    truth = plain_forward(tiny_weights, x, 4)[-len(audio) :]
    np.testing.assert_allclose(found, truth, atol=2e-5)


@pytest.mark.parametrize("patience", (0, 2, 100))
@pytest.mark.parametrize("operator", ROW_INDEPENDENT)
def test_a_stream_among_others_gives_what_it_gives_alone(
    operator: str,
    patience: int,
    tiny_bundles: dict[str, Path],
    voices: list[Conditioning],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three streams of different voices and lengths; one joins late, one leaves early, one rests for a while.

    Rows are moved at every chance, at times, and never.
    """
    monkeypatch.setattr("xtts_rtc.model.onnx.rows.PATIENCE_ROWS", patience)
    path, rng = tiny_bundles[operator], np.random.default_rng(5)
    texts = [text(slot, length) for slot, length in enumerate((3, 17, 9))]
    tokens = rng.integers(0, 1024, (3, 20))
    gpt = make_gpt(path, 3)
    latents: list[list[Float32]] = [[gpt.prefill(slot, voices[slot], texts[slot])[0]] for slot in (0, 1)] + [[]]
    for step in range(12):
        if step == 4:
            latents[2].append(gpt.prefill(2, voices[2], texts[2])[0])
        active = [
            slot
            for slot in (2, 0, 1)
            if latents[slot] and not (slot == 0 and step >= 8) and not (slot == 1 and 5 <= step < 8)
        ]
        if step == 8:
            gpt.release(0)
        fed = np.array([tokens[slot, len(latents[slot]) - 1] for slot in active])
        found, _ = gpt.step(np.array(active), fed)
        for row, slot in enumerate(active):
            latents[slot].append(found[row])
    for slot in range(3):
        count = len(latents[slot])
        assert count >= 8
        truth = alone(path, voices[slot], texts[slot], tokens[slot, : count - 1].tolist())
        np.testing.assert_allclose(np.stack(latents[slot]), truth, atol=1e-5)


def test_one_scale_for_the_whole_batch_is_why_int8_tensor_is_not_the_default(
    tiny_bundles: dict[str, Path], voices: list[Conditioning]
) -> None:
    """DynamicQuantizeMatMul has one activation scale: a neighbour changes what a stream says."""
    gpt = make_gpt(tiny_bundles["int8-tensor"], 2)
    for slot in (0, 1):
        gpt.prefill(slot, voices[slot], text(slot, 7))
    shared = gpt.step(np.array([0, 1]), np.array([7, 8]))[0][0]
    own = alone(tiny_bundles["int8-tensor"], voices[0], text(0, 7), [7])[1]
    assert np.abs(shared - own).max() > 1e-4


@pytest.mark.parametrize("operator", ("int8-static", "int8-row", "int8-tensor", "int8-block"))
def test_int8_latents_point_where_fp32_latents_do(
    operator: str, tiny_bundles: dict[str, Path], voices: list[Conditioning]
) -> None:
    tokens = np.random.default_rng(1).integers(0, 1024, 16).tolist()
    truth, found = (alone(tiny_bundles[name], voices[0], text(1, 12), tokens) for name in ("fp32", operator))
    cosine = (truth * found).sum(axis=1) / (np.linalg.norm(truth, axis=1) * np.linalg.norm(found, axis=1))
    assert cosine.min() > 0.998


def test_prefix_of_a_voice_is_computed_once_and_copied_exactly(
    tiny_bundles: dict[str, Path], voices: list[Conditioning]
) -> None:
    gpt = make_gpt(tiny_bundles["fp32"], 2)
    first = gpt.prefill(0, voices[0], text(0, 5))
    changed = Conditioning(voices[0].key, voices[1].gpt_latents, voices[1].speaker_embedding)
    again = gpt.prefill(1, changed, text(0, 5))  # same key: the kept prefix is used, not the latents
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_only_so_many_prefixes_are_kept(tiny_bundles: dict[str, Path], voices: list[Conditioning]) -> None:
    gpt = make_gpt(tiny_bundles["fp32"], 1)
    for index in range(MAX_PREFIXES + 5):
        gpt.prefill(0, Conditioning(str(index), voices[0].gpt_latents, voices[0].speaker_embedding), text(0, 2))
    assert len(gpt._prefixes) == MAX_PREFIXES


def test_a_slot_prefilled_again_has_forgotten_what_it_held(
    tiny_bundles: dict[str, Path], voices: list[Conditioning]
) -> None:
    gpt = make_gpt(tiny_bundles["fp32"], 1)
    gpt.prefill(0, voices[1], text(9, 15))
    for token in range(10):
        gpt.step(np.zeros(1, np.int64), np.array([token]))
    found = gpt.prefill(0, voices[0], text(0, 4))[0]
    np.testing.assert_array_equal(found, alone(tiny_bundles["fp32"], voices[0], text(0, 4), [])[0])


def test_every_position_can_be_used_and_not_one_more(tiny_bundles: dict[str, Path], voices: list[Conditioning]) -> None:
    gpt = make_gpt(tiny_bundles["fp32"], 3)
    for slot in (0, 1, 2):
        gpt.prefill(slot, voices[0], text(0, 21))
    for _ in range(30):
        latents, _ = gpt.step(np.array([1]), np.array([1]))
        assert np.isfinite(latents).all()
    with pytest.raises(GenerationFailed):
        gpt.step(np.array([1]), np.array([1]))
    # The full row rides along between its neighbours: nothing it holds is touched.
    used = gpt._slots[1].length
    before = gpt._kv[:, 1, :, :used].copy()
    gpt.step(np.array([0, 2]), np.array([1, 1]))
    np.testing.assert_array_equal(before, gpt._kv[:, 1, :, :used])


def test_too_much_text_is_refused_before_any_work(tiny_bundles: dict[str, Path], voices: list[Conditioning]) -> None:
    gpt = make_gpt(tiny_bundles["fp32"], 1)
    with pytest.raises(InvalidText, match="22 text ids"):
        gpt.prefill(0, voices[0], text(0, 22))


def test_a_step_of_an_empty_slot_is_refused(tiny_bundles: dict[str, Path]) -> None:
    with pytest.raises(GenerationFailed):
        make_gpt(tiny_bundles["fp32"], 2).step(np.array([1]), np.array([3]))


@pytest.mark.parametrize("operator", ROW_INDEPENDENT)
def test_an_interrupted_prefill_leaves_no_trace(
    tiny_bundles: dict[str, Path], voices: list[Conditioning], operator: str
) -> None:
    gpt = make_gpt(tiny_bundles[operator], 2)
    gpt.prefill(1, voices[1], text(1, 7))
    positions = gpt.begin(0, voices[0], text(0, 9))
    assert gpt.extend(0, 4) is None
    gpt.interrupter(0)()
    assert gpt.extend(0, positions) is None  # stopped, and not for want of positions
    with pytest.raises(GenerationFailed, match="prefill first"):
        gpt.step(np.zeros(1, np.int64), np.array([5]))
    other = gpt.step(np.ones(1, np.int64), np.array([5]))[0][0]
    np.testing.assert_array_equal(other, alone(tiny_bundles[operator], voices[1], text(1, 7), [5])[1])
    again = gpt.prefill(0, voices[0], text(2, 6))[0]
    np.testing.assert_array_equal(again, alone(tiny_bundles[operator], voices[0], text(2, 6), [])[0])


def test_an_interrupter_does_not_reach_the_next_segment_of_its_slot(
    tiny_bundles: dict[str, Path], voices: list[Conditioning]
) -> None:
    gpt = make_gpt(tiny_bundles["int8-row"], 1)
    gpt.begin(0, voices[0], text(0, 9))
    interrupt = gpt.interrupter(0)
    gpt.release(0)
    gpt.begin(0, voices[0], text(1, 9))
    interrupt()
    assert gpt.extend(0, 100) is not None
