from __future__ import annotations

import time

import pytest

from xtts_rtc.text.markup import HARD_BREAK, LINE_BREAK, Cleaner


def clean(text: str) -> str:
    cleaner = Cleaner()
    for at, char in enumerate(text):
        cleaner.feed(char, at)
    cleaner.release()
    return "".join(char for char, _ in cleaner.out)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("**bold** and *it*, `code_x`", "bold and it, code_x"),
        ("see [the docs](https://a.b/c_(d)) now", "see the docs now"),
        ('see [it](http://a.b "a title") now', "see it now"),
        ("an ![image](x.png) here", "an image here"),
        ("a [b](c d", "a b(c d"),
        ("as shown[1] and [^2]", "as shown and "),
        ("x <b>y</b> <br/>z <i class='q'>w</i>", "x y \nz w"),
        ("a < b and c > d, <3", "a b and c d, 3"),
        ("keep <y and z> words", "keep y and z words"),
        ("<https://x.y/z> <me@x.org>", "https://x.y/z me@x.org"),
        ("<|im_end|>x<!-- note -->y", "xy"),
        ("AT&amp;T &lt;3 R&D &unknown; &", "AT&T 3 R&D &unknown; &"),
        ("\\*not\\* C:\\Users", "*not* C: Users".replace("*", "")),
        ("a—b a -- b a - b a-b 5–10", "a—b a — b a — b a-b 5-10"),
        ("snake_case __init__ 5*3 un*believ*able", "snake_case init 5 3 unbelievable"),
        ("# Title\ntext", "Title\r\ntext".replace("\r\n", "\r")),
        ("one\n\ntwo", "one\r\ntwo"),
        ("- a\n- b\n  - c", "a\r\nb\r\nc"),
        ("1. a\n2) b", "1, a\r\n2, b"),
        ("- [ ] open\n- [x] done", "open\r\ndone"),
        ("> quoted\n> text", "quoted\rtext"),
        ("a\n---\nb", "a\r\nb"),
        ("2024 was\n3.5 is", "2024 was\r3.5 is"),
        ("hi 😀👍🏽 you❤️!", "hi you !"),
        ("a\0b\u200bc\u202ed\ufeffe\ud83df", "abcdef"),
        ("१२ ٣ ５ ½ m²", "12 3 5 1/2 m2"),
        ("1️⃣ ©2024 → x", "1 2024 , x"),
        ("a  \t b", "a b"),
    ],
)
def test_what_is_written_becomes_what_is_said(text: str, wanted: str) -> None:
    assert clean(text) == wanted


def test_code_of_a_named_language_is_skipped_and_plain_fences_are_read() -> None:
    assert clean("a\n```python\nx = 1\n```\nb") == f"a{LINE_BREAK}{HARD_BREAK}b"
    assert clean("```\nwords\n```\nb").startswith("words")
    assert clean("~~~js\n```\nx\n~~~\nb") == "b"


def test_ends_never_go_back_and_never_pass_what_was_fed() -> None:
    text = "# A\n\n- **b** [c](d) <e> &amp; ½ — 😀\n1. x\n```py\ny\n```\nz"
    cleaner = Cleaner()
    ends: list[int] = []
    for at, char in enumerate(text):
        cleaner.feed(char, at)
        ends += [end for _, end in cleaner.out]
        assert all(0 < end <= at + 1 for end in ends)
        cleaner.out.clear()
    assert ends == sorted(ends)


def test_unclosed_constructs_are_given_up_in_linear_time() -> None:
    def seconds(num: int) -> float:
        text = '<!-- <a b="](x[&' * num
        start = time.perf_counter()
        assert "x" in clean(text)
        return time.perf_counter() - start

    small = min(seconds(400) for _ in range(3))
    assert seconds(4_000) < 40 * small
