"""Every error that pretap raises on purpose, and the exit code it ends a command with.

    PretapError              1   a bug, when nothing below fits
    ├── UsageError           2   a bad flag or configuration
    ├── NoStreamError        3   no such LSL stream
    ├── StreamRefusedError   4   the stream does not fit the bundle
    ├── StreamLostError      5   the stream went away for good
    ├── BundleError          6   a bundle that cannot be trusted
    ├── DataError            7   a data file that cannot be used
    ├── CheckFailedError     8   verify or doctor found something wrong
    ├── MissingPackageError  9   an extra, or liblsl, is not installed
    └── OutletFrozenError    10  outlets were frozen too often by a peer; a new process is needed

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "CheckFailedError",
    "DataError",
    "MissingPackageError",
    "NoStreamError",
    "OutletFrozenError",
    "PretapError",
    "StreamLostError",
    "StreamRefusedError",
    "UsageError",
]


class PretapError(Exception):
    """The root of the tree; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UsageError(PretapError):
    """A flag or a configuration key is wrong."""

    exit_code = 2


class NoStreamError(PretapError):
    """No LSL stream answers to the query."""

    exit_code = 3


class StreamRefusedError(PretapError):
    """A stream was found but does not fit the bundle, or is one of several."""

    exit_code = 4


class StreamLostError(PretapError):
    """The stream went away and did not come back in time."""

    exit_code = 5


class BundleError(PretapError):
    """A bundle is damaged, foreign, of another format, or fails its self-test."""

    exit_code = 6


class DataError(PretapError):
    """A data file is missing, truncated, of another shape, or holds non-finite values."""

    exit_code = 7


class CheckFailedError(PretapError):
    """A check (verify, doctor) found something wrong."""

    exit_code = 8


class MissingPackageError(PretapError):
    """A package that this command needs is not installed; the message names the command that installs it."""

    exit_code = 9

    @classmethod
    def for_extra(cls, what: str, *, missing: str, extra: str = "offline") -> MissingPackageError:
        """Build the error for `what` that needs the pip extra `extra` because `missing` cannot be imported."""
        return cls(f"{what} needs {missing}, which is not installed. Run: pip install 'pretap[{extra}]'")


class OutletFrozenError(PretapError):
    """An outlet of ours was frozen by a peer, and this process cannot replace it (any more)."""

    exit_code = 10
