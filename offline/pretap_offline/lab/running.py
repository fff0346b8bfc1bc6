"""Runs fits in parallel, in processes or on a dask cluster, and stores each result. Used by the lab commands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pretap.errors import UsageError
from pretap.recordings.epochs import Epochs
from pretap_offline.lab.fits import Fit, Fitted, code_version, run_fit
from pretap_offline.lab.store import Store

_TIMEOUT_S = 10.0  # a running scheduler answers in milliseconds
_MAX_LOSSES = 3  # workers lost in a row without a finished fit


Data = Mapping[str, Epochs]
"""The trials of every `Fit`, by `Fit.data`."""


Work = Callable[[Sequence[Fit]], Iterator[tuple[str, Fitted]]]
"""Computes fits in any order."""


@contextmanager
def open_laboratory(
    store: Store, epochs: Data, *, n_workers: int, cluster: str | None, advance: Callable[[], None] = lambda: None
) -> Iterator[Callable[[Sequence[Fit]], list[Fitted]]]:
    """Yield a function that runs fits in `n_workers` processes, or on the cluster whose scheduler is at `cluster`.

    It runs the fits that are not in the store yet. `advance` is called for each fit that finishes or is found there.
    """
    if cluster is None:
        yield partial(_run, store, partial(_in_processes, n_workers, epochs), advance)
        return
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # their messages are also raised as errors
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _check_answers(cluster)
    with Client(cluster, timeout=_TIMEOUT_S, set_as_default=False) as client:
        yield partial(_run, store, partial(_on_cluster, client, cluster, epochs), advance)


def _run(store: Store, work: Work, advance: Callable[[], None], fits: Sequence[Fit]) -> list[Fitted]:
    """Return the result of each fit, in order.

    Equal fits run once. After a worker process is lost, the missing fits run again.
    """
    done: dict[str, Fitted] = {}
    wanted = {fit.key: fit for fit in fits}
    for key in wanted:
        found = store.get(key)
        if found is not None:
            done[key] = found
            advance()
    losses = 0
    while missing := [fit for key, fit in wanted.items() if key not in done]:
        n_before = len(done)
        try:
            for key, fitted in work(missing):
                store.put(key, fitted)
                done[key] = fitted
                advance()
        except _lost_worker() as error:
            losses = 1 if len(done) > n_before else losses + 1
            if losses == _MAX_LOSSES:
                raise UsageError(
                    f"Worker processes keep dying ({type(error).__name__}), perhaps because the memory is full. "
                    "Try fewer workers."
                ) from None
    return [done[fit.key] for fit in fits]


def _in_processes(n_workers: int, epochs: Data, fits: Sequence[Fit]) -> Iterator[tuple[str, Fitted]]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("loky", n_jobs=n_workers, inner_max_num_threads=1):
        running = Parallel(return_as="generator_unordered", batch_size=1)
        yield from running(delayed(_keyed)(fit, epochs[fit.data]) for fit in fits)


def _on_cluster(client: Any, address: str, epochs: Data, fits: Sequence[Fit]) -> Iterator[tuple[str, Fitted]]:
    """Run fits on dask, but not through joblib: with one worker it computes in this process and ignores later ones."""
    from distributed import as_completed

    _check_workers(client, address)
    sent = {sha256: client.scatter(each, broadcast=True) for sha256, each in epochs.items()}  # once to every worker
    running = [client.submit(_keyed, fit, sent[fit.data], pure=False) for fit in fits]
    for future in as_completed(running, loop=client.loop):
        yield future.result()


def _check_workers(client: Any, address: str) -> None:
    """Refuse a cluster that cannot work, instead of waiting for it forever."""
    if client.status != "running":
        raise UsageError(f"--cluster {address}: the scheduler is gone. Start it, and run the same command again.")
    try:
        client.wait_for_workers(1, timeout=_TIMEOUT_S)
    except TimeoutError:
        raise UsageError(
            f"--cluster {address}: the scheduler has no workers. Start some: `dask worker {address} --nthreads 1`."
        ) from None
    others = set(client.run(code_version).values()) - {code_version()}
    if others:  # checked here, because another version may fail to unpickle a fit
        raise UsageError(
            f"--cluster {address}: workers run pretap {', '.join(sorted(others))}, this command {code_version()}: "
            "install the same version on every machine, and start the workers again."
        )


def _check_answers(address: str) -> None:
    """Check that the scheduler answers; a dask client would try for half a minute and print tracebacks."""
    import asyncio

    from distributed.comm import connect

    async def shake_hands() -> None:
        comm = await asyncio.wait_for(connect(address, timeout=_TIMEOUT_S), _TIMEOUT_S)
        await comm.close()

    try:
        asyncio.run(shake_hands())
    except (OSError, ValueError, MemoryError) as error:  # MemoryError: another server's reply read as a length
        reason = str(error).split("\n", maxsplit=1)[0].rstrip(".") or f"not within {_TIMEOUT_S:g} s"
        raise UsageError(
            f"--cluster {address}: no dask scheduler answers ({reason}). Start one with `dask scheduler`, and give the "
            "tcp:// address that it prints."
        ) from None


def _lost_worker() -> tuple[type[BaseException], ...]:
    from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

    lost: tuple[type[BaseException], ...] = (TerminatedWorkerError, BrokenProcessPool)
    try:
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker
    except ModuleNotFoundError:
        return lost
    return (*lost, KilledWorker, FutureCancelledError)


def _keyed(fit: Fit, epochs: Epochs) -> tuple[str, Fitted]:
    return fit.key, run_fit(fit, epochs)
