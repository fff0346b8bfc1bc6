"""A child's failure is passed on with its message and exit code."""

from __future__ import annotations

import sys

import pytest

from pretap.child import run_child
from pretap.errors import CommandFailedError


def child(code: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; {code}"]


def test_the_output_of_a_child_is_returned():
    assert run_child(child("print('42')")) == "42\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.stderr.write('Error: no such file.\\n'); sys.exit(7)", "simulate: no such file."),
        ("print('only this'); sys.exit(7)", "simulate: only this"),
    ],
)
def test_a_failure_keeps_its_message_and_exit_code(code, message):
    with pytest.raises(CommandFailedError) as caught:
        run_child(child(code), heading="simulate: ")
    assert (str(caught.value), caught.value.exit_code) == (message, 7)
