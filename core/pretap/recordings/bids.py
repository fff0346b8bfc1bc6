"""BIDS folders: ``bids:ROOT?subject=01&task=rest`` as recordings. Used by `open_recording` and all that join them.

Files are found through mne-bids and read by our own readers. The folder's tables say what is an event and what is EEG:
Pernet et al., EEG-BIDS, Scientific Data 6, 2019.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError, UsageError
from pretap.extras import import_extra
from pretap.recordings.channel_types import matches_label
from pretap.recordings.edf import is_edf, lacks_units
from pretap.recordings.reading.overrides import replace_rate
from pretap.recordings.reading.placement import Annotation, TimeAxis, place_annotations, sentences
from pretap.recordings.recording import Recording
from pretap.signal.channels import unit_factor
from pretap.spelling import counted, did_you_mean

_PREFIX = "bids:"
_ENTITIES = ("subject", "session", "task", "acquisition", "run")
_EXTENSIONS = [".edf", ".bdf", ".vhdr", ".set"]  # those of EEG in BIDS
_NOT_RAW = {"derivatives", "sourcedata"}
_MAX_LISTED = 20


def is_bids(name: str | Path) -> bool:
    """Whether a name selects recordings of a BIDS folder."""
    return str(name).startswith(_PREFIX)


def expand(names: Sequence[Path]) -> list[Path]:
    """Replace each selection of a BIDS folder by its files, ``bids:FILE``, in order; other names stay.

    The order is by subject, session, task and run, with numbers as numbers.

    Raises
    ------
    UsageError
        If a selection has an unknown key.
    DataError
        If the folder is missing, or no recording fits: the message lists what there is.
    MissingPackageError
        If mne-bids is not installed.
    """
    return [file for name in names for file in (_files(str(name)) if is_bids(name) else [name])]


def open_bids(
    name: str | Path, config: RecordingConfig, *, open_file: Callable[[Path, RecordingConfig], Recording]
) -> Recording:
    """Open the only recording that `name` selects, with the events and channels of the folder's tables.

    Events come from ``*_events.tsv`` (``trial_type``, or else ``value``), unless a trigger channel is set. Channels
    that ``*_channels.tsv`` calls bad, or no EEG, are left out. If the file has no unit, that of the table counts.

    Raises
    ------
    DataError
        If several recordings fit, or a table is damaged; otherwise those of `expand` and of the file's reader.
    """
    files = _files(str(name))
    if len(files) > 1:
        listed = ", ".join(Path(str(file)).name for file in files[:_MAX_LISTED])
        raise UsageError(
            f"{name} selects {len(files)} recordings ({listed}), but only one can be read here: add run= "
            "or session= to the selection."
        )
    file = Path(str(files[0]).removeprefix(_PREFIX))
    mne_bids = _import(str(name))
    place = mne_bids.get_bids_path_from_fname(file, verbose="error")
    rows = _table(place, "channels", needs=("name", "type"))
    channels = [] if rows is None else [_Channel.of(row) for row in rows]
    recording = _open(file, channels, config, open_file)
    if not config.cue_channel:
        recording = _with_events(recording, _table(place, "events", needs=("onset",)))
    return replace_rate(replace(recording, subject=f"sub-{place.subject}"), config.sfreq_hz)


# -- selection -----------------------------------------------------------------------------------------------------


def _import(name: str) -> Any:
    return import_extra("mne_bids", needed_by=f"Reading {name}", extra="bids")


def _files(name: str) -> list[Path]:
    """Return the names ``bids:FILE`` of the recordings that a selection fits."""
    where, _, query = name.removeprefix(_PREFIX).partition("?")
    root, wanted = Path(where).expanduser(), _parse(name, query)
    if root.is_file():
        return [Path(f"{_PREFIX}{root}")]
    if not root.is_dir():
        raise DataError(f"{name}: {root} does not exist; expected a BIDS folder, as in bids:ROOT?subject=01&task=rest.")
    found = _import(name).find_matching_paths(root, suffixes="eeg", datatypes="eeg", extensions=_EXTENSIONS)
    there = [each for each in found if not _NOT_RAW & set(each.fpath.relative_to(root).parts)]
    fitting = [each for each in there if all(_equal(getattr(each, key), value) for key, value in wanted.items())]
    if not fitting:
        raise DataError(f"{name}: no EEG recording fits. {_describe(there, root)}")
    return [Path(f"{_PREFIX}{each.fpath}") for each in sorted(fitting, key=lambda each: _by_number(each.fpath.name))]


def _parse(name: str, query: str) -> dict[str, str]:
    wanted = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if key not in _ENTITIES or not equals or not value:
            raise UsageError(
                f"{name}: expected key=value with a key of {', '.join(_ENTITIES)}, got {part!r}."
                + did_you_mean(key, _ENTITIES)
            )
        wanted[key] = value.removeprefix(f"{key[:3]}-")  # sub-01 is 01
    return wanted


def _equal(found: str | None, wanted: str) -> bool:
    """Whether a value of a file name is the one wanted; numbers may have zeros in front."""
    if found is not None and found.isdecimal() and wanted.isdecimal():
        return int(found) == int(wanted)
    return found == wanted


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return the parts of a name such that ``run-10`` follows ``run-9``."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _describe(there: Sequence[Any], root: Path) -> str:
    """Return the values of each key in the folder."""
    if not there:
        return f"{root} has no EEG in a BIDS format ({', '.join(_EXTENSIONS)})."
    lines = []
    for key in _ENTITIES:
        values = sorted({getattr(each, key) for each in there} - {None}, key=_by_number)
        if values:
            more = f" and {len(values) - _MAX_LISTED} more" if len(values) > _MAX_LISTED else ""
            lines.append(f"{key} {', '.join(values[:_MAX_LISTED])}{more}")
    return f"{root} has {counted(len(there), 'recording')}: {'; '.join(lines)}."


# -- tables --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Channel:
    """A row of ``*_channels.tsv``; `why_not` says why it is left out, and is empty for good EEG."""

    name: str
    unit: str
    why_not: str

    @staticmethod
    def of(row: dict[str, str]) -> _Channel:
        kind, status = row["type"], row.get("status", "")
        why = ""
        if kind.upper() != "EEG":
            why = f"its type is {kind} in channels.tsv"
        elif status.lower() == "bad":
            text = row.get("status_description", "")
            why = "bad in channels.tsv" + (f": {text}" if text not in ("", "n/a") else "")
        return _Channel(row["name"], row.get("units", ""), why)


def _table(place: Any, suffix: str, *, needs: Sequence[str]) -> list[dict[str, str]] | None:
    """Read a table that belongs to a recording; None if there is none."""
    path = place.find_matching_sidecar(suffix=suffix, extension=".tsv", on_error="ignore")
    if path is None:
        return None
    file = Path(path.fpath if hasattr(path, "fpath") else path)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter="\t", restval="", quoting=csv.QUOTE_NONE)
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
            missing = [key for key in needs if key not in (reader.fieldnames or ())]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a table of BIDS: {error}.") from error
    if missing:
        raise DataError(f"{file} has no column {missing[0]!r}, which BIDS requires.")
    return rows


def _open(
    file: Path,
    channels: Sequence[_Channel],
    config: RecordingConfig,
    open_file: Callable[[Path, RecordingConfig], Recording],
) -> Recording:
    """Open a file by its own reader, with labels, unit and choice of channels from the table."""
    settings = msgspec.structs.replace(config, sfreq_hz=None)
    if not channels:
        return open_file(file, settings)
    units = {each.unit for each in channels if not each.why_not}
    if (
        not config.unit
        and len(units) == 1
        and unit_factor(min(units)) is not None
        and is_edf(file)
        and lacks_units(file)
    ):
        settings = msgspec.structs.replace(settings, unit=units.pop())
    names = [each.name for each in channels]
    as_in_file = open_file(file, settings)
    labels = {*as_in_file.channels, *(name for name, _ in as_in_file.left_out)}
    if not config.channels and not labels <= set(names):
        settings = msgspec.structs.replace(settings, channels=tuple(names))
    if not (config.channels or any(not each.why_not for each in channels)):
        raise DataError(f"{file}: its channels.tsv has no good EEG channel. Correct the table, or name EEG with --eeg.")
    why_not = {each.name: each.why_not for each in channels}
    asked = () if config.channels else tuple(escape(each.name) for each in channels if not each.why_not)
    recording = open_file(file, msgspec.structs.replace(settings, eeg=(*config.eeg, *asked)))
    refused = {
        name: why for name in recording.channels if (why := why_not.get(name)) and not matches_label(name, config.eeg)
    }
    return _without(recording, refused)


def _without(recording: Recording, refused: dict[str, str]) -> Recording:
    """Return the recording without these channels, which are left out for the given reasons."""
    if not refused:
        return recording
    kept = [i for i, name in enumerate(recording.channels) if name not in refused]
    return replace(
        recording,
        channels=tuple(recording.channels[i] for i in kept),
        read=lambda start, stop: np.ascontiguousarray(recording.read(start, stop)[:, kept]),
        left_out=(*recording.left_out, *refused.items()),
    )


def _with_events(recording: Recording, rows: list[dict[str, str]] | None) -> Recording:
    """Return the recording with the events of a table instead of the file's; without a table those of the file."""
    if rows is None:
        note = "There is no events.tsv; the events are those of the file."
        return replace(recording, notes=sentences(*recording.notes, note))
    annotations = []
    for row in rows:
        try:
            onset_s, duration_s = float(row["onset"]), _number(row.get("duration", ""))
        except ValueError:
            raise DataError(
                f"{recording.source}: its events.tsv has the onset {row['onset']!r} and the duration "
                f"{row.get('duration')!r}; expected seconds."
            ) from None
        texts = [text for key in ("trial_type", "value") if (text := row.get(key, "")) not in ("", "n/a")]
        if texts and np.isfinite(onset_s):
            annotations.append(Annotation(onset_s, duration_s, texts[0]))
    axis = TimeAxis(
        sfreq_hz=recording.sfreq_hz, n_samples=recording.n_samples, segments=recording.segments, t_s=recording.t_s
    )
    events, segments, bad, note = place_annotations(annotations, axis)
    return replace(
        recording,
        events=events,
        segments=segments,
        bad=tuple(sorted({*recording.bad, *bad})),
        notes=sentences(*recording.notes, note),
    )


def _number(text: str) -> float:
    return 0.0 if text in ("", "n/a") else float(text)
