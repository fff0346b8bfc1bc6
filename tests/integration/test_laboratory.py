"""compare and sweep as real processes: killed, interrupted, spread over a real dask cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import write_mne_epochs
from pretap_offline.lab.results import read_results

# The small recipe's fits are done in tens of milliseconds, the long one's in a few tenths of a second.
RECIPE = """
[scaling]
block_ms = 50.0
divide_uv = 10.0
[network]
kind = "lstm"
hidden = [{hidden}]
[fit]
optimizer = "adamw"
learning_rate = 1e-2
batch_size = 4
max_epochs = {epochs}
"""
SPACE = """
base = "a.toml"
[space]
"fit.learning_rate" = { low = 1e-3, high = 1e-1, log = true }
"network.hidden" = [[2], [3], [4]]
"""
N_FITS = 16  # 2 recipes x 4 folds x 2 repeats


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(64) % 2)
    x = rng.normal(0, 5, (64, 50, 3))
    x[np.arange(64), :, labels] += np.linspace(0, 12.0, 50)
    write_mne_epochs(
        Epochs(x.astype(np.float32), labels, ("left", "right"), ("C3", "C4", "Cz"), 100.0, -130.0, "noise"),
        tmp_path / "trials-epo.fif",
    )
    for name, hidden in (("a", 2), ("b", 3)):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(hidden=hidden, epochs=20))
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


def compare(folder: Path, store: str, *more: str) -> tuple[str, ...]:
    return (
        *("compare", f"{folder}/a.toml", f"{folder}/b.toml", "--data", f"{folder}/trials-epo.fif"),
        *("--folds", "4", "--repeats", "2", "--store", f"{folder}/{store}", "--json", f"{folder}/{store}.json", *more),
    )


def kept(folder: Path, store: str) -> dict[Path, int]:
    """The finished fits, and when each was written."""
    return {file: file.stat().st_mtime_ns for file in (folder / store).rglob("*.fit")}


def figures(folder: Path, store: str):
    """All results that do not depend on the clock."""
    found = read_results(folder / f"{store}.json")
    outcomes = tuple(replace(each, fit_s=0.0) for each in found.outcomes)
    return replace(found, outcomes=outcomes, setting=replace(found.setting, created=""))


def test_compare_killed_goes_on_without_refitting_and_ends_as_if_nothing_had_been(kit, start, folder):
    whole = start(*compare(folder, "whole"))
    killed = start(*compare(folder, "killed", "--workers", "2"), start_new_session=True)
    kit.until(lambda: len(kept(folder, "killed")) >= 3, "three fits")
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    before = kept(folder, "killed")
    assert 3 <= len(before) < N_FITS
    assert not (folder / "killed.json").exists()

    again = start(*compare(folder, "killed"))
    assert again.wait() == 0, again.said
    assert f"{N_FITS} fits, {len(before)} of them in {folder}/killed" in again.said
    after = kept(folder, "killed")
    assert len(after) == N_FITS
    assert before.items() <= after.items()
    assert whole.wait() == 0, whole.said
    assert figures(folder, "killed") == figures(folder, "whole")


def test_ctrl_c_says_what_is_kept_and_ends_with_130(kit, start, folder):
    child = start(*compare(folder, "store", "--workers", "2"), start_new_session=True)
    kit.until(lambda: len(kept(folder, "store")) >= 2, "two fits")
    os.killpg(child.process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    assert child.wait() == 130
    n = len(kept(folder, "store"))
    assert f"{n} of {N_FITS} fits are kept in {folder}/store; the same command goes on from there.\n" in child.said
    assert "Traceback" not in child.said


def test_a_lost_worker_process_costs_its_fit_alone(kit, start, folder):
    child = start(*compare(folder, "store", "--workers", "2"))
    kit.until(lambda: len(kept(folder, "store")) >= 2, "two fits")
    os.kill(worker_of(child.process.pid), signal.SIGKILL)
    assert child.wait() == 0, child.said
    assert len(kept(folder, "store")) == N_FITS


def worker_of(parent: int) -> int:
    """A worker process of joblib's (not its trackers)."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "stat").read_text().rpartition(")")[2].split()
            command = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if int(status[1]) == parent and b"popen_loky" in command:
            return int(process.name)
    raise AssertionError(f"no worker of {parent}")


# -- many machines -------------------------------------------------------------------------------------------------


class Cluster:
    """A dask scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = ""
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"dask-{len(self.processes)}.log").open("wb") as log:
            command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        return self.processes[-1]

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker", self.address, "--nthreads", "1", "--no-nanny")


@pytest.fixture
def cluster(kit, tmp_path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    cluster = Cluster(tmp_path)
    where = tmp_path / "scheduler.json"
    cluster.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(where))
    kit.until(where.exists, "the scheduler")
    cluster.address = kit.until(lambda: json.loads(where.read_text() or "{}").get("address"), "its address")
    yield cluster
    for process in cluster.processes:
        process.kill()
        process.wait()


def test_a_cluster_that_loses_a_worker_ends_complete_and_equal_to_the_serial_run(kit, start, folder, cluster):
    first, _ = cluster.worker(), cluster.worker()
    spread = start(*compare(folder, "spread", "--cluster", cluster.address))
    kit.until(lambda: len(kept(folder, "spread")) >= 3, "three fits")
    first.kill()
    assert len(kept(folder, "spread")) < N_FITS
    assert spread.wait() == 0, spread.said
    serial = start(*compare(folder, "serial"))
    assert serial.wait() == 0, serial.said
    assert len(kept(folder, "spread")) == N_FITS
    assert figures(folder, "spread") == figures(folder, "serial")


def test_a_scheduler_without_workers_and_one_that_is_no_more_are_errors_within_seconds(kit, start, folder, cluster):
    child = start(*compare(folder, "store", "--cluster", cluster.address))
    assert child.wait() == 2
    assert "the scheduler has no workers. Start some: `dask worker" in child.said

    cluster.worker()
    child = start(*compare(folder, "store", "--cluster", cluster.address))
    kit.until(lambda: len(kept(folder, "store")) >= 1, "a fit")
    cluster.processes[0].kill()
    assert child.wait() == 2
    assert "Traceback" not in child.said
    assert "the same command goes on" in child.said


# -- sweep ---------------------------------------------------------------------------------------------------------


def sweep(folder: Path, store: str) -> tuple[str, ...]:
    return (
        *("sweep", f"{folder}/space.toml", "--data", f"{folder}/trials-epo.fif", "--trials", "4", "--outer", "2"),
        *("--inner", "2", "--store", f"{folder}/{store}", "--json", f"{folder}/{store}.json"),
    )


def test_sweep_killed_goes_on_and_chooses_as_if_nothing_had_been(kit, start, folder):
    whole = start(*sweep(folder, "whole"))
    pause = threading.Event()
    for n in (2, 12):  # in the first trial, and in a later one
        killed = start(*sweep(folder, "killed"))
        kit.until(lambda n=n: len(kept(folder, "killed")) >= n, f"{n} fits")
        pause.wait(0.02)
        killed.process.kill()
        killed.process.wait()
    before = kept(folder, "killed")
    assert not (folder / "killed.json").exists()
    again = start(*sweep(folder, "killed"))
    assert again.wait() == 0, again.said
    assert before.items() <= kept(folder, "killed").items()
    assert whole.wait() == 0, whole.said
    found, expected = (read_results(folder / f"{store}.json") for store in ("killed", "whole"))
    assert replace(found, setting=expected.setting) == expected
