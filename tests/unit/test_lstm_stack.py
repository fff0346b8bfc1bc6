"""Several LSTMs at once: states and gradients are those of `torch.nn.LSTM`, and a member is the network it is alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from pretap.networks import LrpErdLstmSpec
from pretap.torch_networks.lstm_stack import last_hidden
from pretap_offline.fit.estimator import member_seed
from pretap_offline.fit.fitting import fit_decoder
from training_cases import EPOCHS, RECIPE, changed

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")


@pytest.mark.parametrize(("n_networks", "n_batch", "n_steps"), [(1, 1, 1), (1, 7, 5), (3, 4, 6)])
def test_states_and_gradients_are_those_of_torch_s_lstm(n_networks, n_batch, n_steps):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [torch.nn.LSTM(3, 5, batch_first=True) for _ in range(n_networks)]
        x = torch.randn(n_networks, n_batch, n_steps, 3)
        towards = torch.randn(n_networks, n_batch, 5)
    stacks = [torch.stack([layer.get_parameter(name).detach() for layer in layers]).requires_grad_() for name in NAMES]
    own_x = x.clone().requires_grad_()
    ours = last_hidden(own_x, *stacks)  # (n_networks, batch, n_hidden)
    ours.backward(towards)
    for k, layer in enumerate(layers):
        torch.nn.init.zeros_(layer.bias_hh_l0)
        own = x[k].clone().requires_grad_()
        theirs = layer(own)[0][:, -1]
        theirs.backward(towards[k])
        torch.testing.assert_close(ours[k], theirs, rtol=0, atol=1e-6)
        torch.testing.assert_close(own_x.grad[k], own.grad, rtol=0, atol=1e-6)
        for stack, name in zip(stacks, NAMES, strict=True):
            torch.testing.assert_close(stack.grad[k], layer.get_parameter(name).grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mirror", [0.0, 0.3])
def test_a_member_becomes_the_network_that_it_is_alone(mirror):
    def recipe(n_members):
        fit = msgspec.structs.replace(RECIPE.fit, members=n_members, max_epochs=6, mirror=mirror)
        return changed(
            network=LrpErdLstmSpec(blocks=4, band_hz=(8.0, 20.0), lrp_filters=2, erd_filters=2, hidden=4), fit=fit
        )

    epochs = EPOCHS.pick(("C3", "C4"))
    _, together = fit_decoder(epochs, recipe(3), seed=5)
    for member in range(3):
        _, alone = fit_decoder(epochs, recipe(1), seed=member_seed(5, member))
        for name, tensor in alone.items():
            np.testing.assert_allclose(together[f"members.{member}.{name}"], tensor, rtol=0, atol=1e-4)
