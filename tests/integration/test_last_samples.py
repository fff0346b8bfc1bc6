"""What came before a source went is given, though liblsl says of the call that finds it gone that nothing came.

What nobody had pulled when it went cannot be had any more: liblsl gives nothing of a source that is gone.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pretap_realtime import lsl

COMES_S = 0.2  # a sample is there within a millisecond


@pytest.mark.parametrize("n_wanted", [1, 25])
def test_a_pull_that_waits_for_more_samples_gives_those_that_came(kit, n_wanted):
    amp, x = kit.Amplifier(), kit.eeg(10)
    inlet = lsl.Inlet(kit.until(lambda: lsl.find({"name": amp.name}), amp.name)[0])
    inlet.open(order=range(4), factors=[1] * 4)
    amp.wait_for_reader()

    def send_and_go():
        amp.push(x)
        threading.Event().wait(COMES_S)
        amp.end()

    sender = threading.Thread(target=send_and_go)
    sender.start()
    chunks = [inlet.pull(10.0, n_wanted)]
    while len(chunks) < len(x) and sum(len(chunk.t_s) for chunk in chunks) < len(x):
        chunks.append(inlet.pull(10.0, n_wanted))
    with pytest.raises(lsl.ConnectionLostError):
        inlet.pull(10.0)
    sender.join()
    np.testing.assert_array_equal(np.concatenate([chunk.x_uv for chunk in chunks]), x)
