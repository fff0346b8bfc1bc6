"""One search for values: Optuna's sampler over trials on disk, the same after any interruption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretap.errors import DataError, UsageError
from pretap_offline.lab.results import Trial
from pretap_offline.lab.space import Space

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as OptunaTrial

__all__ = ["Study", "open_storage"]

_FAULT = "fault"  # an attribute of a trial


@contextmanager
def open_storage(path: Path) -> Iterator[BaseStorage]:
    """Open or make the SQLite file that keeps trials, for this process alone: a second one is refused.

    SQLite, because a process killed while it writes leaves a file that opens. Optuna's journal, killed, leaves its lock
    behind: the next command waits for it.
    """
    import optuna
    from sqlalchemy.exc import DBAPIError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _locked(path):
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 30}})
        except (DBAPIError, RuntimeError) as error:
            reason = str(error).split("\n", maxsplit=1)[0].rstrip(".")
            raise UsageError(f"--storage {path}: cannot keep trials there: {reason}.") from None
        try:
            yield storage
        finally:
            storage.remove_session()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends: the system's own, which SQLite takes on a file."""
    import sqlite3

    try:
        lock = sqlite3.connect(path.with_name(f"{path.name}.lock"), timeout=0, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise UsageError(f"--storage {path}: cannot keep trials there: {error} ({path.name}.lock).") from None
        raise UsageError(
            f"--storage {path}: another `pretap sweep` searches there. Wait for its end, or give another file."
        ) from None
    try:
        yield
    finally:
        lock.close()


class Study:
    """Asks for values and is told how good they were; state is on disk alone.

    The sampler (TPE) starts anew for each trial, from a seed that the number of finished trials makes: so a search that
    was killed and goes on picks the same values as one that was not. The storage must be this process's alone.
    """

    def __init__(self, name: str, space: Space, storage: BaseStorage, *, seed: int) -> None:
        import optuna

        self._space = space
        self._seed = seed
        self._study: OptunaStudy = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING:  # of a process that is no more
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    @property
    def n_finished(self) -> int:
        """Trials with a verdict; those that were interrupted do not count."""
        return len(self._finished())

    def ask(self) -> tuple[OptunaTrial, dict[str, Any]]:
        """Pick the next values."""
        import optuna

        state = np.random.SeedSequence([self._seed, self.n_finished]).generate_state(1)
        self._study.sampler = optuna.samplers.TPESampler(seed=int(state[0]))
        trial = self._study.ask()
        return trial, self._space.suggest(trial)

    def tell(self, trial: OptunaTrial, nll: float | None, *, fault: str = "") -> None:
        """Say how good the values were; None when training diverged, or with the `fault` why nothing can be built."""
        from optuna.trial import TrialState

        if fault:
            trial.set_user_attr(_FAULT, fault)
        if nll is None:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, nll)

    def tried(self, n: int) -> tuple[Trial, ...]:
        """Give the first `n` finished trials, in order."""
        return tuple(
            Trial(self._values(each), each.value, each.user_attrs.get(_FAULT, "")) for each in self._finished()[:n]
        )

    def best(self, n: int) -> Trial:
        """Give the best of the first `n`; of equals the first."""
        tried = self.tried(n)
        good = [each for each in tried if each.nll is not None]
        faults = [each.fault for each in tried if each.fault]
        if not good and faults:
            raise DataError(
                f"None of the {len(tried)} combinations that were tried could be fitted; {len(faults)} could not be "
                f"built, the first because: {faults[0]}"
            )
        if not good:
            raise DataError("Training diverged with all values that were tried: lower the range of fit.learning_rate.")
        return min(good, key=lambda each: each.nll or 0.0)

    def _finished(self) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return list(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def _values(self, trial: FrozenTrial) -> dict[str, Any]:
        import optuna

        return self._space.suggest(optuna.trial.FixedTrial(trial.params))
