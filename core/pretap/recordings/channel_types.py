"""The rule that decides which channels of a recording are EEG, and the reasons for leaving out the others.

Used by the readers of every format. The evidence is the type in the file, the label and the unit. A type ``eeg`` proves
nothing: MNE gives it to every channel of an EDF file, and many XDF recorders to every channel of their amplifier.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.signal.channels import electrode_names, unit_factor

_ELECTRODE = re.compile(  # the 10-5 system (Oostenveld & Praamstra 2001), earlobes and mastoids
    r"(N|FP|AFP?|AFF|F|FF[TC]|F[TC]|FTT|FCC|T|TTP|C|CCP|[TC]P|TPP|CPP|P|PPO|POO?|O|OI|I)(Z|\d{1,2})H?|[AM][12]"
)
_EXTERNAL = re.compile(r"EXG\d{1,2}")  # the sockets beside a BioSemi cap: eyes, mastoids, muscles
_ECG_LEAD = re.compile(r"M?L?I{1,3}|AV[RLF]|V[1-6]")  # these may also number the channels of a file without a cap
_PREFIX = re.compile(r"^(EEG|POL)[ _:-]+")
_WORD = re.compile(r"[A-Z0-9]+")

# What a channel is if a word of its label or type, or all its words joined, have this form.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile("|".join(patterns.split())))
    for kind, patterns in (
        (
            "EOG",
            r"[A-Z]{0,2}EOG[A-Z]*\d* [UL]?[HV]EO[LRUD]?\d? [LR]OC [LR][UL]C [LIS]O[12] [LR]?IO EYES? EYEGAZE GAZE.* "
            r"PUPIL.*",
        ),
        ("ECG", r"[A-Z]?E[CK]G[A-Z]*\d* HRV? HEART.* CARDIO.*"),
        ("EMG", r"[A-Z]{0,3}EMG[A-Z]*\d* CHIN.* [LR]?LEG[LR]?\d* PLM[LR]?\d* [LR]AT MASSETER TIB(IALIS)?"),
        (
            "respiration",
            r"RESP(?!ONSE).* BREATH.* .*FLOW NASAL NAF CANNULA.* PTAF THERM.* THO(R.*)? VTH ABDO?(MEN|MINAL)? VAB RIP "
            r"CHEST SNOR.* EFFORT BELT CPAP (ET)?CO2 N?PRES(S(URE)?)?",
        ),
        ("temperature", r"(BODY|SKIN)?TEMP(ERATURE)?\d*"),
        ("skin conductance", r"GSR\d* EDA\d* SC[RL] GALVANIC SKIN.*"),
        (
            "motion",
            r"ACC[XYZ]?\d* ACCEL.* GYRO?[XYZ]?\d* GYROSCOPE.* MAG[XYZ]? MAGNETOMETER.* IMU\d* QUAT.* [XYZ]DIR FORCE\d* "
            r"MOT(ION)?.* POS POSITION.* BODYPOS.* TILT ROT",
        ),
        ("pulse", r"PULSE.* PLETH?.* PPG.* BVP S[AP]O2 O?SAT OXIM.*"),
        (
            "trigger",
            r"TRIG.* TRG\d* STI\d* STIM.* STATUS DI\d* DIN\d+ DIG.* TTL\d* EVENTS? .*MARKER.* MARKS?\d* MKIDX "
            r"ANNOTATIONS? PARALLEL.* LPT\d* RESPONSES? BUTTONS? KEYS? KEYBOARD SYNC CODES?",
        ),
        (
            "counter or device state",
            r".*COUNTER CNTR? TIME .*TIMESTAMPS? CLOCK SAMPLE(S|INDEX|NUMBER) SEQ(UENCE)?.* PACKETS? PACKAGE.* "
            r"BATT?(ERY)? RSSI VALIDATION INTERPOLATED [CE]Q CW6 HIGHBIT.* SATURAT.* IMPEDANCES? SAW RAMP",
        ),
        ("band power", r"POW(ER)? BANDPOWER DELTA THETA ALPHA (LOW|HIGH)?(BETA|GAMMA)[LH]?"),
        ("photodiode or sound", r"PHOTO.* DIODE\d* PHOTIC LED LIGHTS?\d* LUX AUDIO\d* MIC\d* MICROPHONE SOUND.*"),
        ("auxiliary input", r"AUX.* ERG\d* BIP\d* DC\d+ ANALOG.* MISC\d* IBI BURSTS SUPPR"),
    )
)

_OTHER_TYPES = frozenset((  # of MNE, whatever the words above say
    "bio", "chpi", "csd", "dipole", "exci", "fnirs_cw_amplitude", "fnirs_fd_ac_amplitude", "fnirs_fd_phase", "fnirs_od",
    "gof", "grad", "hbo", "hbr", "ias", "mag", "ref_meg", "syst",
))  # fmt: skip
_NOT_VOLTS = frozenset((
    "%", "percent", "degc", "°c", "ºc", "celsius", "degf", "k", "g", "mg", "m/s2", "m/s^2", "m/s²", "deg/s", "°/s",
    "dps", "rad/s", "us", "µs", "μs", "s", "ms", "ns", "sec", "ohm", "kohm", "ohms", "kohms", "bpm", "hz", "lux", "pa",
    "hpa", "kpa", "mmhg", "cmh2o", "l/s", "l/min", "n", "nm", "kg", "t", "ut", "gauss", "px", "pixel", "pixels", "mm",
    "cm", "m", "rad", "deg",
))  # fmt: skip
_NO_UNIT = frozenset((  # evidence only against a channel that is not called like an electrode, beside others in volts
    "n/a", "na", "none", "a.u.", "au", "bool", "boolean", "codes", "code", "count", "counts", "integer", "int",
    "unitless", "index",
))  # fmt: skip


def kind_of(text: str) -> str:
    """Return what a label or type names other than EEG, such as ``EOG`` or ``trigger``; empty if it names nothing.

    ``C3-EOG`` is the electrode C3 with another reference, and ``EOG-C3`` is not.
    """
    name = _PREFIX.sub("", text.strip().upper())
    words = _WORD.findall(name)
    if not words or _ELECTRODE.fullmatch(words[0]):
        return ""
    words.append("".join(words))  # "Sample Index", "x_dir"
    return next((kind for word in words for kind, pattern in _KINDS if pattern.fullmatch(word)), "")


def choose_eeg_channels(
    labels: Sequence[str],
    *,
    types: Sequence[str],
    units: Sequence[str],
    source: str,
    read: Callable[[int], NDArray[Any]],
    eeg: Sequence[str] = (),
    without: str = "",
) -> tuple[list[int], tuple[tuple[str, str], ...]]:
    """Return the indices of the EEG channels, one of each electrode, and the channels left out as (name, reason).

    The other parameters and the errors are those of `find_eeg_channels` and `drop_twins`.
    """
    kept, left_out = find_eeg_channels(labels, types=types, units=units, source=source, eeg=eeg, without=without)
    kept, twins = drop_twins(kept, labels, read=read, eeg=eeg)
    return kept, left_out + twins


def find_eeg_channels(
    labels: Sequence[str],
    *,
    types: Sequence[str],
    units: Sequence[str],
    source: str,
    eeg: Sequence[str] = (),
    without: str = "",
) -> tuple[list[int], tuple[tuple[str, str], ...]]:
    """Return the indices of the EEG channels, and the channels left out as (name, reason).

    Parameters
    ----------
    labels, types, units
        One of each per channel, as the file has them; empty if it has none.
    source
        The name of the recording in messages.
    eeg
        Patterns of `RecordingConfig.eeg`: channels that are EEG whatever the rule says.
    without
        The trigger channel whose codes are the events. It is never EEG.

    Raises
    ------
    DataError
        If no channel is EEG, or a pattern fits no label.
    """
    if unknown := [pattern for pattern in eeg if not any(matches_label(name, [pattern]) for name in labels)]:
        raise DataError(
            f"{source} has no channel {unknown[0]!r}, which the setting `eeg` names. It has {', '.join(labels[:40])}."
        )
    is_asked = [matches_label(name, eeg) for name in labels]
    has_volts = any(unit_factor(unit) is not None for unit in units)
    reasons = [_reason(*each) for each in zip(labels, types, units, strict=True)]
    has_eeg = any(kind.lower() == "eeg" and not why for kind, why in zip(types, reasons, strict=True))

    def why_not(i: int) -> str:
        if without and labels[i] == without:
            return "it has the cues"
        if is_asked[i]:
            return ""
        return reasons[i] or _reason_beside(labels[i], types[i], units[i], labels, has_eeg=has_eeg, has_volts=has_volts)

    kept, left_out = [], []
    for i, label in enumerate(labels):
        if why := why_not(i):
            left_out.append((label or f"ch{i + 1}", why))
        else:
            kept.append(i)
    if not kept:
        listed = ", ".join(f"{name} ({why})" for name, why in left_out[:40]) or "no channels at all"
        raise DataError(
            f"{source} has no EEG channels, only {listed}. If some of them are EEG, name them: --eeg LABEL, or "
            "[recording] eeg = [...] in the recipe."
        )
    return kept, tuple(left_out)


def drop_twins(
    kept: Sequence[int], labels: Sequence[str], *, read: Callable[[int], NDArray[Any]], eeg: Sequence[str] = ()
) -> tuple[list[int], tuple[tuple[str, str], ...]]:
    """Return the indices without those whose electrode another channel also has, such as T3 beside T7, and these.

    The channel that the patterns `eeg` name stays, or else the one with a signal, the one with the modern name, or the
    first.
    `read` returns all samples of a channel; it is called for channels of the same electrode only.
    """
    names = electrode_names([labels[i] for i in kept])
    electrodes = {i: name for i, name in zip(kept, names, strict=True) if is_electrode(labels[i])}

    n_of = Counter(electrodes.values())

    def rank(i: int) -> tuple[bool, bool, bool, int]:
        is_asked = matches_label(labels[i], eeg)
        is_dead = n_of[electrodes[i]] > 1 and not _has_signal(read(i))
        return not is_asked, is_dead, labels[i].upper() != electrodes[i], i

    first: dict[str, int] = {}
    for i in sorted(electrodes, key=rank):
        first.setdefault(electrodes[i], i)
    twins = {i: first[name] for i, name in electrodes.items() if first[name] != i}
    left_out = tuple((labels[i], f"the same electrode as {labels[other]}") for i, other in twins.items())
    return [i for i in kept if i not in twins], left_out


def _has_signal(x: NDArray[Any]) -> bool:
    """Whether the finite values of a channel (n_samples,) are not all the same."""
    finite = x[np.isfinite(x)]
    return bool(finite.size) and bool(finite.min() < finite.max())


def matches_label(label: str, patterns: Sequence[str]) -> bool:
    """Whether a label fits one of the patterns of `RecordingConfig.eeg`, in upper or lower case."""
    return any(fnmatch.fnmatchcase(label.lower(), pattern.lower()) for pattern in patterns)


def _reason(label: str, kind: str, unit: str) -> str:
    """Return why one channel is not EEG, by its type, its label or its unit; empty if nothing speaks against it."""
    if kind.lower() in _OTHER_TYPES:
        return f"its type is {kind}"
    if kind.lower() != "misc" and (found := kind_of(kind)):  # `misc` is also the type of channels that got none
        return f"{found} by its type"
    if found := kind_of(label):
        return f"{found} by its label"
    if unit.strip().lower() in _NOT_VOLTS:
        return f"its unit is {unit.strip()}, not a voltage"
    return ""


def _reason_beside(label: str, kind: str, unit: str, labels: Sequence[str], *, has_eeg: bool, has_volts: bool) -> str:
    """Return why a channel is not EEG if other channels are; empty if nothing speaks against it."""
    if has_eeg and kind and kind.lower() != "eeg":
        return f"its type is {kind}"
    if has_volts and unit.strip().lower() in _NO_UNIT and not is_electrode(label):
        return f"its unit is {unit.strip()}, not a voltage"
    if not any(map(is_electrode, labels)):
        return ""
    word, why = _first_word(label), ""
    if _EXTERNAL.fullmatch("".join(_WORD.findall(label.upper()))):
        why = "an external electrode by its label"
    elif _ECG_LEAD.fullmatch(word):
        why = "ECG by its label"
    elif word in ("E1", "E2") and "E3" not in map(_first_word, labels):  # of a sleep recording; a net of EGI has E3
        why = "EOG by its label"
    return why


def is_electrode(label: str) -> bool:
    """Whether a label names an electrode of the 10-5 system: ``C3``, ``EEG C3-Ref``."""
    return bool(_ELECTRODE.fullmatch(_first_word(label)))


def _first_word(label: str) -> str:
    words = _WORD.findall(_PREFIX.sub("", label.strip().upper()))
    return words[0] if words else ""
