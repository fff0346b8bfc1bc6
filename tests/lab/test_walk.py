"""docs/lab.md, command by command, on the computers that it draws."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from real_lsl import Child, until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lab.md"
BLOCK = re.compile(r"^```(\S+) ([\w.-]+)( \w+)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLOCKS_S = {"amp": 5000, "task": 90_000, "decoder": 0, "game": 40_000}


def test_the_page_leads_to_a_session_that_scores_as_it_was(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hosts = {f"{name}-pc": lab.host(name, clock_s=clock_s) for name, clock_s in CLOCKS_S.items()}
    running: dict[str, list[Child]] = {name: [] for name in hosts}
    said: dict[str, str] = {}
    for language, where, how, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "ini":
            for host in hosts.values():
                host.config.write_text(text + "[log]\nlevel = -3\n")
        elif language == "python":
            Path(where).write_text(text)
        elif how == " stop":
            child = running[where].pop()
            until(lambda: (tmp_path / "monday" / "decisions.jsonl").read_text().count('"tap/') >= 5, "five answers")
            assert child.interrupt() == 0
            said["pretap serve"] = child.said
        else:
            words = shlex.split(text)
            command = [sys.executable, *(["-m", "pretap"] if words[0] == "pretap" else []), *words[1:]]
            child = hosts[where].start(*command)
            running[where].append(child)
            if how == " background":
                begins = {"replay": "28 channels", "serve": "RUNNING", "monitor": "The monitor is at"}
                child.wait_for(begins.get(words[1], ""))
            else:
                assert child.wait() == 0, child.said
                said[" ".join(words[:2])] = running[where].pop().said
    assert re.search(r"amp-pc, 10\.77\.0\.1: its clock is [45],[09][\d.]+ s ahead", said["pretap doctor"])
    assert "'task' (type Markers" in said["pretap doctor"]
    live = re.search(r"(\d+) decisions", said["pretap serve"])[1]
    assert f"{live} decisions; " in said["pretap score"]
