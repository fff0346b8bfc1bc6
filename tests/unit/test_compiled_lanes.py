"""The compiled library: its variants agree, its tanh is accurate, and a process may end while it computes."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_cases import ATOL, VARIANTS, cases, examples, make_manifest, needs_library, window
from pretap.decoder.compiled import CompiledLanes
from pretap.decoder.plan import make_steps
from pretap.networks import LrpErdLstmSpec, LstmSpec
from pretap.signal.scaling import FIR, Scaling


@needs_library
@pytest.mark.parametrize("kind", [LstmSpec, LrpErdLstmSpec])
@given(data=st.data())
@examples(25)
def test_lanes_equal_windows_bit_for_bit_in_every_variant_and_variants_agree_within_1e_6(kind, data):
    case = data.draw(cases(kind, max_window=60))
    members = [case.member(k) for k in range(case.manifest.n_members)]
    parts = case.manifest, make_steps(case.manifest, case.tensors.get(FIR)), members
    by_variant = []
    for variant in VARIANTS:
        alone = CompiledLanes(*parts, hop=case.manifest.n_window, variant=variant)
        lanes = CompiledLanes(*parts, hop=case.hop, variant=variant)
        probs = []
        for start, stop in pairwise(sorted({0, *case.cuts, len(case.x_uv)})):
            probs += list(lanes.process(case.x_uv[start:stop])[1])
        starts = range(0, len(case.x_uv) - case.manifest.n_window + 1, case.hop)
        expected = []
        for start in starts:
            alone.reset()
            expected.append(alone.process(window(case, start))[1][0])
        np.testing.assert_array_equal(probs, expected)
        by_variant.append(np.array(probs))
    for one in by_variant:
        np.testing.assert_allclose(one, by_variant[0], rtol=0, atol=ATOL)


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
def test_tanh_is_accurate_to_a_few_units_in_the_last_place(variant):
    """With open input and output gates, one unit computes tanh(tanh(x)) of one sample."""
    tensors = {
        "lstm.0.weight_ih": np.array([[0], [0], [1], [0]], np.float32),
        "lstm.0.weight_hh": np.zeros((4, 1), np.float32),
        "lstm.0.bias": np.array([60, 0, 0, 60], np.float32),
        "dense.weight": np.array([[0], [1]], np.float32),
        "dense.bias": np.zeros(2, np.float32),
    }
    manifest = make_manifest(
        LstmSpec(hidden=(1,)), n_window=1, n_channels=1, n_classes=2, scaling=Scaling(divide_uv=1.0)
    )
    lanes = CompiledLanes(manifest, make_steps(manifest, None), [tensors], hop=1, variant=variant)
    sizes = np.concatenate([np.geomspace(1e-6, 30, 4000), [1e5, 1e20, 3e38]]).astype(np.float32)
    x = np.concatenate([sizes, -sizes, [0.0]]).astype(np.float32)
    probs = lanes.process(x[:, None])[1]  # (n, 2)
    shown = np.log(probs[:, 1] / probs[:, 0])
    expected = np.tanh(np.tanh(x.astype(np.float64)))
    np.testing.assert_allclose(shown, expected, rtol=8 * 2**-24, atol=1e-15)


SCRIPT = """
import threading, time
import numpy as np, pretap
decoder = pretap.load("ensemble-1000hz", engine="compiled")
x_uv = np.random.default_rng(0).normal(0, 20, (32, len(decoder.manifest.channels))).astype(np.float32)
def advance(stream):
    while True:
        stream.process(x_uv)
        stream.catch_up()
for _ in range(3):
    threading.Thread(target=advance, args=(decoder.stream(1),), daemon=True).start()
time.sleep(0.1)
"""


@needs_library
def test_a_process_may_end_while_a_daemon_thread_advances_its_lanes():
    """`catch_up` holds no lock, so it may run while the interpreter exits. MALLOC_PERTURB_ overwrites freed memory."""
    environment = os.environ | {"MALLOC_PERTURB_": "165"}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, timeout=500, check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")  # an error in a thread would not change the exit code
