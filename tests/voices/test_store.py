"""The folder of voices: ids are safe, changes are seen, what is broken is told and stops nothing."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.voices.sounds import file_bytes, talk, wav
from xtts_rtc.errors import BadClip, InvalidVoiceId, VoiceError, VoiceNotFound
from xtts_rtc.types import MODEL_HZ
from xtts_rtc.voices.store import MAX_CLIPS, VoiceStore, check_voice_id

BAD_IDS = [
    "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "C:\\x", "x\0", "x.wav", "a b", "x\n", "\nx",
    "é", "ａ", "一", "x" * 65, "a;b", "%2e%2e", "~", "*", None, 7, b"x",
]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "speakers"
    folder.mkdir()
    return VoiceStore(folder)


def names(store):
    return sorted(path.relative_to(store.folder).as_posix() for path in store.folder.rglob("*"))


@pytest.mark.parametrize("bad", BAD_IDS)
def test_an_id_that_could_be_a_path_is_refused_before_the_folder_is_touched(bad):
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(f"the folder was touched: {name}")

        __truediv__ = __fspath__ = __getattr__

    store = VoiceStore(Untouchable())
    for call in (store.exists, store.snapshot, store.load, store.remove, lambda voice: store.add(voice, wav())):
        with pytest.raises(InvalidVoiceId, match="use 1 to 64 of"):
            call(bad)


@settings(max_examples=50)
@given(st.text(max_size=80))
def test_only_the_plain_alphabet_is_an_id(text):
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    if 1 <= len(text) <= 64 and set(text) <= allowed:
        assert check_voice_id(text) == text
    else:
        with pytest.raises(InvalidVoiceId) as caught:
            check_voice_id(text)
        assert caught.value.message.isascii() and "\n" not in caught.value.message


def test_a_refused_id_of_a_megabyte_gives_a_short_message():
    with pytest.raises(InvalidVoiceId) as caught:
        check_voice_id("x" * 1_000_000)
    assert len(caught.value.message) < 200


def test_files_and_folders_are_voices_and_other_files_are_not(store):
    (store.folder / "anna.wav").write_bytes(wav())
    (store.folder / "Ben-2.flac").write_bytes(file_bytes(talk(2), kind="FLAC"))
    (store.folder / "duo").mkdir()
    (store.folder / "duo" / "1.wav").write_bytes(wav(2))
    (store.folder / "duo" / "2.wav").write_bytes(wav(3))
    (store.folder / "README.md").write_text("read me")
    (store.folder / ".hidden.wav").write_bytes(wav())
    (store.folder / "empty").mkdir()
    assert store.ids() == ["Ben-2", "anna", "duo"]
    assert store.exists("anna") and not store.exists("ANNA") and not store.exists("README")
    assert [len(clip) for clip in store.load("duo")] == [2 * MODEL_HZ, 3 * MODEL_HZ]
    assert store.report() == []


def test_a_voice_that_is_not_there_is_an_error_that_names_those_that_are(store):
    with pytest.raises(VoiceNotFound, match=r"^Speaker 'x' not found; there are no voices yet$"):
        store.load("x")
    (store.folder / "anna.wav").write_bytes(wav())
    with pytest.raises(VoiceNotFound, match=r"^Speaker 'x' not found; there are: anna$"):
        store.snapshot("x")
    with pytest.raises(VoiceNotFound):
        store.remove("x")


def test_the_key_follows_the_bytes_and_not_the_time(store):
    path = store.folder / "anna.wav"
    path.write_bytes(wav(seed=1, noise=0.01))
    before, stamp = store.snapshot("anna").key, path.stat()
    path.write_bytes(wav(seed=2, noise=0.01))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size and path.stat().st_mtime_ns == stamp.st_mtime_ns
    assert store.snapshot("anna").key != before
    path.write_bytes(wav(seed=1, noise=0.01))
    os.utime(path, (1, 1))
    assert store.snapshot("anna").key == before


def test_the_key_of_a_folder_covers_every_clip_and_where_one_ends(store):
    folder = store.folder / "duo"
    folder.mkdir()
    (folder / "1.wav").write_bytes(b"abc")
    (folder / "2.wav").write_bytes(b"def")
    key = store.snapshot("duo").key
    (folder / "1.wav").write_bytes(b"abcd")
    (folder / "2.wav").write_bytes(b"ef")
    assert store.snapshot("duo").key != key


def test_the_clips_that_are_decoded_are_those_that_were_hashed(store):
    path = store.folder / "anna.wav"
    path.write_bytes(wav(2))
    files = store.snapshot("anna")
    path.write_bytes(wav(5))
    assert len(files.decode()[0]) == 2 * MODEL_HZ


def test_a_broken_clip_is_reported_with_its_reason_and_the_others_load(store):
    (store.folder / "anna.wav").write_bytes(wav())
    (store.folder / "torn.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVE")
    (store.folder / "none.mp3").write_bytes(b"")
    (store.folder / "my voice.wav").write_bytes(wav())
    (store.folder / "dotted.name").mkdir()
    (store.folder / "dotted.name" / "1.wav").write_bytes(wav())
    reasons = {broken.name: broken.reason for broken in store.report()}
    assert set(reasons) == {"torn", "none", "my voice.wav", "dotted.name"}
    assert "torn.wav: the wav clip is damaged" in reasons["torn"]
    assert "empty" in reasons["none"]
    assert "no voice id" in reasons["my voice.wav"]
    assert len(store.load("anna")) == 1


def test_of_several_clips_the_broken_one_is_named(store):
    (store.folder / "duo").mkdir()
    (store.folder / "duo" / "good.wav").write_bytes(wav())
    (store.folder / "duo" / "torn.wav").write_bytes(b"nothing")
    with pytest.raises(BadClip, match="^duo/torn.wav: "):
        store.load("duo")


def test_links_that_lead_outside_are_refused(store, tmp_path):
    (tmp_path / "secret.wav").write_bytes(wav())
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "1.wav").write_bytes(wav())
    (store.folder / "file.wav").symlink_to(tmp_path / "secret.wav")
    (store.folder / "folder").symlink_to(tmp_path / "others")
    (store.folder / "mixed").mkdir()
    (store.folder / "mixed" / "1.wav").symlink_to("../../secret.wav")
    (store.folder / "loop.wav").symlink_to("loop.wav")
    for voice in ("file", "folder", "mixed"):
        with pytest.raises(BadClip, match="link to outside"):
            store.snapshot(voice)
    with pytest.raises(BadClip, match="not a file"):
        store.snapshot("loop")
    assert {broken.name for broken in store.report()} == {"file", "folder", "mixed", "loop"}


def test_links_inside_the_folder_and_a_folder_that_is_a_link_are_fine(store, tmp_path):
    (store.folder / "anna.wav").write_bytes(wav())
    (store.folder / "also.wav").symlink_to("anna.wav")
    (tmp_path / "alias").symlink_to(store.folder)
    other = VoiceStore(tmp_path / "alias")
    assert other.snapshot("also").key == store.snapshot("anna").key


def test_a_pipe_is_refused_and_does_not_block(store):
    os.mkfifo(store.folder / "pipe.wav")
    with pytest.raises(BadClip, match="not a file"):
        store.load("pipe")


def test_removing_a_linked_voice_leaves_what_it_leads_to(store, tmp_path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "1.wav").write_bytes(wav())
    (store.folder / "folder").symlink_to(tmp_path / "others")
    store.remove("folder")
    assert store.ids() == [] and (tmp_path / "others" / "1.wav").exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_a_folder_that_cannot_be_read_holds_no_voices_and_says_why(tmp_path, make):
    make(tmp_path / "speakers")
    store = VoiceStore(tmp_path / "speakers")
    assert store.ids() == [] and not store.exists("x")
    with pytest.raises(VoiceNotFound):
        store.load("x")
    (broken,) = store.report()
    assert broken.name == "speakers" and "cannot be read" in broken.reason


@pytest.mark.parametrize(("kind", "suffix"), [("WAV", "wav"), ("FLAC", "flac"), ("MP3", "mp3"), ("OGG", "ogg")])
def test_an_added_clip_is_a_voice_named_by_what_it_is(store, kind, suffix):
    data = file_bytes(talk(2), kind=kind)
    path = store.add("anna", data)
    assert path == store.folder / f"anna.{suffix}"
    assert path.read_bytes() == data
    assert store.ids() == ["anna"] and len(store.load("anna")) == 1


def test_a_clip_is_added_from_a_path_into_a_folder_that_is_made(tmp_path):
    (tmp_path / "take 1.bin").write_bytes(wav())
    store = VoiceStore(tmp_path / "new" / "speakers")
    store.add("anna", tmp_path / "take 1.bin")
    assert store.ids() == ["anna"]


def test_a_bad_clip_is_not_added_and_leaves_nothing(store):
    with pytest.raises(BadClip):
        store.add("anna", b"no audio")
    assert names(store) == []


def test_an_id_that_is_taken_is_not_overwritten_unless_asked(store):
    store.add("anna", wav(2))
    with pytest.raises(VoiceError, match="exists already"):
        store.add("anna", wav(3))
    store.add("anna", file_bytes(talk(4), kind="FLAC"), is_replacing=True)
    assert names(store) == ["anna.flac"]
    with pytest.raises(VoiceError, match="in capitals only"):
        store.add("Anna", wav(3), is_replacing=True)


def test_a_folder_voice_is_not_replaced_by_a_file(store):
    (store.folder / "duo").mkdir()
    (store.folder / "duo" / "1.wav").write_bytes(wav())
    with pytest.raises(VoiceError, match="is a folder of clips"):
        store.add("duo", wav(), is_replacing=True)


def test_a_disk_that_is_full_leaves_the_old_voice_and_no_rest(store, monkeypatch):
    store.add("anna", wav(2))
    key = store.snapshot("anna").key

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(VoiceError, match="No space left"):
        store.add("anna", wav(3), is_replacing=True)
    assert store.snapshot("anna").key == key and names(store) == ["anna.wav"]


def test_a_removed_voice_is_gone_and_foreign_files_stay(store):
    store.add("anna", wav())
    (store.folder / "duo").mkdir()
    for name in ("1.wav", "2.flac", "notes.txt"):
        (store.folder / "duo" / name).write_bytes(wav())
    store.remove("anna")
    store.remove("duo")
    assert store.ids() == [] and names(store) == ["duo", "duo/notes.txt"]


def test_a_voice_of_too_many_clips_is_refused(store):
    (store.folder / "crowd").mkdir()
    for number in range(MAX_CLIPS + 1):
        (store.folder / "crowd" / f"{number}.wav").write_bytes(b"x")
    with pytest.raises(BadClip, match=f"keep the best {MAX_CLIPS}"):
        store.snapshot("crowd")


def test_the_projects_own_voices_are_all_good():
    store = VoiceStore(Path(__file__).parents[2] / "speakers")
    assert "default" in store.ids() and store.report() == []
    assert np.abs(store.load("default")[0]).max() > 0.3


def test_a_voice_is_found_without_looking_into_the_folders_of_others(store, monkeypatch):
    for name in ("anna", "ben", "zoe"):
        (store.folder / name).mkdir()
        (store.folder / name / "a.wav").write_bytes(wav(1))
    looked = []
    monkeypatch.setattr(store, "_is_inside", lambda path: looked.append(path.name) or True)
    assert store.exists("ben") and store.signature("ben") and not store.exists("carl")
    assert set(looked) == {"ben"}
