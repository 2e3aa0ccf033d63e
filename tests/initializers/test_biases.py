"""Biases of feed-forward layers."""

import math
import warnings
from typing import NamedTuple

import keras
import numpy as np
import pytest
from modes import float64, to_numpy

import keras_initx
from keras_initx import PriorBias, ReLUBias

layers = keras.layers
COUNTS = [900, 90, 10]
SHARES = np.array(COUNTS) / 1000


def test_every_entry_is_the_value():
    assert np.unique(to_numpy(ReLUBias()((3, 4)))).tolist() == [np.float32(0.01)]


def test_refuses_a_value_that_is_not_positive():
    with pytest.raises(ValueError, match=r"`value` must be a positive number\. Received: value=0"):
        ReLUBias(0)


def classifier(units, activation, bias):
    """Return a model whose inputs say nothing yet."""
    output = layers.Dense(units, activation, kernel_initializer="zeros", bias_initializer=bias)
    return keras.Sequential([keras.Input((4,)), output])


def predict(model):
    return to_numpy(model(np.ones((1, 4), "float32")))[0]


@pytest.mark.parametrize("frequencies", [COUNTS, SHARES.tolist(), np.array(COUNTS)], ids=str)
def test_softmax_gives_the_frequencies(frequencies):
    np.testing.assert_allclose(predict(classifier(3, "softmax", PriorBias(frequencies))), SHARES, rtol=1e-6)


def test_independent_units_have_probabilities_of_their_own():
    model = classifier(3, "sigmoid", PriorBias([0.5, 0.01, 0.999], multi_label=True))
    np.testing.assert_allclose(predict(model), [0.5, 0.01, 0.999], rtol=1e-5)


def test_one_number_is_for_units_of_any_shape():
    bias = to_numpy(PriorBias(0.01)((4, 6)))
    np.testing.assert_array_equal(bias, np.full((4, 6), -np.log(99), "float32"))


def test_equal_frequencies_are_a_bias_of_zero():
    assert to_numpy(PriorBias([7, 7])((1,))).tolist() == [0]
    assert to_numpy(PriorBias(0.5)((1,))).tolist() == [0]


def test_one_class_that_excludes_no_other():
    np.testing.assert_allclose(to_numpy(PriorBias([0.2], multi_label=True)((1,))), -np.log(4), rtol=1e-6)


def test_extreme_frequencies_are_finite_and_right():
    with float64():
        bias = to_numpy(PriorBias([1e308, 1e308, 1e-308])((3,), "float64"))
    np.testing.assert_allclose(bias, [-np.log(2), -np.log(2), np.log(1e-308) - np.log(2) - np.log(1e308)], rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "frequencies"),
    [
        ([0, 2, 1, 0, 0, 2], [3, 1, 2]),
        (np.array([[0], [1], [0]], "uint8"), [2, 1]),
        ([True, False, False], [2, 1]),
        (np.eye(3)[[0, 1, 1, 2]], [1, 2, 1]),
        ([[0.25, 0.75], [0.5, 0.5]], [0.75, 1.25]),
        ([[0.25, 0.75], [0.5, 0.50048828125]], [0.75, 1.25048828125]),
    ],
    ids=["list", "column of integers", "booleans", "one-hot", "probabilities", "rounded probabilities"],
)
def test_labels_of_exclusive_classes(labels, frequencies):
    assert PriorBias.from_labels(labels) == PriorBias(frequencies)
    assert PriorBias.from_labels(keras.ops.convert_to_tensor(labels)) == PriorBias(frequencies)


def test_labels_in_16_bits():
    labels = keras.ops.cast([0, 1, 1], "bfloat16")
    assert PriorBias.from_labels(labels) == PriorBias([1, 2])


def test_labels_of_classes_that_do_not_exclude_each_other():
    labels = [[1, 0], [1, 1], [0, 0], [1, 0]]
    assert PriorBias.from_labels(labels, multi_label=True) == PriorBias([0.75, 0.25], multi_label=True)


def test_a_bias_from_labels_comes_back_from_its_config():
    bias = PriorBias.from_labels(np.repeat([0, 1, 2], COUNTS))
    assert bias.get_config() == {"frequencies": COUNTS, "multi_label": False}
    assert PriorBias.from_config(bias.get_config()) == bias


@pytest.mark.parametrize(
    ("frequencies", "multi_label", "shape", "required"),
    [
        (COUNTS, False, (1,), r"\(3,\)"),
        ([9, 1], False, (3,), r"\(2,\) or \(1,\)"),
        ([0.9, 0.1], True, (1,), r"\(2,\)"),
    ],
)
def test_refuses_a_layer_with_another_number_of_units(frequencies, multi_label, shape, required):
    bias = PriorBias(frequencies, multi_label=multi_label)
    message = rf"`shape` must be {required}, one unit for each of `frequencies`\. Received: shape=\({shape[0]},\)"
    with pytest.raises(ValueError, match=message):
        layers.Dense(shape[0], bias_initializer=bias).build((None, 4))


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"frequencies": 0}, ValueError, r"be between 0 and 1\. Received: frequencies=0, multi_label=False"),
        ({"frequencies": 1.0}, ValueError, r"be between 0 and 1\. Received: frequencies=1\.0"),
        (
            {"frequencies": [5, 0, 1]},
            ValueError,
            r"be positive and finite; the frequency of class 1 is not, .* Received: ",
        ),
        (
            {"frequencies": [0.5, 3], "multi_label": True},
            ValueError,
            r"be between 0 and 1; the frequency of class 1 is not",
        ),
        ({"frequencies": [5]}, ValueError, r"have a number for each of at least two classes\. Received: "),
        ({"frequencies": [], "multi_label": True}, ValueError, r"have a number for each of at least two classes"),
        ({"frequencies": "ab"}, TypeError, r"be a number or a list of numbers\. Received: frequencies='ab'"),
        ({"frequencies": np.ones((2, 2))}, TypeError, r"be a number or a list of numbers\. Received: "),
    ],
    ids=str,
)
def test_refuses_bad_frequencies(kwargs, error, message):
    with pytest.raises(error, match=f"`frequencies` must {message}"):
        PriorBias(**kwargs)


@pytest.mark.parametrize(
    "make", [lambda: PriorBias(0.5, multi_label=1), lambda: PriorBias.from_labels([0, 1], multi_label="yes")]
)
def test_refuses_a_flag_that_is_none(make):
    with pytest.raises(TypeError, match=r"`multi_label` must be True or False\. Received: multi_label="):
        make()


class Refused(NamedTuple):
    """Labels from which no frequencies can be counted, and what is said against them."""

    labels: list
    error: type[Exception]
    message: str
    multi_label: bool = False


@pytest.mark.parametrize(
    Refused._fields,
    [
        Refused(
            labels=["cat", "dog"],
            error=TypeError,
            message=r"be an array of finite numbers.* Received: labels of type str",
        ),
        Refused(
            labels=[[1], [1, 2]],
            error=TypeError,
            message=r"be an array of finite numbers.* Received: labels of type list",
        ),
        Refused(
            labels=[],
            error=ValueError,
            message=r"be an array of finite numbers, not empty\. Received: labels of shape \(0,\)",
        ),
        Refused(labels=[0.0, math.nan], error=ValueError, message=r"be an array of finite numbers"),
        Refused(
            labels=[0, 1, 3],
            error=ValueError,
            message=r"contain each class from 0 on; class 2 never .* between 0 and 3",
        ),
        Refused(labels=[-1, 0, 1], error=ValueError, message=r"be integers .* between -1 and 1"),
        Refused(labels=[0.5, 1], error=ValueError, message=r"be integers .* between 0\.5 and 1"),
        Refused(
            labels=[[0.25, 0.75], [0.5, 0.51]],
            error=ValueError,
            message=r"be integers .* labels of shape \(2, 2\) between 0\.25 and",
        ),
        Refused(
            labels=[[-0.5, 1.5], [0.5, 0.5]],
            error=ValueError,
            message=r"be integers .* labels of shape \(2, 2\) between -0\.5 and 1",
        ),
        Refused(labels=[[[0], [1]]], error=ValueError, message=r"be integers .* labels of shape \(1, 2, 1\)"),
        Refused(
            labels=[0, 1],
            multi_label=True,
            error=ValueError,
            message=r"have the shape \(n, classes\) and be between 0 and 1 .* shape \(2,\)",
        ),
        Refused(
            labels=[[0, 2]],
            multi_label=True,
            error=ValueError,
            message=r"have the shape \(n, classes\) and be between 0 and 1 .* between 0 and 2",
        ),
        Refused(
            labels=[[-1, 1]],
            multi_label=True,
            error=ValueError,
            message=r"have the shape \(n, classes\) and be between 0 and 1 .* between -1 and 1",
        ),
    ],
    ids=str,
)
def test_refuses_other_labels(labels, multi_label, error, message):
    with pytest.raises(error, match=f"`labels` must {message}"):
        PriorBias.from_labels(labels, multi_label=multi_label)


@pytest.mark.parametrize(
    ("labels", "multi_label", "number"),
    [([[1, 0], [1, 0]], False, 1), ([[1, 0], [1, 1]], True, 0)],
)
def test_refuses_labels_with_a_class_that_is_never_or_always_true(labels, multi_label, number):
    with pytest.raises(ValueError, match=f"`frequencies` must be .*the frequency of class {number} is not"):
        PriorBias.from_labels(labels, multi_label=multi_label)


def test_a_kernel_of_equal_units_is_warned_of_once_and_not_while_it_is_loaded(tmp_path):
    with pytest.warns(UserWarning, match="`ReLUBias` gives all units of 'a' one kernel") as warned:
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(4, kernel_initializer="initx.relu_bias", name="a")]
        )
    assert len(warned) == 1
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras.saving.load_model(tmp_path / "model.keras")
        keras.layers.Dense(4, bias_initializer="initx.relu_bias").build((None, 3))


@pytest.mark.parametrize("name", ["sparse", "orthogonal", "dirac"])
def test_an_initializer_for_kernels_says_so_in_a_bias(name):
    layer = keras.layers.Dense(4, bias_initializer=f"initx.{name}", name="a")
    with pytest.raises(ValueError, match=r"is for a kernel, .* pass 'zeros' there.*layer='a'"):
        layer.build((None, 3))


def test_a_misspelt_argument_gets_the_right_one():
    with pytest.raises(TypeError, match="'density'; did you mean 'sparsity'"):
        keras_initx.Sparse(density=0.1)
    with pytest.raises(TypeError, match="'gian'; did you mean 'gain'"):
        keras_initx.Orthogonal(gian=2)
    with pytest.raises(AttributeError, match="did you mean Sparse"):
        keras_initx.SparseInitializer  # noqa: B018
