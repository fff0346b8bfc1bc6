"""The samples of EDF and BDF files, in physical units, read on demand. Used by `open_edf`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.recordings.edf.header import Header, Signal

_MAX_BYTES = 1 << 24  # more are read in pieces, so that a long recording needs little memory beside its samples


def read_samples(
    header: Header, signals: Sequence[Signal], start: int, stop: int, *, dtype: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """Read the samples (stop - start, n_signals) of signals that share one rate, as physical values."""
    n = signals[0].n_per_record
    n_block = n * max(1, _MAX_BYTES // header.record_bytes)  # samples that are read at once
    x = np.empty((max(0, stop - start), len(signals)), dtype)  # (n_samples, n_signals)
    for a in range(start, stop, n_block):
        b = min(a + n_block, stop)
        first = a // n
        records = _read_records(header, first, -(-b // n))
        for i, signal in enumerate(signals):
            position = signal.position * header.sample_bytes
            digital = _integers(records[:, position : position + n * header.sample_bytes], header.sample_bytes)
            x[a - start : b - start, i] = (
                digital.reshape(-1)[a - first * n : b - first * n] * signal.gain + signal.offset
            )
    return x


def _read_records(header: Header, first: int, last: int) -> NDArray[np.uint8]:
    """Read whole records (last - first, record_bytes)."""
    n_bytes = (last - first) * header.record_bytes
    with header.path.open("rb") as file:
        file.seek(header.n_bytes + first * header.record_bytes)
        content = file.read(n_bytes)
    if len(content) < n_bytes:
        raise DataError(f"{header.path} has become shorter while it was read: {n_bytes - len(content)} bytes missing.")
    return np.frombuffer(content, np.uint8).reshape(last - first, header.record_bytes)


def _integers(content: NDArray[np.uint8], sample_bytes: int) -> NDArray[np.int32]:
    """Decode little-endian integers of 2 or 3 bytes, (n_records, n_per_record)."""
    content = np.ascontiguousarray(content)
    if sample_bytes == 2:
        return content.view("<i2").astype(np.int32)
    wide = np.zeros((len(content), content.shape[1] // 3, 4), np.uint8)  # the sample's bytes above a lowest one of 0
    wide[:, :, 1:] = content.reshape(len(content), -1, 3)
    return wide.view("<i4")[:, :, 0] >> 8
