"""The coordinate check measures how outputs scale with the width, during training too."""

import json

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import initialize, scaling

layers = keras.layers


def wide(width=64, initializer="glorot_uniform"):
    hidden = [layers.Dense(width, "selu", name=name, kernel_initializer=initializer) for name in ("first", "second")]
    last = layers.Dense(3, name="last", kernel_initializer=initializer)
    return keras.Sequential([keras.Input((8,)), *hidden, last])


X = np.random.default_rng(0).normal(1, size=(32, 8))


def check(initializer, *, widths=(16, 64), **options):
    def build(width):
        model = wide(width, initializer)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    x = X.astype("float32")
    return scaling.coordinate_check(build, widths, x, x[:, :3], **options)


@pytest.fixture(scope="module")
def constant():
    return check(keras.initializers.Constant(0.1), steps=1)


def test_the_coordinate_check_finds_the_power_of_the_width(constant):
    assert constant.layers == ["first", "second", "last"]
    assert constant.sizes.shape == (2, 3, 2)
    np.testing.assert_allclose(constant.sizes[0, 0], np.sqrt(np.mean((0.1 * X.sum(axis=1)) ** 2)), rtol=1e-3)
    np.testing.assert_allclose(constant.exponents[0], [0, 1, 2], atol=0.01)
    assert (np.abs(constant.exponents[1] - constant.exponents[0]) > 0.1).any()
    assert "step 0  step 1" in str(constant)


def test_widths_may_be_an_array_of_numpy():
    found = check("ones", steps=1, widths=np.array([2, 4]))
    assert found.widths == [2, 4]
    assert json.loads(found.to_json())["widths"] == [2, 4]


def of_depth(depth, shared):
    keras.utils.set_random_seed(depth)
    hidden = [layers.Dense(4, name=f"{depth}_{place}") for place in range(depth)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(3, name="last" if shared else f"last_{depth}")])
    model.compile("sgd", "mse")
    return model


@pytest.mark.rare
def test_models_of_several_depths_are_compared_by_the_names_of_their_layers():
    x = X.astype("float32")
    found = scaling.coordinate_check(lambda depth: of_depth(depth, True), [1, 2, 4], x, x[:, :3], steps=1)
    assert found.layers == ["last"]
    assert found.sizes.shape == (2, 1, 3)
    outputs = np.sqrt(np.mean(to_numpy(of_depth(2, True)(x)) ** 2))
    np.testing.assert_allclose(found.sizes[0, 0, 1], outputs, rtol=1e-5)
    with pytest.raises(ValueError, match=r"`build` must return models with the same number of layers, or with layers"):
        scaling.coordinate_check(lambda depth: of_depth(depth, False), [1, 2], x, x[:, :3], steps=1)


def test_layers_that_only_the_last_model_lacks_are_left_out():
    def build(width):
        return of_depth(1 if width == 4 else 2, True)

    x = X.astype("float32")
    found = scaling.coordinate_check(build, [2, 3, 4], x, x[:, :3], steps=1)
    assert (found.layers, found.sizes.shape) == (["last"], (2, 1, 3))


def test_a_step_of_the_coordinate_check_is_one_update_with_the_whole_batch():
    models = []

    def build(width):
        models.append(wide(width, "ones"))
        models[-1].compile(keras.optimizers.SGD(1e-9), "mse")
        return models[-1]

    x = np.ones((40, 8), "float32")
    scaling.coordinate_check(build, [2, 4], x, x[:, :3], steps=2)
    assert [int(model.optimizer.iterations) for model in models] == [2, 2]


def test_the_coordinate_check_is_drawn(constant):
    pytest.importorskip("matplotlib")
    axes = constant.plot().axes
    assert [axis.get_title() for axis in axes] == ["before training", "after step 1"]
    for axis, sizes in zip(axes, constant.sizes, strict=True):
        assert [line.get_label() for line in axis.lines] == constant.layers
        np.testing.assert_array_equal([line.get_ydata() for line in axis.lines], sizes)
        np.testing.assert_array_equal([line.get_xdata() for line in axis.lines], [constant.widths] * 3)


@pytest.mark.rare
@pytest.mark.parametrize("rate", [1e30, 1e-9])
def test_outputs_that_are_not_finite_after_a_step_are_a_problem_with_its_step_and_layer(rate):
    def build(width):
        model = wide(width, "ones")
        model.compile(keras.optimizers.Adam(rate if width == 16 else 1e-9), "mse")
        return model

    x = X.astype("float32")
    found = scaling.coordinate_check(build, [4, 16], x, x[:, :3], steps=2)
    assert found.widths == [4, 16]
    assert not np.isnan(found.sizes[0]).any()
    assert np.isnan(found.sizes[1:, -1, 1]).all() == (rate == 1e30)
    assert not np.isnan(found.sizes[..., 0]).any()
    last = found.layers[-1]
    if rate == 1e30:
        assert found.not_finite[last] == (1, 16)
        assert last in [problem.path for problem in found.problems]
        assert f"{last} (from step 1 on, at width 16)" in str(found)
    else:
        assert found.not_finite == {}
        assert "Not finite" not in str(found)


class PartlyNaN(layers.Dense):
    """Has an output of which one unit is NaN where there are 16 inputs."""

    def call(self, x):
        outputs = super().call(x)
        if x.shape[-1] != 16:
            return outputs
        return keras.ops.concatenate([outputs[:, :1] * np.nan, outputs[:, 1:]], axis=-1)


def test_the_finite_values_are_not_the_size_of_outputs_that_are_nan_in_part():
    def build(width):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(width, name="first"), PartlyNaN(3, name="last")])
        model.compile(keras.optimizers.SGD(1e-9), "mse")
        return model

    x = X.astype("float32")
    found = scaling.coordinate_check(build, [4, 16], x, x[:, :3], steps=1)
    assert found.not_finite["last"] == (0, 16)
    assert np.isnan(found.sizes[0]).tolist() == [[False, False], [False, True]]
    assert "last" in [problem.path for problem in found.problems]


def test_a_shared_layer_is_measured_over_all_its_calls():
    def build(width):
        inputs = keras.Input((4,))
        shared = layers.Dense(4, "relu", name="shared", kernel_initializer=keras.initializers.Constant(1 / width))
        model = keras.Model(inputs, layers.Dense(3, name="last")(shared(shared(inputs))))
        model.compile(keras.optimizers.SGD(1e-9), "mse")
        return model

    x = np.ones((2, 4), "float32")
    found = scaling.coordinate_check(build, [2, 4], x, x[:, :3], steps=1)
    assert found.layers == ["shared", "last"]
    # Of ones, four inputs times 1/2 are 2, and these then 4; times 1/4 they remain 1.
    np.testing.assert_allclose(found.sizes[0, 0], [np.sqrt((2**2 + 4**2) / 2), 1], rtol=1e-6)


def test_indices_without_a_row_are_refused_before_a_step():
    models = []

    def build(width):
        models.append(keras.Sequential([keras.Input((2,), dtype="int32"), layers.Embedding(5, width, name="table")]))
        models[-1].compile("sgd", "mse")
        return models[-1]

    x = np.array([[0, 5], [1, 2]], "int32")
    with pytest.raises(ValueError, match=r"must have a row for each index. table has input_dim=5.* from 0 to 5"):
        scaling.coordinate_check(build, [2, 4], x, np.zeros((2, 2, 2), "float32"), steps=1)
    assert [int(model.optimizer.iterations) for model in models] == [0]


class TrainsAnother(keras.Model):
    """Has no `call`, as a model of a generator and a discriminator."""

    def __init__(self, width):
        super().__init__()
        self.inner = wide(width)
        self.built = True


def test_a_model_without_a_call_is_refused():
    def build(width):
        model = TrainsAnother(width)
        model.compile("sgd", "mse")
        return model

    x = X.astype("float32")
    with pytest.raises(ValueError, match=r"`build` must return a model with a `call`.*type TrainsAnother"):
        scaling.coordinate_check(build, [4, 16], x, x[:, :3], steps=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, r"`steps` must be a positive integer"),
        ({"widths": [8, 8]}, ValueError, r"`widths` must have at least two different widths"),
        ({"widths": [8, 1.5]}, TypeError, r"`widths` must be a positive integer"),
        ({"build": lambda width: None}, TypeError, r"`build` must be a Keras model"),
    ],
)
def test_a_coordinate_check_that_cannot_be_made_is_refused(options, error, message):
    x = np.zeros((2, 8), "float32")
    with pytest.raises(error, match=message):
        scaling.coordinate_check(**{"build": wide, "widths": [8, 16], "x": x, "y": x, **options})


def perceptron(width):
    hidden = [layers.Dense(width, "relu", name=name) for name in ("first", "second", "third")]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(4, name="logits")])


def summed(width):
    """Return a network that adds up its units, which no factor of muP makes up for."""
    inputs = keras.Input((16,))
    x = layers.Dense(width, "relu", name="first")(inputs)
    x = keras.ops.sum(x, axis=-1, keepdims=True)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def check_mup(network, *, has_factors=True):
    """Return the check of a network with the weights of muP, and perhaps with its learning rates."""

    def build(width):
        model = network(width)
        initialize(model, "spectral", seed=0)
        optimizer = keras.optimizers.Adam(0.01)
        if has_factors:
            optimizer = scaling.mup(model, network(16)).optimizer(optimizer)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    x = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
    return scaling.coordinate_check(build, [16, 128], x, np.argmax(x[:, :4], axis=1), steps=2)


def test_no_layer_of_a_network_with_mup_depends_on_the_width():
    found = check_mup(perceptron)
    assert found.problems == []
    assert found.summary == "0 of 4 layers depend on the width or are not finite."


def test_layers_without_the_learning_rates_of_mup_depend_on_the_width():
    found = check_mup(perceptron, has_factors=False)
    assert "logits" in [problem.path for problem in found.problems]


@pytest.mark.rare
def test_a_layer_that_sums_units_depends_on_the_width_although_all_weights_are_as_in_mup():
    assert [problem.path for problem in check_mup(summed).problems] == ["logits"]
