"""The check finds what was put into a clip, and nothing in a good one."""

from pathlib import Path

import numpy as np
import pytest

from tests.voices.sounds import HZ, file_bytes, talk
from xtts_rtc.voices.check import Severity, check_clip
from xtts_rtc.voices.clip import read_clip


def check(pcm, hz=HZ):
    return check_clip(read_clip(file_bytes(pcm, hz, subtype="FLOAT")))


def found(report):
    return {finding.what: finding.severity for finding in report.findings}


def test_the_default_voice_is_what_a_clip_should_be():
    report = check_clip(read_clip(Path(__file__).parents[2] / "speakers" / "default.wav"))
    assert report.findings == () and report.is_good
    assert 8 <= report.duration_s <= 12
    assert (report.sample_rate, report.channels) == (24_000, 1)


def test_a_good_clip_has_no_findings():
    assert check(talk(8, noise=0.0005)).findings == ()


@pytest.mark.parametrize("snr_db", [5, 15, 25, 35, 45])
def test_the_noise_under_the_speech_is_measured_within_4_db(snr_db):
    clean = talk(8)
    speech = np.sqrt(np.mean(clean[np.abs(clean) > 0] ** 2))
    report = check(talk(8, noise=speech * 10 ** (-snr_db / 20)))
    assert report.snr_db == pytest.approx(snr_db, abs=4)


@pytest.mark.parametrize(("noise", "severity"), [(0.015, Severity.WARNING), (0.1, Severity.ERROR)])
def test_noise_is_found(noise, severity):
    assert found(check(talk(8, noise=noise))) == {"noise": severity}


@pytest.mark.parametrize(("seconds", "severity"), [(2, Severity.ERROR), (5, Severity.WARNING), (35, Severity.NOTE)])
def test_a_length_outside_6_to_30_seconds_is_found(seconds, severity):
    report = check(talk(seconds))
    assert found(report) == {"length": severity}
    assert report.is_good == (severity is Severity.NOTE)


@pytest.mark.parametrize(("hz", "severity"), [(8_000, Severity.ERROR), (16_000, Severity.WARNING)])
def test_a_low_rate_is_found(hz, severity):
    assert found(check(talk(8, hz), hz)) == {"rate": severity}


def test_stereo_is_only_noted():
    report = check(np.stack([talk(8)] * 2, axis=1))
    assert found(report) == {"channels": Severity.NOTE} and report.is_good


@pytest.mark.parametrize(("share", "severity"), [(0.001, Severity.WARNING), (0.02, Severity.ERROR)])
def test_clipping_is_found_and_its_share_is_right(share, severity):
    pcm = talk(8)
    pcm[: round(share * len(pcm))] = -1
    report = check(pcm)
    assert report.clipped_share == pytest.approx(share, rel=0.01)
    assert found(report) == {"clipping": severity}


def test_one_sample_at_full_scale_is_a_normalised_clip_and_no_clipping():
    pcm = talk(8)
    pcm[1_000] = 1
    assert check(pcm).findings == ()


@pytest.mark.parametrize(("speech_s", "severity"), [(6, Severity.WARNING), (2, Severity.ERROR)])
def test_silence_is_found_and_its_share_is_right(speech_s, severity):
    hum = np.sin(np.arange(speech_s * HZ) * 0.05).astype(np.float32) * 0.2
    report = check(np.concatenate([hum, np.zeros((10 - speech_s) * HZ, np.float32)]))
    assert report.silence_share == pytest.approx(1 - speech_s / 10, abs=0.02)
    assert found(report)["silence"] == severity


def test_a_quiet_clip_is_found():
    assert found(check(talk(8, level=0.01))) == {"level": Severity.WARNING}


def test_the_table_has_a_row_for_each_demand_and_the_advice_below():
    text = str(check(talk(4, 16_000), 16_000))
    rows = [line.split()[0] for line in text.splitlines()[1:8]]
    assert rows == ["length", "rate", "channels", "level", "clipping", "noise", "silence"]
    assert "4.0 s         6 to 30 s             warning" in text
    assert "warning: Record at least 6 s" in text
    assert max(map(len, text.splitlines())) < 100
