"""The network against a textbook, torch against numpy, and the initialisation against Keras's definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.networks import LstmSpec, softmax
from pretap.torch_networks import LstmNetwork, one_thread

MODEST = settings(deadline=None, max_examples=30)


def network(hidden, *, n_inputs, n_classes=2, seed=0, gain=1.0):
    """A network at initial scale times `gain`, made without touching torch's global generator."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = LstmNetwork(LstmSpec(hidden=tuple(hidden)), n_steps=1, n_inputs=n_inputs, n_classes=n_classes)
        for parameter in module.parameters():
            parameter.mul_(gain)
    return module.eval()


def torch_probs(module, x):
    """float32, as the engine does: (n_steps, n_inputs) -> (n_classes,)."""
    with one_thread(), torch.inference_mode():
        return softmax(module(torch.from_numpy(x.astype(np.float32))[None])[0].numpy())


def numpy_probs(module, x, dtype=np.float32):
    return softmax(module.spec.engine({n: w.astype(dtype) for n, w in module.export().items()})(x))


# -- the cell ----------------------------------------------------------------------------------------------------


def textbook_logits(x, tensors, hidden):
    """The equations as they are printed, gate by gate; Goodfellow, Bengio & Courville 2016, section 10.10.1."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for layer, n in enumerate(hidden):
        w, u, b = (tensors[f"lstm.{layer}.{name}"] for name in ("weight_ih", "weight_hh", "bias"))
        h, c, shown = np.zeros(n), np.zeros(n), []
        for x_t in x:
            i_t = sigmoid(w[:n] @ x_t + u[:n] @ h + b[:n])
            f_t = sigmoid(w[n : 2 * n] @ x_t + u[n : 2 * n] @ h + b[n : 2 * n])
            g_t = np.tanh(w[2 * n : 3 * n] @ x_t + u[2 * n : 3 * n] @ h + b[2 * n : 3 * n])
            o_t = sigmoid(w[3 * n :] @ x_t + u[3 * n :] @ h + b[3 * n :])
            c = f_t * c + i_t * g_t
            h = o_t * np.tanh(c)
            shown.append(h)
        x = np.array(shown)
    return tensors["dense.weight"] @ x[-1] + tensors["dense.bias"]


@given(
    hidden=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    n_steps=st.integers(1, 25),
    n_inputs=st.integers(1, 5),
    n_classes=st.integers(2, 4),
    seed=st.integers(0, 2**31),
)
@MODEST
def test_in_float64_the_network_is_the_textbook_s(hidden, n_steps, n_inputs, n_classes, seed):
    rng, spec = np.random.default_rng(seed), LstmSpec(hidden=tuple(hidden))
    layout = spec.tensors(n_steps=n_steps, n_inputs=n_inputs, n_classes=n_classes)
    tensors = {name: rng.normal(0, 0.5, shape) for name, (_, shape) in layout.items()}
    x = rng.normal(size=(n_steps, n_inputs))
    logits = spec.engine(tensors)(x)
    assert logits.shape == (n_classes,)
    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits, textbook_logits(x, tensors, hidden), rtol=0, atol=1e-12)


def test_one_step_of_one_unit_by_hand():
    # z = 1, no recurrence yet: c = s(1) tanh(1), h = s(1) tanh(c); logits (2 h, -h + 1)
    tensors = {
        "lstm.0.weight_ih": np.ones((4, 1)),
        "lstm.0.weight_hh": np.full((4, 1), 99.0),
        "lstm.0.bias": np.zeros(4),
        "dense.weight": np.array([[2.0], [-1.0]]),
        "dense.bias": np.array([0.0, 1.0]),
    }
    logits = LstmSpec(hidden=(1,)).engine(tensors)(np.array([[1.0]]))
    # s(1) = 0.7310585786, tanh(1) = 0.7615941560, c = 0.5567699411, tanh(c) = 0.5055769315, h = 0.3696063529
    np.testing.assert_allclose(logits, [0.7392127058714115, 0.6303936470642942], rtol=1e-14)


# -- torch and numpy ---------------------------------------------------------------------------------------------


@given(
    hidden=st.lists(st.integers(1, 16), min_size=1, max_size=3),
    n_steps=st.integers(1, 120),
    n_inputs=st.integers(1, 28),
    n_classes=st.integers(2, 4),
    seed=st.integers(0, 2**31),
)
@MODEST
def test_at_initial_scale_numpy_and_torch_agree_within_1e_6(hidden, n_steps, n_inputs, n_classes, seed):
    module = network(hidden, n_inputs=n_inputs, n_classes=n_classes, seed=seed)
    x = np.random.default_rng(seed).normal(size=(n_steps, n_inputs))
    np.testing.assert_allclose(numpy_probs(module, x), torch_probs(module, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_tutorial_network_over_500_steps_agrees_within_1e_6(seed):
    module = network((10, 10, 5), n_inputs=28, seed=seed)
    x = np.random.default_rng(seed).normal(0, 0.3, (500, 28))
    np.testing.assert_allclose(numpy_probs(module, x), torch_probs(module, x), rtol=0, atol=1e-6)


def test_at_ten_times_the_weights_numpy_errs_at_most_ten_times_as_much_as_torch():
    """Such a network can be chaotic: what is compared is each float32 engine's distance from float64."""
    worst_numpy = worst_torch = 0.0
    for seed in range(6):
        module = network((10, 10, 5), n_inputs=28, seed=seed, gain=10)
        for x in np.random.default_rng(seed).normal(0, 0.3, (4, 100, 28)):
            exact = numpy_probs(module, x, np.float64)
            worst_numpy = max(worst_numpy, np.abs(numpy_probs(module, x) - exact).max())
            worst_torch = max(worst_torch, np.abs(torch_probs(module, x) - exact).max())
    assert worst_torch > 1e-6  # the case is as hard as it claims to be
    assert worst_numpy <= 10 * worst_torch


def test_the_dtype_of_the_tensors_decides_the_arithmetic():
    module = network((4,), n_inputs=3)
    x = np.random.default_rng(0).normal(size=(9, 3))
    single, double = ({n: w.astype(t) for n, w in module.export().items()} for t in (np.float32, np.float64))
    assert module.spec.engine(single)(x).dtype == np.float32
    assert module.spec.engine(double)(x).dtype == np.float64


def test_export_and_from_tensors_are_inverse_and_export_gives_copies():
    module = network((4, 3), n_inputs=5)
    tensors = module.export()
    again = LstmNetwork.from_tensors(module.spec, tensors)
    for name, weight in again.export().items():
        np.testing.assert_array_equal(weight, tensors[name])
    before = tensors["dense.weight"].copy()
    with torch.no_grad():
        module.dense.weight += 1
    np.testing.assert_array_equal(tensors["dense.weight"], before)


def test_building_a_network_from_tensors_leaves_torch_s_generator_alone():
    tensors = network((4,), n_inputs=3).export()
    before = torch.random.get_rng_state()
    LstmNetwork.from_tensors(LstmSpec(hidden=(4,)), tensors)
    assert torch.equal(torch.random.get_rng_state(), before)


@given(
    hidden=st.lists(st.integers(1, 9), min_size=1, max_size=3), n_inputs=st.integers(1, 9), n_classes=st.integers(2, 4)
)
@MODEST
def test_the_layout_of_the_spec_is_that_of_the_module_s_tensors(hidden, n_inputs, n_classes):
    module = network(hidden, n_inputs=n_inputs, n_classes=n_classes)
    expected = module.spec.tensors(n_steps=1, n_inputs=n_inputs, n_classes=n_classes)
    assert {name: ("F32", weight.shape) for name, weight in module.export().items()} == expected


def test_one_thread_is_one_thread_and_is_undone_even_by_an_error():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)


# -- the initialisation ------------------------------------------------------------------------------------------


def test_biases_start_at_zero_but_the_forget_gate_s_at_one():
    tensors = network((10, 5), n_inputs=28).export()
    for layer, n in ((0, 10), (1, 5)):
        expected = np.repeat([0, 1, 0, 0], n)  # input, forget, cell, output
        np.testing.assert_array_equal(tensors[f"lstm.{layer}.bias"], expected)
    np.testing.assert_array_equal(tensors["dense.bias"], [0, 0])


def test_torch_s_second_bias_is_zero_and_frozen():
    for layer in network((10, 5), n_inputs=28).lstm:
        assert not layer.bias_hh_l0.requires_grad
        assert torch.count_nonzero(layer.bias_hh_l0) == 0


@pytest.mark.parametrize("n_hidden", [1, 5, 10, 32])
def test_recurrent_weights_have_orthonormal_columns(n_hidden):
    w = network((n_hidden,), n_inputs=28).export()["lstm.0.weight_hh"].astype(np.float64)
    assert w.shape == (4 * n_hidden, n_hidden)
    np.testing.assert_allclose(w.T @ w, np.eye(n_hidden), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "fan_in", "fan_out"),
    [("lstm.0.weight_ih", 28, 4 * 40), ("lstm.1.weight_ih", 40, 4 * 30), ("dense.weight", 30, 20)],
)
def test_input_and_dense_weights_are_glorot_uniform(name, fan_in, fan_out):
    """Glorot & Bengio 2010: uniform within +-sqrt(6 / (fan_in + fan_out)), so with variance limit ** 2 / 3."""
    w = network((40, 30), n_inputs=28, n_classes=20).export()[name]
    assert w.shape == (fan_out, fan_in)
    limit = np.sqrt(6 / (fan_in + fan_out))
    assert 0.98 * limit < np.abs(w).max() <= limit * (1 + 1e-6)
    assert w.var() == pytest.approx(limit**2 / 3, rel=0.15)
    assert abs(w.mean()) < 0.1 * limit


# -- softmax -----------------------------------------------------------------------------------------------------


def test_softmax_by_hand_and_at_the_extremes():
    np.testing.assert_allclose(softmax(np.log([1.0, 3.0])), [0.25, 0.75], rtol=1e-15)
    np.testing.assert_array_equal(softmax(np.array([1e4, -1e4])), [1, 0])  # no overflow
    np.testing.assert_array_equal(softmax(np.array([7.0, 7.0])), [0.5, 0.5])
    assert softmax(np.float32([0.1, 0.2])).dtype == np.float64


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=6), st.integers(-100, 100))
@MODEST
def test_softmax_sums_to_one_keeps_the_order_and_ignores_a_common_shift(logits, shift):
    z = np.array(logits, np.float64)
    p = softmax(z)
    assert p.sum() == pytest.approx(1, abs=1e-15 * len(z))
    assert (np.diff(p[np.argsort(z, kind="stable")]) >= 0).all()
    np.testing.assert_allclose(softmax(z + shift), p, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(softmax(np.stack([z, z[::-1]])), [p, softmax(z[::-1])])
