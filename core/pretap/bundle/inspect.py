"""``pretap inspect``: describes a bundle and runs its self-test."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click
import msgspec
import numpy as np

from pretap.bundle.advice import advice
from pretap.bundle.file import Bundle, read_bundle, self_test
from pretap.bundle.manifest import Manifest, describe_chance
from pretap.bundle.shipped import BEST
from pretap.completion import complete_bundle
from pretap.decoder.decoder import AUTO, ENGINES, Decoder
from pretap.errors import BundleError, UsageError
from pretap.files import write_json
from pretap.options import json_option
from pretap.signal.statistics import Statistics
from pretap.spelling import counted
from pretap.terminal import plain

_HOP_S = 0.05


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_bundle)
@json_option("Write the manifest and the results of the self-tests to this file.")
def inspect(bundle: Path, *, json_file: Path | None) -> None:
    """Describe BUNDLE and run its self-test on every engine that is installed.

    BUNDLE is a file, or the name of a shipped bundle.
    """
    content = read_bundle(bundle)
    results = {engine: _self_test(content, engine) for engine in ENGINES}
    errors = {engine: result for engine, result in results.items() if not isinstance(result, str)}
    tolerance = content.manifest.self_test_tolerance
    streams, statistics = _streams(content), Statistics.from_tensors(content.tensors)
    if json_file is not None:
        report = {
            "sha256": content.sha256,
            "self_test": {engine: errors.get(engine) for engine in ENGINES},
            "streams": streams,
            "streaming": msgspec.to_builtins(content.manifest.streaming),
            "statistics": None if statistics is None else _statistics_json(statistics),
            "manifest": msgspec.to_builtins(content.manifest),
        }
        write_json(json_file, report)
    click.echo(plain(_table(content.manifest, sha256=content.sha256)))
    click.echo(f"signal        {_signal(statistics, content.manifest.channels)}")
    for engine, result in results.items():
        verdict = result if isinstance(result, str) else f"{result:.1e} (allowed {tolerance:.1e})"
        click.echo(f"self-test     {engine}: {verdict}")
    click.echo(f"live          {streams}")
    failed = [engine for engine, error in errors.items() if not error <= tolerance]
    if failed:
        raise BundleError(f"{bundle}: the self-test failed on {', '.join(failed)}. Do not use it; train it again.")


def engine_errors() -> dict[str, float]:
    """Return the error of each available engine, in the self-test of the default bundle."""
    bundle = read_bundle(BEST)
    results = {engine: _self_test(bundle, engine) for engine in ENGINES}
    return {engine: result for engine, result in results.items() if not isinstance(result, str)}


def _self_test(bundle: Bundle, engine: str) -> float | str:
    """Return the error of an engine, or why it is not available."""
    if engine == "torch" and importlib.util.find_spec("torch") is None:
        return "not installed"
    try:
        return self_test(Decoder(bundle.manifest, bundle.tensors, engine=engine), bundle)
    except UsageError as error:
        return f"not available for this bundle: {error}"


def _streams(bundle: Bundle) -> str:
    """Describe how a stream is decoded by default, every 50 ms, and why."""
    manifest = bundle.manifest
    hop = max(1, round(_HOP_S * manifest.sfreq_hz))
    decoder = Decoder(manifest, bundle.tensors, engine=AUTO)
    return f"{decoder.stream(hop).describe()} (a decision each {counted(hop, 'sample')})"


def _signal(statistics: Statistics | None, names: tuple[str, ...]) -> str:
    """Describe the training signal, with which the live service compares a stream."""
    if statistics is None:
        return "no statistics, so a live stream's scale, unit and cap are not compared with the training's"
    scale_uv = statistics.scale_uv
    smallest, largest = int(scale_uv.argmin()), int(scale_uv.argmax())
    return (
        f"standard deviation in 0.25 s {np.median(scale_uv):.3g} uV, from {scale_uv[smallest]:.3g} ({names[smallest]}) "
        f"to {scale_uv[largest]:.3g} ({names[largest]}); in two of three blocks within a factor of "
        f"{10 ** float(np.median(statistics.spread)):.2g} of that"
    )


def _statistics_json(statistics: Statistics) -> dict[str, object]:
    return {"scale_uv": statistics.scale_uv.tolist(), "spread_log10": statistics.spread.tolist()}


def _table(manifest: Manifest, *, sha256: str) -> str:
    training = manifest.training
    window_ms = 1000 * manifest.n_window / manifest.sfreq_hz
    resampled = f", resampled from {training.resampled_from_hz:g} Hz" if training.resampled_from_hz is not None else ""
    rows = {
        "classes": ", ".join(manifest.classes),
        "channels": f"{len(manifest.channels)}: {' '.join(manifest.channels)}",
        "window": (
            f"{manifest.n_window} samples at {manifest.sfreq_hz:g} Hz ({window_ms:g} ms), "
            f"ends {manifest.window_end_ms:+g} ms from the event"
        ),
        "scaling": _scaling(manifest),
        "network": f"{manifest.describe_network()}, {manifest.streaming.n_parameters} parameters",
        **({} if manifest.temperature == 1.0 else {"temperature": f"{manifest.temperature:.3g}"}),
        "a decision": _cost(manifest),
        "trained on": f"{counted(training.n_trials, 'trial')} of {training.data}{resampled}, seed {training.seed}",
        **_others(manifest),
        **_accuracy(manifest),
        "created": f"{manifest.created} with {', '.join(f'{k} {v}' for k, v in sorted(manifest.versions.items()))}",
        "sha256": sha256,
        "pin it": f'[decode] bundle_sha256 = "{sha256}"',
    }
    return "\n".join(f"{name:<13} {text}" for name, text in rows.items())


def _scaling(manifest: Manifest) -> str:
    scaling = manifest.scaling
    steps = [f"{scaling.reference} reference"] if scaling.reference != "none" else []
    if scaling.n_taps:
        steps.append(f"low-pass of {scaling.n_taps} taps to {manifest.sfreq_hz / scaling.decimate:g} Hz")
    steps += [f"baseline of {counted(scaling.n_baseline, 'sample')}"] if scaling.n_baseline else []
    steps += [f"means of {scaling.n_block} samples"] if scaling.n_block > 1 else []
    return ", ".join([*steps, f"divided by {scaling.divide_uv:g} uV"])


def _cost(manifest: Manifest) -> str:
    streaming = manifest.streaming
    direction = "forward-only" if streaming.forward_only else "not forward-only"
    return f"{direction}, from {streaming.n_window} samples, {streaming.multiply_adds} multiply-adds"


def _others(manifest: Manifest) -> dict[str, str]:
    others = manifest.training.others
    listed = ", ".join(f"{each.data} ({counted(each.n_trials, 'trial')})" for each in others)
    return {"pooled with": listed} if others else {}


def _accuracy(manifest: Manifest) -> dict[str, str]:
    metrics = manifest.metrics
    if metrics is None:
        return {"accuracy": "not measured"}
    return {
        "accuracy": f"{metrics.describe_accuracy()}; {metrics.protocol}",
        "chance": describe_chance(metrics.chance, metrics.p_chance),
        "verdict": advice(  # not the stored one: rules for advice become stricter, and shipped bundles stay
            metrics.accuracy,
            n_trials=metrics.n_trials,
            interval95=metrics.accuracy_ci95,
            chance=metrics.chance,
            p_chance=metrics.p_chance,
        ),
        **({"findings": " ".join(metrics.findings)} if metrics.findings else {}),
    }
