"""The unit of a file's values: the one it names, the one that is set, or microvolts if their size says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.signal.channels import unit_factor
from pretap.spelling import counted

REMEDY = 'Set the unit: --unit uV, or [recording] unit = "uV" in the recipe.'
_NO_UNIT = re.compile(r"|n/?a|none|[^a-z0-9]+v|[^a-z0-9]+", re.IGNORECASE)  # also "?V", whose micro sign is lost
_EEG_UV = (0.1, 3000.0)  # the spread of a second of EEG: a flat electrode has less, a loose one more
_POSSIBLE_UV = (1e-3, 1e5)  # beyond these, a unit that the file names is wrong
_N_SECONDS = 20
_QUARTILES_OF_SD = 1.349  # interquartile range of the normal distribution


def names_no_unit(unit: str) -> bool:
    """Whether a unit is empty or a word for none, such as ``n/a``."""
    return _NO_UNIT.fullmatch(unit.strip()) is not None


def uv_factors(
    units: Sequence[str],
    labels: Sequence[str],
    *,
    unit: str,
    read: Callable[[int, int], NDArray[Any]],
    n_samples: int,
    sfreq_hz: float,
    source: str,
) -> tuple[NDArray[np.float32], str]:
    """Return the factors (n_channels,) from the file's values to microvolts, and a note if a unit was assumed or set.

    Channels without a unit have that of the other channels, if those share one.

    Parameters
    ----------
    units, labels
        Of each channel; a unit may be empty.
    unit
        The unit that is set, and replaces those of the file; otherwise empty.
    read
        ``read(start, stop)`` returns the values (stop - start, n_channels) as they are in the file.
    n_samples, sfreq_hz
        Length and rate of the recording.
    source
        The name of the recording in messages.

    Raises
    ------
    DataError
        If a unit is not known, or is missing and the values have another size than EEG in microvolts.
    """
    factors = [unit_factor(unit or each) for each in units]
    unknown = [i for i, factor in enumerate(factors) if factor is None]
    foreign = [i for i in unknown if unit or not names_no_unit(units[i])]
    if foreign:
        raise DataError(
            f"{source}: channel {labels[foreign[0]]} has the unit {unit or units[foreign[0]]!r}: expected microvolts, "
            f"millivolts, volts or nanovolts. {REMEDY}"
        )
    spreads = _spreads(read, n_samples=n_samples, n_second=max(2, round(sfreq_hz)))  # (n_channels,)
    common = {factor for factor in factors if factor is not None}
    assumed = common.pop() if len(common) == 1 else 1.0
    uv_per_unit = np.array([assumed if factor is None else factor for factor in factors], np.float32)
    if unknown and not common and len(unknown) < len(units):
        known = next(each for each in units if unit_factor(each) is not None)
        note = f"Channels without a unit are read in {known}, as the others: {', '.join(labels[i] for i in unknown)}."
    elif unknown:
        note = _check_size(spreads[unknown], units[unknown[0]], labels[unknown[0]], source=source)
    else:
        note = _describe_unit(units, unit)
    if len(unknown) < len(units):
        note = f"{note} {_describe_size(_median(spreads * uv_per_unit))}".strip()
    return uv_per_unit, note


def _describe_unit(units: Sequence[str], unit: str) -> str:
    """Return a sentence if the unit that is set is another one than the file has; otherwise nothing."""
    replaced = [
        each.strip() for each in units if not names_no_unit(each) and unit_factor(each) != unit_factor(unit or each)
    ]
    return f"The unit is set to {unit}; the file says {replaced[0]}." if replaced else ""


def _check_size(spreads: NDArray[np.float64], unit: str, label: str, *, source: str) -> str:
    """Return a sentence on channels without a unit, which are read as microvolts; refuse values of another size."""
    spread, (low, high) = _median(spreads[spreads > 0]), _EEG_UV
    called = f"the unit {unit!r}" if unit.strip() else "no unit"
    have = f"{counted(len(spreads), 'channel has', 'channels have')} {called}. The values are read as microvolts"
    if low <= spread <= high:
        return (
            f"{have}, because they spread by {spread:.3g}, as EEG in microvolts does. If that is wrong, set "
            "the unit with --unit."
        )
    fitting = [name for name in ("V", "mV", "nV") if low <= spread * (unit_factor(name) or 0.0) <= high]
    if spread > high or fitting:
        guess = f" As {fitting[0]} they would." if fitting else ""
        raise DataError(
            f"{source}: channel {label} has {called}, and its values do not look like microvolts: they spread by "
            f"{spread:.3g}, and EEG by {low:g} to {high:g} uV.{guess} "
            + (REMEDY.replace("uV", fitting[0]) if fitting else REMEDY)
        )
    return f"{have}, although they do not vary. If that is wrong, set the unit with --unit."


def _describe_size(spread_uv: float) -> str:
    """Return a sentence if the values are too large or too small for EEG in this unit; otherwise nothing."""
    low, high = _POSSIBLE_UV
    if low <= spread_uv <= high or not spread_uv > 0:
        return ""
    return (
        f"In this unit, the channels spread by {spread_uv:.3g} uV within a second, which no EEG does. The unit may be "
        "wrong: set the right one with --unit."
    )


def _spreads(read: Callable[[int, int], NDArray[Any]], *, n_samples: int, n_second: int) -> NDArray[np.float64]:
    """Return the median spread of each channel (n_channels,) within single seconds, so that drifts do not matter."""
    starts = np.unique(np.linspace(0, max(0, n_samples - n_second), _N_SECONDS).astype(int))
    with np.errstate(invalid="ignore"):  # of infinite values
        quartiles = np.array([np.percentile(read(a, a + n_second), [25, 75], axis=0) for a in starts.tolist()])
        ranges = quartiles[:, 1] - quartiles[:, 0]  # (n_seconds, n_channels)
    return np.array([_median(each) / _QUARTILES_OF_SD for each in ranges.T])


def _median(x: NDArray[np.floating[Any]]) -> float:
    """Return the median of the finite values, or 0 if there are none."""
    finite = x[np.isfinite(x)]
    return float(np.median(finite)) if finite.size else 0.0
