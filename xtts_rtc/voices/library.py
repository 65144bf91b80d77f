"""A voice's id to what the model knows of it: hash, memory, disk, and only then the model.

The user's own clips come first, then the voices a checkpoint brings. One thread at a time may `get`, `add` and
`remove`; any other may ask which voices are `known` and what their `problems` are meanwhile.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Mapping

import numpy as np

from xtts_rtc.errors import GenerationFailed, VoiceError, XttsRtcError
from xtts_rtc.types import Conditioning, Float32
from xtts_rtc.voices.cache import ConditioningCache, is_sound
from xtts_rtc.voices.store import VoiceStore, check_voice_id, files_of, voice_not_found

_SETTLED_NS = 2_000_000_000
# Letters that do not decompose into an ASCII one and an accent.
_ASCII = str.maketrans({"ı": "i", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ß": "ss", "æ": "ae"})


def builtin_id(name: str) -> str:
    """A published voice's name as an id: "Ana Florence" is Ana_Florence, "Alma María" is Alma_Maria."""
    decomposed = unicodedata.normalize("NFKD", name.translate(_ASCII))
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return re.sub(r"[^A-Za-z0-9_-]", "_", plain)[:64] or "_"


class VoiceLibrary:
    """All voices there are, with their conditioning.

    `condition` is the model's: clips [S] at `MODEL_HZ` to gpt_latents [32, D] and speaker_embedding [512].
    `builtin` are the checkpoint's own voices by their published names; a clip with the same id wins, and
    of two names that give one id the first.
    """

    def __init__(
        self,
        store: VoiceStore,
        cache: ConditioningCache,
        condition: Callable[[list[Float32]], tuple[Float32, Float32]],
        *,
        builtin: Mapping[str, Conditioning] | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._condition = condition
        self._builtin: dict[str, Conditioning] = {}
        for name, conditioning in (builtin or {}).items():
            self._builtin.setdefault(builtin_id(name), conditioning)
        self._seen: dict[str, tuple[tuple[object, ...], Conditioning]] = {}
        self._problems: dict[str, str] = {}

    def ids(self) -> list[str]:
        """Every id that `get` knows, sorted."""
        return sorted({*self._store.ids(), *self._builtin})

    def is_builtin(self, voice_id: str) -> bool:
        """Whether it comes with the model and no clip stands in its place. Raises as `require` does."""
        self.require(voice_id)
        return not self._store.exists(voice_id)

    def problems(self) -> dict[str, str]:
        """Why voices cannot be used, by id, as far as that was tried; and the folder's own, by its name."""
        there = set(self._store.ids())
        problems = dict(self._problems)  # in one piece: another thread may find one meanwhile
        found = {voice_id: reason for voice_id, reason in problems.items() if voice_id in there}
        if reason := self._store.problem():
            found[self._store.folder.name] = reason
        return found

    def known(self, voice_id: str) -> Conditioning | None:
        """The voice, if it was computed and its clips are the same by the file system's word; else None.

        Reads no clip: about 0.1 ms. Safe in any thread. Raises InvalidVoiceId and VoiceNotFound.
        """
        check_voice_id(voice_id)
        signature = self._store.signature(voice_id)
        if not signature:
            if voice_id not in self._builtin:
                raise voice_not_found(voice_id, self.ids())
            return self._checked(voice_id, self._builtin[voice_id])
        seen = self._seen.get(voice_id)
        return seen[1] if seen is not None and seen[0] == signature else None

    def get(self, voice_id: str) -> Conditioning:
        """The voice as it is now: its clips are read and hashed every time, so a changed one is seen.

        A known voice costs that reading (about 1 ms for a 10 s clip); a new or changed one a run of the
        model. Raises InvalidVoiceId, VoiceNotFound, BadClip, and GenerationFailed when the model makes
        nothing usable of the clips.
        """
        self.require(voice_id)
        if not self._store.exists(voice_id):
            return self._checked(voice_id, self._builtin[voice_id])
        signature, read_at = self._store.signature(voice_id), time.time_ns()
        try:
            files = self._store.snapshot(voice_id)
            found = self._cache.get(files.key) or self._compute(voice_id, files.key, files.decode())
        except XttsRtcError as error:
            self._problems[voice_id] = error.message
            raise
        self._problems.pop(voice_id, None)
        if _is_settled(signature, read_at):
            self._seen[voice_id] = (signature, found)
        return found

    def add(self, voice_id: str, clip: bytes, *, is_replacing: bool = False) -> None:
        """Keep a clip as a voice that can speak at once. Raises as `VoiceStore.add`, and GenerationFailed."""
        self._store.check_free(voice_id, is_replacing=is_replacing)
        files = files_of(clip)
        if self._cache.get(files.key) is None:  # before it is kept: a clip the model cannot use is refused
            self._compute(voice_id, files.key, files.decode())
        self._store.add(voice_id, clip, is_replacing=is_replacing)
        self._problems.pop(voice_id, None)

    def remove(self, voice_id: str) -> None:
        """Delete a voice's clips. Raises as `VoiceStore.remove`, and VoiceError for a voice of the model."""
        if self.is_builtin(voice_id):
            raise VoiceError(f"voice '{voice_id}' comes with the model and cannot be removed")
        self._store.remove(voice_id)
        self._seen.pop(voice_id, None)
        self._problems.pop(voice_id, None)

    def require(self, voice_id: str) -> None:
        """Raise InvalidVoiceId or VoiceNotFound unless the voice exists. Cheap, and safe in any thread."""
        check_voice_id(voice_id)
        if not self._store.exists(voice_id) and voice_id not in self._builtin:
            raise voice_not_found(voice_id, self.ids())

    def load_all(self) -> dict[str, XttsRtcError | None]:
        """Have every voice ready. A voice that cannot be is returned with its error; the others go on."""
        return {voice_id: self._failure(voice_id) for voice_id in self.ids()}

    def _failure(self, voice_id: str) -> XttsRtcError | None:
        try:
            self.get(voice_id)
        except XttsRtcError as error:
            return error
        return None

    def _compute(self, voice_id: str, key: str, clips: list[Float32]) -> Conditioning:
        try:
            latents, embedding = self._condition(clips)
        except XttsRtcError:
            raise
        except Exception as error:  # the model's own: one voice must not stop the start
            raise GenerationFailed(
                f"voice '{voice_id}': the model failed on its clips ({type(error).__name__}); try another clip"
            ) from error
        computed = self._checked(voice_id, Conditioning(key, np.asarray(latents), np.asarray(embedding)))
        self._cache.put(computed)
        return computed

    def _checked(self, voice_id: str, conditioning: Conditioning) -> Conditioning:
        if not is_sound(conditioning):
            raise GenerationFailed(
                f"voice '{voice_id}': the model made NaN or a wrong shape of it; check the weights, then the clip"
            )
        return conditioning


def _is_settled(signature: tuple[object, ...], read_at: int) -> bool:
    """Whether the last change is so old that one more would show: file systems count time in steps."""
    changes = [number for clip in signature if isinstance(clip, tuple) for number in clip[3:]]
    return bool(changes) and read_at - max(changes) > _SETTLED_NS


__all__ = ["VoiceLibrary", "builtin_id"]
