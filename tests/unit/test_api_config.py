"""What doctor reads of liblsl's configuration."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pretap_realtime.lsl.api_config import find_configuration, isolation, notes, settings


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
