"""What a clip should be and what this one is.

A clip that can be read can be used; these findings say how good the voice will be. They are estimates
from levels alone: nothing here understands speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from xtts_rtc.types import MODEL_HZ, Float32
from xtts_rtc.voices.clip import USED_S, Clip

GOOD_S = (6.0, USED_S)
GOOD_HZ = MODEL_HZ

_FRAME = MODEL_HZ // 50  # 20 ms
_FLOOR_DBFS = -96.0  # 16-bit silence
_SILENCE_DB = 30.0  # a frame so far under the speech counts as silence


class Severity(StrEnum):
    """How much a finding matters: good to know, the voice will suffer, the voice will be poor."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a clip. `what` names the row of the report, `advice` is a sentence for its owner."""

    what: str
    severity: Severity
    advice: str


@dataclass(frozen=True, slots=True)
class ClipReport:
    """Figures of a clip, and what follows from them; `str()` gives a table for a terminal.

    `clipped_share` and `silence_share` are 0..1. `level_dbfs` is that of the speech (90th percentile of
    20 ms frames), `noise_dbfs` that of the quietest 5 %, `snr_db` the distance: within 4 dB of the truth
    for white noise under speech with pauses, too low for speech without any (test_check).
    """

    duration_s: float
    sample_rate: int
    channels: int
    clipped_share: float
    level_dbfs: float
    noise_dbfs: float
    silence_share: float
    findings: tuple[Finding, ...]

    @property
    def snr_db(self) -> float:
        """Speech level over noise floor."""
        return self.level_dbfs - self.noise_dbfs

    @property
    def is_good(self) -> bool:
        """Nothing worse than a note was found."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    def __str__(self) -> str:
        marks = {finding.what: finding.severity.value for finding in self.findings}
        lines = [f"{'':<12}{'this clip':<14}{'should be':<22}"]
        for what, is_now, should_be in self._rows():
            lines.append(f"{what:<12}{is_now:<14}{should_be:<22}{marks.get(what, 'ok')}")
        lines += [f"{finding.severity.value}: {finding.advice}" for finding in self.findings]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str, str]]:
        return [
            ("length", f"{self.duration_s:.1f} s", f"{GOOD_S[0]:.0f} to {GOOD_S[1]:.0f} s"),
            ("rate", f"{self.sample_rate} Hz", f"{GOOD_HZ} Hz or more"),
            ("channels", str(self.channels), "1"),
            ("level", f"{self.level_dbfs:.0f} dBFS", "-35 to -6 dBFS"),
            ("clipping", f"{self.clipped_share:.2%}", "under 0.01%"),
            ("noise", f"{self.snr_db:.0f} dB below", "25 dB below or more"),
            ("silence", f"{self.silence_share:.0%}", "under 30%"),
        ]


def check_clip(clip: Clip) -> ClipReport:
    """Measure a clip that `read_clip` returned."""
    frames = _frame_levels(clip.pcm)
    level, noise = (float(np.percentile(frames, share)) for share in (90, 5))
    silence_share = float(np.mean(frames < level - _SILENCE_DB))
    found = [
        _length(clip),
        _rate(clip.sample_rate),
        _channels(clip.channels),
        _level(level),
        _clipping(clip.clipped_share),
        _noise(level - noise),
        _silence(silence_share),
    ]
    return ClipReport(
        duration_s=clip.duration_s,
        sample_rate=clip.sample_rate,
        channels=clip.channels,
        clipped_share=clip.clipped_share,
        level_dbfs=level,
        noise_dbfs=noise,
        silence_share=silence_share,
        findings=tuple(finding for finding in found if finding is not None),
    )


def _frame_levels(pcm: Float32) -> Float32:
    """pcm [S] to the RMS of its 20 ms frames in dBFS, not under `_FLOOR_DBFS`."""
    whole = pcm[: len(pcm) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(np.square(whole, dtype=np.float64), axis=1)
    levels: Float32 = (10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DBFS / 10)))).astype(np.float32)
    return levels


def _length(clip: Clip) -> Finding | None:
    if clip.is_cut:
        return Finding("length", Severity.NOTE, f"Only the first {USED_S:.0f} s are used; choose the best ones.")
    if clip.duration_s < GOOD_S[0]:
        severity = Severity.ERROR if clip.duration_s < 3 else Severity.WARNING
        return Finding("length", severity, f"Record at least {GOOD_S[0]:.0f} s: a short clip gives a weak likeness.")
    return None


def _rate(hz: int) -> Finding | None:
    if hz >= GOOD_HZ:
        return None
    severity = Severity.ERROR if hz < 16_000 else Severity.WARNING
    return Finding("rate", severity, f"Record at {GOOD_HZ} Hz or more: the missing treble cannot be brought back.")


def _channels(channels: int) -> Finding | None:
    if channels == 1:
        return None
    return Finding("channels", Severity.NOTE, "The channels were mixed; a mono recording is safer.")


def _level(dbfs: float) -> Finding | None:
    if dbfs < -35:
        return Finding("level", Severity.WARNING, "Record louder, nearer to the microphone.")
    if dbfs > -6:
        return Finding("level", Severity.WARNING, "Record with less gain: so loud a clip is usually distorted.")
    return None


def _clipping(share: float) -> Finding | None:
    if share < 1e-4:
        return None
    severity = Severity.ERROR if share > 1e-2 else Severity.WARNING
    return Finding("clipping", severity, "Record with less gain: samples at full scale are distorted.")


def _noise(snr_db: float) -> Finding | None:
    if snr_db >= 25:
        return None
    severity = Severity.ERROR if snr_db < 15 else Severity.WARNING
    return Finding("noise", severity, "Record in a quieter room, without music; the voice takes the noise over.")


def _silence(share: float) -> Finding | None:
    if share < 0.3:
        return None
    severity = Severity.ERROR if share > 0.6 else Severity.WARNING
    return Finding("silence", severity, "Cut out the silence: it takes the place of speech.")


__all__ = ["ClipReport", "Finding", "Severity", "check_clip"]
