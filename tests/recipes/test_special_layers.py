"""Recipes for layers that are parts of other networks, beside their rows of the table."""

import keras
import numpy as np
import pytest
from modes import to_numpy
from recipe_rows import Mixer, adapted

import keras_initx
from keras_initx import DecayRate, TimeStepBias, initialize


def test_lora_leaves_all_but_the_factors_and_names_two_zeros():
    model = adapted()
    kernel = to_numpy(model.layers[1].weights[0])
    plan = initialize(model, "lora", seed=0)
    assert [row.path for row in plan.rows if row.initializer == "Zeros()"] == [
        "tokens/lora_embeddings_a",
        "inner/lora_kernel_b",
    ]
    np.testing.assert_array_equal(to_numpy(model.layers[1].weights[0]), kernel)
    assert keras_initx.audit(model, "lora").ok
    factor = model.layers[1].lora_kernel_a
    factor.assign(np.zeros(factor.shape))
    assert keras_initx.audit(model, "lora").problems[0].evidence == "all are 0 where they are drawn"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_state_spaces_are_finite_in_16_bits_also_with_rates_from_0(dtype):
    layer = Mixer(dtype=dtype, name="mixer")
    model = keras.Sequential([keras.Input((60_000,), dtype=dtype), layer])
    initialize(model, "state_space:gated_delta", seed=0)
    assert bool(keras.ops.all(keras.ops.isfinite(layer.decay)))
    assert keras_initx.audit(model, "state_space:gated_delta").ok


OF_STATE_SPACES = {
    "mamba2": {"A_log": DecayRate(1.0, 16.0), "dt_bias": TimeStepBias(0.001, 0.1, floor=1e-4), "D": "ones"},
    "gated_delta": {"A_log": DecayRate(0.0, 16.0), "dt_bias": TimeStepBias(0.001, 0.1, floor=1e-4)},
    "qwen3_next": {"A_log": DecayRate(0.0, 16.0), "dt_bias": "ones"},
}


@pytest.mark.parametrize("source", OF_STATE_SPACES)
def test_state_spaces_have_the_numbers_of_their_source(source):
    model = keras.Sequential([keras.Input((6, 4)), Mixer(name="mixer")])
    rules = keras_initx.recipes.state_space(model, source=source).by_path
    expected = {f"mixer/{name}": repr(initializer) for name, initializer in OF_STATE_SPACES[source].items()}
    assert {path: repr(rules[path]) for path in expected} == expected


@pytest.mark.every_backend
def test_keras_draws_the_factor_of_a_table_with_the_number_of_tokens_and_that_is_left():
    model = adapted()
    before = to_numpy(model.layers[0].lora_embeddings_a)
    plan = initialize(model, "lora:keras", seed=0)
    np.testing.assert_array_equal(to_numpy(model.layers[0].lora_embeddings_a), before)
    (row,) = [row for row in plan.rows if row.path == "tokens/lora_embeddings_a"]
    assert row.reason == "Keras draws it with the number of tokens for its inputs"
    assert keras_initx.audit(model, "lora:keras").ok


class Mamba(keras.layers.Layer):
    """A state space with three states for each channel, and a kernel for its time step."""

    def build(self, shape):
        self.decay = self.add_weight((shape[-1], 3), "zeros", name="A_log")
        self.skip = self.add_weight((shape[-1],), "zeros", name="D")
        self.step = keras.layers.Dense(shape[-1], name="dt_proj")
        self.step.build(shape)

    def call(self, x):
        step = keras.ops.softplus(self.step(x))
        return x * keras.ops.sum(keras.ops.exp(-keras.ops.exp(self.decay)), -1) * step + self.skip * x


@pytest.mark.every_backend
def test_states_of_one_channel_decay_with_the_whole_rates_and_the_kernel_of_the_time_step_has_its_bias():
    model = keras.Sequential([keras.Input((6, 64)), Mamba(name="mixer")])
    initialize(model, "state_space", seed=0)
    layer = model.layers[0]
    np.testing.assert_allclose(np.exp(to_numpy(layer.decay)), np.broadcast_to([1, 2, 3], (64, 3)), rtol=1e-6)
    steps = np.log1p(np.exp(to_numpy(layer.step.bias)))
    assert 0.0009 < steps.min() < 0.01 < steps.max() < 0.11
    assert keras_initx.audit(model, "state_space").ok
