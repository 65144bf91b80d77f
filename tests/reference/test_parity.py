"""Our engine against coqui-tts on the same random weights and the same random draws."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.engine.fake_runtime import Listener  # noqa: E402
from xtts_rtc.engine.worker import XttsBackend  # noqa: E402
from xtts_rtc.model.torch.checkpoint import LoadedModel, load_model  # noqa: E402
from xtts_rtc.model.torch.runtime import TorchRuntime  # noqa: E402
from xtts_rtc.reference import StockRun, StockXtts  # noqa: E402
from xtts_rtc.text.tokenizer import TextFrontend  # noqa: E402
from xtts_rtc.types import (  # noqa: E402
    OUTPUT_HZ,
    TOKENS_PER_SECOND,
    Conditioning,
    EndEvent,
    Float32,
    SamplingParams,
    Segment,
    StreamRequest,
)

pytestmark = pytest.mark.slow

NUM_SEEDS = 20
TEXTS = (
    "hello world, this is a test.",
    "please wait while i check your account!",
    "one, two, three; that is all there is?",
    "no, not at all; thank you very much indeed.",
)


class TorchDraws:
    """The reference's generator: the same seed, the same exponentials."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def standard_exponential(self, size: int, dtype: object) -> Float32:
        return torch.empty(size).exponential_(1, generator=self._generator).numpy()


class Recorder:
    """A runtime that remembers each slot's latents."""

    def __init__(self, inner: TorchRuntime) -> None:
        self._inner = inner
        self.latents: dict[int, list[Float32]] = {}
        self.tokens: list[int] = []
        self.force_tokens: int | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def extend(self, slot: int, max_positions: int) -> tuple[Float32, Float32] | None:
        done = self._inner.extend(slot, max_positions)
        if done is None:
            return None
        self.latents[slot] = [done[0]]
        return done[0], self._forced(done[1][None], [slot])[0]

    def step(self, slots: np.ndarray, tokens: np.ndarray) -> tuple[Float32, Float32]:
        latents, logits = self._inner.step(slots, tokens)
        self.tokens += tokens.tolist()
        for slot, latent in zip(slots.tolist(), latents, strict=True):
            self.latents[slot].append(latent)
        return latents, self._forced(logits, slots.tolist())

    def forget(self) -> None:
        self.latents.clear()
        self.tokens.clear()

    def _forced(self, logits: Float32, slots: list[int]) -> Float32:
        """Stop after exactly `force_tokens` tokens."""
        if self.force_tokens is not None:
            for row, slot in enumerate(slots):
                logits[row, -1] = 1e4 if len(self.latents[slot]) >= self.force_tokens else -1e4
        return logits


class Voices:
    def __init__(self, dim: int) -> None:
        self._dim = dim

    def known(self, voice: str) -> Conditioning:
        return self.get(voice)

    def get(self, voice: str) -> Conditioning:
        rng = np.random.default_rng(int(voice))
        speaker = rng.normal(size=512).astype(np.float32)
        latents = rng.normal(size=(32, self._dim)).astype(np.float32) * 0.1
        return Conditioning(voice, latents, speaker / np.linalg.norm(speaker))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model("random-tiny")


@pytest.fixture(scope="module")
def stock(loaded: LoadedModel) -> StockXtts:
    return StockXtts(loaded.xtts)


@pytest.fixture
def recorder(loaded: LoadedModel) -> Recorder:
    return Recorder(TorchRuntime(loaded.xtts, num_slots=4))


@pytest.fixture
def engine(loaded: LoadedModel, recorder: Recorder) -> Iterator[XttsBackend]:
    from tokenizers import Tokenizer

    frontend = TextFrontend(Tokenizer.from_str(loaded.vocab))
    backend = XttsBackend(recorder, frontend, Voices(64))  # type: ignore[arg-type]
    yield backend
    backend.close()


def speak(engine: XttsBackend, text: str, seed: int, sampling: SamplingParams | None = None) -> tuple[int, Listener]:
    listener = Listener()
    request = StreamRequest(voice=str(seed), sampling=sampling or SamplingParams(), is_realtime=False)
    stream = engine.open(request, listener)
    engine._streams[stream].rng = TorchDraws(seed)  # type: ignore[assignment]
    engine.say(stream, Segment(0, text, text))
    engine.end(stream)
    engine.consumed(stream, 10**9)
    return stream, listener


def on_engine(engine: XttsBackend, work: Callable[[], None]) -> None:
    done = threading.Event()
    engine.run_on_engine(lambda: (work(), done.set())[0])
    assert done.wait(30)


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_tokens_latents_and_audio_equal_the_reference(
    engine: XttsBackend, recorder: Recorder, stock: StockXtts, seed: int
) -> None:
    text = TEXTS[seed % len(TEXTS)]
    run = StockRun()
    voice = Voices(64).get(str(seed))
    stock_pcm = np.concatenate(list(stock.stream(text, "en", voice, SamplingParams(seed=seed), run=run)))
    assert engine._frontend.encode(text, "en") == stock.text_ids(text, "en")
    on_engine(engine, recorder.forget)  # what warm-up did
    _, listener = speak(engine, text, seed)
    assert listener.is_over.wait(60)
    end = listener.events[-1]
    assert isinstance(end, EndEvent)
    assert [*recorder.tokens, end.metrics.num_tokens] == [*run.tokens[:-1], len(run.tokens)]
    (latents,) = recorder.latents.values()
    np.testing.assert_allclose(np.stack(latents), np.stack(run.latents), atol=1e-5)
    full = stock.decode(np.stack(run.latents), voice)
    assert listener.pcm.shape == full.shape == stock_pcm.shape
    np.testing.assert_allclose(listener.pcm, full, atol=1e-5)


@pytest.mark.parametrize("speed", [0.7, 1.25])
def test_speed_stretches_as_the_reference_does(engine: XttsBackend, stock: StockXtts, speed: float) -> None:
    run, voice = StockRun(), Voices(64).get("0")
    sampling = SamplingParams(seed=0, speed=speed)
    for _ in stock.stream(TEXTS[0], "en", voice, sampling, run=run):
        pass
    _, listener = speak(engine, TEXTS[0], 0, sampling)
    assert listener.is_over.wait(60)
    full = stock.decode(np.stack(run.latents), voice, speed=speed)
    assert listener.pcm.shape == full.shape
    np.testing.assert_allclose(listener.pcm, full, atol=1e-5)


def test_four_streams_each_equal_their_own_when_one_joins_late_and_one_is_cancelled(engine: XttsBackend) -> None:
    seeds = (0, 6, 4, 1)
    alone = []
    for seed in seeds:
        _, listener = speak(engine, TEXTS[0], seed)
        assert listener.is_over.wait(60)
        alone.append(listener.pcm)
    _, first = speak(engine, TEXTS[0], seeds[0])
    doomed, second = speak(engine, TEXTS[1], 9)
    _, third = speak(engine, TEXTS[0], seeds[1])
    on_engine(engine, lambda: None)
    _, late = speak(engine, TEXTS[0], seeds[2])
    engine.cancel(doomed)
    _, last = speak(engine, TEXTS[0], seeds[3])
    for listener, expected in zip((first, third, late, last), alone, strict=True):
        assert listener.is_over.wait(60)
        assert listener.pcm.shape == expected.shape
        np.testing.assert_allclose(listener.pcm, expected, atol=1e-5)
    assert second.is_over.wait(60)
    assert isinstance(second.events[-1], EndEvent)


def test_vocoder_work_grows_in_step_with_the_length(engine: XttsBackend, recorder: Recorder) -> None:
    frames = {}
    for seconds in (5, 20):
        recorder.force_tokens = round(seconds * TOKENS_PER_SECOND)
        before = engine.stats().num_vocoder_frames
        listener = Listener()
        stream = engine.open(StreamRequest(voice="0"), listener)  # paced: small chunks first, as a listener gets them
        engine.consumed(stream, 10**9)
        engine.say(stream, Segment(0, "x" * 200, "x" * 200))
        engine.end(stream)
        assert listener.is_over.wait(60)
        assert listener.pcm.size / OUTPUT_HZ == pytest.approx(seconds, abs=0.1)
        frames[seconds] = engine.stats().num_vocoder_frames - before
    print(f"vocoder frames: 5 s {frames[5]}, 20 s {frames[20]}, ratio {frames[20] / frames[5]:.2f}")
    assert frames[20] <= 4.1 * frames[5]
