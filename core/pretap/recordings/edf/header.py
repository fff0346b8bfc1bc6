"""The header of an EDF or BDF file, and how many of its records are whole. Used by `open_edf`.

Source: Kemp et al. 1992 (EDF), Kemp and Olivan 2003 (EDF+), and BioSemi's page on BDF, whose samples have 24 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pretap.errors import DataError
from pretap.spelling import counted

_FIXED = 256  # bytes of the header before the signals, and per signal
_MAX_SIGNALS = 10_000
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # widths; see `_signals`
_ANNOTATIONS = ("edf annotations", "bdf annotations")


@dataclass(frozen=True)
class Signal:
    """One signal of the file.

    Attributes
    ----------
    label, unit
        As the header has them.
    gain, offset
        The physical value is ``gain * digital + offset``; the gain is 0 if the header defines no range.
    n_per_record
        Samples per record.
    position
        First sample in a record, counted over all signals.
    """

    label: str
    unit: str
    gain: float
    offset: float
    n_per_record: int
    position: int

    @property
    def has_annotations(self) -> bool:
        """Whether these are the texts of EDF+ or BDF+ instead of samples."""
        return self.label.lower() in _ANNOTATIONS


@dataclass(frozen=True)
class Header:
    """The content of a file's header.

    Attributes
    ----------
    path
        The file.
    n_bytes
        Bytes of the header.
    sample_bytes
        Bytes of a sample: 2, or 3 for BDF.
    n_promised
        The number of records that the header promises, or None if it does not say.
    record_s
        Duration of a record in seconds.
    signals
        All signals, with those of annotations.
    subject
        The code of the patient in an EDF+ or BDF+ file; otherwise empty.
    has_pauses
        Whether it is EDF+D or BDF+D, whose records may have pauses between them.
    """

    path: Path
    n_bytes: int
    sample_bytes: int
    n_promised: int | None
    record_s: float
    signals: tuple[Signal, ...]
    subject: str
    has_pauses: bool = False

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.sample_bytes * sum(each.n_per_record for each in self.signals)

    @cached_property
    def n_records(self) -> int:
        """The number of whole records in the file."""
        return (self.path.stat().st_size - self.n_bytes) // self.record_bytes

    def rate_hz(self, signal: Signal) -> float:
        """Return the sampling rate of a signal."""
        return signal.n_per_record / self.record_s

    def describe_length(self) -> str:
        """Return a sentence if the file is shorter or longer than its header says; otherwise nothing."""
        name, n_found = self.path.name, self.n_records
        n_rest = (self.path.stat().st_size - self.n_bytes) % self.record_bytes
        found = f"{counted(n_found, 'whole record')} of {self.record_s:g} s"
        if self.n_promised is None:
            return f"The header of {name} does not say how long it is; its recorder may have crashed. It has {found}."
        if n_found < self.n_promised:
            missing_s = (self.n_promised - n_found) * self.record_s
            return (
                f"{name} is truncated: its header promises {counted(self.n_promised, 'record')}, but it ends "
                f"after {n_found}. {missing_s:g} s are missing; copy the file again if you can."
            )
        if n_found > self.n_promised:
            promised = counted(self.n_promised, "record")
            extra_s = (n_found - self.n_promised) * self.record_s
            return f"{name} has {extra_s:g} s more than its header says ({promised}). All of it is read."
        return f"Ignored: {counted(n_rest, 'extra byte')} after the last record of {name}." if n_rest else ""


def read_header(path: Path) -> Header:
    """Read the header of an EDF or BDF file.

    Raises
    ------
    DataError
        If it is not such a header, or the file has no whole record.
    """
    with path.open("rb") as file:
        fixed = file.read(_FIXED)
        is_bdf = fixed[:8] == b"\xffBIOSEMI"
        if len(fixed) < _FIXED or not (is_bdf or fixed[:8].strip() == b"0"):
            raise _not_edf(path, "it does not begin with an EDF or BDF header")
        n_signals = int(_number(fixed[252:256], path, "number of signals"))
        if not 0 < n_signals <= _MAX_SIGNALS:
            raise _not_edf(path, f"its header says that it has {n_signals} signals")
        table = file.read(_FIXED * n_signals)
    if len(table) < _FIXED * n_signals:
        raise _not_edf(path, "the file ends within its header")
    n_promised = int(_number(fixed[236:244], path, "number of records"))
    is_plus = fixed[192:196] in (b"EDF+", b"BDF+")
    code = (_text(fixed[8:88]).split() or ["X"])[0]
    header = Header(
        path=path,
        n_bytes=int(_number(fixed[184:192], path, "length of the header")),
        sample_bytes=3 if is_bdf else 2,
        n_promised=None if n_promised < 0 else n_promised,
        record_s=_number(fixed[244:252], path, "duration of a record"),
        signals=_signals(table, n_signals, path),
        subject=code if is_plus and code != "X" else "",
        has_pauses=fixed[192:197] in (b"EDF+D", b"BDF+D"),
    )
    if header.n_bytes < _FIXED * (n_signals + 1) or header.record_bytes == 0:
        raise _not_edf(path, f"its header of {header.n_bytes} bytes describes no samples")
    if header.n_records < 1:
        raise DataError(f"{path} has no samples: it ends before its first record does. Copy the file again.")
    if header.record_s <= 0 and not all(each.has_annotations for each in header.signals):
        raise _not_edf(path, f"its records last {header.record_s:g} s")
    return header


def _signals(table: bytes, n_signals: int, path: Path) -> tuple[Signal, ...]:
    """Read the table of signals: it has one field of all signals after the other."""
    columns, start = [], 0
    for width in _FIELDS:
        columns.append([table[start + i * width : start + (i + 1) * width] for i in range(n_signals)])
        start += width * n_signals
    signals, position = [], 0
    for label, _, unit, *ranges, _, n_samples, _ in zip(*columns, strict=True):
        name = _text(label)
        n_per_record = int(_number(n_samples, path, f"number of samples of {name!r}"))
        if n_per_record < 0:
            raise _not_edf(path, f"a record has {n_per_record} samples of {name!r}")
        gain = offset = 0.0
        if name.lower() not in _ANNOTATIONS:
            low, high, digital_low, digital_high = (_number(each, path, f"range of {name!r}") for each in ranges)
            if digital_high != digital_low:
                gain = (high - low) / (digital_high - digital_low)
                offset = low - gain * digital_low
        signals.append(Signal(name, _text(unit), gain, offset, n_per_record, position))
        position += n_per_record
    return tuple(signals)


def _text(field: bytes) -> str:
    """Decode a field: ASCII by the standard, but units and names come in UTF-8 and in Latin-1."""
    try:
        text = field.decode("utf-8")
    except UnicodeDecodeError:
        text = field.decode("latin-1")
    return text.strip(" \0")


def _number(field: bytes, path: Path, what: str) -> float:
    """Read a number; some writers use a decimal comma or end it with a zero byte."""
    try:
        number = float(_text(field.partition(b"\0")[0]).replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _not_edf(path, f"the {what} in its header is {_text(field)!r}")
    return number


def _not_edf(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} cannot be read as a recording in EDF or BDF: {why}. Copy the file again, or export it again."
    )
