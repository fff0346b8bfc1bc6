"""compare and sweep as real processes: killed, interrupted, spread over a real dask cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.io import savemat

from pretap.recordings.competition import CHANNELS
from pretap_offline.lab.results import Comparison, read_results

# A fit takes a few tenths of a second: long enough to be killed in the middle, and 16 of them are no wait.
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
max_epochs = 12
"""
SPACE = """
base = "a.toml"
[space]
"fit.learning_rate" = { low = 1e-3, high = 1e-1, log = true }
"network.hidden" = [[2], [3], [4]]
"""
N_FITS = 16  # 2 recipes x 4 folds x 2 repeats
WITHIN_S = 500.0  # only guards against hanging: alone it takes 5 to 20 s

pytestmark = pytest.mark.timeout(3 * WITHIN_S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("laboratory")
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(64) % 2)
    x = rng.normal(0, 5, (50, 28, 64))
    x[:, labels, np.arange(64)] += np.linspace(0, 12.0, 50)[:, None]
    clab = np.array([list(CHANNELS)], dtype=object)
    content = {"clab": clab, "x_train": x, "y_train": labels[None].astype(np.uint8), "x_test": x[..., :2]}
    savemat(folder / "sp1s_aa.mat", content)
    for name, hidden in (("a", 2), ("b", 3)):
        (folder / f"{name}.toml").write_text(RECIPE.format(hidden=hidden))
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def serial(folder) -> Comparison:
    """The comparison as one process does it that nothing happens to."""
    subprocess.run([sys.executable, "-m", "pretap", *compare(folder, "serial")], check=True, capture_output=True)
    return figures(folder, "serial")


def compare(folder: Path, store: str, *more: str) -> tuple[str, ...]:
    return (
        *("compare", f"{folder}/a.toml", f"{folder}/b.toml", "--data", str(folder), "--folds", "4", "--repeats", "2"),
        *("--store", f"{folder}/{store}", "--json", f"{folder}/{store}.json", *more),
    )


def kept(folder: Path, store: str) -> dict[Path, int]:
    """The finished fits, and when each was written."""
    return {file: file.stat().st_mtime_ns for file in (folder / store).rglob("*.fit")}


def figures(folder: Path, store: str) -> Comparison:
    """All results but what depends on the clock, and on the sources at the moment."""
    found = read_results(folder / f"{store}.json")
    assert isinstance(found, Comparison)
    outcomes = tuple(replace(each, fit_s=0.0) for each in found.outcomes)
    return replace(found, outcomes=outcomes, setting=replace(found.setting, created="", code=""))


def test_compare_killed_goes_on_without_refitting_and_ends_as_if_nothing_had_been(kit, start, folder, serial):
    killed = start(*compare(folder, "killed", "--workers", "2"), start_new_session=True)
    kit.until(lambda: len(kept(folder, "killed")) >= 3, "three fits", WITHIN_S)
    os.killpg(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    before = kept(folder, "killed")
    assert 3 <= len(before) < N_FITS
    assert not (folder / "killed.json").exists()

    again = start(*compare(folder, "killed"))
    assert again.wait(WITHIN_S) == 0, again.said
    assert f"{N_FITS} fits, {len(before)} of them in {folder}/killed" in again.said
    after = kept(folder, "killed")
    assert len(after) == N_FITS
    assert before.items() <= after.items()
    assert figures(folder, "killed") == serial


def test_ctrl_c_says_what_is_kept_and_ends_with_130(kit, start, folder):
    child = start(*compare(folder, "stopped", "--workers", "2"), start_new_session=True)
    kit.until(lambda: len(kept(folder, "stopped")) >= 2, "two fits", WITHIN_S)
    os.killpg(child.process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    assert child.wait(WITHIN_S) == 130
    n = len(kept(folder, "stopped"))
    assert f"{n} of {N_FITS} fits are kept in {folder}/stopped; run the same command again to continue.\n" in child.said
    assert "Traceback" not in child.said


def test_a_lost_worker_process_costs_its_fit_alone(kit, start, folder, serial):
    child = start(*compare(folder, "lost", "--workers", "2"))
    kit.until(lambda: len(kept(folder, "lost")) >= 2, "two fits", WITHIN_S)
    os.kill(worker_of(child.process.pid), signal.SIGKILL)
    assert child.wait(WITHIN_S) == 0, child.said
    assert figures(folder, "lost") == serial


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
    kit.until(where.exists, "the scheduler", WITHIN_S)
    cluster.address = kit.until(lambda: json.loads(where.read_text() or "{}").get("address"), "its address", WITHIN_S)
    yield cluster
    for process in cluster.processes:
        process.kill()
        process.wait()


def test_a_cluster_that_loses_a_worker_ends_complete_and_equal_to_the_serial_run(kit, start, folder, serial, cluster):
    first, _ = cluster.worker(), cluster.worker()
    spread = start(*compare(folder, "spread", "--cluster", cluster.address))
    kit.until(lambda: len(kept(folder, "spread")) >= 3, "three fits", WITHIN_S)
    first.kill()
    assert len(kept(folder, "spread")) < N_FITS
    assert spread.wait(WITHIN_S) == 0, spread.said
    assert figures(folder, "spread") == serial


def test_a_scheduler_that_goes_away_is_an_error_and_not_a_reason_to_work_here(kit, start, folder, cluster):
    cluster.worker()
    child = start(*compare(folder, "away", "--cluster", cluster.address))
    kit.until(lambda: len(kept(folder, "away")) >= 1, "a fit", WITHIN_S)
    cluster.processes[0].kill()
    assert child.wait(WITHIN_S) == 2, child.said
    assert f"--cluster {cluster.address}: the scheduler is gone." in child.said
    assert "Traceback" not in child.said
    assert len(kept(folder, "away")) < N_FITS


# -- sweep ---------------------------------------------------------------------------------------------------------


def sweep(folder: Path, store: str) -> tuple[str, ...]:
    return (
        *(
            "sweep",
            f"{folder}/space.toml",
            "--data",
            str(folder),
            "--n-candidates",
            "3",
            "--outer-folds",
            "2",
            "--inner-folds",
            "2",
        ),
        *("--store", f"{folder}/{store}", "--json", f"{folder}/{store}.json"),
    )


def test_sweep_killed_goes_on_and_chooses_as_if_nothing_had_been(kit, start, folder):
    whole = start(*sweep(folder, "searched"))
    killed = start(*sweep(folder, "cut-off"))
    kit.until(lambda: len(kept(folder, "cut-off")) >= 8, "the first trial of each search, and more", WITHIN_S)
    killed.process.kill()
    killed.process.wait()
    before = kept(folder, "cut-off")
    assert not (folder / "cut-off.json").exists()
    again = start(*sweep(folder, "cut-off"))
    assert again.wait(WITHIN_S) == 0, again.said
    assert before.items() <= kept(folder, "cut-off").items()
    assert whole.wait(WITHIN_S) == 0, whole.said
    found, expected = (read_results(folder / f"{store}.json") for store in ("cut-off", "searched"))
    assert replace(found, setting=expected.setting) == expected
