"""Every option by name: command line over environment (and `.env`) over YAML over default.

In: nested values from a command line, the process environment, a file of `configs/`. Out: one frozen
`Settings`. It reads and checks options and does no work with them. Only `app` and what stands above it
see `Settings`; everything else takes keyword arguments.

A YAML file has one section per room, as the classes below; relative paths in it start at the working
directory. An unknown key or variable fails and names the nearest one that exists.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from xtts_rtc.errors import ConfigError, InvalidParameter, MissingExtra
from xtts_rtc.types import LANGUAGES, SamplingParams

Values = Mapping[str, Mapping[str, object]]
"""Options by section and name, as far as they were given."""

FolderPath = Annotated[Path, Strict(False)]
_Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s,]+)$")]


def _split(value: object) -> object:
    """A variable or a flag holds a list as text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def _as_keys(value: object) -> object:
    """YAML reads the keys of a phone as numbers."""
    return {str(key): text for key, text in value.items()} if isinstance(value, dict) else value


Origins = Annotated[tuple[_Origin, ...], BeforeValidator(_split)]
_Key = Annotated[str, StringConstraints(pattern=r"^[0-9A-D*#]$")]
Phrases = Annotated[dict[_Key, Annotated[str, StringConstraints(min_length=1)]], BeforeValidator(_as_keys)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class ModelSettings(_Section):
    """Which weights, where, and how fast."""

    name: str = Field(default="embedded", min_length=1)
    """embedded, random-tiny, random-full, or a folder with a published checkpoint."""
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$", description="auto, cpu, cuda or cuda:N"
    )
    backend: Literal["auto", "onnx", "torch"] = "auto"
    """Which runtime computes; auto takes onnx on a CPU where it is installed, else torch."""
    precision: Literal["int8", "int8-static", "int8-row", "int8-block", "fp32"] = "int8"
    """Of a checkpoint that the onnx backend converts; int8 takes the operator that passes the quality gate."""
    vocoder: Literal["auto", "onnxruntime-fp32", "openvino-bf16", "openvino-mixed", "openvino-fp32"] = "auto"
    """Of the onnx backend; auto times those that are installed."""
    half: bool = False
    compile: bool = False
    deepspeed: bool = False
    license_agreed: bool = False
    """The Coqui Public Model License (non-commercial) of the published weights was read and accepted."""


class EngineSettings(_Section):
    """How many speak at once, and how far ahead of their listeners."""

    max_streams: int = Field(default=4, ge=1, le=1024)
    max_ahead_s: float = Field(default=3.0, gt=0, le=60, allow_inf_nan=False)
    """A stream with so much audio unheard rests; a barge-in wastes at most this much."""
    max_queue_s: float = Field(default=2.0, ge=0, le=300, allow_inf_nan=False)
    """How long a request may wait for a slot before it fails as full."""
    idle_s: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)
    """An utterance that gets no text, or whose audio nobody takes, ends after so many seconds."""


class VoiceSettings(_Section):
    """Where the clips are and who speaks when nobody is named."""

    folder: FolderPath = Path("speakers")
    cache_dir: FolderPath | None = None
    """None: the user's cache folder."""
    voice: str = Field(
        default="default", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="1 to 64 of A-Z, a-z, 0-9, _ and -"
    )
    language: Literal[LANGUAGES] = "en"  # type: ignore[valid-type]  # a tuple of literals, one list for all


_PUBLISHED = SamplingParams()


class SamplingSettings(_Section):
    """What a request that names nothing gets; the ranges are those of `SamplingParams`."""

    temperature: float = _PUBLISHED.temperature
    repetition_penalty: float = _PUBLISHED.repetition_penalty
    top_k: int = _PUBLISHED.top_k
    top_p: float = _PUBLISHED.top_p
    speed: float = _PUBLISHED.speed
    seed: int | None = _PUBLISHED.seed

    def params(self) -> SamplingParams:
        """The same as the engine takes it."""
        return SamplingParams(**self.model_dump())

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        self.params()
        return self


class ServerSettings(_Section):
    """Where `serve` listens, and which server a thin client speaks through."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8020, ge=0, le=65535)
    """0 takes a free one."""
    url: str | None = Field(
        default=None, pattern=r"^(ws|http)s?://\S+$", description="http(s):// or ws(s):// and a host"
    )
    """A remote engine instead of one in this process."""
    api_key: SecretStr | None = None
    """Asked of clients by `serve`, and sent by a client; None asks for nothing."""
    api_keys_file: FolderPath | None = None
    """Further keys with names, a line NAME:KEY for each; the names appear in the log."""
    max_streams_per_key: int | None = Field(default=None, ge=1, le=1024)
    """Utterances at once for one key; None: as many as there are."""
    grace_s: float = Field(default=30.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds that running speech gets to end after SIGTERM."""
    header_s: float = Field(default=10.0, gt=0, le=600, allow_inf_nan=False)
    body_s: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds in which a request's header, and its body, must have come."""
    max_header_bytes: int = Field(default=16_384, ge=1024, le=2**20)
    max_body_bytes: int = Field(default=2_097_152, ge=1024, le=2**30)
    max_upload_bytes: int = Field(default=20_000_000, ge=1024, le=50_000_000)
    """Of a voice clip."""
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    cors_origins: Origins = Field(default=(), description="a list of origins such as https://example.org, or *")
    """Web pages of other origins that may ask, as https://example.org; * is all of them."""
    log_format: Literal["text", "json"] = "text"
    output_dir: FolderPath | None = Path("output")
    """Where /tts keeps a file for who asks for JSON."""


class AudioSocketSettings(_Section):
    """How `serve` answers the phone calls of an Asterisk; None stands for what `voices` says."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int | None = Field(default=None, ge=0, le=65535)
    """None: no calls."""
    greeting: str = Field(default="Hello. You can interrupt me at any time.", min_length=1)
    phrases: Phrases = Field(default={}, description="texts by key: 0-9, A-D, * or #")
    voice: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="1 to 64 of A-Z a-z 0-9 _ -")
    language: Literal[LANGUAGES] | None = None  # type: ignore[valid-type]
    is_interruptible: bool = True
    hangs_up: bool = True
    listen_s: float = Field(default=5.0, gt=0, le=3600, allow_inf_nan=False)
    max_calls: int = Field(default=16, ge=1, le=1024)
    silent_s: float = Field(default=60.0, gt=0, le=86_400, allow_inf_nan=False)
    longest_s: float = Field(default=3600.0, gt=0, le=86_400, allow_inf_nan=False)


VARIABLES: Mapping[str, tuple[str, str]] = {
    "XTTS_MODEL": ("model", "name"),
    "XTTS_DEVICE": ("model", "device"),
    "XTTS_BACKEND": ("model", "backend"),
    "XTTS_PRECISION": ("model", "precision"),
    "XTTS_VOCODER": ("model", "vocoder"),
    "XTTS_HALF": ("model", "half"),
    "XTTS_COMPILE": ("model", "compile"),
    "XTTS_DEEPSPEED": ("model", "deepspeed"),
    "COQUI_TOS_AGREED": ("model", "license_agreed"),
    "XTTS_MAX_STREAMS": ("engine", "max_streams"),
    "XTTS_IDLE_S": ("engine", "idle_s"),
    "XTTS_SPEAKERS_DIR": ("voices", "folder"),
    "XTTS_CACHE_DIR": ("voices", "cache_dir"),
    "XTTS_URL": ("server", "url"),
    "XTTS_API_KEY": ("server", "api_key"),
    "XTTS_API_KEYS_FILE": ("server", "api_keys_file"),
    "XTTS_MAX_STREAMS_PER_KEY": ("server", "max_streams_per_key"),
    "XTTS_GRACE_S": ("server", "grace_s"),
    "XTTS_HEADER_S": ("server", "header_s"),
    "XTTS_BODY_S": ("server", "body_s"),
    "XTTS_MAX_HEADER_BYTES": ("server", "max_header_bytes"),
    "XTTS_MAX_BODY_BYTES": ("server", "max_body_bytes"),
    "XTTS_MAX_UPLOAD_BYTES": ("server", "max_upload_bytes"),
    "XTTS_MAX_CONNECTIONS": ("server", "max_connections"),
    "XTTS_CORS_ORIGINS": ("server", "cors_origins"),
    "XTTS_LOG_FORMAT": ("server", "log_format"),
    "XTTS_OUTPUT_DIR": ("server", "output_dir"),
}
"""Environment variable to section and name. An empty variable counts as absent."""


class Settings(BaseSettings):
    """All options, checked. `repr` masks the key. Made by `load_settings`."""

    model_config = SettingsConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    model: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    voices: VoiceSettings = VoiceSettings()
    sampling: SamplingSettings = SamplingSettings()
    server: ServerSettings = ServerSettings()
    audiosocket: AudioSocketSettings = AudioSocketSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then our flat variable names, then the YAML file; the first that has a value wins."""
        assert isinstance(init_settings, InitSettingsSource)
        config = init_settings.init_kwargs.pop("config", None)
        environ = init_settings.init_kwargs.pop("environ", {})
        return init_settings, _Variables(settings_cls, environ), _ConfigFile(settings_cls, config)


_SECTIONS: Mapping[str, type[_Section]] = {
    "model": ModelSettings,
    "engine": EngineSettings,
    "voices": VoiceSettings,
    "sampling": SamplingSettings,
    "server": ServerSettings,
    "audiosocket": AudioSocketSettings,
}


class _Variables(PydanticBaseSettingsSource):
    """The flat names of `VARIABLES` as sections."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, object]:
        sections: dict[str, dict[str, object]] = {}
        for name, text in self._environ.items():
            if name.startswith("XTTS_") and name not in VARIABLES:
                raise ConfigError(f"unknown environment variable {name}{_nearest(name, list(VARIABLES))}")
            if name in VARIABLES and text:
                section, key = VARIABLES[name]
                sections.setdefault(section, {})[key] = _parse(name, text)
        return dict(sections)


class _ConfigFile(PydanticBaseSettingsSource):
    """One YAML file of sections; no file, no values."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path | None) -> None:
        super().__init__(settings_cls)
        self._path = path

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, object]:
        return dict(_read_yaml(self._path)) if self._path else {}


def load_settings(
    given: Values | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = Path(".env"),
    must_be_possible: bool = True,
) -> Settings:
    """Put the layers together.

    `given` holds what the command line named, by section; `environ` is the process environment when
    None, and goes over the variables of the `dotenv` file, which may be missing (`config` may not).
    Raises ConfigError for an unknown or bad option; and, unless `must_be_possible` is False, MissingExtra
    or ConfigError for an option that this installation cannot honour.
    """
    lines = dotenv_values(dotenv) if dotenv and dotenv.is_file() else {}
    merged = {name: text for name, text in lines.items() if text} | dict(os.environ if environ is None else environ)
    values: dict[str, Any] = {"config": config, "environ": merged, **(given or {})}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _as_config_error(error, given or {}, config) from None
    except InvalidParameter as error:
        raise ConfigError(f"sampling: {error.message}") from None
    if must_be_possible:
        require_possible(settings)
    return settings


def require_possible(settings: Settings) -> None:
    """Refuse what was asked for and cannot be done, before anything is loaded.

    Raises MissingExtra when a package is missing, ConfigError when this version cannot do it at all.
    """
    model = settings.model
    if model.deepspeed and find_spec("deepspeed") is None:
        raise MissingExtra("XTTS_DEEPSPEED is on, but DeepSpeed is not installed: pip install 'xtts-rtc[deepspeed]'")
    if model.device.startswith("cuda") and find_spec("torch") is None:
        raise MissingExtra(f"the device is {model.device}, but torch is not installed: pip install 'xtts-rtc[torch]'")


def _parse(name: str, text: str) -> object:
    """The typed value of one variable."""
    section, key = VARIABLES[name]
    try:
        return getattr(_SECTIONS[section].model_validate_strings({key: text}), key)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_problem(error, VARIABLES[name])}") from None


def _read_yaml(path: Path) -> Mapping[str, object]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line} is not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path} must hold sections: {', '.join(_SECTIONS)}")
    return {key: {} if value is None else value for key, value in content.items()}  # an empty section


def _as_config_error(error: ValidationError, given: Values, config: Path | None) -> ConfigError:
    """The first problem, where it stands and what would be right."""
    first = error.errors(include_input=False, include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    is_given = bool(path) and path[0] in given and (len(path) < 2 or path[1] in given[path[0]])
    source = "command line" if is_given or config is None else str(config)
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{source}: unknown key {'.'.join(path)}{_nearest(path[-1], _names(path[:-1]))}")
    return ConfigError(f"{source}: {'.'.join(path)}: {_problem(error, path)}")


def _problem(error: ValidationError, path: Sequence[str]) -> str:
    """What would be right, in the words of the option's description where a pattern failed."""
    first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "string_pattern_mismatch":
        return f"it must be {_SECTIONS[path[0]].model_fields[path[1]].description}"
    message = first["msg"]
    return message[0].lower() + message[1:]


def _names(path: Sequence[str]) -> list[str]:
    """The keys that may stand at the top (empty path) or in a section."""
    return list(_SECTIONS[path[0]].model_fields if path else _SECTIONS)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


__all__ = [
    "VARIABLES",
    "AudioSocketSettings",
    "EngineSettings",
    "ModelSettings",
    "SamplingSettings",
    "ServerSettings",
    "Settings",
    "Values",
    "VoiceSettings",
    "load_settings",
    "require_possible",
]
