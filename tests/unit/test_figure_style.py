"""A figure that fails is a sentence, and no result depends on it."""

from __future__ import annotations

import pytest

from pretap.errors import UsageError
from pretap_offline.figure_style import draw_from_json


@pytest.mark.parametrize("error", [ValueError("electrodes\noverlap"), RuntimeError("no backend"), MemoryError()])
def test_whatever_a_figure_raises_is_reported_in_one_line(error, tmp_path, capsys):
    file = tmp_path / "result.json"
    file.write_text("{}")

    def draw(result, path):
        raise error

    assert draw_from_json(draw, str(file), "tradeoff.png") == UsageError.exit_code
    said = capsys.readouterr().err
    assert said.startswith(f"Error: tradeoff.png could not be drawn ({type(error).__name__}: ")
    assert said.endswith("No result depends on it.\n")
    assert said.count("\n") == 1
