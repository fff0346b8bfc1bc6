"""The annotations of EDF+ and BDF+ files, and the onsets of their records. Used by `open_edf`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pretap.recordings.edf.header import Header
from pretap.recordings.reading.placement import Annotation

_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14([^\0]*)\0")  # onset, duration, texts


def read_annotations(header: Header) -> tuple[list[float | None], list[Annotation]]:
    """Read the onset of each record, None if it has none, and all annotations, in seconds after the file's start.

    The first list of a record's first annotation signal starts with an empty text: its onset is the record's.
    """
    spans = [
        (each.position * header.sample_bytes, (each.position + each.n_per_record) * header.sample_bytes)
        for each in header.signals
        if each.has_annotations
    ]
    onsets: list[float | None] = [None] * header.n_records
    annotations: list[Annotation] = []
    if not spans:
        return onsets, annotations
    records = np.memmap(
        header.path, np.uint8, mode="r", offset=header.n_bytes, shape=(header.n_records, header.record_bytes)
    )
    for k, record in enumerate(records):
        for i, (start, stop) in enumerate(spans):
            for onset_s, duration_s, texts in _lists(record[start:stop].tobytes()):
                if i == 0 and onsets[k] is None and not texts[0]:
                    onsets[k] = onset_s
                annotations += [Annotation(onset_s, duration_s, text) for text in texts if text]
    return onsets, annotations


def _lists(content: bytes) -> Iterator[tuple[float, float, list[str]]]:
    """Return onset, duration and texts of each time-stamped annotation list."""
    for onset, duration, texts in _TAL.findall(content):
        decoded = [_decode(each).strip() for each in texts.removesuffix(b"\x14").split(b"\x14")]
        yield float(onset), float(duration or 0), decoded


def _decode(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
