"""The documents' code blocks: commands parse, paths exist, and what is marked is run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from xtts_rtc import cli, doctor
from xtts_rtc.settings import VARIABLES, load_settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/log.md", "speakers/README.md")
RUN_MARK = "<!-- run by tests/test_readme.py -->"

_BLOCK = re.compile(r"^(?P<mark><!--[^\n]*-->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `is_run` when the document says that it is executed."""

    document: str
    kind: str
    text: str
    is_run: bool

    def commands(self, program: str) -> list[list[str]]:
        """The words of its lines that call `program`, without the comments."""
        lines = (shlex.split(line, comments=True) for line in self.text.splitlines())
        return [words[1:] for words in lines if words and words[0] == program]


def blocks(kind: str | None = None) -> list[Block]:
    found = [
        Block(name, match["kind"], match["text"], (match["mark"] or "").strip() == RUN_MARK)
        for name in DOCUMENTS
        for match in _BLOCK.finditer((ROOT / name).read_text(encoding="utf-8"))
    ]
    return [block for block in found if kind is None or block.kind == kind]


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XTTS_SPEAKERS_DIR", str(ROOT / "speakers"))
    monkeypatch.setenv("XTTS_CACHE_DIR", str(tmp_path))


def test_the_first_commands_are_demo_and_test() -> None:
    assert [words[0] for words in blocks("sh")[0].commands("make")] == ["demo", "test"]


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {words[0] for block in blocks() if block.kind != "python" for words in block.commands("make")}
    assert {"demo", "test"} <= named <= targets


def test_the_makefile_is_short() -> None:
    assert len((ROOT / "Makefile").read_text().splitlines()) < 60


@pytest.mark.parametrize(
    "words", [words for block in blocks("sh") for words in block.commands("xtts-rtc")], ids=shlex.join
)
def test_every_command_of_ours_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    args = cli._parser().parse_args(words)
    assert cli._settings(args)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.text.split("\n", 1)[0])
def test_python_blocks_compile(block: Block) -> None:
    assert compile(block.text, block.document, "exec")


def test_yaml_blocks_are_valid_settings(tmp_path: Path) -> None:
    for block in blocks("yaml"):
        config = tmp_path / "block.yaml"
        config.write_text(yaml.safe_dump(yaml.safe_load(block.text)))
        assert load_settings(config=config, environ={}, dotenv=None)


def test_every_path_that_is_named_exists() -> None:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    named = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|md|yaml|toml|lock))`", text))
    places = (ROOT, ROOT / "xtts_rtc")
    assert "pyproject.toml" in named
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_the_readme_names_every_variable_and_no_other() -> None:
    named = set(re.findall(r"\b(?:XTTS|COQUI|OPENAI)_[A-Z_]+\b", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named == set(VARIABLES)


def test_the_licence_of_the_published_weights_is_stated() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Coqui Public Model License" in text
    assert "NON-commercial" in text


def test_the_readme_and_doctor_say_the_same_of_what_was_never_run() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert [name for name, why in doctor._NEVER_RUN if f"**{name}**: {why}." not in text] == []


@pytest.mark.slow
@pytest.mark.usefixtures("_in_an_empty_folder")
def test_marked_commands_do_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    marked = [words for block in blocks("sh") if block.is_run for words in block.commands("xtts-rtc")]
    assert marked
    for words in marked:
        assert cli.main(words) == 0, capsys.readouterr()
    assert Path("hello.wav").stat().st_size > 24_000  # half a second
    assert "default\n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("_in_an_empty_folder")
def test_marked_python_speaks() -> None:
    marked = [block for block in blocks("python") if block.is_run]
    assert marked
    for block in marked:
        names: dict[str, object] = {}
        exec(compile(block.text, block.document, "exec"), names)
        seconds = names["seconds"]
        assert isinstance(seconds, float)
        assert 1.0 < seconds < 10.0
