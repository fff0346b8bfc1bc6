"""``pretap demo``: trains, replays and decodes live with one command, in an LSL session of its own."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pretap.config.reading import find_config
from pretap.options import port_option

if TYPE_CHECKING:
    from pathlib import Path

    from pretap_realtime.check.isolated_session import IsolatedSession
    from pretap_realtime.send.messages import Message

_N_SHOWN = 12
_TAP_S = 1.3  # between two taps of the synthetic subject, including rests


@click.command()
@click.option("--data", default="synthetic", help="Directory with the competition's data, or 'synthetic'.")
@click.option("--n-trials", type=click.IntRange(2, 100), default=40, help="Number of trials to decode live.")
@click.option("--seed", type=click.IntRange(0, 10_000), default=0, help="Random seed of the synthetic subject.")
@click.option("--web", is_flag=True, help="Show the decisions and the game in the browser until Ctrl-C.")
@port_option
@click.option("--browser/--no-browser", default=True, help="Open a browser with --web.")
def demo(*, data: str, n_trials: int, seed: int, web: bool, port: int, browser: bool) -> None:
    """Train a decoder in seconds, replay other trials as a live stream and show how they are decoded."""
    from pretap_realtime.check.isolated_session import IsolatedSession
    from pretap_realtime.send.network.address import check_port

    if web:
        check_port(port)
    console = Console()
    with IsolatedSession() as session:
        from pretap_realtime.check.live_run import LiveRun

        bundle = session.folder / "demo.safetensors"
        if data == "synthetic":
            with console.status("simulating a subject: 28 electrodes, left and right taps"):
                session.run("simulate", str(session.folder / "data"), "--epochs", "--seed", str(seed),
                            "--n-train", "200", "--n-test", str(n_trials))  # fmt: skip
            source = str(session.folder / "data")
            fit_on, play = [], ["--part", "test"]
        else:
            # not every user has the labels of the competition's test part: hold out the end of the training part
            source, fit_on = data, ["--trials", f":-{n_trials}"]
            play = ["--part", "train", "--trials", f"-{n_trials}:"]
        with console.status("training the LSTM of configs/default.toml"):
            output = session.run("train", str(find_config("default")), "--data", source, *fit_on, "--out", str(bundle),
                               "--set", "evaluation.folds=0")  # fmt: skip
        console.print(f"trained on {output.splitlines()[0]}", highlight=False, soft_wrap=True)
        if web:
            if data == "synthetic":
                source, play = str(session.folder / "later_raw.fif"), []
                with console.status("simulating the same subject an hour later: taps and rests"):
                    session.run("simulate", source, "--session", "1", "--seed", str(seed),
                                "--seconds", str(max(20, _TAP_S * n_trials)))  # fmt: skip
            page = ["--port", str(port), "--browser" if browser else "--no-browser"]
            _show_in_browser(session, console, bundle, [source, *play], page)
            return
        results = _ResultTable(console)
        with results.live or contextlib.nullcontext():
            run = LiveRun(session, bundle, engine="auto")
            console.print(
                f"decoding {n_trials} other trials, replayed as a live 1000 Hz stream over LSL", highlight=False
            )
            collected = run.follow(source, *play, "--sfreq-hz", "1000", within_s=n_trials + 60, on_verdict=results.show)
    console.print(results.result(), highlight=False, soft_wrap=True)
    # the service's summary of decisions and samples; its last line repeats the latency
    console.print("\n".join(collected.service_output.splitlines()[-3:-1]), style="dim", highlight=False, soft_wrap=True)
    console.print("Next: pretap train --help, pretap serve --help, and docs/", style="dim", highlight=False)


def _show_in_browser(
    session: IsolatedSession, console: Console, bundle: Path, play: list[str], page: list[str]
) -> None:
    """Replay in a loop, decode at every hop and show everything on the monitor's page, until Ctrl-C."""
    from pretap_realtime.console.stopping import stop_on_signals

    stop = stop_on_signals()
    session.start("serve", str(bundle), "--hop-ms", "20")
    session.start("replay", *play, "--sfreq-hz", "1000", "--loop", "--wait")
    monitor = session.start("monitor", *page)
    address = session.wait_for("The page", lambda: re.search(r"http://\S+", session.output_of(monitor)), within_s=30)
    console.print(f"Open {address[0]}, or {address[0]}#game to move the ball. Press Ctrl-C to stop.", highlight=False)
    while not stop.wait(0.5):
        session.check_children()


class _ResultTable:
    """A live table on a terminal, otherwise a line per decision."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.live = Live(console=console, refresh_per_second=10, transient=True) if console.is_terminal else None
        self._rows: list[tuple[str, str, str, str, str]] = []
        self._latencies_s: list[float] = []
        self._n_correct = 0

    def show(self, message: Message) -> None:
        _, trial, _, truth = f"{message.cue}///".split("/")[:4]
        is_correct = message.label == truth
        self._n_correct += is_correct
        latency_s = message.sent - message.t
        self._latencies_s.append(latency_s)
        decoded = f"{message.label} {max(message.p.values()):.2f}" if message.valid else message.why
        row = (trial, truth, decoded, "yes" if is_correct else "no", f"{1000 * latency_s:.1f} ms")
        self._rows.append(row)
        if self.live is None:
            self._console.print(
                "trial {:>3}  truth {:<5}  decoded {:<10}  correct {:<3}  {}".format(*row), soft_wrap=True
            )
        else:
            self.live.update(self._table())

    def result(self) -> str:
        """Return the summary.

        Raises
        ------
        CheckFailedError
            If there was no decision.
        """
        from pretap.errors import CheckFailedError
        from pretap_realtime.send.latencies import percentile

        n = len(self._rows)
        if not n:
            raise CheckFailedError("The live service made no decision. Run `pretap doctor`.")
        p50, p95, p99 = (1000 * percentile(self._latencies_s, q) for q in (50, 95, 99))
        return (
            f"{self._n_correct} of {n} correct ({self._n_correct / n:.0%}; guessing gets 50 %), decoded before the tap "
            f"from the window that ends 130 ms ahead of it\n"
            f"latency, last sample to decision on the wire: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms"
        )

    def _table(self) -> Table:
        table = Table(title=f"{self._n_correct} of {len(self._rows)} correct")
        for name in ("trial", "truth", "decoded", "correct", "latency"):
            table.add_column(name, justify="right" if name in ("trial", "latency") else "left")
        for row in self._rows[-_N_SHOWN:]:
            table.add_row(*row, style="green" if row[3] == "yes" else "red")
        return table
