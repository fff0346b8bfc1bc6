"""One search: Optuna's sampler over trials on disk, with the same picks after any interruption. Used by `sweep`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError

from pretap.errors import DataError, UsageError
from pretap_offline.lab.results import Trial
from pretap_offline.lab.space import Space

_FAULT = "fault"  # an attribute of a trial


@contextmanager
def open_storage(path: Path) -> Iterator[BaseStorage]:
    """Open or create the SQLite file that stores trials; a second process is refused.

    SQLite is used because its file stays readable if a process is killed while writing. Optuna's journal would leave
    its lock behind, and the next command would wait for it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _locked(path):
        try:
            storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 30}})
        except (DBAPIError, RuntimeError) as error:
            reason = str(error).split("\n", maxsplit=1)[0].rstrip(".")
            raise UsageError(f"--storage {path}: cannot keep trials there: {reason}.") from None
        try:
            yield storage
        finally:
            storage.remove_session()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process in any case: the operating system's file lock, taken through SQLite."""
    import sqlite3

    try:
        lock = sqlite3.connect(path.with_name(f"{path.name}.lock"), timeout=0, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise UsageError(f"--storage {path}: cannot keep trials there: {error} ({path.name}.lock).") from None
        raise UsageError(
            f"--storage {path}: another `pretap sweep` is using this file. Wait until it ends, or give another file."
        ) from None
    try:
        yield
    finally:
        lock.close()


class Study:
    """Picks values and stores how good they were; all state is on disk.

    The sampler (TPE) is created again for each trial, from a seed that depends on the number of finished trials.
    Therefore a search that was killed and continued picks the same values as an uninterrupted one. No other process may
    use the storage.
    """

    def __init__(self, name: str, space: Space, storage: BaseStorage, *, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)  # left by a process that ended

    @property
    def n_finished(self) -> int:
        """The number of trials with a result; interrupted trials do not count."""
        return len(self._finished())

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return the next trial and its values."""
        state = np.random.SeedSequence([self._seed, self.n_finished]).generate_state(1)
        self._study.sampler = optuna.samplers.TPESampler(seed=int(state[0]))
        trial = self._study.ask()
        return trial, self._space.suggest(trial)

    def tell(self, trial: optuna.Trial, nll: float | None, *, fault: str = "") -> None:
        """Store the NLL of a trial; None if training diverged, or if the values cannot be built because of `fault`."""
        if fault:
            trial.set_user_attr(_FAULT, fault)
        if nll is None:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, nll)

    def tried(self, n: int) -> tuple[Trial, ...]:
        """Return the first `n` finished trials, in order."""
        return tuple(
            Trial(self._space.suggest(FixedTrial(each.params)), each.value, each.user_attrs.get(_FAULT, ""))
            for each in self._finished()[:n]
        )

    def best(self, n: int) -> Trial:
        """Return the best of the first `n` trials, the earliest of equal ones."""
        tried = self.tried(n)
        good = [each for each in tried if each.nll is not None]
        faults = [each.fault for each in tried if each.fault]
        if not good and faults:
            raise DataError(
                f"None of the {len(tried)} combinations could be fitted; {len(faults)} could not be built, the first "
                f"because: {faults[0]}"
            )
        if not good:
            raise DataError("Training diverged with all values. Lower the range of fit.learning_rate.")
        return min(good, key=lambda each: each.nll or 0.0)

    def _finished(self) -> list[FrozenTrial]:
        return list(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
