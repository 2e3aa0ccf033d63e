"""Layers of other dtypes than float32: policies of Keras, and models that are quantized after they were made."""

import keras
import numpy as np
import pytest
from cases import FIRST_CASES, for_each, label
from modes import BACKEND, MODES, STREAM_MODES, float64, run, to_numpy

import keras_initx
import keras_initx.tools.initialize
from keras_initx import RandomNormal, RandomUniform, Sparse
from keras_initx.backends._current import backend

layers = keras.layers

# The dtype in which a layer of this policy keeps its weights.
POLICIES = {
    "bfloat16": "bfloat16",
    "float16": "float16",
    "float64": "float64",
    "mixed_bfloat16": "float32",
    "mixed_float16": "float32",
}

LARGE = [keras_initx.HeNormal(seed=3), keras_initx.Sparse(seed=3), keras_initx.Sparse(sparsity=0.5, seed=3)]


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("case", "policy"),
    [
        *((FIRST_CASES[RandomNormal], policy) for policy in POLICIES),
        *((FIRST_CASES[cls], "bfloat16") for cls in (Sparse, keras_initx.Orthogonal)),
    ],
    ids=str,
)
def test_a_weight_has_the_values_of_its_own_dtype(case, policy):
    shape = case.shapes[0]
    with float64():
        weight = layers.Layer(dtype=policy).add_weight(shape, case.make())
        assert weight.dtype == POLICIES[policy]
        np.testing.assert_array_equal(to_numpy(weight.value), to_numpy(case.make()(shape, POLICIES[policy])))


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("initializer", "dtype"), [(LARGE[0], "bfloat16"), (LARGE[1], "float16"), (LARGE[2], "bfloat16")]
)
def test_a_large_weight_of_16_bits_is_that_of_float32_rounded(initializer, dtype):
    # Made in several blocks, by two threads, and handed over without a copy where a backend allows that.
    shape = (600, 1001)
    rounded = to_numpy(keras.ops.cast(initializer(shape, "float32"), dtype))
    np.testing.assert_array_equal(to_numpy(initializer(shape, dtype)), rounded)


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", STREAM_MODES)
def test_with_no_16_bit_number_between_the_bounds_all_uniform_draws_are_the_one_below(mode):
    values = run(mode, lambda: RandomUniform(1.001, 1.002, seed=0)((50,), "bfloat16"))
    assert values.astype("float64").tolist() == [1.0] * 50


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="the other backends have float64")
@pytest.mark.parametrize("mode", MODES)
def test_where_there_is_no_float64_it_is_float32(mode):
    case = FIRST_CASES[RandomNormal]
    shape = case.shapes[0]
    values = run(mode, lambda: case.make()(shape, "float64"))
    assert values.dtype == "float32"
    np.testing.assert_array_equal(values, to_numpy(case.make()(shape, "float32")))


NORMAL = RandomNormal(seed=3)
# Products that are near 1, of which a factor or what is multiplied is beyond float32.
LOST = {
    "infinite values": keras_initx.Scaled(RandomNormal(stddev=1e38, seed=3), 1e-38),
    "tiny values": keras_initx.Scaled(RandomNormal(stddev=1e-38, seed=3), 1e38),
    "infinite factor": keras_initx.Scaled(keras_initx.ReLUBias(1e-46), 1e46),
    "tiny factor": keras_initx.Scaled(RandomNormal(stddev=5e37, seed=3), 1e-38),
    "infinite factor of zeros": keras_initx.Scaled("zeros", 1e39),
    "values of Keras": keras_initx.Scaled(keras.initializers.RandomNormal(stddev=1e38, seed=3), 1e-38),
    "number of Keras": keras_initx.Scaled(keras.initializers.Constant(1e-46), 1e46),
    "no factor": keras_initx.Scaled(RandomNormal(stddev=1e38, seed=3), 0),
    "nested": keras_initx.Scaled(keras_initx.Scaled(NORMAL, 1e-38), 1e38),
    "Sparse": keras_initx.Scaled(Sparse(stddev=1e-39, seed=3), 1e39),
    "singular values": keras_initx.Orthogonal(1e-39, seed=3, singular_values=[1e39, 1e39]),
    "tiny singular values": keras_initx.Orthogonal(1e38, seed=3, singular_values=[1e-38, 1e-38]),
}
LOST["in a slice"] = keras_initx.Concatenated([LOST["infinite values"], "ones"])
LOST["in a pixel"] = keras_initx.ICNR(LOST["infinite values"])
SHAPES = {"in a slice": (8, 4), "in a pixel": (1, 2, 4)}


@for_each(LOST)
def test_refuses_a_product_that_is_lost_on_the_way(name):
    for dtype in ("float16", "float32"):
        with pytest.raises(ValueError, match=r"`dtype` must be able to hold .* Received: dtype='float"):
            LOST[name](SHAPES.get(name, (2, 2)), dtype)
    with float64():
        values = to_numpy(LOST[name](SHAPES.get(name, (2, 2)), "float64"))
    assert np.abs(values).max() < 10
    # Keras' constant is one of float32 on TensorFlow.
    of_zeros = ("infinite factor of zeros", "no factor", "number of Keras")
    assert np.abs(values).max() > 0.01 or name in of_zeros


@pytest.mark.parametrize(
    ("initializer", "factor"),
    [(NORMAL, 1e-46), (NORMAL, 1e-40), (RandomNormal(stddev=1e-32, seed=3), 2.0), (keras.initializers.Zeros(), 1e38)],
    ids=label,
)
def test_a_product_that_is_as_small_as_its_factor_is_right(initializer, factor):
    scaled = keras_initx.Scaled(initializer, factor)
    np.testing.assert_allclose(to_numpy(scaled((8, 4))), to_numpy(scaled((8, 4), "float64")), rtol=1e-5, atol=1e-38)


# Their factors are numbers that a compiled program takes for zero, their values are not.
@pytest.mark.every_backend
@pytest.mark.parametrize("mode", MODES[1:])
def test_tiny_values_are_those_of_the_host_in_a_trace(mode):
    initializer = RandomNormal(1e-30, 1e-40, seed=3)
    np.testing.assert_array_equal(run(mode, lambda: initializer((8, 4))), to_numpy(initializer((8, 4))))


class Tempered(layers.Dense):
    """A dense layer with a temperature: a number in bfloat16."""

    def build(self, shape):
        super().build(shape)
        self.temperature = self.add_weight((), "ones", "bfloat16", name="temperature")

    def call(self, inputs):
        return super().call(inputs) / keras.ops.cast(self.temperature, inputs.dtype)


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="JAX gives such a number as any other")
def test_a_number_in_bfloat16_is_a_weight_as_any_other(tmp_path):
    # Of all tensors, NumPy cannot read this one from TensorFlow, and neither can Keras.
    model = keras.Sequential([keras.Input((4,)), Tempered(6, name="hidden"), layers.Dense(2, name="logits")])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    plan = keras_initx.initialize(model, seed=0)
    plan.save(tmp_path / "plan.json")
    drawn = {weight.path: plan.draw(weight.path) for weight in plan.rows}
    assert drawn["hidden/temperature"] == plan.draw("hidden/temperature", ()) == 1
    assert keras_initx.audit(model).ok
    assert keras_initx.audit(model, tmp_path / "plan.json").ok
    assert keras_initx.weights_digest(model) == keras_initx.weights_digest(drawn)
    assert keras_initx.diagnose(model, x, np.zeros((16, 2))).rows
    keras_initx.lsuv(model, x, seed=0)
    keras_initx.load_pretrained(model, {"hidden.temperature": np.asarray(3, "bfloat16")}, layout="keras")
    assert backend.host_view(model.layers[0].temperature) == 3
