"""Mistakes at the prompt: a misspelled name is corrected, and a taken port is found before the work starts."""

from __future__ import annotations

import socket

import pytest

from command_line import run


def test_a_misspelled_stream_is_suggested(start, bundle, kit):
    amp = kit.Amplifier()
    misspelled = amp.name.replace("amp", "apm")
    serve = start("serve", str(bundle), "--query", misspelled, "--wait-s", "0.5")
    assert serve.wait() == 3
    assert f"Did you mean {amp.name!r}?" in serve.said
    other = start("serve", str(bundle), "--query", "nothing like it", "--wait-s", "0.5")
    assert other.wait() == 3
    assert amp.name in other.said
    assert "Did you mean" not in other.said


@pytest.mark.parametrize("command", [("demo", "--web"), ("latency", "--page"), ("monitor",)])
def test_a_taken_port_is_refused_before_anything_else(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(*command, "--port", str(port))
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: Cannot listen on 127.0.0.1, port {port}: Address already in use. Choose another --port, or 0 for any "
        "free one.\n"
    )
    assert done.stdout == ""
