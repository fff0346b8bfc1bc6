"""Every error that pretap raises on purpose, with the exit code of the command that it ends.

    PretapError              1   a bug, if nothing below fits
    ├── UsageError           2   a bad flag or configuration
    ├── NoStreamError        3   no such LSL stream
    ├── StreamRefusedError   4   the stream does not fit the bundle
    ├── StreamLostError      5   the stream is gone and did not come back
    ├── BundleError          6   a bundle that cannot be trusted
    ├── DataError            7   a data file that cannot be used
    ├── CheckFailedError     8   verify or doctor found a problem
    ├── MissingPackageError  9   an extra, or liblsl, is not installed
    ├── OutletFrozenError    10  a peer froze the outlets too often; a new process is needed
    └── CommandFailedError   *   a command in a child process failed; the exit code is the child's

A message says what was expected, what was found, and what to do.
"""

from __future__ import annotations


class PretapError(Exception):
    """The root of the tree; the command line ends with `exit_code`."""

    exit_code = 1


class UsageError(PretapError):
    """An option or a configuration key is wrong."""

    exit_code = 2


class NoStreamError(PretapError):
    """No LSL stream matches the query."""

    exit_code = 3


class StreamRefusedError(PretapError):
    """A stream was found but does not fit the bundle, or several streams match the query."""

    exit_code = 4


class StreamLostError(PretapError):
    """The stream disappeared and did not come back in time."""

    exit_code = 5


class BundleError(PretapError):
    """A bundle is damaged, not a bundle, of another format, or fails its self-test."""

    exit_code = 6


class DataError(PretapError):
    """A data file is missing, truncated, of the wrong shape, or has non-finite values."""

    exit_code = 7


class CheckFailedError(PretapError):
    """A check (verify, doctor) found a problem."""

    exit_code = 8


class MissingPackageError(PretapError):
    """A required package is not installed; the message names the command that installs it."""

    exit_code = 9

    @classmethod
    def for_extra(cls, what: str, *, missing: str, extra: str = "offline") -> MissingPackageError:
        """Build the error for `what`, which needs the package `missing` of the pip extra `extra`."""
        return cls(f"{what} needs {missing}, which is not installed. Run: pip install 'pretap[{extra}]'")


class OutletFrozenError(PretapError):
    """A peer froze an outlet of ours, and this process cannot replace it."""

    exit_code = 10


class CommandFailedError(PretapError):
    """A command that ran in a child process failed; the exit code is the child's."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
