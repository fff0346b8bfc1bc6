"""The table of other systems' names: BioSemi to the letter of MNE's montages, EGI by geometry."""

import mne
import numpy as np
import pytest

from pretap.errors import StreamRefusedError
from pretap.recordings.mne_epochs import standard_montage
from pretap.signal.channels import electrode_names, match_channels, standard_names

BIOSEMI = [f"{bank}{k}" for bank in "ABCD" for k in range(1, 33)]


def directions(montage):
    """Unit vectors from the middle of the fitted sphere, by name."""
    info = mne.create_info(montage.ch_names, 1000.0, "eeg").set_montage(montage, verbose="error")
    middle = mne.bem.fit_sphere_to_headshape(info, dig_kinds="eeg", units="m", verbose="error")[1]
    at = np.array([channel["loc"][:3] for channel in info["chs"]]) - middle
    return dict(zip(montage.ch_names, at / np.linalg.norm(at, axis=1, keepdims=True), strict=True))


@pytest.mark.parametrize("n", [16, 32, 64])
def test_biosemi_caps_are_named_as_in_mne_s_montages(n):
    assert list(standard_names(BIOSEMI[:n])) == mne.channels.make_standard_montage(f"biosemi{n}").ch_names


def test_biosemi_with_extra_channels_in_any_case_is_still_known():
    labels = [*(name.lower() for name in BIOSEMI[:64]), "EXG1", "Trigger"]
    assert standard_names(labels)[12] == "C3"
    assert standard_names(labels)[-2:] == ("EXG1", "Trigger")
    assert match_channels(["C3", "Cz", "C4"], labels) == [12, 47, 49]


def test_the_name_c3_of_a_large_biosemi_cap_is_not_the_electrode_c3():
    assert [BIOSEMI[k] for k in match_channels(["C3", "Cz", "C4", "F4"], BIOSEMI)] == ["D19", "A1", "B22", "C4"]
    large, small = (directions(mne.channels.make_standard_montage(f"biosemi{n}")) for n in (128, 64))
    named = dict(zip(BIOSEMI, standard_names(BIOSEMI), strict=True))
    off = [np.degrees(np.arccos(min(1, large[b] @ small[name]))) for b, name in named.items() if name in small]
    assert len(off) == 54  # of 64
    assert max(off) <= 8
    for banks in ("ABCDE", "ABCDEFGH"):
        labels = [f"{bank}{k}" for bank in banks for k in range(1, 33)]
        with pytest.raises(StreamRefusedError, match="lacks 2 of the 2 channels"):
            match_channels(["C3", "F4"] if len(banks) > 5 else ["C3", "C4"], labels)


def test_one_label_does_not_make_a_system():
    assert standard_names(["A1", "C3", "A2"]) == ("A1", "C3", "A2")  # the earlobes
    assert electrode_names(["E36", "E104"]) == ["E36", "E104"]


# Luu & Ferree's equivalents in the 128-channel net are up to 16 degrees from the site of MNE's template.
@pytest.mark.parametrize(("n", "key", "within_deg"), [(64, "64_1.0", 8), (128, "128", 16), (256, "256", 8)])
def test_egi_electrodes_are_at_the_position_of_their_10_10_name(n, key, within_deg):
    net = directions(mne.channels.make_standard_montage(f"GSN-HydroCel-{key}"))
    head = directions(standard_montage())
    labels = [f"E{k}" for k in range(1, n + 1)]
    named = {label: name for label, name in zip(labels, standard_names(labels), strict=True) if name != label}
    assert len(named) == len(set(named.values())) >= 38
    off = {label: float(np.degrees(np.arccos(net[label] @ head[name]))) for label, name in named.items()}
    assert max(off.values()) <= within_deg
    assert {"C3", "C4", "F3", "F4", "O1", "O2"} <= set(named.values())


def test_the_vertex_of_an_egi_net_is_cz():
    labels = [*(f"E{k}" for k in range(1, 129)), "VREF"]
    assert match_channels(["C3", "Cz", "C4"], labels) == [35, 128, 103]
