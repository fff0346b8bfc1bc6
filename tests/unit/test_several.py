"""Several jobs in one process: a job that ends or fails does not affect the others, and every error is reported."""

from __future__ import annotations

import threading

import pytest

from pretap.errors import NoStreamError, PretapError, StreamLostError
from pretap_realtime.serve.several import run_each


class Jobs:
    """Jobs that end one after another, in the order in which they were added."""

    def __init__(self):
        self.jobs, self._last = {}, threading.Event()
        self._last.set()
        self.said, self.shown = [], []

    def add(self, name, error=None, show=()):
        before, mine = self._last, threading.Event()
        self._last = mine

        def job(tell):
            assert before.wait(60)
            try:
                for text in show:
                    tell(text)
                if error is not None:
                    raise error
            finally:
                mine.set()

        self.jobs[name] = job

    def run(self):
        run_each(self.jobs, say=self.said.append, show=self.shown.append)


def test_results_are_shown_in_the_order_of_the_jobs_each_under_its_name_when_all_have_ended():
    jobs = Jobs()
    jobs.add("ben", show=["2 decisions\n3 samples"])
    jobs.add("anna", show=["4 decisions"])
    jobs.jobs = dict(reversed(jobs.jobs.items()))
    jobs.run()
    assert jobs.shown == ["anna:\n  4 decisions", "ben:\n  2 decisions\n  3 samples"]
    assert jobs.said == []


def test_the_first_error_sets_the_exit_code_and_every_error_is_repeated():
    jobs = Jobs()
    jobs.add("ben", StreamLostError("It was lost."), show=["2 decisions"])
    jobs.add("cleo", NoStreamError("There is none."))
    jobs.add("anna", show=["4 decisions"])
    with pytest.raises(StreamLostError) as error:
        jobs.run()
    assert str(error.value) == "2 of 3 decoders ended with an error:\n  ben: It was lost.\n  cleo: There is none."
    assert jobs.said == ["ben: ENDED: It was lost.", "cleo: ENDED: There is none."]
    assert jobs.shown == ["ben:\n  2 decisions", "anna:\n  4 decisions"]


def test_a_bug_is_shown_with_its_traceback_and_sets_exit_code_1_even_after_other_errors():
    jobs = Jobs()
    jobs.add("ben", NoStreamError("There is none."))
    jobs.add("cleo", ZeroDivisionError("by zero"))
    jobs.add("anna", show=["4 decisions"])
    with pytest.raises(PretapError) as error:
        jobs.run()
    assert (type(error.value), error.value.exit_code) == (PretapError, 1)
    assert "cleo: a bug in pretap; please report it: ZeroDivisionError('by zero')" in str(error.value)
    _, traceback = jobs.said
    assert traceback.startswith("cleo: ENDED by a bug in pretap; please report these lines:\nTraceback ")
    assert "in job" in traceback
    assert jobs.shown == ["anna:\n  4 decisions"]
