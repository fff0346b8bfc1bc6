"""Lines for the operator."""

from __future__ import annotations

import os
import subprocess
import sys

_CODE = """
from pretap_realtime.speaker import Speaker
speaker = Speaker()
speaker.say("cap \u00e9")
speaker.show("\u00e9lectrode")
speaker.show("the end")
assert speaker.close()
"""


def test_a_terminal_that_knows_no_accents_gets_all_lines():
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", _CODE], check=True, capture_output=True, env=environment, timeout=500)
    assert (done.stderr, done.stdout) == (b"cap \\xe9\n", b"\\xe9lectrode\nthe end\n")
