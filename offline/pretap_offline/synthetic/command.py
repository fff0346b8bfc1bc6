"""A synthetic subject: 28 channels of plausible EEG with known left and right taps. Used by ``pretap simulate``.

`pretap_offline.synthetic.head` simulates the signal; this module turns it into recordings, trials and files.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pretap.errors import UsageError
from pretap.extras import import_extra
from pretap.files import check_writable, replacing, write_text, write_whole, writing
from pretap.recordings.competition import CHANNELS, CLASSES, LABELS_NAME, SYNTHETIC_NAME, WINDOW_END_MS, WINDOW_S
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import make_info
from pretap_offline.synthetic.head import LAST_TAP_S, MIN_SFREQ_HZ, Head, Plan, build_head, draw_plan, simulate_uv

_MAT_HEADER = b"MATLAB 5.0 MAT-file, synthetic subject of pretap"


# -- recordings and trials -----------------------------------------------------------------------------------------


def _draw(*, seed: int, session: int, n_seconds: float, sfreq_hz: float) -> tuple[Head, Plan, np.random.Generator]:
    """Return the head, the taps of the session (each on a sample), and the random generator of its noise."""
    if not (np.isfinite(sfreq_hz) and sfreq_hz >= MIN_SFREQ_HZ):
        raise UsageError(f"Expected a sampling rate of at least {MIN_SFREQ_HZ:g} Hz, got {sfreq_hz:g}.")
    if seed < 0 or session < 0:
        raise UsageError(f"Expected seed and session of 0 or more, got seed {seed}, session {session}.")
    plan = draw_plan(np.random.default_rng([seed, 1, session]), n_seconds)
    plan = replace(plan, taps_s=np.rint(plan.taps_s * sfreq_hz) / sfreq_hz)
    return build_head(np.random.default_rng([seed, 0])), plan, np.random.default_rng([seed, 2, session])


def simulate_raw(*, seed: int, n_seconds: float, sfreq_hz: float = 1000.0, session: int = 0) -> Any:
    """Simulate a continuous recording of one synthetic head.

    Parameters
    ----------
    seed
        Seed of the head: positions, orientations, amplitudes and frequencies of its sources.
    n_seconds
        Duration. Taps come about once a second from 2 s on, with a rest of 5 to 10 s about every half minute.
    sfreq_hz
        Sampling rate, at least 80 Hz.
    session
        Number of the session. Each session of a head has its own taps and noise.

    Returns
    -------
    mne.io.RawArray
        The competition's 28 channels, referenced to Fpz, in volts as usual in MNE, with the annotations ``tap/left``
        and ``tap/right`` (on a sample, no duration) and ``rest`` (with a duration). Equal arguments produce equal
        samples, bit for bit on one machine.
    """
    if not (np.isfinite(n_seconds) and n_seconds >= 1):
        raise UsageError(f"Expected a duration of at least 1 second, got {n_seconds:g}.")
    head, plan, rng = _draw(seed=seed, session=session, n_seconds=n_seconds, sfreq_hz=sfreq_hz)
    x_uv = simulate_uv(head, plan, rng, sfreq_hz=sfreq_hz, n_samples=round(n_seconds * sfreq_hz))
    import mne

    info = make_info(CHANNELS, sfreq_hz=sfreq_hz)
    info["subject_info"] = {"his_id": f"synthetic-{seed}"}
    raw = mne.io.RawArray(x_uv * 1e-6, info, verbose="error")
    onsets_s = [*plan.taps_s.tolist(), *(onset_s for onset_s, _ in plan.rests_s)]
    durations_s = [0.0] * len(plan.taps_s) + [duration_s for _, duration_s in plan.rests_s]
    texts = [f"tap/{CLASSES[hand]}" for hand in plan.hands] + ["rest"] * len(plan.rests_s)
    return raw.set_annotations(mne.Annotations(onsets_s, durations_s, texts), verbose="error")


def simulate_epochs(
    *, seed: int, n_train: int, n_test: int, sfreq_hz: float = 1000.0, session: int = 0
) -> tuple[Epochs, Epochs]:
    """Simulate trials like the competition's, cut from one continuous recording and in its order.

    Each trial is the 0.5 s that end 130 ms before a tap, in microvolts rounded to 0.1, referenced to Fpz. Both parts
    have labels.

    Returns
    -------
    train, test
        `n_train` and `n_test` trials of (0.5 s * sfreq_hz, 28 channels).
    """
    if n_train < 1 or n_test < 1:
        raise UsageError(f"Expected at least one trial in each part, got {n_train} for training, {n_test} for testing.")
    n_epochs = n_train + n_test
    n_seconds = 60 + 2.0 * n_epochs  # taps are 1.3 s apart on average, with rests
    head, plan, rng = _draw(seed=seed, session=session, n_seconds=n_seconds, sfreq_hz=sfreq_hz)
    plan = Plan(plan.taps_s[:n_epochs], plan.hands[:n_epochs], ())
    n_samples = round((plan.taps_s[-1] + LAST_TAP_S) * sfreq_hz)
    x_uv = simulate_uv(head, plan, rng, sfreq_hz=sfreq_hz, n_samples=n_samples)
    n_window = round(WINDOW_S * sfreq_hz)
    last = np.rint((plan.taps_s + WINDOW_END_MS / 1000) * sfreq_hz).astype(np.int64)  # (n_epochs,)
    index = last[:, None] + np.arange(1 - n_window, 1)  # (n_epochs, n_window)
    x = np.rint(x_uv.T[index] * 10) / 10  # (n_epochs, n_window, n_channels)
    both = Epochs(
        x_uv=x.astype(np.float32),
        labels=plan.hands,
        classes=CLASSES,
        channels=CHANNELS,
        sfreq_hz=float(sfreq_hz),
        window_end_ms=WINDOW_END_MS,
        source=f"synthetic subject, seed {seed}" + (f", session {session}" if session else ""),
        subject=f"synthetic-{seed}",
    )
    return both.select(slice(0, n_train)), both.select(slice(n_train, n_epochs))


# -- files ---------------------------------------------------------------------------------------------------------


def write_competition_mat(path: Path, train: Epochs, test: Epochs) -> None:
    """Write trials as the competition's ``.mat``, and the labels of the test part next to it.

    The variables are the competition's (``clab``, ``x_train`` (time, channel, trial), ``y_train``, ``x_test``), and
    ``sfreq``, ``source`` and ``subject``. The labels of `test` go to ``labels_data_set_iv.txt``, one 0 or 1 per line.
    Equal trials produce equal bytes, because the date in SciPy's header is overwritten.
    """
    savemat = import_extra("scipy.io", needed_by="Writing a .mat file").savemat
    assert train.labels is not None
    assert test.labels is not None
    content = io.BytesIO()
    variables = {
        "clab": np.array([list(train.channels)], dtype=object),  # (1, n_channels) cells
        "x_train": _time_channel_trial(train),
        "y_train": train.labels.astype(np.uint8)[None, :],  # (1, n_epochs)
        "x_test": _time_channel_trial(test),
        "sfreq": train.sfreq_hz,
        "source": train.source,
        "subject": train.subject,
    }
    savemat(content, variables, do_compression=True)
    whole = content.getvalue()
    with writing(path):
        write_whole(path, _MAT_HEADER.ljust(116) + whole[116:])  # the text in the header has 116 bytes
    write_text(path.with_name(LABELS_NAME), "".join(f"{label}\n" for label in test.labels))


def _time_channel_trial(epochs: Epochs) -> NDArray[np.float64]:
    """Return (n_samples, n_channels, n_epochs) in steps of 0.1 uV, like the competition's data."""
    return np.asarray(np.rint(epochs.x_uv.transpose(1, 2, 0).astype(np.float64) * 10) / 10)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seconds", "n_seconds", default=120.0, help="Duration of the continuous recording.")
@click.option("--epochs", "as_epochs", is_flag=True, help="Write trials in the competition's .mat format instead.")
@click.option("--seed", default=0, help="Random seed of the synthetic subject.")
@click.option("--session", default=0, help="Number of the recording session of this subject.")
@click.option("--sfreq-hz", default=1000.0, help="Sampling rate in Hz.")
@click.option("--n-train", default=316, help="Number of training trials, with --epochs.")
@click.option("--n-test", default=100, help="Number of test trials, with --epochs.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.pass_context
def simulate(
    context: click.Context,
    *,
    out: Path,
    n_seconds: float,
    as_epochs: bool,
    seed: int,
    session: int,
    sfreq_hz: float,
    n_train: int,
    n_test: int,
    force: bool,
) -> None:
    """Write the EEG of a synthetic subject to OUT.

    OUT is a .fif file for a continuous recording with annotations. With --epochs, it is a directory or a .mat file in
    the competition's format.
    """
    _refuse_unused(context, as_epochs=as_epochs)
    if not as_epochs:
        _write_raw(out, seed=seed, session=session, n_seconds=n_seconds, sfreq_hz=sfreq_hz, force=force)
        return
    if out.suffix.lower() != ".mat":
        if out.suffix and not out.is_dir():
            raise UsageError(f"With --epochs, expected OUT to be a directory or to end in .mat, got {out}.")
        out = out / SYNTHETIC_NAME
    _refuse_overwriting(out, force=force)
    _refuse_overwriting(out.with_name(LABELS_NAME), force=force)
    check_writable(out)
    train, test = simulate_epochs(seed=seed, session=session, n_train=n_train, n_test=n_test, sfreq_hz=sfreq_hz)
    write_competition_mat(out, train, test)
    labels = np.concatenate([each.labels for each in (train, test) if each.labels is not None])
    click.echo(
        f"{out}: {train.source}, {n_train} + {n_test} trials of {WINDOW_S:g} s ({int(np.sum(labels == 0))} left, "
        f"{int(np.sum(labels == 1))} right), {sfreq_hz:g} Hz, {len(CHANNELS)} channels, test labels in {LABELS_NAME}"
    )


def _refuse_unused(context: click.Context, *, as_epochs: bool) -> None:
    """Refuse options of the other kind of output, which would be ignored."""
    unused = {"n_seconds": "--seconds"} if as_epochs else {"n_train": "--n-train", "n_test": "--n-test"}
    for name, flag in unused.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"{flag} has no effect {'with' if as_epochs else 'without'} --epochs: leave it out.")


def _refuse_overwriting(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{path} already exists. Choose another name, or give --force to overwrite it.")


def _write_raw(out: Path, *, seed: int, session: int, n_seconds: float, sfreq_hz: float, force: bool) -> None:
    if not out.name.endswith(".fif"):
        raise UsageError(f"Expected OUT to end in _raw.fif, _eeg.fif or .fif, got {out}. For trials, give --epochs.")
    _refuse_overwriting(out, force=force)
    check_writable(out)
    raw = simulate_raw(seed=seed, session=session, n_seconds=n_seconds, sfreq_hz=sfreq_hz)
    with writing(out), replacing(out) as partial:
        raw.save(partial, verbose="error")
    texts = list(raw.annotations.description)
    click.echo(
        f"{out}: synthetic subject, seed {seed}{f', session {session}' if session else ''}, {raw.times[-1]:.0f} s, "
        f"{texts.count('tap/left')} taps left, {texts.count('tap/right')} right, {texts.count('rest')} rests, "
        f"{sfreq_hz:g} Hz, {len(CHANNELS)} channels"
    )
