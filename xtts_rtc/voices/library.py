"""A voice's id to what the model knows of it: hash, memory, disk, and only then the model.

The user's own clips come first, then the voices a checkpoint brings. Not for two threads at once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

import numpy as np

from xtts_rtc.errors import GenerationFailed, XttsRtcError
from xtts_rtc.types import Conditioning, Float32
from xtts_rtc.voices.cache import ConditioningCache, is_sound
from xtts_rtc.voices.store import VoiceStore, check_voice_id, voice_not_found

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

    def ids(self) -> list[str]:
        """Every id that `get` knows, sorted."""
        return sorted({*self._store.ids(), *self._builtin})

    def get(self, voice_id: str) -> Conditioning:
        """The voice as it is now: its clips are read and hashed every time, so a changed one is seen.

        A known voice costs that reading (about 1 ms for a 10 s clip); a new or changed one a run of the
        model. Raises InvalidVoiceId, VoiceNotFound, BadClip, and GenerationFailed when the model makes
        nothing usable of the clips.
        """
        self.require(voice_id)
        if not self._store.exists(voice_id):
            return self._checked(voice_id, self._builtin[voice_id])
        files = self._store.snapshot(voice_id)
        known = self._cache.get(files.key)
        if known is not None:
            return known
        computed = self._compute(voice_id, files.key, files.decode())
        self._cache.put(computed)
        return computed

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
        return self._checked(voice_id, Conditioning(key, np.asarray(latents), np.asarray(embedding)))

    def _checked(self, voice_id: str, conditioning: Conditioning) -> Conditioning:
        if not is_sound(conditioning):
            raise GenerationFailed(
                f"voice '{voice_id}': the model made NaN or a wrong shape of it; check the weights, then the clip"
            )
        return conditioning


__all__ = ["VoiceLibrary", "builtin_id"]
