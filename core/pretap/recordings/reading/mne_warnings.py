"""The warnings of MNE's readers, in sentences for the user. Used by `open_recording`."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler

from pretap.spelling import counted

_SENTENCES = {
    r"Omitted (\d+) annotation": "Left out: {event} outside the file's samples. It may be truncated.",
    r"Limited (\d+) annotation": "Cut at the end of the recording: {annotation}. It may be truncated.",
    r"Split raw file detected but next file (?:.*[/\\])?(\S+) does not exist": (
        "The recording goes on in {}, which is missing. Only the part before it is read."
    ),
    r"Data file name in EEG.data \((.*?)\) is incorrect": (
        "The .set file names {} as its data file; the .fdt file with its own name is read instead."
    ),
    r"(\d+) events have an onset that is NaN": "Left out: {event} without a time.",
    r"sample index of -1": "An event lies before the first sample, as EEGLAB's resampling leaves it there.",
    r"MarkerFile '(.*?)' not found": (
        "The marker file {} is missing, so the recording has no events. Put it beside the .vhdr file."
    ),
    r"Unknown types found, setting as type EEG:(.*)": (
        "The file has channel types that are not known ({}). Their labels decide which channels are EEG."
    ),
    r"Unit (.*?) not recognized": (
        "The unit {} is not known, so its values count as volts. If that is wrong, set --unit."
    ),
    r"names are not unique, found duplicates for: (.*?)\. ": "Several channels are called {}. They get numbers.",
}
# These make no difference: names of files, places of electrodes and old filters are not used, every boundary starts a
# segment, `whole_samples` tells of damaged tags, and `units_in_file` of units; a BrainVision channel is not
# left out for lack of a place.
_HARMLESS = re.compile(
    r"does not conform to MNE naming conventions|'boundary' events|"
    r"Channels contain different (low|high)pass filters|(High|Low)pass cutoff|Online software filter detected|"
    r"No info on DataPoints found|No coordinate information found|coordinates\.xml|channel positions|montage|"
    r"digitization|head radius|Invalid (measurement date|patient information)|birthday|"
    r"Invalid tag with only|FIF tag directory missing|Unsupported physical dimension"
)


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect what MNE warns of, once each, instead of printing it."""
    logger = logging.getLogger("mne")
    logged = BufferingHandler(capacity=sys.maxsize)
    logged.setLevel(logging.WARNING)
    handlers = logger.handlers[:]
    found: list[str] = []
    logger.handlers = [logged]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")  # such as deprecations, which are about code and not about the file
            warnings.simplefilter("always", RuntimeWarning)
            warnings.simplefilter("always", UserWarning)
            yield found
        found += dict.fromkeys([str(each.message) for each in caught] + [each.getMessage() for each in logged.buffer])
    finally:
        logger.handlers = handlers


def explain_warnings(messages: Iterable[str]) -> list[str]:
    """Return a sentence for each warning that matters to a user; an unknown one is quoted."""
    return [sentence for message in messages if (sentence := _explain(" ".join(message.split())))]


def _explain(message: str) -> str:
    if _HARMLESS.search(message):
        return ""
    for pattern, sentence in _SENTENCES.items():
        if match := re.search(pattern, message):
            found = [group.strip() for group in match.groups()]
            n = int(found[0]) if found and found[0].isdecimal() else 0
            return sentence.format(*found, event=counted(n, "event"), annotation=counted(n, "annotation"))
    return f"MNE says: {message}"
