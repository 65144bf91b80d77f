"""The layers put together: command line over environment (and `.env`) over YAML over default."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import yaml
from dotenv import dotenv_values
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from xtts_rtc.errors import ConfigError, InvalidParameter, MissingExtra
from xtts_rtc.settings.sections import (
    SECTIONS,
    AgentSettings,
    AudioSocketSettings,
    EngineSettings,
    ModelSettings,
    SamplingSettings,
    ServerSettings,
    VoiceSettings,
    WebRtcSettings,
)
from xtts_rtc.settings.variables import VARIABLES

Values = Mapping[str, Mapping[str, object]]
"""Options by section and name, as far as they were given."""


class Settings(BaseSettings):
    """All options, checked. `repr` masks the keys. Made by `load_settings`."""

    model_config = SettingsConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    model: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    voices: VoiceSettings = VoiceSettings()
    sampling: SamplingSettings = SamplingSettings()
    server: ServerSettings = ServerSettings()
    audiosocket: AudioSocketSettings = AudioSocketSettings()
    agent: AgentSettings = AgentSettings()
    webrtc: WebRtcSettings = WebRtcSettings()

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
    """The typed value of one variable, by itself: what belongs to it may stand in another layer."""
    section, key = VARIABLES[name]
    field = SECTIONS[section].model_fields[key]
    kind: Any = Annotated[field.annotation, field]
    try:
        return TypeAdapter(kind).validate_strings(text)
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
        raise ConfigError(f"{path} must hold sections: {', '.join(SECTIONS)}")
    return {key: {} if value is None else value for key, value in content.items()}  # an empty section


def _as_config_error(error: ValidationError, given: Values, config: Path | None) -> ConfigError:
    """The first problem, where it stands and what would be right."""
    first = error.errors(include_input=False, include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    is_given = bool(path) and path[0] in given and (len(path) < 2 or path[1] in given[path[0]])
    source = "command line" if is_given or config is None else str(config)
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{source}: unknown key {'.'.join(path)}{_nearest(path[-1], _names(path[:-1]))}")
    if first["type"] == "value_error" and len(path) == 1:  # options that do not go together may be of several sources
        return ConfigError(f"{path[0]}: {_problem(error, path)}")
    return ConfigError(f"{source}: {'.'.join(path)}: {_problem(error, path)}")


def _problem(error: ValidationError, path: Sequence[str]) -> str:
    """What would be right, in the words of the option's description where a pattern failed."""
    first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "string_pattern_mismatch":
        return f"it must be {SECTIONS[path[0]].model_fields[path[1]].description}"
    message = first["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _names(path: Sequence[str]) -> list[str]:
    """The keys that may stand at the top (empty path) or in a section."""
    return list(SECTIONS[path[0]].model_fields if path else SECTIONS)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


__all__ = ["Settings", "Values", "load_settings", "require_possible"]
