"""From an id to conditioning: computed once, anew when a clip changes, and never NaN."""

import numpy as np
import pytest

from tests.voices.sounds import wav
from xtts_rtc.errors import BadClip, GenerationFailed, InvalidVoiceId, VoiceNotFound
from xtts_rtc.types import MODEL_HZ, Conditioning
from xtts_rtc.voices.cache import ConditioningCache
from xtts_rtc.voices.library import VoiceLibrary, builtin_id
from xtts_rtc.voices.store import VoiceStore


class Model:
    """Conditioning that shows which clips it was made of."""

    def __init__(self):
        self.calls = []

    def condition(self, clips):
        self.calls.append([len(clip) for clip in clips])
        mark = np.float32(sum(float(np.abs(clip).sum()) for clip in clips))
        return np.full((32, 64), mark, np.float32), np.full(512, mark, np.float32)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def store(tmp_path):
    (tmp_path / "speakers").mkdir()
    return VoiceStore(tmp_path / "speakers")


@pytest.fixture
def library(store, model, tmp_path):
    return VoiceLibrary(store, ConditioningCache(tmp_path / "cache", "m"), model.condition)


def builtin(value=1.0):
    return Conditioning("b", np.full((32, 64), value, np.float32), np.full(512, value, np.float32))


def test_a_voice_is_computed_once_and_found_again_in_memory_and_on_disk(store, library, model, tmp_path):
    store.add("anna", wav(2))
    first = library.get("anna")
    assert library.get("anna") is first
    again = VoiceLibrary(store, ConditioningCache(tmp_path / "cache", "m"), model.condition).get("anna")
    assert again.gpt_latents.tobytes() == first.gpt_latents.tobytes()
    assert model.calls == [[2 * MODEL_HZ]]
    assert first.key == store.snapshot("anna").key


def test_a_changed_clip_is_a_new_voice_at_the_next_get(store, library, model):
    store.add("anna", wav(2))
    before = library.get("anna")
    store.add("anna", wav(3), is_replacing=True)
    after = library.get("anna")
    assert after.key != before.key and not np.array_equal(after.gpt_latents, before.gpt_latents)
    assert model.calls == [[2 * MODEL_HZ], [3 * MODEL_HZ]]


def test_two_names_of_the_same_clip_are_computed_once(store, library, model):
    store.add("anna", wav(2))
    store.add("hanna", wav(2))
    assert library.get("anna") is library.get("hanna")
    assert len(model.calls) == 1


def test_nothing_is_written_beside_the_clips(store, library):
    store.add("anna", wav(2))
    library.get("anna")
    assert [path.name for path in store.folder.iterdir()] == ["anna.wav"]


def test_an_unknown_or_unsafe_id_runs_no_model(store, library, model):
    with pytest.raises(VoiceNotFound, match="Speaker 'x' not found"):
        library.get("x")
    with pytest.raises(InvalidVoiceId):
        library.get("../x")
    assert model.calls == []


def test_a_broken_voice_does_not_keep_the_others_from_loading(store, library):
    store.add("anna", wav(2))
    (store.folder / "torn.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVE")
    loaded = library.load_all()
    assert loaded["anna"] is None
    assert isinstance(loaded["torn"], BadClip) and "damaged" in loaded["torn"].message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_conditioning_that_is_no_number_is_refused_and_not_kept(store, tmp_path, value):
    store.add("anna", wav(2))
    bad = builtin(value)
    library = VoiceLibrary(
        store, ConditioningCache(tmp_path / "cache", "m"), lambda clips: (bad.gpt_latents, bad.speaker_embedding)
    )
    for _ in range(2):
        with pytest.raises(GenerationFailed, match="voice 'anna': the model made NaN"):
            library.get("anna")
    assert not (tmp_path / "cache").exists()


def test_a_model_that_fails_on_a_voice_fails_that_voice_only(store, tmp_path):
    store.add("anna", wav(2))

    def condition(clips):
        raise RuntimeError("shapes")

    library = VoiceLibrary(store, ConditioningCache(None, "m"), condition)
    with pytest.raises(GenerationFailed, match=r"failed on its clips \(RuntimeError\)"):
        library.get("anna")
    assert isinstance(library.load_all()["anna"], GenerationFailed)


def test_the_checkpoints_own_voices_appear_by_name_and_a_users_clip_wins(store, model):
    library = VoiceLibrary(
        store,
        ConditioningCache(None, "m"),
        model.condition,
        builtin={"Ana Florence": builtin(), "default": builtin(), "Broken": builtin(np.nan)},
    )
    store.add("default", wav(2))
    assert library.ids() == ["Ana_Florence", "Broken", "default"]
    assert library.get("Ana_Florence").key == "b"
    assert library.get("default").key == store.snapshot("default").key
    with pytest.raises(VoiceNotFound, match="there are: Ana_Florence, Broken, default"):
        library.get("x")
    loaded = library.load_all()
    assert loaded["Ana_Florence"] is None and isinstance(loaded["Broken"], GenerationFailed)


@pytest.mark.parametrize(
    ("name", "voice_id"),
    [
        ("Ana Florence", "Ana_Florence"),
        ("Alma María", "Alma_Maria"),
        ("Eugenio Mataracı", "Eugenio_Mataraci"),
        ("Camilla Holmström", "Camilla_Holmstrom"),
        ("../x", "___x"),
        ("", "_"),
        ("x" * 90, "x" * 64),
    ],
)
def test_a_published_name_becomes_an_id(name, voice_id):
    assert builtin_id(name) == voice_id


def test_problems_can_be_asked_for_while_another_thread_finds_some(library):
    class Looked(str):
        """An id that is looked at just when another thread finds a problem."""

        __slots__ = ()

        def __hash__(self):
            library._problems["new"] = "broken"
            return str.__hash__(self)

    library._problems[Looked("first")] = "broken"
    del library._problems["new"]
    assert library.problems() == {}
    assert "new" in library._problems
