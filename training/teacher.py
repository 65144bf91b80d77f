"""The teacher: hibari-tts with the durations of its phonemes, speaking as any synthetic speaker.

One `Utterance` holds the audio and, per audio token of 1024 / 22050 s, what the student is to learn from it.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from training import reading
from training.config import Config
from training.speakers import Speaker
from xtts_rtc.text.normalize import normalize

HZ = 24_000
TOKEN = 1024 * HZ / 22_050
"""Samples of one audio token."""
NUM_MELS = 80
PARTS = 4
"""Spectra per token."""
PERIOD = 128
"""Samples of a period of the one note of `chant`, 187.5 Hz: half a frame of the vocoder."""
_DURATIONS = "/Cast_32_output_0"  # integer phoneme durations inside hibari 0.2.1's graph, in units of 25 ms
_DURATION_SAMPLES, _F0_HOP = 600, 300
_LOUD, _LEAD_IN, _LEAD_OUT, _FADE = 0.005, 720, 2_640, 600
_GAP = 3_600
_WORD = re.compile(r"[^\s:\-]+")

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Utterance:
    """`ids` are the text tokens without start and stop; N is the number of audio tokens.

    pcm [S] float32 at 24 kHz; neutral and mel [N, 320] the log-mel of the teacher's own voice at this pace and of
    this speaker; f0 [N, 8] log fundamental (0 unvoiced) and voicing; phones [N, 2]; places [N] the text token
    (1 is the first of `ids`) being spoken.
    """

    text: str
    ids: list[int]
    pcm: Array
    neutral: Array
    mel: Array
    f0: Array
    phones: NDArray[np.int16]
    places: NDArray[np.int16]


@dataclass(slots=True)
class _Piece:
    """One sentence: neutral audio, the speaker's, both untrimmed; times are samples of the speaker's audio."""

    spectra: list[Array]
    noise: int
    neutral: Array
    pcm: Array
    start: int
    stop: int
    f0: Array
    phone_times: NDArray[np.float64]
    phone_ids: NDArray[np.int64]
    char_times: list[float]


class Teacher:
    """Reads by what `training.reading` made. Raises ValueError from `speak` for a text that does not align with it."""

    def __init__(self, config: Config) -> None:
        from hibari import Hibari
        from hibari.g2p import G2P

        self._pronounce, self._tokenizer = reading.read(config), Tokenizer.from_file(str(config.vocabulary))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "hibari.onnx"
            _write_graph_with_durations(path)
            self._voice = Hibari(
                model=str(path), g2p=G2P(oov=lambda word: reading.theirs(self._pronounce(word.lower())))
            )
        self._max_s, self._max_tokens = config.sound.max_s, config.sizes.max_text_tokens - 4
        self.num_phones = max(self._voice.vocab.values()) + 1

    def speak(self, text: str, speaker: Speaker, seed: int) -> Utterance:
        """Say `text`; the same seed gives the same samples."""
        said = normalize(text, "en")
        words = [(found[0], found.start()) for found in _WORD.finditer(said)]
        read = self._pronounce(said)
        readings = [(found[0], found.start()) for found in _WORD.finditer(read)]
        if len(readings) != len(words):
            raise ValueError("words and readings do not match")
        pieces = self._pieces(text, words, speaker, np.random.default_rng(seed), [phonemes for phonemes, _ in readings])
        offsets, length = _laid_out(pieces)
        if not 0.2 * HZ < length <= self._max_s * HZ:
            raise ValueError(f"{length / HZ:.1f} s long")
        if len(ids := self._encode(read).ids) > self._max_tokens:
            raise ValueError(f"{len(ids)} text tokens")
        pcm, num = _joined(pieces, offsets, length), int(np.ceil(length / TOKEN))
        places = self._places(read, readings, pieces, offsets, num)
        centres = np.round((np.arange(num * PARTS) + 0.5) * TOKEN / PARTS).astype(int)
        return Utterance(
            text, ids, pcm, _neutral(pieces, offsets, centres, speaker), log_mel(pcm, centres),
            _f0(pieces, offsets, num, speaker), _phones(pieces, offsets, num), places,
        )  # fmt: skip

    def sing(self, text: str, speaker: Speaker, melody: Array) -> Array:
        """What `speak` says at the same moments, on another melody: [tokens * PARTS] Hz, heeded where it is voiced.

        A model that hears of the fundamental only roughly can say no harmonic of the true one; of a melody that it
        knows exactly it can. Changes of over a sixth are cut: the teacher's free-phase part does not follow.
        """
        words = [(found[0], found.start()) for found in _WORD.finditer(normalize(text, "en"))]
        pieces = self._pieces(text, words, speaker, np.random.default_rng(0))
        offsets, length = _laid_out(pieces)
        for piece, offset in zip(pieces, offsets, strict=True):
            piece.pcm = _resung(piece, offset, speaker, melody)
        return _joined(pieces, offsets, length)

    def chant(self, text: str, speaker: Speaker) -> Array:
        """What `speak` says at the same moments on one note for all: a pulse every PERIOD samples of the utterance.

        The only pitch that a network of convolutions can hold without knowing the phase: two periods fill one frame
        of the vocoder exactly.
        """
        words = [(found[0], found.start()) for found in _WORD.finditer(normalize(text, "en"))]
        pieces = self._pieces(text, words, speaker, np.random.default_rng(0))
        offsets, length = _laid_out(pieces)
        for piece, offset in zip(pieces, offsets, strict=True):
            piece.pcm = _chanted(piece, offset, speaker.formant)
        return _joined(pieces, offsets, length)

    def _encode(self, read: str) -> Encoding:
        return self._tokenizer.encode(f"[en]{read}".replace(" ", "[SPACE]"))

    def _pieces(
        self,
        text: str,
        words: list[tuple[str, int]],
        speaker: Speaker,
        rng: np.random.Generator,
        readings: list[str] | None = None,
    ) -> list[_Piece]:
        """One for each sentence; with readings of the words they know when each character of those is spoken."""
        spoken = _spellings(text, [word for word, _ in words])
        pieces, first = [], 0
        for sentence in self._voice.split_sentences(" ".join(spoken)):
            count = len(sentence.split())
            own = [word for word, _ in words[first : first + count]] if readings is None else readings[first:][:count]
            pieces.append(self._piece(sentence, own, speaker, rng))
            first += count
        if first != len(words) or not pieces:
            raise ValueError("sentences do not add up")
        return pieces

    def _piece(self, sentence: str, words: list[str], speaker: Speaker, rng: np.random.Generator) -> _Piece:
        from hibari import dsp

        chunks = self._voice.phonemize(sentence)
        if len(chunks) != 1 or len(chunks[0].split(" ")) != len(words):
            raise ValueError("words and phonemes do not match")
        ids = self._voice.ids(chunks[0])
        if len(ids) != len(chunks[0]) + 2:
            raise ValueError("unknown phoneme")
        feeds = {"ids": np.array([ids]), "speed": np.array([speaker.rate / speaker.formant], np.float32)}
        *spectra, durations = self._voice.sess.run(None, feeds)
        *spectra, f0 = (part[0] for part in spectra)
        noise = int(rng.integers(1 << 31))
        neutral = dsp.synth(*spectra, f0, np.random.default_rng(noise))
        pcm = neutral
        if speaker.pitch != 1:
            pcm = dsp.synth(*spectra, f0 * speaker.pitch, np.random.default_rng(noise))
        if speaker.formant != 1:
            pcm = np.asarray(soxr.resample(pcm, HZ * speaker.formant, HZ), np.float32)
        times = np.concatenate([[0], np.cumsum(durations.ravel())]) * _DURATION_SAMPLES / speaker.formant
        start, stop = _loud_range(pcm)
        phone_ids = np.array([0, *ids[1:-1], 0])
        return _Piece(
            spectra, noise, neutral, pcm, start, stop, f0, times, phone_ids, _char_times(words, chunks[0], times)
        )

    def _places(
        self, read: str, readings: list[tuple[str, int]], pieces: list[_Piece], offsets: list[int], num: int
    ) -> NDArray[np.int16]:
        """For each audio token the text token of the character being spoken."""
        starts = np.concatenate([np.array(p.char_times) + o for p, o in zip(pieces, offsets, strict=True)])
        chars = np.concatenate([np.arange(len(word) + 1) + at for word, at in readings])  # the mark after each included
        token_of = np.zeros(len(read) + 1, int)
        at = [-1] * len("[en]")
        for index, char in enumerate(read):
            at += [index] * (len("[SPACE]") if char == " " else 1)
        encoded = self._encode(read)
        for token, (low, high) in enumerate(encoded.offsets):
            for position in range(low, high):
                if at[position] >= 0:
                    token_of[at[position]] = token + 1
        token_of[-1] = token_of[-2]
        now = np.searchsorted(starts, (np.arange(num) + 0.5) * TOKEN, side="right") - 1
        found = token_of[chars[np.clip(now, 0, len(chars) - 1)]]
        return np.where(now < 0, 1, found).astype(np.int16)


def _laid_out(pieces: list[_Piece]) -> tuple[list[int], int]:
    """Where each sentence's audio begins (its untrimmed start), and the length of all."""
    offsets, length = [], 0
    for piece in pieces:
        offsets.append(length - piece.start)
        length += piece.stop - piece.start + _GAP
    return offsets, length - _GAP


def _joined(pieces: list[_Piece], offsets: list[int], length: int) -> Array:
    pcm = np.zeros(length, np.float32)
    for piece, offset in zip(pieces, offsets, strict=True):
        pcm[offset + piece.start : offset + piece.stop] = _faded(piece.pcm[piece.start : piece.stop])
    return pcm


def _resung(piece: _Piece, offset: int, speaker: Speaker, melody: Array) -> Array:
    from hibari import dsp

    moments = offset + (np.arange(len(piece.f0)) + 0.5) * _F0_HOP / speaker.formant
    log = np.interp(moments, (np.arange(len(melody)) + 0.5) * TOKEN / PARTS, np.log(np.maximum(melody, 40)))
    usual = piece.f0 * speaker.pitch
    wanted = np.clip(np.exp(log) / speaker.formant, 0.85 * usual, 1.18 * usual)
    sung = np.where(piece.f0 > 60, wanted, usual).astype(np.float32)
    pcm = dsp.synth(*piece.spectra, sung, np.random.default_rng(piece.noise))
    return pcm if speaker.formant == 1 else np.asarray(soxr.resample(pcm, HZ * speaker.formant, HZ), np.float32)


def _chanted(piece: _Piece, offset: int, formant: float) -> Array:
    """`hibari.dsp.synth` with the pulses of the whole utterance instead of a piece's own."""
    from hibari import dsp

    loud, angle, noise, free, phase = piece.spectra
    times = offset + np.arange(len(piece.f0) * _F0_HOP) / formant
    turns = 2 * np.pi * (times / PERIOD % 1)
    top = np.floor(11_000 * PERIOD * formant / HZ) + 0.5
    below = 2 * np.sin(turns / 2)
    is_peak = np.abs(below) <= 2e-3
    pulses = np.where(is_peak, top, np.sin(top * turns) / np.where(is_peak, 1, below)) - 0.5
    voiced = np.repeat(piece.f0 > 60, _F0_HOP)
    spectrum = dsp.stft((pulses * voiced).astype(np.float32), loud.shape[1])
    spectrum *= np.exp(1j * np.pi * np.tanh(angle)) * dsp.ex(loud)
    drawn = np.random.default_rng(piece.noise).standard_normal((loud.shape[0], 2 * loud.shape[1]), dtype=np.float32)
    spectrum += drawn.view(np.complex64) * dsp.ex(noise) + np.exp(1j * phase) * dsp.ex(free)
    pcm: Array = dsp.ola(spectrum.astype(np.complex64))
    return pcm if formant == 1 else np.asarray(soxr.resample(pcm, HZ * formant, HZ), np.float32)


def log_mel(pcm: Array, centres: NDArray[np.int64]) -> Array:
    """Spectra around sample positions: [tokens, PARTS * NUM_MELS] of natural logs, floored at 1e-4."""
    return _log_mel_of(np.pad(pcm, (512, 512 + int(TOKEN))), centres)


def _log_mel_of(padded: Array, starts: NDArray[np.int64]) -> Array:
    import scipy.fft

    frames = padded[np.minimum(starts[:, None] + np.arange(1024), padded.size - 1)] * _window()
    power = np.abs(scipy.fft.rfft(frames, axis=1)).astype(np.float32) @ _filters()
    logs: Array = np.log(np.maximum(power, 1e-4))
    return logs.reshape(-1, PARTS * NUM_MELS)


@cache
def _window() -> Array:
    return np.hanning(1025)[:1024].astype(np.float32)


@cache
def _filters() -> Array:
    import librosa

    filters: Array = librosa.filters.mel(sr=HZ, n_fft=1024, n_mels=NUM_MELS, fmax=11_000).T
    return np.ascontiguousarray(filters, np.float32)


def _neutral(pieces: list[_Piece], offsets: list[int], centres: NDArray[np.int64], speaker: Speaker) -> Array:
    """The log-mel of the teacher's own voice at the moments of the speaker's audio."""
    padded, starts = np.zeros(2 * 1024, np.float32), np.zeros(centres.size, np.int64)
    for piece, offset in zip(pieces, offsets, strict=True):
        inside = (centres >= offset + piece.start) & (centres < offset + piece.stop)
        local = np.round((centres[inside] - offset) * speaker.formant).astype(np.int64)
        starts[inside] = padded.size + np.clip(local, 0, piece.neutral.size)
        padded = np.concatenate([padded, np.zeros(512, np.float32), piece.neutral, np.zeros(2 * 1024, np.float32)])
    return _log_mel_of(padded, starts)


def _f0(pieces: list[_Piece], offsets: list[int], num: int, speaker: Speaker) -> Array:
    moments = (np.arange(num * PARTS) + 0.5) * TOKEN / PARTS
    hz = np.zeros(num * PARTS)
    for piece, offset in zip(pieces, offsets, strict=True):
        inside = (moments >= offset + piece.start) & (moments < offset + piece.stop)
        frame = ((moments[inside] - offset) * speaker.formant / _F0_HOP).astype(int)
        hz[inside] = piece.f0[np.clip(frame, 0, len(piece.f0) - 1)] * speaker.hz_factor
    voiced = hz > 60 * speaker.hz_factor
    log = np.where(voiced, 3 * np.log(np.maximum(hz, 40) / 190), 0)
    return np.concatenate([log.reshape(num, PARTS), voiced.reshape(num, PARTS)], axis=1).astype(np.float32)


def _phones(pieces: list[_Piece], offsets: list[int], num: int) -> NDArray[np.int16]:
    moments, phones = (np.arange(2 * num) + 0.5) * TOKEN / 2, np.zeros(2 * num, np.int16)
    for piece, offset in zip(pieces, offsets, strict=True):
        inside = (moments >= offset + piece.start) & (moments < offset + piece.stop)
        now = np.searchsorted(piece.phone_times, moments[inside] - offset, side="right") - 1
        phones[inside] = piece.phone_ids[np.clip(now, 0, len(piece.phone_ids) - 1)]
    return phones.reshape(num, 2)


def _spellings(text: str, words: list[str]) -> list[str]:
    """Words as the teacher should read them: names keep their capital, single letters are letters."""
    written = {found[0].lower(): found[0] for found in re.finditer(r"[\w'.,!?]+", text)}
    bare = [word.strip(",.?!;") for word in words]
    spoken = []
    for index, word in enumerate(words):
        near = [bare[i] for i in (index - 1, index + 1) if 0 <= i < len(bare)]
        is_letter = len(bare[index]) == 1 and (bare[index] not in "ai" or any(len(n) == 1 and n != "i" for n in near))
        spoken.append(word.upper() if is_letter else written.get(word, word))
    return spoken


def _char_times(words: list[str], phonemes: str, times: NDArray[np.float64]) -> list[float]:
    """When each character starts, each word followed by the space after it; evenly spread within a word that is not
    the teacher's own reading."""
    starts: list[float] = []
    at = 1
    for word, phones in zip(words, phonemes.split(" "), strict=True):
        begin, end = times[at], times[at + len(phones)]
        if word == reading.ours(phones):
            starts += list(times[at : at + len(phones)])
        elif len(word) > 1 and word[-1] in ",.?!" and phones[-1] in ",.?!":
            mark = times[at + len(phones) - 1]
            starts += [*(begin + (mark - begin) * np.arange(len(word) - 1) / (len(word) - 1)), mark]
        else:
            starts += list(begin + (end - begin) * np.arange(len(word)) / len(word))
        starts.append(end)
        at += len(phones) + 1
    return starts


def _loud_range(pcm: Array) -> tuple[int, int]:
    blocks = pcm[: pcm.size // 240 * 240].reshape(-1, 240)
    loud = np.flatnonzero(np.sqrt((blocks**2).mean(axis=1)) > _LOUD)
    if not loud.size:
        raise ValueError("silence")
    return max(0, int(loud[0]) * 240 - _LEAD_IN), min(pcm.size, (int(loud[-1]) + 1) * 240 + _LEAD_OUT)


def _faded(pcm: Array) -> Array:
    """Towards silence at both ends, so that an utterance ends in nothing and not in noise."""
    out, ramp = pcm.copy(), np.linspace(0, 1, min(_FADE, pcm.size // 2), dtype=np.float32)
    out[: ramp.size // 4] *= ramp[::4][: ramp.size // 4]
    out[-ramp.size :] *= ramp[::-1]
    return out


def _write_graph_with_durations(path: Path) -> None:
    import hibari
    import onnx

    model = onnx.load(Path(hibari.__file__).parent / "assets" / "hibari.onnx")
    model.graph.output.append(onnx.helper.make_tensor_value_info(_DURATIONS, onnx.TensorProto.INT64, None))
    onnx.save(model, path)


__all__ = ["HZ", "NUM_MELS", "PARTS", "PERIOD", "TOKEN", "Teacher", "Utterance", "log_mel"]
