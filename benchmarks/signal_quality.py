"""Measure how well `pretap serve` detects bad signals without false alarms, for docs/signal-quality.md.

    python benchmarks/signal_quality.py [--data DIR] [--seeds 10] [--seconds 120]

Clean signals are simulated subjects, the competition's trials in a row, other rates, offsets and blinks; every alarm is
a false one. Then each fault is put into each simulated subject and into the competition's test part, from the start or
from 30 s on. Signals go through the live pipeline in chunks of 20 ms, with a shipped bundle and without a network.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.file import load
from pretap.decoder.decoder import Decoder
from pretap.errors import StreamRefusedError
from pretap.recordings.competition import read_competition
from pretap.recordings.resample import resample_epochs
from pretap.signal.channels import mirrored
from pretap.signal.statistics import gather_statistics
from pretap_offline.synthetic.command import simulate_epochs, simulate_raw
from pretap_realtime.decide.modes import FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.signal.chunk import Chunk

FAULT_S = 30.0
Signal = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stream:
    name: str
    x_uv: Signal  # (n_samples, n_channels)
    sfreq_hz: float

    @property
    def t_s(self) -> NDArray[np.float64]:
        return 1000 + np.arange(len(self.x_uv)) / self.sfreq_hz


def alarms(decoder: Decoder, x_uv: Signal, t_s: NDArray[np.float64], sfreq_hz: float) -> list[tuple[float, str]]:
    """Return each change of the report, with its time in seconds from the start."""
    hop = max(1, round(0.05 * decoder.manifest.sfreq_hz))
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=hop), max_interpolated=0.15)
    pipeline.reset(sfreq_hz=sfreq_hz)
    said, now = [], ""
    n_chunk = max(1, round(0.02 * sfreq_hz))
    for start in range(0, len(x_uv), n_chunk):
        try:
            pipeline.process(Chunk(x_uv[start : start + n_chunk], t_s[start : start + n_chunk]))
        except StreamRefusedError as error:
            return [*said, (start / sfreq_hz, f"REFUSED: {error}")]
        pipeline.catch_up()
        if pipeline.front_end.status.describe() != now:
            now = pipeline.front_end.status.describe()
            said.append((start / sfreq_hz, now))
    return said


# -- signals -------------------------------------------------------------------------------------------------------


def simulated(seed: int, *, seconds: float, sfreq_hz: float = 1000.0, session: int = 0) -> Stream:
    raw = simulate_raw(seed=seed, n_seconds=seconds, sfreq_hz=sfreq_hz, session=session)
    return Stream(f"synthetic:{seed}, {sfreq_hz:g} Hz", (raw.get_data().T * 1e6).astype(np.float32), sfreq_hz)


def competition(data: str, part: str, *, sfreq_hz: float) -> Stream:
    epochs = resample_epochs(read_competition(Path(data), part=part), sfreq_hz=sfreq_hz)  # type: ignore[arg-type]
    return Stream(f"competition, {part}, {sfreq_hz:g} Hz", epochs.x_uv.reshape(-1, epochs.x_uv.shape[2]), sfreq_hz)


def with_offsets(stream: Stream) -> Stream:
    offsets = np.random.default_rng(0).uniform(-60_000, 60_000, stream.x_uv.shape[1])
    x = (stream.x_uv + offsets).astype(np.float32)
    return Stream(f"{stream.name}, offsets of up to 60 mV", x, stream.sfreq_hz)


def with_blinks(stream: Stream, channels: list[str]) -> Stream:
    """Add a blink about every three seconds: 0.3 s, 120 uV at F, less at the back."""
    rng = np.random.default_rng(0)
    gain = np.array(
        [{"F": 1.0, "FC": 0.5, "C": 0.2, "CP": 0.1, "O": 0.05}[name.rstrip("z0123456789")] for name in channels]
    )
    x = stream.x_uv.copy()
    shape = 120 * np.sin(np.pi * np.linspace(0, 1, round(0.3 * stream.sfreq_hz))) ** 2
    at_s = 2.0
    while at_s < len(x) / stream.sfreq_hz - 1:
        start = round(at_s * stream.sfreq_hz)
        x[start : start + len(shape)] += (shape[:, None] * gain).astype(np.float32)
        at_s += rng.uniform(1.5, 4.5)
    return Stream(f"{stream.name}, blinks", x, stream.sfreq_hz)


def clean(data: str | None, seeds: int, seconds: float, channels: list[str]) -> Iterator[tuple[str, Stream]]:
    for seed in range(seeds):
        head = simulated(seed, seconds=seconds)
        yield "single-1000hz", head
        yield "single-1000hz", with_offsets(head)
        yield "single-1000hz", with_blinks(head, channels)
        for rate_hz in (250.0, 512.0):
            yield "single-1000hz", simulated(seed, seconds=seconds, sfreq_hz=rate_hz)
        yield "single-100hz", simulated(seed, seconds=seconds, sfreq_hz=250.0)
        yield "single-100hz", simulated(seed, seconds=seconds, sfreq_hz=100.0)
    if data is not None:
        for part in ("train", "test"):
            for rate_hz in (100.0, 250.0, 1000.0):
                yield "single-1000hz", competition(data, part, sfreq_hz=rate_hz)
                yield "single-100hz", competition(data, part, sfreq_hz=rate_hz)


# -- faults --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fault:
    """A change to samples (n, n_channels) and the report that it must cause; they arrive at `speed` times the rate."""

    says: str
    change: Callable[[Signal, list[str], float], Signal]
    from_start: bool = False
    speed: float = 1.0

    def put_into(self, stream: Stream, channels: list[str]) -> tuple[Signal, NDArray[np.float64]]:
        x, start = stream.x_uv.copy(), 0 if self.from_start else round(FAULT_S * stream.sfreq_hz)
        x[start:] = self.change(x[start:], channels, stream.sfreq_hz)
        return x, stream.t_s[0] + (stream.t_s - stream.t_s[0]) / self.speed


def _on_c3(says: str, change: Callable[[NDArray[np.float64], float], NDArray[np.float64]]) -> Fault:
    """Change one electrode with a function of its samples in uV and the rate."""

    def change_one(x: Signal, channels: list[str], rate_hz: float) -> Signal:
        k = channels.index("C3")
        x[:, k] = change(x[:, k].astype(np.float64), rate_hz)
        return x

    return Fault(says, change_one)


def _scaled(says: str, factor: float) -> Fault:
    return Fault(says, lambda x, _channels, _rate_hz: x * np.float32(factor))


def _order(says: str, reorder: Callable[[list[str]], list[int]], *, from_start: bool = True) -> Fault:
    return Fault(says, lambda x, channels, _rate_hz: x[:, reorder(channels)], from_start=from_start)


def _pairs(says: str, *pairs: tuple[int, int] | tuple[str, str]) -> Fault:
    def reorder(channels: list[str]) -> list[int]:
        order = list(range(len(channels)))
        for one, other in pairs:
            i, j = (channels.index(each) if isinstance(each, str) else each for each in (one, other))
            order[i], order[j] = order[j], order[i]
        return order

    return _order(says, reorder)


def _rate(factor: float) -> Fault:
    return Fault("samples come at", lambda x, _channels, _rate_hz: x, from_start=True, speed=factor)


def _wave(n: int, rate_hz: float, *, hz: float, uv: float) -> NDArray[np.float64]:
    return np.asarray(uv * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz))


def _noise(n: int, sd_uv: float) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(0, sd_uv, n)


def _gappy(x: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    x[:: max(1, round(0.2 * rate_hz))] = np.nan
    return x


def _scrambled(channels: list[str]) -> list[int]:
    order: list[int] = np.random.default_rng(3).permutation(len(channels)).tolist()
    return order


FAULTS = {
    "C3 flat": _on_c3("flat: C3", lambda x, _: np.zeros_like(x)),
    "C3 at the rail, 187 mV": _on_c3("C3: railed", lambda x, _: np.full_like(x, 187_500)),
    "C3 swings by 200 uV, cut off at 100": _on_c3(
        "C3: railed", lambda x, r: np.clip(x + _wave(len(x), r, hz=1.3, uv=200), -100, 100)
    ),
    "C3 NaN every 0.2 s": _on_c3("C3: non-finite", _gappy),
    "C3 with 50 Hz, 100 uV": _on_c3("C3: dominated by 50 Hz", lambda x, r: x + _wave(len(x), r, hz=50, uv=100)),
    "C3 with 60 Hz, 40 uV": _on_c3("C3: dominated by 60 Hz", lambda x, r: x + _wave(len(x), r, hz=60, uv=40)),
    "C3 noise of 500 uV": _on_c3("C3: much too large", lambda x, _: _noise(len(x), 500)),
    "C3 noise of 0.5 uV": _on_c3("C3: much too small", lambda x, _: _noise(len(x), 0.5)),
    "C3 x 20": _on_c3("C3: much too large", lambda x, _: 20 * x),
    "volts for microvolts": _scaled("volts taken for microvolts", 1e-6),
    "millivolts for microvolts": _scaled("millivolts taken for microvolts", 1e-3),
    "microvolts for millivolts": _scaled("microvolts taken for millivolts", 1e3),
    "microvolts for volts": _scaled("microvolts taken for volts", 1e6),
    "left and right mirrored": _order("left and right", lambda names: [names.index(mirrored(n)) for n in names]),
    "connectors 1 and 2 of 8 swapped": _pairs("connectors 1 and 2 of 8", *((k, k + 8) for k in range(8))),
    "connectors 2 and 3 of 8 swapped": _pairs("connectors 2 and 3 of 8", *((k, k + 8) for k in range(8, 16))),
    "connectors 1 and 2 of 16 swapped": _pairs("connectors 1 and 2 of 16", *((k, k + 16) for k in range(12))),
    "connector 1 of 8 turned round": _pairs("connector 1 of 8", *((k, 7 - k) for k in range(4))),
    "labels in reverse": _pairs("in reverse order", *((k, 27 - k) for k in range(14))),
    "labels one off": _order("one channel later", lambda names: [len(names) - 1, *range(len(names) - 1)]),
    "C3 and C4 swapped": _pairs("C3 with C4", ("C3", "C4")),
    "F3 and O1 swapped": _pairs("F3 with O1", ("F3", "O1")),
    "FC1 and FC2 swapped": _pairs("FC1 with FC2", ("FC1", "FC2")),
    "labels scrambled": _order("swapped cap", _scrambled),
    "labels scrambled, mid-session": _order("swapped cap", _scrambled, from_start=False),
    "rate 0.7 % high": _rate(1.007),
    "1000 Hz said, 250 Hz sent": _rate(0.25),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="The competition's directory.")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--only", help="Run only the faults with this in their name, and no clean signals.")
    arguments = parser.parse_args()
    decoders = {name: load(name) for name in ("single-100hz", "single-1000hz")}
    channels = list(decoders["single-100hz"].manifest.channels)
    if arguments.only is None:
        count_false(decoders, clean(arguments.data, arguments.seeds, arguments.seconds, channels))
    signals = [simulated(seed, seconds=90.0) for seed in range(arguments.seeds)]
    if arguments.data is not None:
        test = competition(arguments.data, "test", sfreq_hz=1000.0)
        signals.append(Stream("competition", np.concatenate([test.x_uv, test.x_uv]), test.sfreq_hz))
    for name, fault in FAULTS.items():
        if arguments.only is None or arguments.only in name:
            count_hits(name, fault, decoders["single-1000hz"], signals, channels)
    if arguments.only is None:
        own_heads(decoders["single-1000hz"], channels, seeds=arguments.seeds)


def own_heads(decoder: Decoder, channels: list[str], *, seeds: int) -> None:
    """Mirror the cap in another session of the subject whose statistics the decoder has."""
    known = decoder.statistics
    named, false = [], []
    for seed in range(seeds):
        train, _ = simulate_epochs(seed=seed, n_train=150, n_test=1)
        decoder.statistics = gather_statistics(train.x_uv, sfreq_hz=train.sfreq_hz)
        later = simulated(seed, seconds=60.0, session=1)
        x, t_s = FAULTS["left and right mirrored"].put_into(later, channels)
        said = alarms(decoder, x, t_s, later.sfreq_hz)
        named += [seed] if any("left and right" in what for _, what in said) else []
        false += [seed] if alarms(decoder, later.x_uv, later.t_s, later.sfreq_hz) else []
    decoder.statistics = known
    print(f"left and right mirrored, own head, later session: named for the heads {named}; alarms unmirrored: {false}")


def count_false(decoders: dict[str, Decoder], signals: Iterator[tuple[str, Stream]]) -> None:
    n, n_false, seconds = 0, 0, 0.0
    for bundle, stream in signals:
        said = alarms(decoders[bundle], stream.x_uv, stream.t_s, stream.sfreq_hz)
        n, n_false, seconds = n + 1, n_false + bool(said), seconds + len(stream.x_uv) / stream.sfreq_hz
        for at_s, what in said:
            print(f"FALSE ALARM, {bundle}, {stream.name}: after {at_s:.1f} s: {what}")
    print(f"clean: {n} signals, {seconds / 60:.0f} minutes; alarms in {n_false}")


def count_hits(name: str, fault: Fault, decoder: Decoder, signals: list[Stream], channels: list[str]) -> None:
    after_s, misses, others = [], [], set()
    for stream in signals:
        x, t_s = fault.put_into(stream, channels)
        said = alarms(decoder, x, t_s, stream.sfreq_hz)
        at_s = next((at_s for at_s, what in said if fault.says in what), None)
        if at_s is None:
            misses.append(stream.name)
            others |= {what for _, what in said if what}
        else:
            after_s.append(at_s / fault.speed - (0.0 if fault.from_start else FAULT_S))
    when = f", after {statistics.median(after_s):.1f} s (at most {max(after_s):.1f})" if after_s else ""
    print(f"{name}: named in {len(after_s)} of {len(signals)}{when}{'; not in ' * bool(misses)}{', '.join(misses)}")
    for other in sorted(others)[:3]:
        print(f"    there: {other[:160]}")


if __name__ == "__main__":
    main()
