"""EDF and BDF files that tests write byte by byte, so that each value in them is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Signal:
    """One signal: digital values (n_samples,), which are physical ones too unless `gain` says otherwise."""

    label: str
    digital: np.ndarray
    n_per_record: int
    unit: str | bytes = "uV"
    gain: float = 1.0


def annotation(onset_s: str, text: str, duration_s: str = "") -> bytes:
    """Return one time-stamped annotation list of EDF+."""
    return (f"+{onset_s}" + (f"\x15{duration_s}" if duration_s else "") + f"\x14{text}\x14\0").encode()


def write_edf(
    path: Path,
    signals: Sequence[Signal],
    *,
    onsets: Sequence[str] = (),
    annotations: dict[int, Sequence[bytes]] | None = None,
    record_s: str = "1",
    kind: str = "EDF+C",
    n_promised: int | None = None,
    patient: str = "X X X X",
) -> Path:
    """Write an EDF file or, if the suffix is ``.bdf``, a BDF one.

    `onsets` are the texts of the records' onsets, and `annotations` the lists in each record; without both, the file
    has no annotations.
    """
    is_bdf = path.suffix.lower() == ".bdf"
    n_bytes, limit = (3, 1 << 23) if is_bdf else (2, 1 << 15)
    n_records = len(signals[0].digital) // signals[0].n_per_record if signals else len(onsets)
    texts = []
    for k in range(n_records) if onsets or annotations else ():
        own = f"+{onsets[k]}\x14\x14\0".encode() if onsets else b""
        texts.append(own + b"".join((annotations or {}).get(k, ())))
    rows = [
        (each.label, each.unit, -limit * each.gain, (limit - 1) * each.gain, -limit, limit - 1, each.n_per_record)
        for each in signals
    ]
    if texts:
        n_texts = -(-max(map(len, texts)) // n_bytes) + 1
        rows.append(("BDF Annotations" if is_bdf else "EDF Annotations", "", -1, 1, -limit, limit - 1, n_texts))
    head = (b"\xffBIOSEMI" if is_bdf else _field("0", 8)) + _field(patient, 80) + _field("Startdate X X X X", 80)
    head += _field("01.01.20", 8) + _field("00.00.00", 8) + _field(256 * (len(rows) + 1), 8) + _field(kind, 44)
    head += _field(n_records if n_promised is None else n_promised, 8) + _field(record_s, 8) + _field(len(rows), 4)
    labels, units, *ranges, counts = zip(*rows, strict=True)
    head += b"".join(_field(each, 16) for each in labels) + b" " * 80 * len(rows)
    head += b"".join(_field(each, 8) for each in units)
    head += b"".join(_field(f"{each:.7g}", 8) for values in ranges for each in values)
    head += b" " * 80 * len(rows) + b"".join(_field(each, 8) for each in counts) + b" " * 32 * len(rows)
    body = b""
    for k in range(n_records):
        for each in signals:
            span = each.digital[k * each.n_per_record : (k + 1) * each.n_per_record]
            body += b"".join(int(value).to_bytes(n_bytes, "little", signed=True) for value in span)
        if texts:
            body += texts[k].ljust(n_texts * n_bytes, b"\0")
    path.write_bytes(head + body)
    return path


def _field(value: object, width: int) -> bytes:
    return (value if isinstance(value, bytes) else str(value).encode()).ljust(width)[:width]
