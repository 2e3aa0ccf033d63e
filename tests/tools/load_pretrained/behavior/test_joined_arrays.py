"""Several arrays of a source become one weight, side by side along its units, and go back to where they were."""

import json

import keras
import numpy as np
import pytest
from modes import to_numpy
from saved import assert_same_bits, change, read
from stacks import built

from keras_initx import load_pretrained, save_pretrained
from keras_initx.cli._inputs import read_names

layers = keras.layers
RANDOM = np.random.default_rng(0)
PARTS = ("q", "k", "v")


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def joined():
    return built((8,), layers.Dense(12, name="qkv"))


def state_of_parts(inputs=8, units=4):
    state = {f"{name}.weight": normal(units, inputs) for name in PARTS}
    return state | {f"{name}.bias": normal(units) for name in PARTS}


BY_LAYER = {"qkv": list(PARTS)}
BY_WEIGHT = {
    f"qkv/{name}": [f"{part}.{end}" for part in PARTS] for name, end in (("kernel", "weight"), ("bias", "bias"))
}


@pytest.mark.every_backend
@pytest.mark.parametrize("names", [BY_LAYER, BY_WEIGHT])
def test_arrays_lie_side_by_side_along_the_units(names):
    model, state = joined(), state_of_parts()
    report = load_pretrained(model, state, names, layout="torch")
    kernel, bias = (to_numpy(weight) for weight in model.weights)
    np.testing.assert_array_equal(kernel, np.concatenate([state[f"{name}.weight"].T for name in PARTS], axis=1))
    np.testing.assert_array_equal(bias, np.concatenate([state[f"{name}.bias"] for name in PARTS]))
    assert report["qkv/kernel"].detail == "3 arrays side by side, transposed"
    assert report["qkv/kernel"].sources == ("q.weight", "k.weight", "v.weight")
    assert not report.unused


# For each layer a function that makes its model, and the shapes of two arrays in each layout.
LAYERS = {
    "dense": (
        lambda: built((8,), layers.Dense(7, use_bias=False, name="m")),
        {"torch": [(3, 8), (4, 8)], "keras": [(8, 3), (8, 4)]},
    ),
    "convolution": (
        lambda: built((6, 5, 2), layers.Conv2D(7, 3, use_bias=False, name="m")),
        {"torch": [(3, 2, 3, 3), (4, 2, 3, 3)], "keras": [(3, 3, 2, 3), (3, 3, 2, 4)]},
    ),
    "transposed": (
        lambda: built((6, 5, 2), layers.Conv2DTranspose(7, 3, use_bias=False, name="m")),
        {"torch": [(2, 3, 3, 3), (2, 4, 3, 3)], "keras": [(3, 3, 3, 2), (3, 3, 4, 2)]},
    ),
    "einsum": (
        lambda: built((6, 8), layers.EinsumDense("abc,cd->abd", (None, 7), name="m")),
        {"torch": [(3, 8), (4, 8)], "keras": [(8, 3), (8, 4)]},
    ),
    "table": (
        lambda: built((6,), layers.Embedding(9, 7, name="m")),
        {"torch": [(9, 3), (9, 4)], "keras": [(9, 3), (9, 4)]},
    ),
}


@pytest.mark.parametrize("layout", ["torch", "keras"])
@pytest.mark.parametrize("name", LAYERS)
def test_each_half_is_that_of_a_layer_of_its_own(name, layout, tmp_path):
    build, shapes = LAYERS[name]
    state = {f"{part}.a": normal(*shape) for part, shape in zip("xy", shapes[layout], strict=True)}
    model = build()
    (weight,) = model.weights
    path = f"m/{weight.name}"
    report = load_pretrained(model, state, {path: ["x.a", "y.a"]}, layout=layout)
    assert "2 arrays side by side" in report[path].detail
    loaded = to_numpy(weight)
    axis = loaded.shape.index(7)
    for part, units in (("x", slice(0, 3)), ("y", slice(3, 7))):
        alone = [slice(None)] * loaded.ndim
        alone[axis] = units
        assert sorted(loaded[tuple(alone)].ravel()) == sorted(state[f"{part}.a"].ravel())
    save_pretrained(model, tmp_path / "same.safetensors", report, like=state)
    assert_same_bits(read(tmp_path / "same.safetensors"), state)
    weight.assign(2 * loaded)
    save_pretrained(model, tmp_path / "twice.safetensors", report, like=state)
    assert_same_bits(read(tmp_path / "twice.safetensors"), {name: 2 * array for name, array in state.items()})


def test_names_go_back_from_a_report_and_from_json(tmp_path):
    model, state = joined(), state_of_parts()
    report = load_pretrained(model, state, BY_LAYER, layout="torch")
    report.to_json(tmp_path / "load.json")
    change(model)
    for number, names in enumerate((report, tmp_path / "load.json", read_names(json.dumps(BY_WEIGHT)))):
        path = tmp_path / f"{number}.safetensors"
        save_pretrained(model, path, names, like=state, layout="torch")
        again = joined()
        load_pretrained(again, path, BY_LAYER, layout="torch")
        for weight, other in zip(again.weights, model.weights, strict=True):
            np.testing.assert_array_equal(to_numpy(weight), to_numpy(other))


REFUSED = {
    "too few": (state_of_parts(units=3), r"'qkv/kernel' \(8, 12\): the shape is \(9, 8\) instead of \(12, 8\)"),
    "other inputs": (
        {**state_of_parts(), "k.weight": normal(4, 7)},
        r"shape \(4, 8\) and float32 of shape \(4, 7\) do not fit side by side along the units",
    ),
    "another dtype": (
        {**state_of_parts(), "k.weight": normal(4, 8).astype("float16")},
        r"float32 of shape \(4, 8\) and float16 of shape \(4, 8\) do not fit side by side",
    ),
    "one is missing": (
        {name: array for name, array in state_of_parts().items() if name != "v.weight"},
        "no array .* 'q.weight' and 'k.weight' and 'v.weight'",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_arrays_that_do_not_fill_a_weight_are_refused(kind):
    state, message = REFUSED[kind]
    model = joined()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, state, BY_LAYER, layout="torch")
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_whose_units_have_several_axes_or_are_gates_are_refused():
    heads = built((6, 8), layers.EinsumDense("abc,cde->abde", (None, 3, 4), name="m"))
    state = {f"{name}.weight": normal(4, 8) for name in PARTS}
    with pytest.raises(ValueError, match="the axis of the units in the kernel of a EinsumDense is unknown"):
        load_pretrained(heads, state, {"m": list(PARTS)}, layout="torch")
    with pytest.raises(ValueError, match="`names` must not have a list for a recurrent layer"):
        load_pretrained(built((6, 8), layers.LSTM(3, name="m")), state, {"m": list(PARTS)}, layout="torch")
    for wrong in (["q.weight"], [], ["q.weight", 3]):
        with pytest.raises(TypeError, match="must be a name, a list of names whose arrays lie side by side"):
            load_pretrained(joined(), state, {"qkv/kernel": wrong}, layout="torch")
