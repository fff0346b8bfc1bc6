"""Output files: whole or not at all, and one sentence if they cannot be written."""

from __future__ import annotations

import json

import pytest

from pretap.errors import BundleError, UsageError
from pretap.files import write_json, write_whole, writing


def test_a_file_that_cannot_be_written_is_a_usage_error_that_names_it(tmp_path):
    with pytest.raises(UsageError, match=r"^Cannot write .*a\.json: No such file or directory\.$"):
        write_json(tmp_path / "nowhere" / "a.json", {})


def test_the_kind_of_the_error_and_a_hint_can_be_chosen():
    sentence = r"^Cannot write the bundle: full\. Make room\.$"
    with (
        pytest.raises(BundleError, match=sentence),
        writing("the bundle", kind=BundleError, hint="Make room."),
    ):
        raise OSError("full")


def test_other_errors_pass():
    with pytest.raises(KeyError), writing("a file"):
        raise KeyError


def test_json_is_indented_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "a": [')
    assert text.endswith("}\n")
    assert json.loads(text) == {"a": [1, None]}


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "folder"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_whole(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
