from __future__ import annotations

from pathlib import Path

import pytest

from xtts_rtc.errors import ConfigError
from xtts_rtc.guard.keys import KeyRing

GOOD = "0123456789abcdef"


def ring(tmp_path: Path, text: str, **others: str) -> KeyRing:
    path = tmp_path / "keys"
    path.write_text(text)
    return KeyRing.load(path, others=others)


def test_a_key_of_the_file_has_its_name(tmp_path: Path) -> None:
    keys = ring(tmp_path, f"# ours\n\nanna: {GOOD}\nben:{GOOD}x\r\n", default="k")
    assert keys.name_of(GOOD) == "anna"
    assert keys.name_of(f"{GOOD}x") == "ben"
    assert keys.name_of("k") == "default"


@pytest.mark.parametrize("key", ["", GOOD[:-1], f"{GOOD} ", "anna", f"anna:{GOOD}", "\udcff", "ключ", "\0"])
def test_another_key_has_none(tmp_path: Path, key: str) -> None:
    assert ring(tmp_path, f"anna:{GOOD}").name_of(key) is None


def test_every_key_is_compared_whether_one_was_found_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        calls.append(one)
        return one == other

    keys = ring(tmp_path, "".join(f"n{number}:{GOOD}{number}\n" for number in range(5)))
    monkeypatch.setattr("xtts_rtc.guard.keys.hmac.compare_digest", compare)
    keys.name_of(f"{GOOD}0")
    keys.name_of("wrong")
    assert len(calls) == 10 and {len(digest) for digest in calls} == {32}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no key"),
        ("# nothing\n", "no key"),
        (f"ok:{GOOD}a\nanna\n", "line 2 is not NAME:KEY"),
        (f"an na:{GOOD}", "line 1 is not NAME:KEY"),
        ("anna:sh0rt-s3cret", "line 1: the key must be"),
        (f"anna:{GOOD} {GOOD}", "line 1: the key must be"),
        (f"anna:{GOOD}ü", "line 1: the key must be"),
        (f"anna:{GOOD}\nanna:{GOOD}2", "line 2: the name or the key stands there twice"),
        (f"anna:{GOOD}\nben:{GOOD}", "line 2: the name or the key stands there twice"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start_and_shows_no_key(tmp_path: Path, text: str, why: str) -> None:
    if why.endswith("must be"):
        text = text.replace("sh0rt-s3cret", "sh0rt-s3cret"[:12])
    with pytest.raises(ConfigError, match=why) as caught:
        ring(tmp_path, text)
    assert GOOD not in str(caught.value) and "s3cret" not in str(caught.value)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        KeyRing.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        KeyRing.load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        KeyRing.load(tmp_path / "binary")


def test_no_key_is_in_the_repr() -> None:
    assert GOOD not in repr(KeyRing({"anna": GOOD})) and GOOD not in str(vars(KeyRing({"anna": GOOD})))
