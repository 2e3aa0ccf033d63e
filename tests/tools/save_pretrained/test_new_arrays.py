"""What is written in each array, what is kept as it was, and what is refused."""

import json

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy
from saved import (
    GRAPHS,
    assert_same_bits,
    built,
    change,
    loaded,
    of_cells,
    read,
    saved,
    state_of,
)

from keras_initx import load_pretrained, save_pretrained

layers = keras.layers
DENSE = {"m.weight": (3, 4), "m.bias": (3,)}


def dense(units=3, **options):
    return built((4,), layers.Dense(units, name="m", **options))


def refused(model, path, like, names=None, *, match, **options):
    """Check that a model is refused, and nothing is written."""
    options = {"layout": "torch", **options}
    with pytest.raises(ValueError, match=match) as caught:
        save_pretrained(model, path, names, like=like, **options)
    assert not path.exists()
    assert list(path.parent.iterdir()) == []
    return str(caught.value)


# Weights without a place.


def test_a_weight_that_like_does_not_have_is_refused_unless_names_leaves_it(tmp_path):
    model = built((4,), layers.Dense(3, name="m"), layers.Dense(2, name="head"))
    path = tmp_path / "a.safetensors"
    state = state_of(DENSE)
    message = refused(model, path, state, match="'head/kernel'.*`like` has no array for it")
    assert "or `None` to leave the weight out" in message
    refused(model, path, state, {"m": "m"}, match="'head/bias'")
    arrays = saved(model, path, state, {"m": "m", "head": None})
    assert list(arrays) == list(state)


def test_a_new_head_is_refused_until_like_has_it(tmp_path):
    path = tmp_path / "a.safetensors"
    model = change(dense(5))
    refused(model, path, state_of(DENSE), match=r"'m.weight' of `like` has the shape \(3, 4\).*target.state_dict")
    arrays = saved(model, path, state_of({"m.weight": (5, 4), "m.bias": (5,)}))
    np.testing.assert_array_equal(arrays["m.bias"], to_numpy(model.layers[0].bias))


def test_a_counter_may_be_missing_and_is_copied_if_the_model_has_none(tmp_path):
    model, shapes = GRAPHS["normalized"]()
    report = save_pretrained(model, tmp_path / "a.safetensors", like=state_of(shapes), layout="torch")
    assert report.copied == {"m.num_batches_tracked": ()}
    assert read(tmp_path / "a.safetensors")["m.num_batches_tracked"] == 7


def test_rows_of_unknown_order_are_refused_until_a_function_says_it(tmp_path):
    between = (layers.Permute((2, 1, 3)),)
    model = built((6, 5, 2), layers.Conv2D(3, 2, name="conv"), *between, layers.Flatten(), layers.Dense(4, name="out"))
    state = state_of({"conv.weight": (3, 2, 2, 2), "conv.bias": (3,), "out.weight": (4, 60), "out.bias": (4,)})
    path = tmp_path / "a.safetensors"
    refused(change(model), path, state, match="'out/kernel'.* the order of its rows in torch is not known")
    names = {"conv": "conv", "out/bias": "out.bias", "out/kernel": ("out.weight", np.transpose)}
    arrays = saved(model, path, state, names)
    np.testing.assert_array_equal(arrays["out.weight"].T, to_numpy(model.layers[-1].kernel))


# Models that are more than their weights.


def test_factors_of_lora_are_refused_also_untrained(tmp_path):
    model = dense()
    model.layers[0].enable_lora(2)
    path = tmp_path / "a.safetensors"
    refused(model, path, state_of(DENSE), match="must not have factors of LoRA or DoRA: merge them first")


def test_a_quantized_model_is_refused(tmp_path):
    model = dense()
    model.layers[0].quantize("int8")
    refused(model, tmp_path / "a.safetensors", state_of(DENSE), match="must not be quantized")


# Dtypes.


@pytest.mark.every_backend
def test_the_dtype_is_that_of_like_and_rounding_is_in_the_summary(tmp_path):
    model = change(dense())
    path = tmp_path / "a.safetensors"
    report = save_pretrained(model, path, like=state_of(DENSE, dtype="bfloat16"), layout="torch")
    assert read(path)["m.weight"].dtype == "bfloat16"
    np.testing.assert_array_equal(read(path)["m.weight"], model.layers[0].get_weights()[0].T.astype("bfloat16"))
    assert "Weights that were rounded: m/kernel, m/bias." in report.summary
    assert report["m/kernel"].detail == "transposed, rounded to bfloat16"


def test_numbers_that_the_dtype_holds_are_not_called_rounded(tmp_path):
    model = dense()
    model.layers[0].kernel.assign(np.full((4, 3), 0.5))
    like = state_of(DENSE, dtype="bfloat16")
    report = save_pretrained(model, tmp_path / "a.safetensors", like=like, layout="torch")
    assert "rounded" not in report.summary


def test_another_dtype_is_for_what_is_saved(tmp_path):
    state = {**state_of(DENSE), "m.steps": np.array(3), "other": np.ones(2, "float32")}
    arrays = saved(change(dense()), tmp_path / "a.safetensors", state, dtype="bfloat16")
    dtypes = {name: array.dtype.name for name, array in arrays.items()}
    assert dtypes == {"m.weight": "bfloat16", "m.bias": "bfloat16", "m.steps": "int64", "other": "float32"}


def test_numbers_beyond_the_dtype_are_refused(tmp_path):
    model = dense()
    model.layers[0].bias.assign([1, 7e4, 1])
    path = tmp_path / "a.safetensors"
    refused(model, path, state_of(DENSE, dtype="float16"), match="'m/bias'.* numbers beyond the range of float16")
    refused(model, path, state_of(DENSE), match="beyond the range of float16", dtype="float16")
    model.layers[0].bias.assign([np.nan, np.inf, 1])
    found = saved(model, path, state_of(DENSE, dtype="float16"))["m.bias"]
    np.testing.assert_array_equal(found, np.array([np.nan, np.inf, 1], "float16"))


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_in_16_bits_is_saved_in_float32_without_loss(dtype, tmp_path):
    model = change(dense(dtype=dtype))
    arrays = saved(model, tmp_path / "a.safetensors", state_of(DENSE))
    np.testing.assert_array_equal(arrays["m.weight"].T, to_numpy(keras.ops.cast(model.layers[0].kernel, "float32")))


def test_what_is_unchanged_keeps_the_bits_of_like(tmp_path):
    state = state_of(DENSE, dtype="float64")
    model = dense()
    loaded(model, state)
    model.layers[0].bias.assign([1, 2, 3])
    path = tmp_path / "a.safetensors"
    report = save_pretrained(model, path, like=state, layout="torch")
    np.testing.assert_array_equal(read(path)["m.weight"], state["m.weight"])
    np.testing.assert_array_equal(read(path)["m.bias"], [1, 2, 3])
    assert (report["m/kernel"].status, report["m/bias"].status) == ("kept", "saved")


def test_thirds_of_one_array_are_kept_one_by_one(tmp_path):
    model, shapes = GRAPHS["attention"]()
    state = state_of(shapes, dtype="float64")
    loaded(model, state)
    kernel = model.get_layer("m").key_dense.kernel
    kernel.assign(np.arange(64.0).reshape(8, 2, 4))
    arrays = saved(model, tmp_path / "a.safetensors", state)
    np.testing.assert_array_equal(arrays["m.in_proj_weight"][8:16].T, np.arange(64.0).reshape(8, 8))
    np.testing.assert_array_equal(arrays["m.in_proj_weight"][:8], state["m.in_proj_weight"][:8])
    np.testing.assert_array_equal(arrays["m.in_proj_weight"][16:], state["m.in_proj_weight"][16:])


# What torch computes.


def test_a_changed_sum_is_in_the_first_array(tmp_path):
    model = built((6, 4), layers.LSTM(3, name="m"))
    state = state_of(of_cells(4))
    loaded(model, state)
    path = tmp_path / "a.safetensors"
    bias = model.layers[0].cell.bias
    bias.assign(np.where(np.arange(12) % 5, np.arange(12.0), -0.0))
    report = save_pretrained(model, path, like=state, layout="torch")
    assert read(path)["m.bias_ih_l0"].tobytes() == to_numpy(bias).tobytes()
    assert not read(path)["m.bias_hh_l0"].any()
    assert "torch trains both arrays" in report.summary
    assert "(m.bias_ih_l0 + m.bias_hh_l0)" in report.summary


# The direction and the norm of a weight normalization, in both forms of torch.
NORMALIZED = {
    "old": ("m.weight_g", "m.weight_v"),
    "new": ("m.parametrizations.weight.original0", "m.parametrizations.weight.original1"),
}


def normalized_state(form="old", gain=(3, 1), dtype="float32"):
    norm, direction = NORMALIZED[form]
    return state_of({"m.bias": (3,), norm: gain, direction: (3, 4)}, dtype=dtype)


def test_a_weight_normalization_is_kept_frozen(tmp_path):
    model = dense()
    state = normalized_state()
    loaded(model, state)
    model.layers[0].bias.assign([1, 2, 3])
    arrays = saved(model, tmp_path / "a.safetensors", state)
    assert_same_bits(arrays, {**state, "m.bias": np.array([1, 2, 3], "float32")})


@pytest.mark.every_backend
@pytest.mark.parametrize("form", NORMALIZED)
@pytest.mark.parametrize("gain", [(3, 1), (1, 4), ()])
def test_a_trained_weight_normalization_goes_back_as_direction_and_norm(form, gain, tmp_path):
    state = normalized_state(form, gain)
    norm, direction = NORMALIZED[form]
    model = change(dense())
    report = save_pretrained(model, tmp_path / "a.safetensors", like=state, layout="torch")
    assert (report.ok, report.copied) == (True, {})
    assert report["m/kernel"].detail.startswith("g * v / |v| of a weight normalization, transposed")
    arrays = read(tmp_path / "a.safetensors")
    assert {name: array.shape for name, array in arrays.items()} == {name: array.shape for name, array in state.items()}
    kernel = to_numpy(model.layers[0].kernel)
    np.testing.assert_array_equal(arrays[direction], kernel.T)
    axes = tuple(axis for axis, length in enumerate(gain) if length == 1) or (0, 1)
    norms = np.sqrt(np.sum(np.square(kernel.T), axis=axes, keepdims=True)).reshape(gain)
    np.testing.assert_allclose(arrays[norm], norms, rtol=1e-6)
    again = dense()
    loaded(again, tmp_path / "a.safetensors")
    np.testing.assert_allclose(to_numpy(again.layers[0].kernel), kernel, rtol=1e-6)


def test_units_of_zeros_keep_a_direction(tmp_path):
    model, state = change(dense()), normalized_state()
    kernel = to_numpy(model.layers[0].kernel) * np.array([1, 0, 1], "float32")
    model.layers[0].kernel.assign(kernel)
    arrays = saved(model, tmp_path / "a.safetensors", state)
    np.testing.assert_array_equal(arrays["m.weight_v"][1], state["m.weight_v"][1])
    assert arrays["m.weight_g"][1] == 0
    again = dense()
    loaded(again, tmp_path / "a.safetensors")
    np.testing.assert_allclose(to_numpy(again.layers[0].kernel), kernel, rtol=1e-6)


def test_a_weight_normalization_in_16_bits_is_rounded_or_refused_beyond_the_range(tmp_path):
    model, state = dense(), normalized_state(dtype="float16")
    model.layers[0].kernel.assign(np.full((4, 3), 4e4))  # whose norm alone is too large
    refused(model, tmp_path / "a.safetensors", state, match="'m.weight_g' cannot hold its values")
    change(model)
    report = save_pretrained(model, tmp_path / "a.safetensors", like=state, layout="torch")
    assert "rounded to float16" in report["m/kernel"].detail
    assert "Weights that were rounded: m/kernel, m/bias." in report.summary


def test_query_key_and_value_go_back_to_one_weight_normalization(tmp_path):
    model, shapes = GRAPHS["attention"]()
    state = state_of({**shapes, "m.in_proj_weight_g": (24, 1), "m.in_proj_weight_v": (24, 8)})
    del state["m.in_proj_weight"]
    loaded(model, state)
    layer = model.get_layer("m")
    key = 2 * to_numpy(layer.key_dense.kernel)
    layer.key_dense.kernel.assign(key)
    path = tmp_path / "a.safetensors"
    save_pretrained(model, path, like=state, layout="torch")
    again, _ = GRAPHS["attention"]()
    loaded(again, path)
    for weight, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(to_numpy(weight), to_numpy(other), rtol=1e-6)
    arrays = read(path)
    np.testing.assert_allclose(arrays["m.in_proj_weight_g"][:8], state["m.in_proj_weight_g"][:8], rtol=1e-6)
    np.testing.assert_allclose(arrays["m.in_proj_weight_g"][8:16], 2 * state["m.in_proj_weight_g"][8:16], rtol=1e-6)


def test_a_sum_with_a_weight_normalization_is_kept_frozen_and_refused_changed(tmp_path):
    model, state = built((6, 4), layers.LSTM(3, name="m")), state_of(of_cells(4))
    state |= state_of({"m.bias_hh_l0_g": (1,), "m.bias_hh_l0_v": (12,)})
    del state["m.bias_hh_l0"]
    path = tmp_path / "a.safetensors"
    message = refused(change(model), path, state, match="torch computes it from 'm.bias_ih_l0' and 'm.bias_hh_l0_v'")
    assert "merge these in torch (`remove_parametrizations`" in message
    loaded(model, state)
    assert_same_bits(saved(model, path, state), state)


def minus_one(array):
    return array - 1


def plus_one(array):
    return array + 1


def test_a_function_that_computes_needs_its_inverse(tmp_path):
    model = built((4,), layers.LayerNormalization(name="n", center=False))
    state = {"n.weight": np.array([0.25, -0.1, 0.0, 3.0], "float32")}
    path = tmp_path / "a.safetensors"
    change(model)
    refused(model, path, state, {"n/gamma": ("n.weight", plus_one)}, match="pass `.name, function, inverse.`")
    names = {"n/gamma": ("n.weight", plus_one, minus_one)}
    arrays = saved(model, path, state, names)
    np.testing.assert_allclose(arrays["n.weight"], to_numpy(model.layers[0].gamma) - 1, atol=1e-7)
    again = built((4,), layers.LayerNormalization(name="n", center=False))
    load_pretrained(again, path, names, layout="torch")
    np.testing.assert_allclose(to_numpy(again.weights[0]), to_numpy(model.weights[0]), atol=1e-7)


WRONG = {
    "not undone": (plus_one, lambda array: array - 1.001),
    "another shape": (plus_one, lambda array: array[:2]),
    "an integer": (plus_one, lambda array: np.round(array).astype("int32")),
    "an error": (plus_one, lambda array: array.no_such_attribute),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_inverse_that_is_none_is_refused(name, tmp_path):
    model = change(built((4,), layers.LayerNormalization(name="n", center=False)))
    names = {"n/gamma": ("n.weight", *WRONG[name])}
    refused(model, tmp_path / "a.safetensors", state_of({"n.weight": (4,)}), names, match="inverse")


def test_a_function_that_leaves_out_values_is_refused(tmp_path):
    model = change(dense())
    names = {"m/kernel": ("w", lambda array: np.pad(array, ((0, 1), (0, 0)))), "m/bias": None}
    match = "3 of 12 values differ when they are loaded again"
    refused(model, tmp_path / "a.safetensors", state_of({"w": (3, 3)}), names, match=match)


def test_functions_that_keep_what_is_unchanged_need_no_inverse(tmp_path):
    model = dense()
    names = {"m/kernel": ("w", lambda array: 2 * array), "m/bias": "b"}
    state = state_of({"w": (4, 3), "b": (3,)})
    loaded(model, state, names)
    assert_same_bits(saved(model, tmp_path / "a.safetensors", state, names), state)


# One array for several weights or names.


def twins():
    return built((4,), layers.Dense(4, name="a"), layers.Dense(4, name="b"))


@pytest.mark.parametrize("part", [None, np.s_[:4], np.transpose], ids=["whole", "part", "function"])
def test_weights_of_one_array_that_differ_are_refused(part, tmp_path):
    model = twins()
    array = "w" if part is None else ("w", part)
    names = {"a/kernel": array, "b/kernel": array, "*/bias": None}
    state = state_of({"w": (4, 4)})
    loaded(model, state, names)
    path = tmp_path / "a.safetensors"
    assert_same_bits(saved(model, path, state, names), state)
    path.unlink()
    model.layers[1].kernel.assign_add(np.eye(4))
    refused(model, path, state, names, match="'b/kernel' is saved in 'w' too, and has other values now")
    model.layers[0].kernel.assign(model.layers[1].kernel)
    np.testing.assert_array_equal(saved(model, path, state, names)["w"].size, 16)


def test_names_of_one_memory_get_the_same_values(tmp_path):
    table = np.ones((7, 3), "float32")
    model = change(built((6,), layers.Embedding(7, 3, name="words")))
    like = {"words.weight": table, "head.weight": table, "copy": table.copy()}
    arrays = saved(model, tmp_path / "a.safetensors", like, {"words": "words"})
    expected = to_numpy(model.layers[0].embeddings)
    np.testing.assert_array_equal(arrays["words.weight"], expected)
    np.testing.assert_array_equal(arrays["head.weight"], expected)
    np.testing.assert_array_equal(arrays["copy"], table)


def test_weights_of_names_of_one_memory_that_differ_are_refused(tmp_path):
    table = np.ones((4, 4), "float32")
    model = change(twins())
    names = {"a/kernel": "first", "b/kernel": "second", "*/bias": None}
    like = {"first": table, "second": table}
    refused(model, tmp_path / "a.safetensors", like, names, match="and has other values now")
    model.layers[1].kernel.assign(model.layers[0].kernel)
    saved(model, tmp_path / "a.safetensors", like, names)


@pytest.mark.parametrize("begin", [2, 4])
def test_views_of_one_array_are_saved_as_two_arrays(begin, tmp_path):
    table = np.ones((8, 4), "float32")
    model = change(twins())
    names = {"a/kernel": "first", "b/kernel": "second", "*/bias": None}
    views = {"first": table[:4], "second": table[begin : begin + 4]}
    arrays = saved(model, tmp_path / "a.safetensors", views, names)
    for layer, name in zip(model.layers, views, strict=True):
        np.testing.assert_array_equal(arrays[name], to_numpy(layer.kernel).T)


def test_equal_bits_in_a_file_are_a_note(tmp_path):
    state = state_of({"words.weight": (7, 3), "other": (7, 3)})
    # Zeros and vectors are equal by chance, whether they come before or after.
    zeros, vector = np.zeros((7, 3), "float32"), np.ones(3, "float32")
    state |= {"a vector": vector, "all zeros": zeros, "average.weight": state["words.weight"], "zeros": zeros}
    np.savez(tmp_path / "like.npz", **state)
    model = change(built((6,), layers.Embedding(7, 3, name="words")))
    path = tmp_path / "a.safetensors"
    report = save_pretrained(model, path, {"words": "words"}, like=tmp_path / "like.npz", layout="torch")
    assert "equal a saved array in `like`: average.weight (as words.weight). " in report.summary
    np.testing.assert_array_equal(read(path)["average.weight"], state["average.weight"])


# What is copied.


def write_like(path, dtype):
    """Write a file with the arrays of `dense()`, and six bytes of a dtype."""
    head = {
        "__metadata__": {"format": "pt", "made by": "a test"},
        "scale": {"dtype": dtype, "shape": [2, 3], "data_offsets": [0, 6]},
        "m.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [6, 54]},
        "m.bias": {"dtype": "F32", "shape": [3], "data_offsets": [54, 66]},
    }
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\x01\x02\x03\x04\x05\x7e" + bytes(60))
    return path


def test_an_array_of_a_dtype_that_numpy_lacks_is_refused(tmp_path):
    like = write_like(tmp_path / "like.safetensors", "F8_E8M0")
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=r"dtypes that NumPy and .* have\. Received: 'scale' of dtype F8_E8M0"):
        save_pretrained(change(dense()), path, like=like, layout="torch")
    assert not path.exists()


def test_arrays_of_float8_and_metadata_are_copied(tmp_path):
    like = write_like(tmp_path / "like.safetensors", "F8_E4M3")
    path = tmp_path / "a.safetensors"
    save_pretrained(change(dense()), path, like=like, layout="torch")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    written = json.loads(content[8 : 8 + length])
    assert written["scale"] == {"dtype": "F8_E4M3", "shape": [2, 3], "data_offsets": [0, 6]}
    assert content[8 + length :][:6] == b"\x01\x02\x03\x04\x05\x7e"
    assert written["__metadata__"] == {"format": "pt", "made by": "a test"}


def test_what_is_no_array_is_left_out_and_named(tmp_path):
    state = {**state_of(DENSE), "m.extra": "a text"}
    report = save_pretrained(dense(), tmp_path / "a.safetensors", like=state, layout="torch")
    assert "Entries that were left out, because they are no arrays: m.extra." in report.summary
    assert list(read(tmp_path / "a.safetensors")) == list(DENSE)


def test_an_array_of_a_dtype_that_the_format_lacks_is_refused(tmp_path):
    state = {**state_of(DENSE), "wide": np.ones(2, "complex128")}
    refused(dense(), tmp_path / "a.safetensors", state, match="'wide' of dtype complex128")


def test_empty_arrays_and_scalars_are_written(tmp_path):
    state = {**state_of(DENSE), "empty": np.zeros((0, 3), "float32"), "scalar": np.array(2.5)}
    model = dense()
    loaded(model, state)
    assert_same_bits(saved(model, tmp_path / "a.safetensors", state), state)


@pytest.mark.skipif(BACKEND != "torch", reason="needs torch")
def test_a_wrapped_module_of_torch_has_its_own_names(tmp_path):
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    model = built((4,), layers.TorchModuleWrapper(module, name="net"))
    state = module.state_dict()
    arrays = saved(model, tmp_path / "a.safetensors", state, {"net": ""})
    assert_same_bits(arrays, {name: tensor.numpy() for name, tensor in state.items()})
