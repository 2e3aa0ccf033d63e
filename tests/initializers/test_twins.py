"""Copies with one seed in the parts of a layer: a warning, and none where there is nothing to warn of."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy

import keras_initx


def attention(initializer):
    layer = layers.MultiHeadAttention(2, 8, kernel_initializer=initializer)
    layer.build((None, 5, 16), (None, 5, 16))
    return to_numpy(layer.query_dense.kernel), to_numpy(layer.key_dense.kernel)


def grouped_attention(initializer):
    layer = layers.GroupQueryAttention(8, 4, 2, kernel_initializer=initializer)
    layer.build((None, 5, 16), (None, 5, 16))
    return to_numpy(layer._key_dense.kernel), to_numpy(layer._value_dense.kernel)


def bidirectional(initializer):
    layer = layers.Bidirectional(layers.LSTM(4, recurrent_initializer=initializer))
    layer.build((None, 5, 4))
    return to_numpy(layer.forward_layer.cell.recurrent_kernel), to_numpy(layer.backward_layer.cell.recurrent_kernel)


every_layer = pytest.mark.parametrize("build", [attention, grouped_attention, bidirectional])
SEEDS = [7, keras.random.SeedGenerator(7)]


@every_layer
@pytest.mark.parametrize("seed", SEEDS, ids=["integer", "generator"])
def test_a_seed_that_makes_twins_is_reported(build, seed):
    with pytest.warns(UserWarning, match=r"HeNormal\(seed=.* gives '[\w/]+kernel' and '[\w/]+kernel' the same"):
        one, other = build(keras_initx.HeNormal(seed=seed))
    np.testing.assert_array_equal(one, other)


WRAPPED = [
    keras_initx.Scaled(keras_initx.HeNormal(seed=7), 0.5),
    keras_initx.Concatenated([keras_initx.HeNormal(seed=7), "zeros"]),
]


@pytest.mark.once
@every_layer
@pytest.mark.parametrize("initializer", WRAPPED, ids=["Scaled", "Concatenated"])
def test_a_seed_within_another_initializer_is_reported(build, initializer):
    with pytest.warns(UserWarning, match=r"initializers?=\[?HeNormal\(seed=7.* the same weights"):
        one, other = build(initializer)
    np.testing.assert_array_equal(one, other)


# Two kernels of one layer, whose shapes are the same, from two objects.
PAIRS = {
    "LSTM": lambda one, other: layers.LSTM(4, kernel_initializer=one, recurrent_initializer=other),
    "GRU": lambda one, other: layers.GRU(4, kernel_initializer=one, recurrent_initializer=other),
    "Bidirectional": lambda one, other: layers.Bidirectional(
        layers.LSTM(4, kernel_initializer=one, recurrent_initializer=other)
    ),
    "TimeDistributed": lambda one, other: layers.TimeDistributed(
        layers.Dense(4, kernel_initializer=one, bias_initializer=other)
    ),
    "attention": lambda one, other: Block(one, bias_initializer=other),
}


@pytest.mark.once
@pytest.mark.parametrize(
    "wrap", [lambda inner: keras_initx.Scaled(inner, 0.5), lambda inner: keras_initx.Concatenated([inner])]
)
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.filterwarnings("ignore:.* the same weights of shape:UserWarning")  # of copies, rightly
def test_two_seeded_wrappers_in_one_layer_build(name, wrap):
    layer = PAIRS[name](wrap(keras_initx.HeNormal(seed=1)), wrap(keras_initx.RandomNormal(seed=2)))
    layer(np.ones((2, 5, 4), "float32"))
    assert all(np.any(to_numpy(weight)) for weight in layer.weights if weight.name == "kernel")


@every_layer
def test_without_a_seed_the_parts_differ_and_nothing_is_reported(build):
    one, other = build(keras_initx.HeNormal())
    assert not np.array_equal(one, other)


def test_equal_constants_are_nobodys_twins():
    attention(keras_initx.ReLUBias())


@pytest.mark.parametrize(
    "initializers",
    [
        # Both kernels have the same shape.
        {
            "kernel_initializer": keras_initx.HeNormal(seed=1),
            "recurrent_initializer": keras_initx.HeNormal(seed=2),
        },
        {
            "kernel_initializer": keras_initx.Scaled(keras_initx.HeNormal(seed=1), 0.5),
            "recurrent_initializer": keras_initx.Scaled(keras_initx.HeNormal(seed=2), 0.5),
        },
        {
            "kernel_initializer": keras_initx.Concatenated([keras_initx.HeNormal(seed=1)] + ["zeros"] * 3),
            "recurrent_initializer": keras_initx.Concatenated([keras_initx.HeNormal(seed=2)] + ["zeros"] * 3),
        },
    ],
    ids=["plain", "Scaled", "Concatenated"],
)
def test_two_seeds_in_one_recurrent_layer_are_fine(initializers):
    layers.LSTM(4, **initializers).build((None, 5, 4))


class Block(layers.Layer):
    """A layer that leaves it to Keras to build its parts when it is called."""

    def __init__(self, initializer, **kwargs):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 8, kernel_initializer=initializer, **kwargs)

    def call(self, x):
        return self.attention(x, x)


def test_parts_that_are_built_in_a_call_are_compared():
    with pytest.warns(UserWarning, match="the same weights"):
        Block(keras_initx.HeNormal(seed=7))(np.ones((2, 5, 16), "float32"))


class Parts(layers.Layer):
    """A layer that hands one initializer to each of its parts."""

    def __init__(self, initializer, units=(4, 4)):
        super().__init__()
        self.parts = [layers.Dense(count, kernel_initializer=initializer) for count in units]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)


def einsum(initializer):
    return layers.EinsumDense("abc,cd->abd", (None, 4), kernel_initializer=initializer)


class Projections(layers.Layer):
    """As attention in libraries of models: one object for all projections."""

    def __init__(self, initializer):
        super().__init__()
        self.query, self.key = einsum(initializer), einsum(initializer)

    def build(self, input_shape):
        self.query.build(input_shape)
        self.key.build(input_shape)


def in_parts(initializer):
    layer = Parts(initializer)
    layer.build((None, 4))
    return [part.kernel for part in layer.parts]


def in_projections(initializer):
    layer = Projections(initializer)
    layer.build((None, 5, 4))
    return [layer.query.kernel, layer.key.kernel]


def in_a_sequential_model(initializer):
    dense = [layers.Dense(4, kernel_initializer=initializer) for _ in range(2)]
    keras.Sequential([keras.Input((4,)), *dense])
    return [layer.kernel for layer in dense]


def in_a_model_first_called(initializer):
    dense = [layers.Dense(4, kernel_initializer=initializer) for _ in range(2)]
    keras.Sequential(dense)(np.ones((2, 4), "float32"))
    return [layer.kernel for layer in dense]


def in_one_layer(initializer):
    layer = layers.GRU(4, kernel_initializer=initializer, recurrent_initializer=initializer)
    layer.build((None, 5, 4))
    return [layer.cell.kernel, layer.cell.recurrent_kernel]


every_sharing = pytest.mark.parametrize(
    "build", [in_parts, in_projections, in_a_sequential_model, in_a_model_first_called, in_one_layer]
)


@pytest.mark.once
@every_sharing
@pytest.mark.parametrize(
    "initializer",
    [keras_initx.HeNormal(), keras_initx.HeNormal(seed=1), keras_initx.Scaled(keras_initx.HeNormal(), 0.5)],
    ids=["drawn", "integer", "Scaled"],
)
def test_one_object_may_be_shared(build, initializer):
    one, other = build(initializer)
    np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


@every_sharing
def test_a_shared_object_with_a_generator_gives_new_values_and_is_not_reported(build):
    one, other = build(keras_initx.HeNormal(seed=keras.random.SeedGenerator(1)))
    assert not np.array_equal(to_numpy(one), to_numpy(other))


@pytest.mark.once
@every_sharing
def test_a_string_id_is_the_answer(build):
    one, other = build("initx.he_normal")
    assert not np.array_equal(to_numpy(one), to_numpy(other))


def test_a_clone_for_each_is_the_answer():
    shared = keras_initx.HeNormal()
    keras.Sequential([keras.Input((4,)), *(layers.Dense(4, kernel_initializer=shared.clone()) for _ in range(2))])


@pytest.mark.once
@every_sharing
def test_shared_constants_are_nobodys_twins(build):
    build(keras_initx.Scaled("zeros", 2))


@pytest.mark.parametrize("seed", [None, *SEEDS], ids=["none", "integer", "generator"])
def test_shapes_that_differ_are_nobodys_twins(seed):
    initializer = keras_initx.HeNormal(seed=seed)
    Parts(initializer, units=(4, 5)).build((None, 4))
    of_copies = Parts(None, units=())
    for units in (4, 5):
        of_copies.parts.append(layers.Dense(units, kernel_initializer=initializer.clone()))
    of_copies.build((None, 4))


def time_distributed(first, second):
    return layers.TimeDistributed(layers.Dense(4, kernel_initializer=first)), (None, 5, 4)


def stacked(first, second):
    cells = [
        layers.SimpleRNNCell(4, kernel_initializer=first, recurrent_initializer=second),
        layers.SimpleRNNCell(4, kernel_initializer="initx.he_normal", recurrent_initializer="initx.orthogonal"),
    ]
    return layers.RNN(layers.StackedRNNCells(cells)), (None, 5, 4)


def separable(first, second):
    # Its two kernels have the same shape.
    return layers.SeparableConv1D(1, 1, depthwise_initializer=first, pointwise_initializer=second), (None, 5, 1)


def convolutional_lstm(first, second):
    return layers.ConvLSTM1D(4, 1, kernel_initializer=first, recurrent_initializer=second), (None, 5, 5, 4)


def bidirectional_of_two(first, second):
    forward = layers.GRU(4, kernel_initializer=first)
    return layers.Bidirectional(forward, backward_layer=layers.GRU(4, kernel_initializer=second, go_backwards=True)), (
        None,
        5,
        4,
    )


def model_of_two(first, second):
    dense = [layers.Dense(4, kernel_initializer=initializer) for initializer in (first, second)]
    return keras.Sequential([keras.Sequential(dense), layers.Dense(4, kernel_initializer=first)]), (None, 4)


def block_of_another_kernel(first, second):
    """The second dense layer's kernel has the shape of the first one's, and its bias the initializer."""
    return keras.Sequential([layers.Dense(4, kernel_initializer=second), layers.Dense(4, bias_initializer=first)]), (
        None,
        4,
    )


def kernel_of_another(first, second):
    # The bias has the object, and the two kernels are not its.
    return layers.SimpleRNN(4, kernel_initializer=second, recurrent_initializer=first, bias_initializer=first), (
        None,
        5,
        4,
    )


@pytest.mark.once
@pytest.mark.parametrize(
    "make",
    [
        time_distributed,
        stacked,
        separable,
        convolutional_lstm,
        bidirectional_of_two,
        model_of_two,
        block_of_another_kernel,
        kernel_of_another,
    ],
)
def test_no_false_alarm(make):
    layer, shape = make(keras_initx.HeNormal(seed=1), keras_initx.HeNormal(seed=2))
    layer.build(shape)
    assert layer.weights


def test_an_object_for_two_models_is_no_alarm():
    initializer = keras_initx.HeNormal()
    models = [keras.Sequential([keras.Input((4,)), layers.Dense(4, kernel_initializer=initializer)]) for _ in range(2)]
    again = keras.models.clone_model(models[0])
    assert to_numpy(models[1].layers[0].kernel).shape == to_numpy(again.layers[0].kernel).shape


def test_calls_by_hand_are_no_alarm():
    class ByHand(layers.Layer):
        def __init__(self):
            super().__init__()
            self.kernel_initializer = keras_initx.HeNormal()
            self.dense = layers.Dense(4, kernel_initializer=self.kernel_initializer)

        def call(self, x):
            return self.dense(x) + self.kernel_initializer((4, 4))[0]

    ByHand()(np.ones((2, 4), "float32"))


@pytest.mark.once
def test_a_layer_changed_after_it_was_built_is_no_alarm():
    layer = layers.Dense(4, kernel_initializer=keras_initx.HeNormal())
    layer.build((None, 4))
    layer.enable_lora(2, a_initializer=keras_initx.HeNormal(), b_initializer="zeros")
    layer.quantize("int8")


def test_a_model_that_is_trained_loaded_and_cloned_is_no_alarm(tmp_path):
    initializer = keras_initx.HeNormal(seed=1)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, kernel_initializer=initializer), layers.Dense(4)])
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 4)), np.ones((2, 4)), verbose=0)
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras")
    model.add(layers.Dense(3, kernel_initializer=initializer))
    assert model.built


def two_layers(*initializers):
    """Return a functional model with a dense layer for each of two initializers."""
    inputs = keras.Input((4,))
    outputs = inputs
    for initializer in initializers:
        outputs = layers.Dense(4, kernel_initializer=initializer)(outputs)
    return keras.Model(inputs, outputs)


def two_in_a_sequential_model(*initializers):
    dense = [layers.Dense(4, kernel_initializer=initializer) for initializer in initializers]
    return keras.Sequential([keras.Input((4,)), *dense])


def kernels_of(model):
    return [to_numpy(layer.kernel) for layer in model.layers if layer.weights]


CLONES = {
    "clone_model": keras.models.clone_model,
    "from_config": lambda model: type(model).from_config(model.get_config()),
    "each": lambda model: keras.Sequential([keras.Input((4,)), *map(clone_of, model.layers[-2:])]),
}


def clone_of(layer):
    return type(layer).from_config(layer.get_config())


def of_one_object(generator):
    initializer = keras_initx.HeNormal(seed=generator)
    return initializer, initializer


def of_two_objects(generator):
    return keras_initx.HeNormal(seed=generator), keras_initx.HeNormal(seed=generator)


def in_others(generator):
    # Each is a part of another one.
    return tuple(keras_initx.Scaled(initializer, 0.5) for initializer in of_two_objects(generator))


NAMED = "name" in keras.random.SeedGenerator(0).get_config()


@pytest.mark.skipif(not NAMED, reason="before Keras 3.14, copies of unrelated generators look alike")
@pytest.mark.parametrize("clone", CLONES)
@pytest.mark.parametrize("make", [two_layers, pytest.param(two_in_a_sequential_model, marks=pytest.mark.once)])
@pytest.mark.parametrize(
    "initializers", [of_one_object, *(pytest.param(way, marks=pytest.mark.once) for way in (of_two_objects, in_others))]
)
def test_clones_of_layers_that_shared_a_generator_are_reported(make, initializers, clone):
    model = make(*initializers(keras.random.SeedGenerator(7)))
    assert not np.array_equal(*kernels_of(model))
    with pytest.warns(UserWarning, match=r"'dense\w*/kernel' and '[\w/]+/kernel' the same weights of shape"):
        copy = CLONES[clone](model)
    np.testing.assert_array_equal(*kernels_of(copy))


@pytest.mark.once
@pytest.mark.parametrize("clone", CLONES)
def test_two_clones_of_a_layer_with_a_generator_are_no_alarm(clone):
    model = two_layers(keras_initx.HeNormal(seed=keras.random.SeedGenerator(7)), "initx.he_normal")
    first, second = [CLONES[clone](model) for _ in range(2)]
    np.testing.assert_array_equal(kernels_of(first)[0], kernels_of(second)[0])


@pytest.mark.once
def test_clones_of_layers_with_generators_of_their_own_are_no_alarm():
    clones = []
    for _ in range(2):
        initializer = keras_initx.HeNormal(seed=keras.random.SeedGenerator(7))
        clones.append(clone_of(layers.Dense(4, kernel_initializer=initializer)))
    for clone in clones:
        clone.build((None, 4))
    np.testing.assert_array_equal(to_numpy(clones[0].kernel), to_numpy(clones[1].kernel))


@pytest.mark.once
def test_a_model_that_is_loaded_has_its_own_values_and_is_no_alarm(tmp_path):
    model = two_layers(*of_two_objects(keras.random.SeedGenerator(7)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(kernels_of(loaded), kernels_of(model))


def test_the_warning_can_be_an_error_or_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        attention(keras_initx.HeNormal(seed=7))
    with pytest.raises(UserWarning, match="the same weights"):
        attention(keras_initx.HeNormal(seed=7))
