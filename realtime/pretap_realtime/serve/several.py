"""Several decoders in one process: each in a thread of its own, none of which the end of another can stop or delay."""

from __future__ import annotations

import textwrap
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pretap.errors import PretapError

__all__ = ["Job", "Say", "run_each"]

_LOOK_S = 0.1  # where a join cannot be interrupted (Windows), Ctrl-C is seen when it returns

Say = Callable[[str], None]
Job = Callable[[Say], None]  # gets where its results go: a summary, a mapping


@dataclass(frozen=True)
class _Failure:
    """What is kept of an error. Not the error itself: its traceback would keep what the job had open."""

    name: str
    kind: type[PretapError]  # PretapError itself: a bug
    sentence: str


def run_each(jobs: Mapping[str, Job], *, say: Say, show: Say) -> None:
    """Run jobs, each in a thread of its own, until all have ended; then show their results, each under its name.

    An error ends the job that raised it, at once and with a sentence; the others go on.

    Raises
    ------
    PretapError
        When all have ended: of the kind of the first error, which sets the exit code; a PretapError (1) where one was
        a bug. Its message repeats every sentence.
    """
    results: dict[str, list[str]] = {name: [] for name in jobs}
    failures: list[_Failure] = []  # in the order in which they came
    threads = [
        threading.Thread(target=_run, args=(name, job, results[name].append, failures, say), name=name, daemon=True)
        for name, job in jobs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK_S)
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
        told = f"{name}: ENDED: {error}"
    except Exception as error:  # noqa: BLE001 - a bug in one must not stop the others, and must not be lost
        failure = _Failure(name, PretapError, f"a bug in pretap; please report it: {error!r}")
        told = f"{name}: ENDED by a bug in pretap; please report these lines:\n{traceback.format_exc()}"
    else:
        return
    failures.append(failure)
    say(told)
