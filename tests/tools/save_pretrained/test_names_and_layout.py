"""Names and layout are those of the load, as a dict, its report or the JSON of this."""

import json

import keras
import numpy as np
import pytest
from modes import to_numpy
from saved import assert_same_bits, built, change, loaded, read, state_of

from keras_initx import load_pretrained, save_pretrained
from keras_initx.files._lazy import format_index
from keras_initx.tools.save_pretrained._names_and_layout import parse_index

layers = keras.layers
NAMES = {"a/kernel": ("w", np.s_[:4]), "*/bias": None, "b/*": "other.{0}", "n": "norm"}


def model_of_names():
    stack = [layers.Dense(4, name="a"), layers.Dense(4, name="b", use_bias=False)]
    return built((4,), *stack, layers.LayerNormalization(name="n"))


def state_of_names():
    return state_of({"w": (8, 4), "other.kernel": (4, 4), "norm.weight": (4,), "norm.bias": (4,)})


@pytest.mark.parametrize("form", ["dict", "report", "JSON"])
def test_names_are_given_in_three_forms(form, tmp_path):
    model, state = model_of_names(), state_of_names()
    names = {**NAMES, "n/beta": "norm.bias"}
    names = {"n/beta": "norm.bias", **NAMES}
    report = load_pretrained(model, state, names, layout="torch")
    report.to_json(tmp_path / "load.json")
    given = {"dict": names, "report": report, "JSON": tmp_path / "load.json"}[form]
    layout = "torch" if form == "dict" else None
    save_pretrained(model, tmp_path / "a.safetensors", given, like=state, layout=layout)
    assert_same_bits(read(tmp_path / "a.safetensors"), state)


def test_a_report_without_names_says_the_layout(tmp_path):
    model, state = built((4,), layers.Dense(4, name="m")), state_of({"m.weight": (4, 4), "m.bias": (4,)})
    report = loaded(model, state)
    assert (report.names, report.layout) == (None, "torch")
    report.to_json(tmp_path / "load.json")
    save_pretrained(model, tmp_path / "a.safetensors", tmp_path / "load.json", like=state)
    assert_same_bits(read(tmp_path / "a.safetensors"), state)


def test_a_square_model_is_not_saved_in_another_layout_than_that_of_its_load(tmp_path):
    model, state = built((4,), layers.Dense(4, name="m")), state_of({"m.weight": (4, 4), "m.bias": (4,)})
    report = loaded(model, state)
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="`layout` must be 'torch' or `None`, because `names` is the report"):
        save_pretrained(model, path, report, like=state, layout="keras")
    assert not path.exists()
    save_pretrained(change(model), path, report, like=state, layout="torch")
    np.testing.assert_array_equal(read(path)["m.weight"], to_numpy(model.layers[0].kernel).T)


def test_a_report_keeps_names_as_data():
    names = {**NAMES, "b/kernel": ("other.kernel", np.transpose), "a/bias": ("bias", np.abs, np.abs)}
    names = {"b/kernel": ("other.kernel", np.transpose), "n/beta": ("norm.bias", np.abs, np.abs), **NAMES}
    model, state = model_of_names(), state_of_names()
    del names["b/*"]
    report = load_pretrained(model, state, names, layout="torch")
    assert report.names == {
        "b/kernel": ("other.kernel", "a function"),
        "n/beta": ("norm.bias", "a function"),
        "a/kernel": ("w", "[:4]"),
        "*/bias": None,
        "n": "norm",
    }
    assert json.loads(report.to_json())["names"]["a/kernel"] == ["w", "[:4]"]
    with pytest.raises(ValueError, match=r"does not keep: pass `names=`.*a function for 'b/kernel'"):
        save_pretrained(model, "a.safetensors", report, like=state)


INDEXES = [np.s_[:4], np.s_[2], np.s_[..., 0], np.s_[1:, None, -3:5], np.s_[::2], np.s_[:, :, 0, 0], np.s_[...]]


@pytest.mark.parametrize("index", INDEXES, ids=format_index)
def test_an_index_is_read_from_its_text(index):
    assert parse_index(format_index(index)) == index


@pytest.mark.parametrize("content", ["[]", "{", '{"rows": []}', "\xff"])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    path = tmp_path / "load.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match="`names` must be a dict, the report of `load_pretrained`, or"):
        save_pretrained(model_of_names(), tmp_path / "a.safetensors", path, like=state_of_names())


def test_names_of_another_type_are_refused():
    with pytest.raises(TypeError, match="`names` must be a dict"):
        save_pretrained(model_of_names(), "a.safetensors", 3, like=state_of_names(), layout="torch")


def test_an_inverse_is_ignored_by_a_load():
    model = built((4,), layers.Dense(4, name="a", use_bias=False))
    state = state_of({"w": (4, 4)})
    names = {"a/kernel": ("w", np.transpose, lambda array: array.no_such_attribute)}
    load_pretrained(model, state, names, layout="torch")
    np.testing.assert_array_equal(to_numpy(model.layers[0].kernel), state["w"].T)
    with pytest.raises(TypeError, match="a name with a function and its inverse"):
        load_pretrained(model, state, {"a/kernel": ("w", np.transpose, 3)}, layout="torch")


def test_keras_loads_its_own_layout():
    first, second = (keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a")]) for _ in range(2))
    assert load_pretrained(first, second).layout == "keras"
