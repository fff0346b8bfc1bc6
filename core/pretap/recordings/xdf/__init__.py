"""Reading of XDF files (LSL recordings): one EEG stream and the markers of the file. `open_xdf` is the entry point.

- `reader`: `open_xdf`, which puts the parts together, and notes what a user should know of the file;
- `load`: loads the streams with pyxdf, and repairs invalid timestamps;
- `chunks`: checks the file before pyxdf reads it;
- `recorded_stream`: one stream, as its recorder described it;
- `eeg`: the choice of the EEG stream, its channels and its rate;
- `markers`: the choice of the marker streams, and their events;
- `sample_times`: when each sample was taken, from its timestamp;
- `segments`: breaks of the timestamps.
"""

from pretap.recordings.xdf.reader import open_xdf

__all__ = ["open_xdf"]
