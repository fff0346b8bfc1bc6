"""Options that commands share."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from pretap.errors import CheckFailedError
from pretap.files import write_json
from pretap.options import json_option


def run(*args: str, fails: bool = False):
    @click.command()
    @json_option("Write the result to this file.")
    def command(*, json_file):
        click.echo("a report for people")
        if json_file is not None:
            write_json(json_file, {"text": "\x9b"})
        if fails:
            raise CheckFailedError("no")

    return CliRunner().invoke(command, args)


def test_without_json_the_report_is_printed():
    assert run().stdout == "a report for people\n"


def test_json_is_written_to_a_file_in_addition_to_the_report(tmp_path):
    file = tmp_path / "x.json"
    assert run("--json", str(file)).stdout == f"a report for people\nwrote {file}\n"
    assert file.read_text(encoding="utf-8") == '{\n  "text": "\x9b"\n}\n'


@pytest.mark.parametrize("fails", [False, True])
def test_a_dash_prints_json_alone_harmless_for_a_terminal_even_if_a_check_failed(fails):
    result = run("--json", "-", fails=fails)
    assert result.stdout == '{\n  "text": "\\u009b"\n}\n'
    assert result.stderr == ""
    assert isinstance(result.exception, CheckFailedError) == fails
    assert result.exit_code == int(fails)
