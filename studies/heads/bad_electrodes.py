"""Measure what one bad electrode costs: accuracy and command changes, through the very code of the live path.

    python studies/heads/bad_electrodes.py --data DIR [--sets synthetic competition s001 openvibe 2b] [--recipes csp]
        [--every 1] [--folds 5]

The trials of each fold are sent as one stream through the live pipeline, which decides at the end of each trial. The
decoder was fitted on the trials of the other folds. A fault replaces one electrode from 5 s before the first trial on:
1 mV of mains, a flat line, a railed input, or noise of 100 uV (`put_fault`). `--every 4` tries each fourth electrode.
A trial without a decision, because the electrode is replaced from a moment within it on, is counted apart.

Commands are counted over 60 s of a continuous stream with a decision every 50 ms: of the first recording of each
OpenViBE head, decoded by a decoder of its other recordings, and of the synthetic head.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.config.reading import find_config, load_config
from pretap.config.recording import RecordingConfig
from pretap.config.serve import PolicyConfig, QualityConfig
from pretap.config.train import EvaluationConfig, SignalConfig, TrainConfig, TrialsConfig
from pretap.decoder.decoder import Decoder
from pretap.recordings.continuous import open_recording
from pretap.recordings.epochs import Epochs
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.statistics import gather_statistics
from pretap_offline.evaluate.cross_validation import splits
from pretap_offline.fit.fitting import fit, make_manifest
from pretap_offline.synthetic.command import simulate_raw
from pretap_offline.trials.montage import interpolation_weights
from pretap_offline.trials.source import cut_recordings, read_trials
from pretap_realtime.decide.modes import CueLocked, FreeRunning, hop_samples
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import Policy
from pretap_realtime.signal.chunk import Chunk, Cue

FAULTS = ("mains", "flat", "railed", "noise")
LEAD_S, COMMANDS_S, HOP_MS = 5.0, 60.0, 50.0
IMAGERY_MS, IMAGERY_HZ = (500.0, 2500.0), (8.0, 30.0)
HANDS = {"left": ("T1",), "right": ("T2",)}
HAND_OR_REST = {"hand": ("OVTK_GDF_Right",), "rest": ("OVTK_GDF_Tongue",)}
S001_RUNS = ("03", "04", "07", "08", "11", "12")
MAX_INTERPOLATED = 0.15


class DataSet(NamedTuple):
    """Trials, their recipes' window and band, and a continuous stream (n_samples, n_channels) with its own trials."""

    name: str
    epochs: Epochs
    band_hz: tuple[float, float] | None = None  # instead of the recipe's
    stream_uv: NDArray[np.float32] | None = None
    stream_trials: Epochs | None = None


class Tally(NamedTuple):
    """Of the trials of all folds: which were decided right, and how many were not decided."""

    right: NDArray[np.bool_]
    n_undecided: int


def put_fault(x_uv: NDArray[np.float32], channel: int, fault: str, *, sfreq_hz: float) -> NDArray[np.float32]:
    """Return samples (n_samples, n_channels) with one bad electrode: 1 mV mains, flat, railed, or 100 uV of noise."""
    n = len(x_uv)
    bad = x_uv.copy()
    bad[:, channel] = {
        "mains": 1000 * np.sin(2 * np.pi * 50.0 * np.arange(n) / sfreq_hz + 1.0),
        "flat": np.zeros(n),
        "railed": np.full(n, 187_500.0),
        "noise": np.random.default_rng(channel).normal(0, 100, n),
    }[fault]
    return bad


def fitted(epochs: Epochs, config: TrainConfig, *, seed: int = 0) -> Decoder:
    """Fit a decoder that knows its training signal and how to interpolate electrodes, as a bundle does."""
    manifest = make_manifest(epochs, config, seed=seed)
    tensors = fit(epochs, manifest) | gather_statistics(epochs.x_uv, sfreq_hz=epochs.sfreq_hz).tensors()
    weights = interpolation_weights(epochs.channels)
    return Decoder(manifest, tensors if weights is None else tensors | {INTERPOLATION: weights}, engine="auto")


def decide_trials(decoder: Decoder, lead_uv: NDArray[np.float32], trials: Epochs, policy: str, fault=None) -> Tally:
    """Decide each trial at its end, in a stream of `lead_uv` (n, n_channels) and all trials, with (channel, fault)."""
    sfreq_hz, n_window = trials.sfreq_hz, trials.n_samples
    x_uv = np.concatenate([lead_uv, trials.x_uv.reshape(-1, len(trials.channels))])
    if fault is not None:
        x_uv = put_fault(x_uv, *fault, sfreq_hz=sfreq_hz)
    t_s = 1000 + np.arange(len(x_uv)) / sfreq_hz
    pipeline = Pipeline(
        decoder,
        CueLocked(decoder, offset_s=0.0, patterns=("trial",)),
        max_interpolated=MAX_INTERPOLATED,
        quality=QualityConfig(policy=policy),
    )
    decisions, start = pipeline.process(Chunk(x_uv[: len(lead_uv)], t_s[: len(lead_uv)])), len(lead_uv)
    for stop in range(start + n_window, len(x_uv) + 1, n_window):
        decisions += pipeline.ask(Cue(float(t_s[stop - 1]), "trial"), arrived_s=0.0)
        decisions += pipeline.process(Chunk(x_uv[stop - n_window : stop], t_s[stop - n_window : stop]))
    cued = [each for each in decisions if each.cue]
    assert len(cued) == len(trials)
    right = [
        d.probs is not None and int(d.probs.argmax()) == label for d, label in zip(cued, trials.labels, strict=True)
    ]
    return Tally(np.array(right), sum(d.probs is None or bool(d.why) for d in cued))


def count_commands(decoder: Decoder, x_uv: NDArray[np.float32]) -> int:
    """Count the changes of command in the last 60 s of a stream (n_samples, n_channels)."""
    sfreq_hz = decoder.manifest.sfreq_hz
    pipeline = Pipeline(
        decoder,
        FreeRunning(decoder, hop=hop_samples(HOP_MS, sfreq_hz)),
        max_interpolated=MAX_INTERPOLATED,
        quality=QualityConfig(),
    )
    policy, n_chunk, n_commands = Policy(PolicyConfig(), decoder.manifest), round(0.05 * sfreq_hz), 0
    for start in range(0, len(x_uv), n_chunk):
        t_s = 1000 + np.arange(start, min(start + n_chunk, len(x_uv))) / sfreq_hz
        decisions = pipeline.process(Chunk(x_uv[start : start + n_chunk], t_s)) + pipeline.catch_up()
        verdicts = [policy.judge(decision) for decision in decisions]
        n_commands += sum(v.command for v in verdicts) if start >= len(x_uv) - COMMANDS_S * sfreq_hz else 0
    return n_commands


def data_sets(root: Path, names: list[str]) -> Iterator[DataSet]:
    """Read the data sets of `names`."""
    for name in names:
        if name == "synthetic":
            epochs = read_trials("synthetic", part="train")
            raw = simulate_raw(seed=0, n_seconds=COMMANDS_S + LEAD_S, sfreq_hz=epochs.sfreq_hz, session=1)
            yield DataSet(name, epochs, None, (raw.get_data().T * 1e6).astype(np.float32), epochs)
        elif name == "competition":
            yield DataSet(name, read_trials(str(root / "bci2_iv"), part="train"))
        elif name == "s001":
            yield DataSet(name, _cut([root / f"heads/eegmmidb/S001R{run}.edf" for run in S001_RUNS], HANDS), IMAGERY_HZ)
        elif name == "2b":
            for head in (1, 2, 3):
                file = root / f"heads/bci4-2b/head-{head}/session-1-epo.fif"
                yield DataSet(f"2b, head {head}", read_trials(str(file), part="train"), IMAGERY_HZ)
        else:
            for head in (1, 2, 3, 4):
                files = sorted((root / f"heads/openvibe/head-{head}").glob("*.edf"))
                first = open_recording(files[0], config=RecordingConfig(unit="uV"))
                trials = _cut(files[1:], HAND_OR_REST, unit="uV")
                order = [first.channels.index(channel) for channel in trials.channels]
                stream = first.read(0, round((COMMANDS_S + LEAD_S) * first.sfreq_hz))[:, order]
                yield DataSet(
                    f"openvibe, head {head}", _cut(files, HAND_OR_REST, unit="uV"), IMAGERY_HZ, stream, trials
                )


def _cut(files: list[Path], events: dict[str, tuple[str, ...]], unit: str = "") -> Epochs:
    trials = TrialsConfig(window_ms=IMAGERY_MS, reject_uv=0, flat_uv=0)
    config = replace(
        _recipe("csp"), signal=SignalConfig(), events=events, trials=trials, recording=RecordingConfig(unit=unit)
    )
    return cut_recordings(files, config, stream=None)[0]


def _recipe(name: str) -> TrainConfig:
    return load_config(TrainConfig, find_config(name))


def _config_of(data: DataSet, recipe: str, overrides: dict[str, object]) -> TrainConfig:
    config = _recipe(recipe)
    config = replace(config, signal=SignalConfig(), fit=replace(config.fit, **overrides))
    return replace(config, network=replace(config.network, band_hz=data.band_hz)) if data.band_hz else config


def measure(data: DataSet, config: TrainConfig, *, n_folds: int, every: int) -> str:
    """Return a row of the table: the accuracy without a fault, and what each fault costs in points."""
    epochs, n_channels = data.epochs, len(data.epochs.channels)
    n_lead = -(-round(LEAD_S * epochs.sfreq_hz) // epochs.n_samples)  # trials
    clean, n_right, n_undecided = 0, np.zeros((len(FAULTS), n_channels), int), 0
    picked = range(0, n_channels, every)
    for fold in splits(epochs, EvaluationConfig(folds=n_folds), seed=0):
        others, held = epochs.select(fold.fit_on), epochs.select(fold.score_on)
        decoder = fitted(others, config)
        lead_uv = others.x_uv[:n_lead].reshape(-1, n_channels)
        clean += int(decide_trials(decoder, lead_uv, held, "mask").right.sum())
        for i, fault in enumerate(FAULTS):
            for k in picked:
                tally = decide_trials(decoder, lead_uv, held, "mask", (k, fault))
                n_right[i, k] += int(tally.right.sum())
                n_undecided += tally.n_undecided
    loss = 100 * (clean - n_right[:, list(picked)]) / len(epochs)  # (n_faults, n_picked) points
    each = " | ".join(f"{row.mean():.1f} / {row.max():.1f}" for row in loss)
    worst = epochs.channels[list(picked)[int(loss.max(axis=0).argmax())]]
    share = n_undecided / (len(epochs) * loss.size)
    return f"{n_channels} | {clean / len(epochs):.3f} | {each} | {worst} | {100 * share:.1f} %"


def measure_commands(data: DataSet, config: TrainConfig, *, every: int) -> str:
    """Return a row of the table: the commands per minute without a fault, and with each."""
    assert data.stream_uv is not None
    assert data.stream_trials is not None
    decoder = fitted(data.stream_trials, config)
    clean = count_commands(decoder, data.stream_uv)
    found = []
    for fault in FAULTS:
        streams = (
            put_fault(data.stream_uv, k, fault, sfreq_hz=data.epochs.sfreq_hz)
            for k in range(0, len(data.epochs.channels), every)
        )
        counts = [count_commands(decoder, x_uv) for x_uv in streams]
        found.append(f"{np.mean(counts):.0f} / {max(counts)}")
    return f"{clean} | " + " | ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["synthetic", "competition", "s001", "openvibe"])
    parser.add_argument("--recipes", nargs="+", default=["closed-form"])
    parser.add_argument("--drop", nargs="+", type=float, help="values of fit.drop_electrodes, by default the recipe's")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--commands", action="store_true", help="count commands instead of right decisions")
    args = parser.parse_args()
    faults = " | ".join(FAULTS)
    head = f"clean | {faults}" if args.commands else f"channels | clean | {faults} | worst | undecided"
    print(f"| data | recipe | drop | {head} |", flush=True)
    print("|---" * (head.count("|") + 4) + "|", flush=True)
    for data in data_sets(args.data, args.sets):
        if args.commands and data.stream_uv is None:
            continue
        for recipe in args.recipes:
            for drop in args.drop or [None]:
                config = _config_of(data, recipe, {} if drop is None else {"drop_electrodes": drop})
                if args.commands:
                    row = measure_commands(data, config, every=args.every)
                else:
                    row = measure(data, config, n_folds=args.folds, every=args.every)
                print(f"| {data.name} | {recipe} | {'default' if drop is None else drop} | {row} |", flush=True)


if __name__ == "__main__":
    main()
