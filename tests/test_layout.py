"""What the linters cannot see: lazy imports, sizes, and that public names are what they say."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TypeGuard

import pytest

import xtts_rtc

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "xtts_rtc"
MAX_LINES = 400
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}
HEAVY = ("torch", "TTS", "transformers", "onnxruntime")

SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "livekit").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
MODULES = sorted(PACKAGE.rglob("*.py"))


def loaded_after(statement: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh process after the statement."""
    script = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow  # a process for each: part of `make check`
@pytest.mark.parametrize(
    "statement",
    [
        "import xtts_rtc; xtts_rtc.Engine, xtts_rtc.SamplingParams, xtts_rtc.Speech",
        "import xtts_rtc.client, xtts_rtc.pipeline, xtts_rtc.settings",
        "import xtts_rtc.cli, xtts_rtc.app",
        "from livekit.plugins import xtts; xtts.TTS",
    ],
)
def test_importing_loads_no_runtime(statement: str) -> None:
    loaded = loaded_after(statement)
    assert "xtts_rtc" in loaded
    assert not loaded & set(HEAVY)


def test_the_package_itself_loads_next_to_nothing() -> None:
    assert not loaded_after("import xtts_rtc") & {"numpy", "asyncio", "pydantic", *HEAVY}


def test_a_file_stays_under_400_lines() -> None:
    code = [path for path in SOURCES if not _is_table(path)]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in code}
    assert len(lengths) > 20
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_a_file_is_one_noun() -> None:
    assert [path.name for path in PACKAGE.rglob("*.py") if path.stem in FORBIDDEN_NAMES] == []


def test_every_module_says_what_it_is_for() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.read_text(encoding="utf-8").strip()]
    silent = [path.relative_to(ROOT) for path in files if ast.get_docstring(ast.parse(path.read_text())) is None]
    assert silent == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=lambda path: path.stem)
def test_all_names_every_public_definition_and_nothing_else(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    exported = next((ast.literal_eval(node.value) for node in body if _is_all(node)), None)
    assert exported is not None, "no __all__"
    assert len(exported) == len(set(exported))
    assert set(_definitions(body)) <= set(exported)
    assert set(exported) <= {*_definitions(body), *_constants(body)}


@pytest.mark.parametrize("name", ["xtts_rtc", "xtts_rtc.api", "xtts_rtc.errors", "xtts_rtc.types"])
def test_all_equals_what_can_be_imported(name: str) -> None:
    module = importlib.import_module(name)
    assert [item for item in module.__all__ if not hasattr(module, item)] == []
    assert all(getattr(module, item).__doc__ for item in module.__all__)


def test_a_name_of_the_package_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        xtts_rtc.Motor  # noqa: B018
    assert dir(xtts_rtc) == sorted(xtts_rtc.__all__)


def _is_table(path: Path) -> bool:
    """Cases and nothing else: a file of the tests that only imports and assigns."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    data = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    return path.is_relative_to(ROOT / "tests") and all(isinstance(node, data) for node in body)


def _is_all(node: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]


def _definitions(body: list[ast.stmt]) -> list[str]:
    """Public functions and classes at the top of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def _constants(body: list[ast.stmt]) -> list[str]:
    targets = [
        target
        for node in body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def test_the_typed_marker_is_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert find_spec("xtts_rtc") is not None


def test_nothing_shipped_names_a_registry_or_a_path_of_a_machine() -> None:
    words = ("pypi.org", "pythonhosted", "/home/", "/root/")
    folders = ("xtts_rtc", "livekit", "tests", "configs", "requirements", "docs", "speakers", ".ci")
    inside = (path for name in folders for path in (ROOT / name).rglob("*"))
    kinds = {".py", ".md", ".toml", ".yaml", ".lock", ".txt", ""}
    files = [path for path in [*ROOT.glob("*"), *inside] if path.is_file() and path.suffix in kinds]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files if path != Path(__file__)}
    assert ROOT / "requirements" / "dev.lock" in texts
    assert [str(path) for path, text in texts.items() if any(word in text for word in words)] == []


def test_the_lock_pins_every_package_with_hashes_and_no_address() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        lines = lock.read_text(encoding="utf-8").splitlines()
        packages = [line for line in lines if not line.startswith(" ")]
        assert all("==" in line and line.endswith("\\") for line in packages)
        assert all(line.strip().startswith("--hash=sha256:") for line in lines if line.startswith(" "))
        assert not any("://" in line for line in lines)


def test_a_remote_voice_installs_without_torch() -> None:
    lock = (ROOT / "requirements" / "runtime.lock").read_text(encoding="utf-8")
    names = {line.partition("==")[0] for line in lock.splitlines() if not line.startswith(" ")}
    assert "livekit-agents" in names
    assert not names & {"torch", "torchaudio", "coqui-tts", "transformers"}
