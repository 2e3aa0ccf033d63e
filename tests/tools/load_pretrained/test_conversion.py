"""How an array becomes a weight: its dtype, its axes, the sum of two biases, and what a function makes of it."""

import re
import weakref

import keras
import numpy as np
import pytest
import safetensors.numpy
from drawn import row
from loaded import normal
from modes import to_numpy
from stacks import arrays, built

from keras_initx import load_pretrained
from keras_initx.inspection._inventory import Inventory

layers = keras.layers


@pytest.mark.parametrize("stored", ["float16", "float64", pytest.param("bfloat16", marks=pytest.mark.every_backend)])
def test_values_get_the_dtype_of_the_weight(stored, tmp_path):
    kernel = normal(3, 2).astype(stored)
    if stored == "float64":
        np.savez(tmp_path / "a.npz", **{"dense.kernel": kernel})
    else:
        safetensors.numpy.save_file({"dense.kernel": kernel}, tmp_path / "a.safetensors")
    for dtype in ("float32", "bfloat16"):
        model = built((3,), layers.Dense(2, use_bias=False, name="dense", dtype=dtype))
        load_pretrained(model, next(tmp_path.iterdir()), layout="keras")
        np.testing.assert_array_equal(to_numpy(model.layers[0].kernel.value), kernel.astype(dtype))


def test_a_recurrent_layer_needs_both_biases():
    model = built((5, 4), layers.LSTM(3, name="lstm"))
    state = recurrent_state(4, "lstm.")
    both = dict(state)
    del state["lstm.bias_hh_l0"]
    before = arrays(model)
    message = r"no array .*'lstm.bias_ih_l0' and 'lstm.bias_hh_l0'"
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, state, {"lstm": "lstm"}, layout="torch")
    with pytest.raises(ValueError, match=r"'lstm/lstm_cell/bias' .*: cannot cast 'lstm.bias_hh_l0', int64, to float32"):
        load_pretrained(model, {**both, "lstm.bias_hh_l0": np.arange(12)}, layout="torch")
    assert all((value == before[path]).all() for path, value in arrays(model).items())
    plan = load_pretrained(model, state, layout="torch")
    assert [(row.path, row.detail) for row in plan.left] == [("lstm/lstm_cell/bias", "not in the source")]
    assert list(plan.unused) == ["lstm.bias_ih_l0"]
    # A part is that of both.
    longer = {"bias_ih": normal(15), "bias_hh": normal(15)}
    load_pretrained(model, longer, {"lstm/lstm_cell/bias": ("bias_ih", np.s_[3:])}, layout="torch")
    expected = (longer["bias_ih"].astype("float64") + longer["bias_hh"])[3:].astype("float32")
    np.testing.assert_array_equal(arrays(model)["lstm/lstm_cell/bias"], expected)
    # Those of a cell of torch have no number, and only a recurrent layer has two.
    cell = {name.removesuffix("_l0"): array for name, array in both.items()}
    assert not load_pretrained(model, cell, layout="torch").left
    dense = built((4,), layers.Dense(3, name="dense"))
    load_pretrained(dense, {"bias_ih": normal(3)}, {"dense/bias": "bias_ih"}, layout="torch")


def test_what_a_function_returns_is_not_kept():
    made = []

    def doubled(array):
        made.append(weakref.ref(result := 2 * array))
        return result

    model = built((2,), *(layers.Dense(2, name=f"of {name}", use_bias=False) for name in "abc"))
    load_pretrained(model, {"a": np.eye(2)}, {"*/kernel": ("a", doubled)}, layout="keras", dry_run=True)
    assert len(made) == 3
    assert not any(reference() is not None for reference in made)


def recurrent_state(gates, module=""):
    names = {"weight_ih_l0": (3 * gates, 4), "weight_hh_l0": (3 * gates, 3)}
    names |= {"bias_ih_l0": (3 * gates,), "bias_hh_l0": (3 * gates,)}
    return {f"{module}{name}": normal(*shape) for name, shape in names.items()}


def test_an_lstm_takes_a_bias_that_was_summed_before():
    model, bias = built((5, 4), layers.LSTM(3, name="lstm")), normal(12)
    plan = load_pretrained(model, {"b": bias}, {"lstm/lstm_cell/bias": "b"}, layout="torch")
    np.testing.assert_array_equal(arrays(model)["lstm/lstm_cell/bias"], bias)
    assert row(plan, "lstm/lstm_cell/bias").detail == ""


def test_a_gru_that_torch_does_not_have_is_refused():
    model = built((5, 4), layers.GRU(3, reset_after=False, name="gru"))
    with pytest.raises(ValueError, match=r"no GRU with `reset_after=False`: make .* with `reset_after=True`"):
        load_pretrained(model, recurrent_state(3, "gru."), layout="torch")


IMAGE = (6, 6, 4)


@pytest.mark.parametrize(
    ("layout", "shape", "layer", "given"),
    [
        ("torch", IMAGE, layers.Conv2D(5, (3, 1)), (5, 4, 1, 3)),
        ("torch", (5,), layers.Dense(1), (5, 1)),
        ("torch", (5,), layers.Dense(1), (5,)),
        ("keras", (5,), layers.Dense(1), (1, 5)),
    ],
)
def test_axes_of_length_1_are_neither_moved_nor_dropped(layout, shape, layer, given):
    model = built(shape, layer)
    path = Inventory(model).weights[0].path
    with pytest.raises(ValueError, match=rf"'{path}' .*: the shape is {re.escape(str(given))} instead of "):
        load_pretrained(model, {"weight": normal(*given)}, {path: "weight"}, layout=layout)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.PReLU(shared_axes=[2, 3]), (5, 6, 4)),
        (layers.LayerNormalization([1, 2, 3]), (4, 4, 4)),
        (layers.ConvLSTM1D(1, 1), (5, 6, 1)),
    ],
)
def test_axes_that_torch_may_have_elsewhere_want_a_function(layer, shape):
    # torch has channels first, and slopes for each channel only.
    model = built(shape, layer)
    weight = Inventory(model).weights[0]
    with pytest.raises(ValueError, match=r"the order of axes of a \w+ in torch is unknown"):
        load_pretrained(model, {"weight": normal(*weight.shape)}, {weight.path: "weight"}, layout="torch")


def test_a_function_may_change_its_array():
    def swapped(array):
        array[[0, 1]] = array[[1, 0]]
        return array

    model, kernel = built((3,), layers.Dense(1, name="gates")), np.array([[1.0], [2.0], [3.0]], "float32")
    source = {"w": kernel, "b": np.zeros(1)}
    load_pretrained(model, source, {"gates/kernel": ("w", swapped), "gates/bias": "b"}, layout="keras")
    assert to_numpy(model.layers[0].kernel).ravel().tolist() == [2, 1, 3]
    assert kernel.ravel().tolist() == [1, 2, 3]


def test_a_normalization_uses_what_it_gets():
    x = normal(64, 4) * 3 + 5
    source, model = (built((4,), layers.Normalization(dtype="mixed_bfloat16")) for _ in range(2))
    source.layers[0].adapt(x)
    load_pretrained(model, source)
    np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(source(x)))


def test_a_function_makes_a_bias_from_the_array_of_its_rule_alone():
    model = built((5, 4), layers.LSTM(3, name="lstm"))
    state = {"bias_ih": normal(12), "bias_hh": normal(12)}
    plan = load_pretrained(model, state, {"lstm/lstm_cell/bias": ("bias_ih", np.negative)}, layout="torch")
    np.testing.assert_array_equal(arrays(model)["lstm/lstm_cell/bias"], -state["bias_ih"])
    assert list(plan.unused) == ["bias_hh"]


def test_the_sum_of_two_biases_is_rounded_once():
    model = built((5, 4), layers.LSTM(3, recurrent_initializer="zeros", dtype="bfloat16", name="lstm"))
    state = {"lstm.bias_ih_l0": normal(12), "lstm.bias_hh_l0": normal(12)}
    load_pretrained(model, state, layout="torch")
    expected = sum(state.values()).astype("bfloat16")
    np.testing.assert_array_equal(arrays(model)["lstm/lstm_cell/bias"], expected)


def test_a_sum_of_two_biases_that_the_weight_cannot_hold_is_refused():
    model = built((5, 4), layers.LSTM(3, recurrent_initializer="zeros", dtype="float16", name="lstm"))
    before = arrays(model)
    state = {"lstm.bias_ih_l0": np.full(12, 4e4), "lstm.bias_hh_l0": np.full(12, 4e4)}
    with pytest.raises(ValueError, match=r"Received: 'lstm.bias_ih_l0' \+ 'lstm.bias_hh_l0' for 'lstm/lstm_cell/bias'"):
        load_pretrained(model, state, layout="torch")
    assert all((value == before[path]).all() for path, value in arrays(model).items())
