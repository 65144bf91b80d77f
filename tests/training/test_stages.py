"""The whole recipe on a toy configuration: every stage runs, is picked up after a kill, and the result speaks."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("wordfreq")
pytest.importorskip("hibari")
pytest.importorskip("TTS")

from training import codes, config, gpt, latents, network, recall, sound, speaker, state, vocoder
from training.config import Config, Phase
from training.corpus import Corpus, shards_there
from training.speakers import Speaker
from xtts_rtc.engine.conversion import EMBEDDED
from xtts_rtc.text.tokenizer import TextFrontend

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Two shards of two speakers, and a model that is as small as it can be."""
    usual = config.load()
    return dataclasses.replace(
        usual,
        folder=tmp_path_factory.mktemp("voice"),
        warm_start=None,
        sound=dataclasses.replace(
            usual.sound, num_shards=2, speakers_per_shard=2, utterances_per_speaker=7, max_chars=60
        ),
        codes=dataclasses.replace(usual.codes, num_shards=2, num_passes=1),
        sizes=dataclasses.replace(usual.sizes, dim=64, layers=2, heads=4, vocoder_width=32),
        gpt=dataclasses.replace(usual.gpt, groups=1, group_size=2, steps=2, decay=1, clip_s=[1.0, 1.5]),
        vocoder=dataclasses.replace(
            usual.vocoder, batch=2, latent_shards=1, ground_truth=Phase(2, 1e-3, 1), latents=Phase(2, 1e-3, 1),
            adversarial=Phase(1, 1e-3, 1, weight=0.3),
        ),
        speaker=dataclasses.replace(usual.speaker, clips=8, clip_s=1.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def spoken(toy: Config) -> Config:
    """After the stages that make speech and codes; the packaged voice's reading takes two minutes to make."""
    for path in (toy.vocabulary, toy.pronunciation):
        shutil.copyfile(EMBEDDED / path.name, path)
    sound.make_shards(toy)
    codes.make_codebook(toy)
    speaker.fit(toy)
    return toy


@pytest.fixture(scope="module")
def trained(spoken: Config) -> Config:
    """After the GPT and both phases of the vocoder."""
    gpt.train(spoken)
    vocoder.train(spoken, "ground_truth")
    latents.make(spoken)
    vocoder.train(spoken, "latents")
    return spoken


def test_speech_before_its_readings_says_what_comes_first(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="training.reading comes first"):
        sound.Teacher(dataclasses.replace(config.load(), folder=tmp_path))


def test_what_is_read_is_what_is_spoken(spoken: Config) -> None:
    teacher, speaker = sound.Teacher(spoken), Speaker("default", 1.0, 1.0, 1.0)
    said = teacher.speak("Please call Ms. Ng at 7:30.", speaker, 1)
    frontend = TextFrontend.from_file(spoken.vocabulary)
    assert said.ids == frontend.encode(said.text, "en")
    assert (np.diff(said.places) >= 0).all()
    assert said.places[0] <= 3 and said.places[-1] >= len(said.ids) - 1
    assert len(set(said.places.tolist())) > 0.6 * len(said.ids)


def test_a_shard_is_made_again_to_the_same_samples(spoken: Config, tmp_path: Path) -> None:
    again = dataclasses.replace(spoken, folder=tmp_path)
    for path in (spoken.vocabulary, spoken.pronunciation):
        shutil.copyfile(path, tmp_path / path.name)
    sound.make_shard(again, sound.Teacher(again), 1)
    for name in sound.ARRAYS:
        first, second = (np.load(sound.shard_folder(c, 1) / f"{name}.npy") for c in (spoken, again))
        np.testing.assert_array_equal(first, second)


def test_training_goes_on_from_where_it_was_killed(trained: Config) -> None:
    longer = dataclasses.replace(trained, gpt=dataclasses.replace(trained.gpt, steps=3))
    training = gpt.Training(longer)
    assert training.step == 2
    assert training.pending  # the rest of the pass it was in
    kept = state.read(gpt.checkpoint(longer))
    assert kept is not None
    moments = training.optimizer.state_dict()["state"]
    assert moments and moments.keys() == kept["optimizer"]["state"].keys()


def test_a_clip_reaches_the_gpt_and_one_that_does_not_ends_the_training(trained: Config) -> None:
    longer = dataclasses.replace(trained, gpt=dataclasses.replace(trained.gpt, steps=3))
    training = gpt.Training(longer)
    rng = np.random.default_rng(0)
    noise, hum = rng.normal(0, 0.1, 24000), 0.1 * np.sin(np.arange(24000) / 30)
    first, second = training.student.condition([noise.astype(np.float32), hum.astype(np.float32)])
    assert not torch.allclose(first, second, atol=1e-3)
    training.student.gpt.conditioning_perceiver.norm.gamma.detach().zero_()
    with pytest.raises(FloatingPointError, match="no longer reach"):
        training.student.condition([noise.astype(np.float32)])


def test_a_state_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pt"
    state.save(path, {"step": 1})

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(OSError, match="disk full"):
        state.save(path, {"step": 2})
    assert state.read(path) == {"step": 1}


def test_the_vocoder_goes_on_against_discriminators(trained: Config) -> None:
    vocoder.train(trained, "adversarial")
    kept = state.read(vocoder.checkpoint(trained, "adversarial"))
    assert kept is not None
    assert kept["step"] == 1
    assert kept["judges"]


def test_an_earlier_model_tells_what_its_codes_sound_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    spectra, counts = recall.listen(EMBEDDED, 2)
    heard = counts > 0
    assert 20 < counts.sum() < 400
    assert spectra[heard].mean() > -8  # natural logs; silence is -9.2
    assert not spectra[~heard].any()


def test_codes_go_back_to_what_an_earlier_model_expects(
    spoken: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(recall, "_NUM_LISTENED", 20)
    monkeypatch.setattr(recall, "_DOUBT", (8.0, 4.0, 2.0))
    own = dataclasses.replace(spoken, warm_start=EMBEDDED, sizes=config.load().sizes, folder=tmp_path)
    shutil.copytree(spoken.folder, own.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("codebook.npz"))
    codes.make_codebook(own)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if "loss of" in line]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert codes.Codebook.read(own).centroids.shape == (1024, 96)


def test_a_vocoder_without_a_first_phase_begins_with_the_earlier_models(trained: Config, tmp_path: Path) -> None:
    usual = config.load()
    own = dataclasses.replace(
        trained,
        folder=tmp_path / "own",
        warm_start=EMBEDDED,
        sizes=usual.sizes,
        gpt=dataclasses.replace(trained.gpt, steps=1),
        vocoder=dataclasses.replace(trained.vocoder, ground_truth=Phase(0, 0.0, 0), latents=Phase(1, 0.0, 1)),
    )
    shutil.copytree(trained.folder, own.folder, ignore=shutil.ignore_patterns("gpt.pt", "vocoder.*", "latents"))
    gpt.train(own)
    latents.make(own)
    vocoder.train(own, "latents")
    kept = state.read(vocoder.checkpoint(own, "latents"))
    assert kept is not None
    earlier = network.build(own).hifigan_decoder.waveform_decoder.state_dict()
    kept_as_they_are = [name for name in earlier if not name.startswith("conv_pre")]
    assert kept_as_they_are
    for name in kept_as_they_are:
        torch.testing.assert_close(kept["weights"][name], earlier[name])
    assert kept["weights"]["conv_pre.weight"].shape == earlier["conv_pre.weight"].shape


def test_latents_of_a_later_step_are_of_another_run(trained: Config, tmp_path: Path) -> None:
    own = dataclasses.replace(trained, folder=tmp_path)
    shutil.copyfile(gpt.checkpoint(trained), gpt.checkpoint(own))
    latents.folder(own).mkdir()
    for step in (1, 2, 3):
        shutil.copyfile(latents.folder(trained) / "0000002.pt", latents.folder(own) / f"{step:07d}.pt")
        kept = state.read(latents.folder(own) / f"{step:07d}.pt")
        assert kept is not None
        state.save(latents.folder(own) / f"{step:07d}.pt", {**kept, "step": step})
    found = latents.newest(own)
    assert found is not None
    assert found.step == 2


def test_a_warm_start_begins_with_heads_that_know_the_latents(
    spoken: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt, "_HEAD_STEPS", 200)
    own = dataclasses.replace(spoken, warm_start=EMBEDDED, sizes=config.load().sizes, folder=tmp_path / "heads")
    shutil.copytree(spoken.folder, own.folder, ignore=shutil.ignore_patterns("gpt.pt"))
    training = gpt.Training(own)
    corpus = Corpus.read(own, shards_there(own))
    before = training.judge(corpus)
    trunk = {name: value.clone() for name, value in training.student.gpt.state_dict().items()}
    training.fit_heads(corpus)
    after = training.judge(corpus)
    assert after["now"] < 0.7 * before["now"]
    assert after["seed"] < 0.7 * before["seed"]
    for name, value in training.student.gpt.state_dict().items():
        torch.testing.assert_close(value, trunk[name], rtol=0, atol=0)


def test_what_is_exported_loads_and_speaks(trained: Config, tmp_path: Path) -> None:
    from training.export import export
    from xtts_rtc.engine.runtimes import ModelChoice, load_runtime
    from xtts_rtc.types import Conditioning
    from xtts_rtc.voices.clip import read_clip

    folder = tmp_path / "model"
    export(trained, folder)
    loaded = load_runtime(ModelChoice(name=str(folder), device="cpu"), num_slots=1, cache_dir=tmp_path)
    voice = Conditioning("default", *loaded.runtime.condition([read_clip(folder / "default.wav").pcm]))
    latent, logits = loaded.runtime.prefill(0, voice, np.arange(3, 9))
    assert latent.shape == (64,)
    assert logits.shape == (1026,)
    assert sorted(path.stem for path in (folder / "speakers").iterdir()) == ["bright", "deep"]
