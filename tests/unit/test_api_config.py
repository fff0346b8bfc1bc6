"""Claims about the part of liblsl's configuration that doctor and the resolver read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap_realtime.lsl.api_config import Tuning, find_configuration, isolation, notes, settings


def test_what_decides_who_is_heard_is_named():
    given_settings = settings("[lab]\n; KnownPeers = {a}\nKnownPeers = {10.0.0.7}\n[log]\nlevel = 2\nSessionID=x=y\n")
    assert given_settings == {"knownpeers": "{10.0.0.7}", "level": "2", "sessionid": "x=y"}
    assert [note.partition(":")[0] for note in notes(given_settings)] == ["knownpeers = {10.0.0.7}", "sessionid = x=y"]


def test_our_own_isolation_is_read():
    given_settings = settings(isolation())
    assert given_settings["sessionid"].startswith("pretap-")
    assert given_settings["resolvescope"] == "machine"


@given(st.text())
def test_any_text_is_read(text):
    notes(settings(text))


def test_the_variable_goes_first_then_this_folder_then_home(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "lsl_api").mkdir(parents=True)
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("LSLAPICFG")
    monkeypatch.chdir(here)
    in_home, in_here, named = home / "lsl_api" / "lsl_api.cfg", here / "lsl_api.cfg", tmp_path / "x.cfg"
    found = [find_configuration()]
    for file in (in_home, in_here, named):
        file.write_text("")
        monkeypatch.setenv("LSLAPICFG", str(named))
        found.append(find_configuration())
    assert [file and file.resolve() for file in found[1:]] == [in_home, in_here, named]


@pytest.mark.parametrize(
    "text, tuning",
    [
        ("", Tuning(0.5, 1.75)),
        ("[tuning]\nMulticastMinRTT = 1.2\n", Tuning(1.2, 2.45)),
        ("[tuning]\nContinuousResolveInterval = 60\nUnicastMinRTT = 2\n", Tuning(0.5, 62.5)),
        ("[tuning]\nMulticastMinRTT = soon\nUnicastMinRTT = nan\n", Tuning(0.5, 1.75)),
    ],
)
def test_the_times_of_queries_are_those_of_the_configuration_or_the_defaults_of_liblsl(
    tmp_path, monkeypatch, text, tuning
):
    (tmp_path / "lsl_api.cfg").write_text(text)
    monkeypatch.setenv("LSLAPICFG", str(tmp_path / "lsl_api.cfg"))
    assert Tuning.read() == tuning
