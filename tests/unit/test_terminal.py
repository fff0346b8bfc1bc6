"""Text that others wrote does nothing to a terminal."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pretap.terminal import json_text, plain

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_controls_become_question_marks_and_lines_stay_lines():
    assert plain("a\x1b[2Jb\nc\x9b1mü\u202e") == "a?[2Jb\nc?1mü?"


@given(_TEXT)
def test_plain_text_is_printable(text):
    assert all(c.isprintable() or c == "\n" for c in plain(text))
    assert len(plain(text)) == len(text)


@given(_TEXT)
def test_json_text_is_printable_and_reads_back_the_same(text):
    encoded = json_text(msgspec.json.encode({"text": text}))
    assert encoded.isprintable()
    assert json.loads(encoded) == {"text": text}


def test_json_text_escapes_characters_that_json_permits():
    assert json_text(msgspec.json.encode("\x7f\x9b\u202e\U000e0001ü")) == '"\\u007f\\u009b\\u202e\\udb40\\udc01ü"'
