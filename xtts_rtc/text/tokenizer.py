"""Words to the token ids of a model, and how many there are. Knows no torch and no model.

A `TextFrontend` belongs to one vocabulary file (the published layout: a Hugging Face BPE with an "[en]" token
per language). It is stateless between calls; one may be shared by threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from xtts_rtc.errors import CheckpointError, MissingExtra, UnknownLanguage
from xtts_rtc.text.lexicon import CHAR_LIMITS
from xtts_rtc.text.normalize import normalize
from xtts_rtc.text.pronunciation import Pronunciation, read_beside
from xtts_rtc.types import LANGUAGES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_UNENCODABLE = dict.fromkeys(range(0xD800, 0xE000))


class TextFrontend:
    """Text to ids for the languages of one vocabulary."""

    def __init__(self, tokenizer: Tokenizer, pronunciation: Pronunciation | None = None) -> None:
        """pronunciation: of a model that reads English as phonemes; the published one reads letters."""
        self._tokenizer, self._pronunciation = tokenizer, pronunciation

    @classmethod
    def from_file(cls, vocab_json: Path) -> TextFrontend:
        """Read a `vocab.json` (or a bundle's `tokenizer.json`), and the `pronunciation.xz` beside it if there is one.

        Raises CheckpointError if the file is not one, MissingExtra without the tokenizers package.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtra("token ids need tokenizers: pip install 'xtts-rtc[cpu]'") from None
        try:
            frontend = cls(Tokenizer.from_str(vocab_json.read_text(encoding="utf-8")), read_beside(vocab_json.parent))
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(f"{vocab_json} is not a readable vocabulary: {error}") from None
        if not frontend.languages:
            raise CheckpointError(f"{vocab_json} holds no language token such as [en]; is it an XTTS vocabulary?")
        return frontend

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages whose token the vocabulary holds, in the order of types.LANGUAGES."""
        return tuple(code for code in LANGUAGES if self._tokenizer.token_to_id(f"[{code}]") is not None)

    @property
    def reads_phonemes(self) -> bool:
        """Whether English words become phonemes."""
        return self._pronunciation is not None

    @property
    def num_ids(self) -> int:
        """One more than the largest id; ids may have holes."""
        return max(self._tokenizer.get_vocab().values()) + 1

    def resolve(self, language: str) -> str:
        """The canonical code for `language` ("zh", "zh-CN" and "en_US" are understood).

        Raises UnknownLanguage with the list of what there is.
        """
        code = language.strip().lower().replace("_", "-").partition("-")[0]
        code = "zh-cn" if code == "zh" else code
        if code not in self.languages:
            known = ", ".join(self.languages)
            raise UnknownLanguage(f"{language!r} is no language of this model: choose one of {known}, or another model")
        return code

    def char_limit(self, language: str) -> int:
        """Most characters of one segment that the published model speaks well. Raises UnknownLanguage."""
        return CHAR_LIMITS[self.resolve(language)]

    def check(self, language: str) -> str:
        """The canonical code, after making sure that its packages are there.

        Raises UnknownLanguage, or MissingExtra naming the extra to install.
        """
        code = self.resolve(language)
        normalize("1", code)
        if code in ("zh-cn", "ja"):
            normalize("一", code)
        return code

    def encode(self, spoken: str, language: str) -> list[int]:
        """Token ids, without the start and stop tokens that wrap them.

        Equal to coqui-tts 0.28.0 `VoiceBpeTokenizer.encode(spoken.strip().lower(), language)`, as its
        `inference_stream` calls it, but for what `normalize` lists and for the Turkish İ, which Python's
        lower() splits in two; here it becomes i, as in the training text. Never raises for a text;
        raises UnknownLanguage and MissingExtra.
        """
        code = self.resolve(language)
        text = f"[{code}]{self.reading(spoken, code)}".replace(" ", "[SPACE]")
        return list(self._tokenizer.encode(text).ids)

    def reading(self, spoken: str, language: str) -> str:
        """What the model is given to read: normalised words, or their phonemes. Raises as `encode` does."""
        code = self.resolve(language)
        text = spoken.strip() if spoken.isascii() else spoken.translate(_UNENCODABLE).strip()
        normal = normalize(text.lower() if code == "ja" else text, code)
        return self._pronunciation(normal) if self._pronunciation is not None and code == "en" else normal

    def is_unreadable(self, ids: Sequence[int]) -> bool:
        """Whether ids that `encode` gave are unknown characters and not one letter: a script the model lacks."""
        tokens = [self._tokenizer.id_to_token(number) or "" for number in ids]
        plain = "".join(token for token in tokens if not token.startswith("["))
        return "[UNK]" in tokens and not any(map(str.isalnum, plain))

    def count(self, spoken: str, language: str) -> int:
        """How many ids `encode` gives, numbers in words included."""
        return len(self.encode(spoken, language))


__all__ = ["TextFrontend"]
