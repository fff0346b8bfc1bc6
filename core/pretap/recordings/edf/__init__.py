"""Reading of EDF, EDF+, BDF and BDF+ files, record by record. `open_edf` is the entry point.

MNE's reader resamples channels of different rates when it reads a span, takes the records of a discontinuous file as
one, and takes an unknown unit for volts. This one does none of that.

- `load`: `open_edf`, which puts the parts together, and notes what a user should know of the file;
- `header`: the header, and how many records are whole;
- `annotations`: the texts of EDF+ and BDF+, and the onsets of the records;
- `times`: when each sample was taken, and the pauses;
- `samples`: the samples, read on demand.
"""

from pretap.recordings.edf.load import is_edf, lacks_units, open_edf

__all__ = ["is_edf", "lacks_units", "open_edf"]
