"""Layers without names of their own are paired by the order of a file or dict, or it is said that it has none."""

import keras
import numpy as np
import pytest
from modes import to_numpy
from stacks import changed

from keras_initx import load_pretrained

layers = keras.layers
RANDOM = np.random.default_rng(0)


class Lists(keras.Model):
    """It calls what is in its lists in another order than that of their names."""

    def __init__(self, name=None):
        super().__init__(name=name)
        self.mid, self.out = [layers.Dense(4)], [layers.Dense(4)]

    def call(self, x):
        return self.mid[0](self.out[0](x))


def listed(name=None):
    model = Lists(name)
    model(np.zeros((1, 4)))
    return model


def unnamed(name):
    model = keras.Sequential([layers.Dense(4), layers.Dense(4)], name=name)
    model.build((None, 4))
    return model


@pytest.mark.parametrize(
    ("model", "how"),
    [
        (lambda: unnamed("net"), ""),
        (lambda: unnamed("other"), "paired by the order of attributes, which calls may not follow"),
        (lambda: listed("net"), "paired by the order of attributes, which calls may not follow"),
    ],
    ids=["same name", "another name", "another class"],
)
def test_a_sequential_model_of_a_chosen_name_is_known_by_it(model, how, tmp_path):
    unnamed("net").save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(model(), path)
    assert {(row.status, row.detail) for row in report.rows} == {("loaded", how)}
    assert not report.notes


def test_layers_in_lists_are_noted_once(tmp_path):
    listed().save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(listed(), path)
    assert {(row.status, row.detail) for row in report.rows} == {("loaded", "")}
    assert ["equal shapes in mid, out are paired" in note for note in report.notes] == [True]


@pytest.mark.parametrize(
    ("dtype", "status", "how"),
    [
        ("float16", "loaded", "paired by number: the source has no order"),
        ("float32", "left", "layers with this automatic name have another order in the source"),
    ],
)
def test_names_that_are_sorted_within_each_dtype_have_no_order(dtype, status, how):
    """A file of safetensors has them so, and no order that they were listed in."""
    first, second = layers.Dense(4), layers.Dense(4)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, first(second(inputs)))
    kernels = {f"dense_{number}/kernel": np.full((4, 4), number, dtype) for number in (5, 6)}
    biases = {f"dense_{number}/bias": np.full(4, number, "float32") for number in (5, 6)}
    report = load_pretrained(model, {**kernels, **biases}, layout="keras")
    assert {(row.status, row.detail) for row in report.rows} == {(status, how)}
    if status == "loaded":
        assert (to_numpy(first.bias)[0], to_numpy(second.bias)[0]) == (5, 6)


BY_ATTRIBUTES = "paired by the order of attributes, which calls may not follow"


@keras.saving.register_keras_serializable("tests")
class Pair(keras.Model):
    """Holds two layers of one class and shape by attributes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one, self.two = layers.Dense(3), layers.Dense(3)

    def call(self, x):
        return self.two(self.one(x))


def pair(name=None):
    model = Pair(name=name)
    model(np.zeros((1, 3), "float32"))
    return model


def stack():
    return keras.Sequential([keras.Input((3,)), layers.Dense(3), layers.Dense(3)])


@pytest.mark.parametrize(("build", "how"), [(pair, BY_ATTRIBUTES), (stack, "")])
def test_a_dict_has_the_order_of_calls_for_a_model_that_is_ordered_by_them(build, how):
    values = [to_numpy(weight) for weight in build().weights]
    names = ["dense_4/kernel", "dense_4/bias", "dense_5/kernel", "dense_5/bias"]
    report = load_pretrained(build(), dict(zip(names, values, strict=True)), layout="keras")
    assert {(row.status, row.detail) for row in report.rows} == {("loaded", how)}


def crossed(name=None):
    """Return a model whose layers were made in another order than they are called in."""
    inputs = keras.Input((3,))
    last, first = layers.Dense(3), layers.Dense(3)
    return keras.Model(inputs, last(first(inputs)), name=name)


@pytest.mark.parametrize("has_file", [True, False])
@pytest.mark.parametrize("saved", [stack, crossed])
def test_the_layers_of_a_stack_have_the_order_of_calls(saved, has_file, tmp_path):
    source, model = changed(saved()), stack()
    source.save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(model, path if has_file else source)
    assert {(row.status, row.detail) for row in report.rows} == {("loaded", "")}
    np.testing.assert_array_equal(to_numpy(model(np.eye(3))), to_numpy(source(np.eye(3))))


@pytest.mark.parametrize("has_file", [True, False])
def test_layers_in_attributes_may_have_another_order_than_those_of_a_functional_model(has_file, tmp_path):
    source, model = (keras.Sequential([keras.Input((3,)), build(name="inner")]) for build in (crossed, pair))
    source.save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(model, path if has_file else source)
    assert {(row.status, row.detail) for row in report.rows} == {("loaded", BY_ATTRIBUTES)}
