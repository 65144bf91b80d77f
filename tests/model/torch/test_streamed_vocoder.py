"""The vocoder that may run beside decode steps gives what the plain one gives."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from xtts_rtc.model.torch.streamed_vocoder import StreamedVocoder, convolutions  # noqa: E402
from xtts_rtc.model.torch.vocoder import TorchVocoder  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("inference")]


def noise(num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(64, num_frames, generator=rng), torch.randn(512, generator=rng)


@pytest.mark.parametrize("allow_tf32", [False, True])
def test_audio_equals_the_plain_vocoder(tiny: Any, allow_tf32: bool) -> None:
    frames, speaker = noise(40)
    wanted = TorchVocoder(tiny.hifigan_decoder).decode(frames, speaker).numpy()
    pending = StreamedVocoder(tiny.hifigan_decoder, allow_tf32=allow_tf32).launch(frames, speaker)
    assert pending.is_ready
    assert pending.wait().shape == (40 * 256,)
    assert (pending.wait() == wanted).all()


def test_the_rounding_of_convolutions_is_put_back(tiny: Any) -> None:
    before = torch.backends.cudnn.allow_tf32
    for allow_tf32 in (True, False):
        with convolutions(allow_tf32=allow_tf32):
            assert torch.backends.cudnn.allow_tf32 is allow_tf32
    assert torch.backends.cudnn.allow_tf32 is before


@pytest.mark.gpu
def test_on_cuda_two_windows_in_flight_keep_their_own_samples(tiny: Any) -> None:
    import copy

    decoder = copy.deepcopy(tiny.hifigan_decoder).to("cuda")
    wanted = [TorchVocoder(tiny.hifigan_decoder).decode(*noise(n)).numpy() for n in (40, 90)]
    vocoder = StreamedVocoder(decoder, allow_tf32=False)
    pending = [vocoder.launch(*noise(n)) for n in (40, 90)]
    for audio, expected in zip(pending, wanted, strict=True):
        assert abs(audio.wait() - expected).max() <= 1e-4
