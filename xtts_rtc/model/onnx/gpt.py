"""The GPT body on onnxruntime: rows of KV memory, prefill, and one step for any set of slots.

Knows tokens and positions, no voice files, no sampling. Engine thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from xtts_rtc.errors import GenerationFailed, InvalidText
from xtts_rtc.model.onnx.bundle import Manifest, Tables
from xtts_rtc.model.onnx.rows import RowMap, allocate
from xtts_rtc.types import Conditioning, Float32

MAX_PREFIXES = 16
"""Voices whose prefix KV is kept: 2 MB each at full size in int8."""
_PAGE_POSITIONS = 16
Memory = NDArray[np.float32] | NDArray[np.int8]
"""Keys and values, as numbers or in units of the graph's own scales."""


def _run_options() -> ort.RunOptions:
    options = ort.RunOptions()
    options.log_severity_level = 4  # it would log an interruption as an error
    return options


@dataclass(slots=True)
class _Slot:
    """Positions already in KV memory, how many of them are audio, and what has yet to be prefilled."""

    options: ort.RunOptions = field(default_factory=_run_options)  # of the prefill: any thread may end it
    length: int = 0
    num_audio: int = 0
    pending: Float32 | None = None  # [T, D], what `begin` left to `extend`


@dataclass(slots=True)
class _StepBuffers:
    """What a step of so many rows reads and writes; bound once, filled in place."""

    x: Float32  # [R, 1, D]
    last: NDArray[np.int32]  # [R]
    total: NDArray[np.int32]  # []
    latents: Float32  # [R, D]
    logits: Float32  # [R, V]


class OnnxGpt:
    """KV memory of `num_slots` streams and the session that reads and writes it in place.

    KV memory is [2 * layers, rows, heads, positions, head size], float32 or int8. GroupQueryAttention wants the
    rows of a step side by side, so a step runs over the span of rows that its slots occupy; rows inside the span
    that do not take part ride along and are left as they were. RowMap keeps the span tight.
    """

    def __init__(self, session: ort.InferenceSession, manifest: Manifest, tables: Tables, *, num_slots: int) -> None:
        info = manifest.info
        self._session, self._manifest, self._tables, self._info = session, manifest, tables, info
        longest = info.num_prefix + info.max_text_tokens + 2 + 1 + info.max_audio_tokens
        # One position more: a row that rides along writes one past its end.
        self._num_positions = -(-(longest + 1) // _PAGE_POSITIONS) * _PAGE_POSITIONS
        head = info.dim // info.num_heads
        dtype = np.dtype(np.int8 if manifest.kv == "int8" else np.float32)
        self._kv = allocate((2 * info.num_layers, num_slots, info.num_heads, self._num_positions, head), dtype)
        self._slots = [_Slot() for _ in range(num_slots)]
        self._rows = RowMap(num_slots)
        self._bindings: dict[tuple[int, int], ort.IOBinding] = {}
        self._steps: dict[tuple[int, int], _StepBuffers] = {}
        self._values: dict[tuple[int, int], list[ort.OrtValue]] = {}
        self._prefixes: OrderedDict[str, Memory] = OrderedDict()

    def begin(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> int:
        """As `Runtime.begin`. Raises InvalidText for more ids than the learned positions allow."""
        if text_ids.size > self._info.max_text_tokens:
            raise InvalidText(f"{text_ids.size} text ids in one segment; at most {self._info.max_text_tokens} fit")
        self._slots[slot] = _Slot()
        self._load_prefix(self._rows.take(slot), slot, voice)
        ids = np.concatenate([[self._manifest.start_text_token], text_ids, [self._manifest.stop_text_token]])
        tables = self._tables
        text = tables.text_embedding[ids] + tables.text_positions[: ids.size]
        self._slots[slot].pending = np.concatenate([text, self._audio([self._info.start_audio_token], [0])])
        return ids.size + 1

    def extend(self, slot: int, max_positions: int) -> tuple[Float32, Float32] | None:
        """As `Runtime.extend`."""
        state = self._slots[slot]
        if state.pending is None:
            raise GenerationFailed("nothing is left to compute before this segment's first step; begin it first")
        part, rest = state.pending[:max_positions], state.pending[max_positions:]
        try:
            out = self._extend(self._rows.row_of(slot), slot, part)
        except Exception:  # onnxruntime raises a bare RuntimeError; what the row holds was not lengthened
            if state.options.terminate:
                return None
            raise
        state.pending = rest if rest.size else None
        if state.pending is not None:
            return None
        state.num_audio = 1
        return out

    def interrupter(self, slot: int) -> Callable[[], None]:
        """As `Runtime.interrupter`: onnxruntime looks at the mark between two operators."""
        options = self._slots[slot].options

        def interrupt() -> None:
            options.terminate = True

        return interrupt

    def prefill(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """As `Runtime.prefill`."""
        done = self.extend(slot, self.begin(slot, voice, text_ids))
        assert done is not None
        return done

    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """As `Runtime.step`. Raises GenerationFailed for a slot that is empty or full."""
        states = [self._slots[slot] for slot in slots]
        for state in states:
            if not 0 < state.num_audio <= self._info.max_audio_tokens:
                raise GenerationFailed(
                    f"a step after {state.num_audio} audio tokens; prefill first, or end the segment"
                )
        for source, target in self._rows.arrange(slots.tolist()):
            self._move(source, target)
        rows = [self._rows.row_of(slot) for slot in slots.tolist()]
        first, stop = min(rows), max(rows) + 1
        binding, buffers = self._step_binding(first, stop)
        embedded = self._audio(tokens, [state.num_audio for state in states])
        buffers.x[:, 0] = embedded[0]  # rows that ride along: any real input, so that no scale is spoiled
        places = np.subtract(rows, first)
        buffers.x[places, 0] = embedded
        # A row that rides along writes one past its end, where its own next step will overwrite it.
        buffers.last[:] = [self._length(row) for row in range(first, stop)]
        buffers.total[...] = buffers.last.max() + 1
        self._session.run_with_iobinding(binding)
        for state in states:
            state.length += 1
            state.num_audio += 1
        return buffers.latents[places], buffers.logits[places]

    def release(self, slot: int) -> None:
        """Forget the slot; its memory is overwritten by the next prefill."""
        self._slots[slot] = _Slot()
        self._rows.free(slot)

    def _audio(self, tokens: NDArray[np.int64] | list[int], places: list[int]) -> Float32:
        """Embedded audio tokens at their positions, [B, D]."""
        return np.asarray(self._tables.mel_embedding[tokens] + self._tables.mel_positions[places], np.float32)

    def _length(self, row: int) -> int:
        slot = self._rows.slot_at(row)
        return 0 if slot is None else self._slots[slot].length

    def _load_prefix(self, row: int, slot: int, voice: Conditioning) -> None:
        """Copy the voice's prefix KV into the row, computing it the first time."""
        num = voice.gpt_latents.shape[0]
        kept = self._prefixes.get(voice.key)
        if kept is None:
            self._extend(row, slot, voice.gpt_latents)
            kept = self._kv[:, row, :, :num].copy()
            self._prefixes[voice.key] = kept
            if len(self._prefixes) > MAX_PREFIXES:
                self._prefixes.popitem(last=False)
        else:
            self._prefixes.move_to_end(voice.key)
            self._kv[:, row, :, :num] = kept
        self._slots[slot].length = num

    def _extend(self, row: int, slot: int, x: Float32) -> tuple[Float32, Float32]:
        """x [T, D] after what the row holds; the last position's latent [D] and logits [V].

        One row at a time: GroupQueryAttention takes a past longer than 0 with T > 1 only at batch 1.
        """
        state = self._slots[slot]
        total = state.length + x.shape[0]
        binding = self._binding(row, row + 1)
        inputs: dict[str, Float32 | NDArray[np.int32]] = {
            "x": np.ascontiguousarray(x[None], np.float32),
            "last": np.array([total - 1], np.int32),
            "total": np.array(total, np.int32),
        }
        latents = np.empty((1, self._info.dim), np.float32)
        logits = np.empty((1, self._info.num_audio_tokens), np.float32)
        values = self._bind(binding, inputs, {"latents": latents, "logits": logits})
        self._steps.pop((row, row + 1), None)  # its inputs are no longer the bound ones
        self._session.run_with_iobinding(binding, state.options)
        del values
        state.length = total
        return latents[0], logits[0]

    def _move(self, source: int, target: int) -> None:
        """Exchange two rows' memory, the map's already being exchanged; only positions in use are copied."""
        moved, kept_positions = self._length(target), self._length(source)
        kept = self._kv[:, target, :, :kept_positions].copy()
        self._kv[:, target, :, :moved] = self._kv[:, source, :, :moved]
        self._kv[:, source, :, :kept_positions] = kept

    def _binding(self, first: int, stop: int) -> ort.IOBinding:
        """KV rows [first, stop) bound as past and present."""
        if (first, stop) not in self._bindings:
            binding = self._session.io_binding()
            for index in range(self._info.num_layers):
                for part, kind in enumerate("kv"):
                    value = ort.OrtValue.ortvalue_from_numpy(self._kv[2 * index + part, first:stop])
                    binding.bind_ortvalue_input(f"p{kind}{index}", value)
                    binding.bind_ortvalue_output(f"q{kind}{index}", value)
            self._bindings[first, stop] = binding
        return self._bindings[first, stop]

    def _step_binding(self, first: int, stop: int) -> tuple[ort.IOBinding, _StepBuffers]:
        binding = self._binding(first, stop)
        if (first, stop) not in self._steps:
            rows, info = stop - first, self._info
            buffers = _StepBuffers(
                x=np.zeros((rows, 1, info.dim), np.float32),
                last=np.zeros(rows, np.int32),
                total=np.zeros((), np.int32),
                latents=np.zeros((rows, info.dim), np.float32),
                logits=np.zeros((rows, info.num_audio_tokens), np.float32),
            )
            inputs: dict[str, Float32 | NDArray[np.int32]] = {
                "x": buffers.x,
                "last": buffers.last,
                "total": buffers.total,
            }
            outputs = {"latents": buffers.latents, "logits": buffers.logits}
            self._values[first, stop] = self._bind(binding, inputs, outputs)
            self._steps[first, stop] = buffers
        return binding, self._steps[first, stop]

    def _bind(
        self,
        binding: ort.IOBinding,
        inputs: Mapping[str, Float32 | NDArray[np.int32]],
        outputs: Mapping[str, Float32],
    ) -> list[ort.OrtValue]:
        """Bind arrays in place; the values returned must live until the run is over."""
        values = []
        for arrays, bind in ((inputs, binding.bind_ortvalue_input), (outputs, binding.bind_ortvalue_output)):
            for name, array in arrays.items():
                values.append(ort.OrtValue.ortvalue_from_numpy(array))
                bind(name, values[-1])
        return values


__all__ = ["MAX_PREFIXES", "OnnxGpt"]
