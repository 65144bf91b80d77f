from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from xtts_rtc.errors import ConfigError, MissingExtra
from xtts_rtc.settings import VARIABLES, Settings, Values, load_settings, loading
from xtts_rtc.types import LANGUAGES, SamplingParams


def load(given: Values | None = None, *, yaml: str | None = None, **environ: str) -> Settings:
    """Settings from these layers only; `yaml` is the text of the file."""
    config = None
    if yaml is not None:
        config = Path("config.yaml")
        config.write_text(yaml)
    return load_settings(given, config=config, environ=environ, dotenv=Path(".env"))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_need_no_file_and_no_variable() -> None:
    settings = load()
    assert settings.model.name == "embedded"
    assert settings.engine.max_ahead_s == 3.0
    assert settings.sampling.params() == SamplingParams()
    assert settings.voices.folder == Path("speakers")


def test_flag_beats_variable_beats_dotenv_beats_file_beats_default() -> None:
    given = {"model": {"name": "from-flag"}}
    yaml = "model: {name: from-file}"
    Path(".env").write_text("XTTS_MODEL=from-dotenv\n")
    assert load(given, yaml=yaml, XTTS_MODEL="from-variable").model.name == "from-flag"
    assert load(yaml=yaml, XTTS_MODEL="from-variable").model.name == "from-variable"
    assert load(yaml=yaml).model.name == "from-dotenv"
    Path(".env").unlink()
    assert load(yaml=yaml).model.name == "from-file"
    assert load().model.name == "embedded"


def test_layers_meet_inside_one_section() -> None:
    settings = load({"model": {"device": "cpu"}}, yaml="model: {name: a, device: cuda}", XTTS_BACKEND="torch")
    assert (settings.model.name, settings.model.device, settings.model.backend) == ("a", "cpu", "torch")


def test_the_process_environment_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTTS_MAX_STREAMS", "7")
    assert load_settings(dotenv=None).engine.max_streams == 7


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_reaches_its_option(name: str) -> None:
    text = {"XTTS_DEVICE": "cpu", "XTTS_BACKEND": "torch", "XTTS_MAX_STREAMS": "3", "XTTS_URL": "ws://127.0.0.1:1"}
    text |= {"XTTS_PRECISION": "fp32", "XTTS_VOCODER": "openvino-bf16", "XTTS_LOG_FORMAT": "json"}
    text |= {name: "7.5" for name in VARIABLES if name.endswith("_S")}
    text |= {name: "5000" for name in VARIABLES if name.endswith("_BYTES")}
    text |= {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "XTTS_MAX_CALLS": "3", "XTTS_STUN_URL": "stun:a.example"}
    text |= {"XTTS_MAX_STREAMS_PER_KEY": "2", "XTTS_MAX_CONNECTIONS": "9", "XTTS_CORS_ORIGINS": "https://a.example"}
    switches = ("XTTS_HALF", "XTTS_COMPILE", "XTTS_DEEPSPEED", "COQUI_TOS_AGREED")
    value = "1" if name in switches else text.get(name, "given")
    turn = {"XTTS_TURN_URL": "turn:a.example", "XTTS_TURN_USERNAME": "anna", "XTTS_TURN_CREDENTIAL": "s3cret"}
    others = {other: value for other, value in turn.items() if name.startswith("XTTS_TURN")}
    value = others.get(name, value)
    settings = load_settings(environ={**others, name: value}, dotenv=None, must_be_possible=False)
    section, key = VARIABLES[name]
    found = getattr(getattr(settings, section), key)
    assert found != getattr(getattr(load(), section), key)
    if isinstance(found, SecretStr):
        assert found.get_secret_value() == value
    elif name == "XTTS_CORS_ORIGINS":
        assert found == (value,)
    elif name not in switches:
        assert str(found) == value


def test_a_list_is_written_with_commas_or_as_a_list() -> None:
    both = ("https://a.example", "http://b.example:8080")
    assert load(XTTS_CORS_ORIGINS="https://a.example, http://b.example:8080").server.cors_origins == both
    assert load({"server": {"cors_origins": ",".join(both)}}).server.cors_origins == both
    assert load(yaml=f"server: {{cors_origins: [{', '.join(both)}]}}").server.cors_origins == both
    with pytest.raises(ConfigError, match="a list of origins"):
        load(XTTS_CORS_ORIGINS="a.example")


def test_an_empty_variable_counts_as_absent() -> None:
    assert load(XTTS_URL="", XTTS_MAX_STREAMS="").server.url is None


@pytest.mark.parametrize(
    ("variable", "section", "key"),
    [
        ("XTTS_API_KEY", "server", "api_key"),
        ("OPENAI_API_KEY", "agent", "llm_key"),
        ("XTTS_TURN_CREDENTIAL", "webrtc", "turn_credential"),
    ],
)
def test_a_secret_is_in_no_repr_and_no_error(variable: str, section: str, key: str) -> None:
    settings = load(**{variable: "s3cret-key"})
    assert "s3cret" not in f"{settings!r} {settings} {getattr(settings, section)!r}"
    for yaml in (f"{section}: {{{key}: [s3cret-key]}}", f"{section}: {{{key}: s3cret-key, {key}x: s3cret-key}}"):
        with pytest.raises(ConfigError) as caught:
            load(yaml=yaml)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("engine: {max_stream: 3}", "config.yaml: unknown key engine.max_stream; did you mean max_streams?"),
        ("engin: {}", "config.yaml: unknown key engin; did you mean engine?"),
        ("zzz: {}", "unknown key zzz; there are model, engine, voices, sampling, server"),
        ("sampling: {temprature: 1}", "did you mean temperature?"),
        ("engine: {max_streams: '3'}", "engine.max_streams: input should be a valid integer"),
        ("engine: {max_streams: true}", "engine.max_streams: input should be a valid integer"),
        ("engine: {max_ahead_s: .nan}", "engine.max_ahead_s"),
        ("engine: {max_queue_s: -1}", "greater than or equal to 0"),
        ("model: {half: 1}", "model.half: input should be a valid boolean"),
        ("model: {device: gpu}", "it must be auto, cpu, cuda or cuda:N"),
        ("voices: {voice: ../../etc}", "voices.voice: it must be 1 to 64 of"),
        ("voices: {language: xx}", "voices.language: input should be 'en'"),
        ("server: {port: 70000}", "less than or equal to 65535"),
        ("server: {url: ftp://x}", "it must be http(s):// or ws(s)://"),
        ("sampling: {temperature: 9}", "temperature is 9.0; it must be over 0 and at most 2"),
        ("agent: {greeting: 3}", "agent.greeting: input should be a valid string"),
        ("agent: {instructions: ''}", "agent.instructions: string should have at least 1 character"),
        ("agent: {instruction: x}", "unknown key agent.instruction; did you mean instructions?"),
        ("agent: {llm_url: localhost}", "agent.llm_url: it must be http(s):// and a host"),
        ("agent: {interrupt_after_s: 0}", "greater than or equal to 0.05"),
        ("agent: {answer_after_s: 3.0}", "agent: answer_latest_s must be at least answer_after_s, which is 3"),
        ("webrtc: {max_calls: 0}", "webrtc.max_calls: input should be greater than or equal to 1"),
        ("webrtc: {stun_url: 'http://a'}", "webrtc.stun_url: it must be as stun:host:port"),
        ("webrtc: {turn_url: 'turns:a?transport=udp'}", "webrtc.turn_url: it must be as turn:host:port?transport=udp"),
        ("webrtc: {turn_url: 'turn:a'}", "webrtc: turn_url wants turn_username and turn_credential"),
        ("webrtc: {tls_cert: a.pem}", "webrtc: tls_cert and tls_key are files that belong together"),
        ("webrtc: {addresses: [10.0.0]}", "'10.0.0' does not appear to be an IPv4 or IPv6 address"),
        ("engine: 3", "config.yaml: engine: "),
        ("[1, 2]", "config.yaml must hold sections"),
        ("engine: [", "config.yaml, line 1 is not YAML"),
    ],
)
def test_a_bad_file_says_where_and_what_would_be_right(yaml: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(yaml=yaml)
    assert says in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("XTTS_MAX_STREAM", "3", "unknown environment variable XTTS_MAX_STREAM; did you mean XTTS_MAX_STREAMS?"),
        ("XTTS_MAX_STREAMS", "many", "XTTS_MAX_STREAMS: input should be a valid integer"),
        ("XTTS_MAX_STREAMS", "0", "greater than or equal to 1"),
        ("XTTS_HALF", "perhaps", "XTTS_HALF: input should be a valid boolean"),
        ("XTTS_DEVICE", "tpu", "XTTS_DEVICE: it must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_bad_variable_is_named(variable: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={variable: text}, dotenv=None)
    assert says in caught.value.message


def test_a_bad_flag_is_told_from_a_bad_file() -> None:
    with pytest.raises(ConfigError, match=r"^command line: model\.device"):
        load({"model": {"device": "gpu"}}, yaml="model: {name: a}")
    with pytest.raises(ConfigError, match=r"^config\.yaml: model\.device"):
        load({"model": {"name": "a"}}, yaml="model: {device: gpu}")


def test_options_of_several_sources_that_do_not_go_together_are_no_flag_s_fault() -> None:
    with pytest.raises(ConfigError, match=r"^webrtc: turn_url wants turn_username and turn_credential"):
        load_settings({"webrtc": {"port": 1}}, environ={"XTTS_TURN_URL": "turn:a.example"}, dotenv=None)


def test_a_config_file_that_is_missing_is_an_error_and_a_dotenv_is_not() -> None:
    assert load_settings(environ={}, dotenv=Path("absent")).model.name == "embedded"
    with pytest.raises(ConfigError, match="absent.yaml cannot be read"):
        load_settings(config=Path("absent.yaml"), environ={}, dotenv=None)


def test_an_empty_section_and_an_empty_file_are_fine() -> None:
    assert load(yaml="voices:\n") == load(yaml="") == load()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().engine.max_streams = 9


def test_a_package_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"xtts-rtc\[deepspeed\]"):
        load(XTTS_DEEPSPEED="1")
    with pytest.raises(MissingExtra, match=r"xtts-rtc\[torch\]"):
        load(XTTS_DEVICE="cuda:0")


def test_every_language_of_the_model_can_be_the_default_one() -> None:
    for language in LANGUAGES:
        assert load({"voices": {"language": language}}).voices.language == language


def test_the_shipped_configs_are_valid() -> None:
    shipped = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
    assert shipped
    for path in shipped:
        assert load_settings(config=path, environ={}, dotenv=None, must_be_possible=False)
