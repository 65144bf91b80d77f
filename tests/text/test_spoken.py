from __future__ import annotations

import pytest

from xtts_rtc.text.spoken import spoken_form


@pytest.mark.parametrize(
    ("language", "clean", "wanted"),
    [
        ("en", "Yes.", "Yes"),
        ("en", "Thank you very much, my friend.", "Thank you very much, my friend."),
        ("en", "Really?", "Really?"),
        ("de", "Es kostet heute leider schon 5.", "Es kostet heute leider schon 5"),
        ("en", "Wait!!! What?! No.,", "Wait! What? No,"),
        ("en", "Well... so I said... Then", "Well, so I said. Then"),
        ("en", "It is over by now...", "It is over by now."),
        ("en", " ,: and so on it goes", "and so on it goes"),
        ("en", "- 5 or -5 or .5", "5 or -5 or .5"),
        ("en", "a list\rOf lines\rgoing on", "a list, Of lines going on"),
        ("en", "one\ntwo!\nthree four five six", "one. two! three four five six"),
        ("en", "x — y", "x, y"),
        ("en", "()  ...", ""),
        ("en", "“”!?", ""),
        ("en", "100%", "100%"),
        ("en", "at www.example.com/a_b?c=d.", "at example dot com a b c d."),
        ("de", "unter example.de, bitte", "unter example Punkt de, bitte"),
        ("en", "version 2.0.1 and 1.000.000", "version 2 dot 0 dot 1 and 1.000.000"),
        ("de", "am 12.05.2024 um acht", "am 12. 05. 2024 um acht"),
        ("fr", "« Bien » !", "Bien!"),
        ("ja", "「12」個", '"十二"個'),
        ("en", "e\u0301te\u0301 is summer in French", "été is summer in French"),
    ],
)
def test_spoken_form(language: str, clean: str, wanted: str) -> None:
    assert spoken_form(clean, language) == wanted
