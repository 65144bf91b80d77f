"""The modules of the page one by one, in Node; `*.test.mjs` beside this file are the tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from xtts_rtc.transports.pages import ASSETS

FOLDER = Path(__file__).parent
TEXT_PAIRS = [
    ("ink", "ground"), ("ink", "card"), ("soft", "card"), ("soft", "ground"), ("ink", "field"), ("soft", "none"),
    ("accent-ink", "accent"), ("stop-ink", "stop"), ("problem-ink", "problem"),
]  # fmt: skip


@pytest.mark.browser
def test_the_modules_of_the_page_keep_their_promises() -> None:
    node = shutil.which("node")
    assert node, "no Node: `make test` installs it, or apt-get install nodejs"
    tests = sorted(map(str, FOLDER.glob("*.test.mjs")))
    command = [node, "--test", "--test-reporter=tap", *tests]  # into a pipe Node 23 writes another one
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    counted = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert counted and int(counted[1]) >= 75


def palette(scheme: str, *files: str) -> dict[str, str]:
    """The colours of style sheets by name."""
    colours: dict[str, str] = {}
    for file in files:
        light, dark = re.findall(r":root \{(.*?)\}", (ASSETS / file).read_text(encoding="utf-8"), re.DOTALL)
        for block in (light, dark) if scheme == "dark" else (light,):
            colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    return colours


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_two_sides_of_a_call_and_a_cut_can_be_seen(scheme: str) -> None:
    colours = palette(scheme, "page/brand.css", "call/style.css")
    ratios = {name: contrast(colours[name], colours["ground"]) for name in ("you", "accent", "stop")}
    assert {name: ratio for name, ratio in ratios.items() if ratio < 3} == {}  # what WCAG 2 asks of pictures


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_what_is_behind_it(scheme: str) -> None:
    colours = palette(scheme, "page/brand.css")
    ratios = {pair: contrast(*(colours[name] for name in pair)) for pair in TEXT_PAIRS}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}
    assert contrast(colours["heard"], colours["made"]) > 2  # bars that were heard among those that were not


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2, 1 to 21; 4.5 is asked of text."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
