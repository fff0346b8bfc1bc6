"""Reading of XDF files (LSL recordings): one EEG stream and the markers of the file. `open_xdf` is the entry point.

- `reader`: `open_xdf`, which puts the parts together, and notes what a user should know of the file;
- `content`, `chunks`, `samples`: the bytes of the file, its chunks, and the samples in them;
- `load`: the streams of the file, read around any damage, with invalid timestamps repaired;
- `clock_offsets`: timestamps on the recorder's clock;
- `description`, `recorded_stream`: one stream, as its recorder described it;
- `eeg_choice`, `settings`, `eeg`: the choice of the EEG stream, its rate, its channels and their units;
- `markers`: the choice of the marker streams, and their events;
- `sample_times`: when each sample was taken, from its timestamp;
- `segments`: breaks of the timestamps.
"""

from pretap.recordings.xdf.reader import open_xdf

__all__ = ["open_xdf"]
