"""Recipes for layers that are parts of other networks, beside their rows of the table."""

import keras
import numpy as np
import pytest
from modes import to_numpy
from recipe_rows import Mixer

import keras_initx
from keras_initx import DecayRate, TimeStepBias, initialize


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


@pytest.mark.release_backends
def test_states_of_one_channel_decay_with_the_whole_rates_and_the_kernel_of_the_time_step_has_its_bias():
    model = keras.Sequential([keras.Input((6, 64)), Mamba(name="mixer")])
    initialize(model, "state_space", seed=0)
    layer = model.layers[0]
    np.testing.assert_allclose(np.exp(to_numpy(layer.decay)), np.broadcast_to([1, 2, 3], (64, 3)), rtol=1e-6)
    steps = np.log1p(np.exp(to_numpy(layer.step.bias)))
    assert 0.0009 < steps.min() < 0.01 < steps.max() < 0.11
    assert keras_initx.audit(model, "state_space").ok


class OwnMamba(keras.layers.Layer):
    """Mamba as written by hand: layers and weights have automatic names, and attributes their own."""

    def __init__(self, rank=4, states=3, name_of_step="dt_proj", **options):
        super().__init__(**options)
        self.rank, self.states, self.name_of_step = rank, states, name_of_step

    def build(self, shape):
        width = shape[-1]
        self.x_proj = keras.layers.Dense(self.rank + 2 * self.states, use_bias=False)
        step = keras.layers.Dense(width)
        setattr(self, self.name_of_step, step)
        self.A_log = self.add_weight((width, self.states), "zeros")
        self.D = self.add_weight((width,), "zeros")
        self.x_proj.build(shape)
        step.build((*shape[:-1], self.rank))

    def call(self, x):
        step, b, c = keras.ops.split(self.x_proj(x), [self.rank, self.rank + self.states], -1)
        step = keras.ops.softplus(getattr(self, self.name_of_step)(step))
        decay = keras.ops.exp(-keras.ops.exp(self.A_log) * step[..., None])
        return x * keras.ops.sum(decay * (b * c)[..., None, :], -1) + self.D * x


def own_mamba(**options):
    layers = [OwnMamba(name="mixer", **options), keras.layers.Dense(4, name="out")]
    return keras.Sequential([keras.Input((6, 64)), *layers])


@pytest.mark.release_backends
def test_the_attributes_of_a_state_space_are_names_too():
    model = own_mamba()
    plan = initialize(model, "state_space", seed=0)
    layer = model.layers[0]
    steps = np.log1p(np.exp(to_numpy(layer.dt_proj.bias)))
    assert 0.0009 < steps.min() < 0.01 < steps.max() < 0.11
    # U(-1 / sqrt(r), 1 / sqrt(r)) for the rank r of the time step.
    assert abs(to_numpy(layer.dt_proj.kernel)).max() <= 0.5
    np.testing.assert_allclose(np.exp(to_numpy(layer.A_log)), np.broadcast_to([1, 2, 3], (64, 3)), rtol=1e-6)
    assert (to_numpy(layer.D) == 1).all()
    stds = {row.path: row.expected_std for row in plan.rows}
    assert stds["mixer/dense_1/kernel"] == pytest.approx(1 / (3 * 4) ** 0.5)
    assert keras_initx.audit(model, "state_space").ok
    layer.dt_proj.bias.assign(keras.ops.zeros(64))
    layer.dt_proj.kernel.assign(layer.dt_proj.kernel * 3)
    found = {problem.path for problem in keras_initx.audit(model, "state_space").problems}
    assert found == {"mixer/dense_1/bias", "mixer/dense_1/kernel"}


def test_a_decay_without_a_time_step_is_a_doubt_that_names_the_rule():
    model = own_mamba(name_of_step="delta")
    with pytest.raises(
        ValueError, match=r"with no time step for 'mixer/variable', .*, with 'initx.time_step_bias' for the time step"
    ):
        initialize(model, "state_space", seed=0)
    rules = {"mixer/dense_1/bias": "initx.time_step_bias", "*": None}
    plan = initialize(model, rules, seed=0, dry_run=True)
    assert {row.initializer for row in plan.rows if not row.detail} == {"TimeStepBias()"}
    # Other recipes ask nothing of it.
    assert initialize(model, "spectral", seed=0).left
