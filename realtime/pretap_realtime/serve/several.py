"""run_each: runs several decoders in one process, each in its own thread. Used by `serve`.

The end of one decoder, for whatever reason, neither stops nor delays the others. Only under ``--supervise`` a decoder
whose outlets freeze too often ends all of them, because a new process replaces this one.
"""

from __future__ import annotations

import textwrap
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pretap.errors import PretapError

__all__ = ["Job", "Say", "run_each"]

_JOIN_S = 0.1  # Windows cannot interrupt a join, so Ctrl-C is noticed when it returns

Say = Callable[[str], None]
Job = Callable[[Say], None]  # called with the function that shows its results, such as a summary


@dataclass(frozen=True)
class _Failure:
    """An error without its traceback, which would keep alive whatever the job had open."""

    name: str
    kind: type[PretapError]  # PretapError itself for a bug
    sentence: str


def run_each(jobs: Mapping[str, Job], *, say: Say, show: Say) -> None:
    """Run each job in its own thread until all have ended, then show their results under their names.

    An error ends the job that raised it and is reported at once; the other jobs continue.

    Raises
    ------
    PretapError
        When all jobs have ended, if any failed. It has the type of the first error, which sets the exit code, or is a
        plain PretapError (1) if one was a bug. Its message repeats every error.
    """
    results: dict[str, list[str]] = {name: [] for name in jobs}
    failures: list[_Failure] = []  # in the order of their occurrence
    threads = [
        threading.Thread(target=_run, args=(name, job, results[name].append, failures, say), name=name, daemon=True)
        for name, job in jobs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_JOIN_S)
    for name, texts in results.items():
        for text in texts:
            show(f"{name}:\n{textwrap.indent(text, '  ')}")
    if failures:
        kinds = [failure.kind for failure in failures]
        listed = "".join(f"\n  {failure.name}: {failure.sentence}" for failure in failures)
        kind = PretapError if PretapError in kinds else kinds[0]
        raise kind(f"{len(failures)} of {len(jobs)} decoders ended with an error:{listed}")


def _run(name: str, job: Job, show: Say, failures: list[_Failure], say: Say) -> None:
    try:
        job(show)
    except PretapError as error:
        failure = _Failure(name, type(error), str(error))
        line = f"{name}: ENDED: {error}"
    except Exception as error:  # noqa: BLE001 - a bug must not stop the other jobs, and must not be lost
        failure = _Failure(name, PretapError, f"a bug in pretap; please report it: {error!r}")
        line = f"{name}: ENDED by a bug in pretap; please report these lines:\n{traceback.format_exc()}"
    else:
        return
    failures.append(failure)
    say(line)
