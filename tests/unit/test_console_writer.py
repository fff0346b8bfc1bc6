"""The console writer: lines for the operator."""

from __future__ import annotations

import os
import subprocess
import sys

from pretap.errors import NoStreamError

_ACCENTS = """
from pretap_realtime.console.writer import ConsoleWriter
console = ConsoleWriter()
console.say("cap \u00e9")
console.show("\u00e9lectrode")
console.show("the end")
assert console.close()
"""

_CONTROLS = """
from pretap_realtime.console.writer import ConsoleWriter
console = ConsoleWriter()
console.say("said \\x1b[2J\\x9b1m")
console.show("shown \\x1b]0;title\\x07")
assert console.close()
"""

_AN_ERROR = """
import sys
from pretap.errors import NoStreamError
from pretap_realtime.console.writer import ConsoleWriter
from pretap_realtime.serve.several import run_each

def fail(_):
    raise NoStreamError("There is none.")

console = ConsoleWriter()
console.say("the first line after the terminal has gone")
try:
    run_each({"ben": fail}, say=console.say, show=console.show)
except NoStreamError as error:
    code = error.exit_code
console.say("and one more")
assert console.close()
sys.exit(code)
"""


def test_an_ascii_terminal_gets_all_lines():
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", _ACCENTS], check=True, capture_output=True, env=environment, timeout=500
    )
    assert (done.stderr, done.stdout) == (b"cap \\xe9\n", b"\\xe9lectrode\nthe end\n")


def test_an_error_that_cannot_be_printed_still_sets_the_exit_code():
    reader, writer = os.pipe()
    os.close(reader)  # every write to it fails: BrokenPipeError
    try:
        done = subprocess.run([sys.executable, "-c", _AN_ERROR], check=False, stderr=writer, timeout=500)
    finally:
        os.close(writer)
    assert done.returncode == NoStreamError.exit_code


def test_control_characters_of_any_text_reach_no_terminal():
    done = subprocess.run([sys.executable, "-c", _CONTROLS], check=True, capture_output=True, timeout=500)
    assert (done.stderr, done.stdout) == (b"said ?[2J?1m\n", b"shown ?]0;title?\n")
