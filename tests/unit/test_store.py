"""The store: a fit comes back bit for bit, or counts as missing."""

from __future__ import annotations

import pytest

from lab_cases import FITTED
from pretap.errors import UsageError
from pretap_offline.lab.store import Store


def test_a_stored_fit_comes_back_bit_for_bit(fit_store):
    fit_store.put("ab" * 32, FITTED)
    assert fit_store.get("ab" * 32) == FITTED
    assert fit_store.get("cd" * 32) is None


def test_a_fit_with_any_damaged_byte_counts_as_missing(fit_store):
    fit_store.put("ab" * 32, FITTED)
    [file] = fit_store.folder.rglob("*.fit")
    content = file.read_bytes()
    for at in range(len(content)):
        file.write_bytes(content[:at])
        assert fit_store.get("ab" * 32) is None
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert fit_store.get("ab" * 32) is None
    fit_store.put("ab" * 32, FITTED)
    assert fit_store.get("ab" * 32) == FITTED


def test_a_store_that_cannot_be_written_to_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"Cannot write to --store .*store: Not a directory\."):
        Store(tmp_path / "file" / "store")
