"""The folder of voices: which there are, what they are made of, and nothing outside of it.

A voice is `NAME.wav` (or .flac, .ogg, .mp3, .opus, .m4a, .webm), or a folder `NAME/` of such clips, or
both. Ids are looked up in the folder's listing, so no path is ever built from what a caller sent. A clip
is decoded from the very bytes that were hashed. Not for two threads at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xtts_rtc.errors import BadClip, InvalidVoiceId, StorageFailed, VoiceError, VoiceNotFound, VoiceTaken
from xtts_rtc.types import Float32
from xtts_rtc.voices.clip import CLIP_SUFFIXES, clip_kind, read_clip, read_file

MAX_CLIPS = 16
"""Clips of one voice: 16 of 2 s already fill the 30 s that are used."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAMES_SHOWN = 20


def check_voice_id(voice_id: str) -> str:
    """The id itself if it is [A-Za-z0-9_-]{1,64}. Raises InvalidVoiceId, before any path is built."""
    if not isinstance(voice_id, str) or not _ID.fullmatch(voice_id):
        shown = ascii(voice_id)[:80]
        raise InvalidVoiceId(f"voice id {shown} is not allowed; use 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return voice_id


def voice_not_found(voice_id: str, known: list[str]) -> VoiceNotFound:
    """The error for a voice that is not there; it names those that are."""
    more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
    there = f"there are: {', '.join(known[:_NAMES_SHOWN])}{more}" if known else "there are no voices yet"
    return VoiceNotFound(f"Speaker '{voice_id}' not found; {there}")


@dataclass(frozen=True, slots=True)
class BrokenVoice:
    """Something in the folder that cannot be used: its name there, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class VoiceFiles:
    """A voice's clips at one moment. `key` is the SHA-256 over their bytes, in the order of their names."""

    key: str
    names: tuple[str, ...]
    clips: tuple[bytes, ...]

    def decode(self) -> list[Float32]:
        """Each clip [S] float32 at `MODEL_HZ`. Raises BadClip that names the clip."""
        return [_named(name, data) for name, data in zip(self.names, self.clips, strict=True)]


def files_of(clip: bytes) -> VoiceFiles:
    """What `VoiceStore.snapshot` gives for a voice of this one clip."""
    return VoiceFiles(_key((clip,)), ("the clip",), (clip,))


def _key(clips: tuple[bytes, ...]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(clip).digest() for clip in clips)).hexdigest()


def _named(name: str, data: bytes) -> Float32:
    try:
        return read_clip(data).pcm
    except BadClip as error:
        raise BadClip(f"{name}: {error.message}") from error


class VoiceStore:
    """Voices of one folder. A folder that is missing or cannot be read holds none, and `report` says why."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ids(self) -> list[str]:
        """Ids of all voices that have a clip, good or broken, sorted."""
        try:
            return sorted({_id_of(entry) for entry in self._entries() if _ID.fullmatch(_id_of(entry))})
        except OSError:
            return []

    def exists(self, voice_id: str) -> bool:
        """Whether `ids` has it, in exactly this spelling. Raises InvalidVoiceId."""
        return bool(self._own_entries(voice_id))

    def snapshot(self, voice_id: str) -> VoiceFiles:
        """Read a voice's clips as they are now.

        Raises InvalidVoiceId, VoiceNotFound, and BadClip for a clip that cannot be read, is over 50 MB, or
        is a link to outside the folder.
        """
        clips = self._clips(voice_id)
        if len(clips) > MAX_CLIPS:
            raise BadClip(f"voice '{voice_id}' has {len(clips)} clips; keep the best {MAX_CLIPS}")
        data = tuple(self._read(path) for path in clips)
        return VoiceFiles(_key(data), tuple(self._name(path) for path in clips), data)

    def signature(self, voice_id: str) -> tuple[object, ...]:
        """What the file system says of a voice's clips; it changes when they may have. Empty: no such voice.

        Two changes within the resolution of the file system's clock may look like one. Raises InvalidVoiceId.
        """
        found: list[tuple[object, ...]] = []
        for entry in self._own_entries(voice_id):
            for path in [entry] if _is_clip_name(entry) else self._clips_in(entry):
                try:
                    stat = path.stat()
                except OSError:
                    found.append((path.name,))
                    continue
                found.append((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        return tuple(found)

    def load(self, voice_id: str) -> list[Float32]:
        """The voice's clips, each [S] float32 at `MODEL_HZ`. Raises as `snapshot` and `read_clip` do."""
        return self.snapshot(voice_id).decode()

    def add(self, voice_id: str, clip: bytes | Path, *, is_replacing: bool = False) -> Path:
        """Check a clip and keep it under the id; it appears whole or not at all. Returns where it is.

        Raises InvalidVoiceId, BadClip, VoiceTaken for an id that is taken (also in other capitals, which
        some file systems cannot tell apart), and StorageFailed for a folder that cannot be written.
        """
        old = self.check_free(voice_id, is_replacing=is_replacing)
        data = clip if isinstance(clip, bytes) else read_file(clip)
        read_clip(data)
        target = self.folder / f"{voice_id}.{clip_kind(data)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_atomic(target, data)
            for path in old:
                if path != target:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(
                f"voice '{voice_id}' cannot be kept: {error.strerror}; check the folder of voices and its disk"
            ) from error
        return target

    def check_free(self, voice_id: str, *, is_replacing: bool = False) -> list[Path]:
        """The entries that `add` would replace. Raises as `add` does for the id and for the folder."""
        check_voice_id(voice_id)
        if problem := self.problem():  # what cannot be listed cannot be told apart from what is free
            raise StorageFailed(problem)
        same = [known for known in self.ids() if known.casefold() == voice_id.casefold()]
        if any(known != voice_id for known in same):
            raise VoiceTaken(f"voice '{voice_id}' differs from '{same[0]}' in capitals only; choose another id")
        if same and not is_replacing:
            raise VoiceTaken(f"voice '{voice_id}' exists already; remove it first or choose another id")
        old = self._own_entries(voice_id)
        if any(not _is_clip_name(entry) for entry in old):
            raise VoiceTaken(f"voice '{voice_id}' is a folder of clips; remove it first or choose another id")
        return old

    def remove(self, voice_id: str) -> None:
        """Delete a voice's clips; of a link only the link goes. Raises InvalidVoiceId, VoiceNotFound, StorageFailed."""
        entries = self._own_entries(voice_id)
        if not entries:
            raise voice_not_found(voice_id, self.ids())
        try:
            for entry in entries:
                if entry.is_dir() and not entry.is_symlink():
                    _remove_folder(entry)
                else:
                    entry.unlink()
        except OSError as error:
            raise StorageFailed(
                f"voice '{voice_id}' cannot be removed: {error.strerror}; check the folder of voices"
            ) from error

    def problem(self) -> str:
        """Why the folder cannot be read, empty when it can; a missing one is made by the first `add`."""
        try:
            os.listdir(self.folder)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"the folder of voices cannot be read: {error.strerror}; check the path and its permissions"
        return ""

    def report(self) -> list[BrokenVoice]:
        """Everything in the folder that looks like a voice and is none. Decodes every clip."""
        try:
            entries = list(self._entries())
        except OSError as error:
            reason = f"the folder of voices cannot be read: {error.strerror}; check the path and its permissions"
            return [BrokenVoice(self.folder.name, reason)]
        broken = [
            BrokenVoice(entry.name, "its name is no voice id; use 1 to 64 of A-Z, a-z, 0-9, _ and -")
            for entry in entries
            if not _ID.fullmatch(_id_of(entry))
        ]
        for voice_id in self.ids():
            try:
                self.load(voice_id)
            except VoiceError as error:
                broken.append(BrokenVoice(voice_id, error.message))
        return broken

    def _entries(self, voice_id: str | None = None) -> Iterator[Path]:
        """What the folder holds that is meant as a voice, or as this one: clips, and folders with a clip in them."""
        named = (path for path in self.folder.iterdir() if not path.name.startswith("."))
        # The others' folders are not looked into: with a thousand of them every utterance would cost 40 ms.
        for path in sorted(path for path in named if voice_id is None or _id_of(path) == voice_id):
            if _is_clip_name(path) or (path.is_dir() and self._clips_in(path)):
                yield path

    def _own_entries(self, voice_id: str) -> list[Path]:
        check_voice_id(voice_id)
        try:
            return list(self._entries(voice_id))
        except OSError:
            return []

    def _clips(self, voice_id: str) -> list[Path]:
        clips: list[Path] = []
        for entry in self._own_entries(voice_id):
            clips += [entry] if _is_clip_name(entry) else self._clips_in(entry)
        if not clips:
            raise voice_not_found(voice_id, self.ids())
        return clips

    def _clips_in(self, folder: Path) -> list[Path]:
        if not self._is_inside(folder):
            return [folder]  # refused when it is read
        try:
            return [path for path in sorted(folder.iterdir()) if _is_clip_name(path) and path.name[0] != "."]
        except OSError:
            return [folder]

    def _is_inside(self, path: Path) -> bool:
        # Not Path.resolve: on Python 3.11 and 3.12 it raises RuntimeError for a link to itself.
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _read(self, path: Path) -> bytes:
        if not self._is_inside(path):
            raise BadClip(f"{self._name(path)} is a link to outside the folder of voices; copy the clip there")
        return read_file(path)


def _is_clip_name(path: Path) -> bool:
    return path.suffix.lower() in CLIP_SUFFIXES


def _id_of(entry: Path) -> str:
    return entry.stem if _is_clip_name(entry) else entry.name


def _write_atomic(target: Path, data: bytes) -> None:
    """Under a name that starts with a dot first: the listing passes those over."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private, but another user may run the server
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _remove_folder(folder: Path) -> None:
    """The clips, and the folder when nothing else is in it: what is not ours to delete stays."""
    for path in folder.iterdir():
        if _is_clip_name(path):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


__all__ = ["MAX_CLIPS", "BrokenVoice", "VoiceFiles", "VoiceStore", "check_voice_id", "files_of", "voice_not_found"]
