"""A gradient that is the rounding of terms that cancel is not known, and no weights are proposed for it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

X = np.random.default_rng(0).normal(size=(64, 8, 16)).astype("float32")
LABELS = np.random.default_rng(0).integers(0, 3, 64)
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class KeysFirst(layers.Layer):
    """Attend with keys that are computed before the queries; with `only_biases` no kernel is trained."""

    def __init__(self, only_biases=False):
        super().__init__(name="attention")
        self.parts = [layers.Dense(16, name=name) for name in ("key", "query", "value")]
        self.only_biases = only_biases

    def build(self, shape):
        for part in self.parts:
            part.build(shape)
            part._kernel.trainable = not self.only_biases

    def call(self, x):
        key, query, value = (part(x) for part in self.parts)
        return ops.matmul(ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 4), value)


class Cut(layers.Layer):
    """The sum of a softmax, which is 1 but for rounding."""

    def call(self, x):
        return ops.sum(x, axis=-1, keepdims=True)


def attention(make, equal=False):
    inputs = keras.Input((16,) if equal else (8, 16))
    attended = make(layers.RepeatVector(8)(inputs) if equal else inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(attended)))


def of_keras(x):
    return layers.MultiHeadAttention(2, 8)(x, x)


def before_a_batch_normalization(bias_alone):
    first = layers.Dense(16, name="first")
    stack = [first, layers.BatchNormalization(), layers.Dense(16, "relu"), layers.Dense(3)]
    model = keras.Sequential([keras.Input((16,)), *stack])
    first._kernel.trainable = not bias_alone
    return model


def behind_a_softmax():
    stack = [layers.Dense(16, "softmax", name="first"), Cut(), layers.Dense(16, "relu"), layers.Dense(3)]
    return keras.Sequential([keras.Input((16,)), *stack])


def sigmoids():
    hidden = [layers.Dense(16, "sigmoid", name=f"hidden_{place}") for place in range(8)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(3)])


def small_attention():
    small = keras.initializers.RandomNormal(stddev=0.003, seed=1)
    return attention(lambda x: layers.MultiHeadAttention(2, 8, kernel_initializer=small)(x, x))


NETWORKS = {
    # What it adds to the scores of a query is the same for all keys.
    "bias of keys": (lambda: attention(KeysFirst(only_biases=True)), []),
    # Attention to equal values gives these, whatever its weights are.
    "equal positions": (lambda: attention(of_keras, equal=True), []),
    "equal positions, own": (lambda: attention(KeysFirst(), equal=True), []),
    "kernel before a normalization": (lambda: before_a_batch_normalization(bias_alone=False), []),
    "attention": (lambda: attention(of_keras), []),
    # No other way leads from the inputs.
    "bias before a normalization": (lambda: before_a_batch_normalization(bias_alone=True), ["note"]),
    "softmax that is added up": (behind_a_softmax, ["note"]),
    # Small, but no rounding.
    "sigmoids": (sigmoids, ["warning"]),
    "small attention": (small_attention, ["warning"]),
}


def levels(name, policy="float32"):
    """Return the levels of the verdicts on vanishing gradients, which propose no weights as notes."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        model = NETWORKS[name][0]()
    finally:
        keras.config.set_dtype_policy(former)
    x = X if len(model.input_shape) == 3 else X[:, 0]
    report = keras_initx.diagnose(model, x, LABELS, loss=CROSSENTROPY)
    found = [one for one in report.verdicts if one.problem == "vanishing gradient"]
    assert all(not one.remedy.weights and not one.remedy.lsuv for one in found if one.level == "note")
    return [one.level for one in found]


@pytest.mark.release_backends
@pytest.mark.parametrize("name", NETWORKS)
def test_a_gradient_that_is_rounding_is_no_vanishing_one(name):
    _, expected = NETWORKS[name]
    # Some backends make 0 of it, which other verdicts are of.
    assert levels(name) in ([], expected) if expected == ["note"] else levels(name) == expected


@pytest.mark.rare
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_none_in_16_bits(name, policy):
    _, expected = NETWORKS[name]
    assert levels(name, policy) in ([], expected) if expected == ["note"] else levels(name, policy) == expected


def test_a_diagnosis_that_compares_gradients_changes_no_weight():
    model = behind_a_softmax()
    before = model.get_weights()
    keras_initx.diagnose(model, X[:, 0], LABELS, loss=CROSSENTROPY)
    for value, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, former)


def test_what_is_rounding_follows_from_the_dtypes_of_layers():
    assert levels("softmax that is added up", "float16") in ([], ["note"])
