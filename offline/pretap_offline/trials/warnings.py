"""Warnings about trials and electrodes that were lost in cutting. Used by `cut_trials`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pretap_offline.trials.hand_areas import nearest_to_hands
from pretap_offline.trials.report import FileReport

_MAX_LOST = 0.3


def loss_warnings(
    channels: Sequence[str], dropped: Sequence[tuple[str, str]], files: Sequence[FileReport]
) -> tuple[str, ...]:
    """Return sentences about dropped electrodes over the hand areas, and about more than 30 % lost trials.

    `channels` are kept, and `dropped` holds (name, reason).
    """
    reasons = dict(dropped)
    lost = [name for name in nearest_to_hands([*channels, *reasons]) if name in reasons]
    warnings = [
        f"{name} is over a hand area, and this decoder does without it ({reasons[name]}). Check its contact and record "
        "again: without it, the hands are hard to tell apart."
        for name in lost
    ]
    n_events = sum(sum(file.n_events) for file in files)
    n_lost = n_events - sum(sum(file.n_trials) for file in files)
    if n_lost > _MAX_LOST * n_events:
        causes: Counter[str] = Counter()
        for file in files:
            for why, n in file.dropped:
                causes[why.partition(" (")[0]] += n
        why, n = causes.most_common(1)[0]
        warnings.append(
            f"{n_lost} of {n_events} events gave no trial, {n} of them {why}. The accuracy describes the others only. "
            "Leave out the channels that the list above names (trials.exclude), mend the cause, or record again."
        )
    return tuple(warnings)
