"""The result speaks of the weights that models have at the end of the block."""

import warnings

import keras
import numpy as np
import pytest
from modes import needs_int4, often, to_numpy
from stacks import built

import keras_initx

layers = keras.layers


def network():
    return built((4,), layers.Dense(5, name="h"), layers.Dense(3, name="o"))


def statuses(loaded):
    return {row.path: row.status for row in loaded.rows}


class Net(keras.Model):
    """Calls its head only if it is asked to."""

    def __init__(self):
        super().__init__()
        self.body = layers.Dense(3, name="body")
        self.head = keras.Sequential([layers.Dense(2, name="inner")], name="head")

    def build(self, shape):
        self.body.build(shape)

    def call(self, x, features=False):
        return self.body(x) if features else self.head(self.body(x))


@pytest.mark.every_backend
def test_a_layer_that_is_not_built_is_not_known(tmp_path):
    source, model = Net(), Net()
    source(np.ones((2, 4)))
    source.save_weights(tmp_path / "net.weights.h5")
    model(np.ones((2, 4)), features=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of Keras
        with keras_initx.loading(model) as loaded:
            model.load_weights(tmp_path / "net.weights.h5", skip_mismatch=True)
    assert (loaded.missed, loaded.not_known, loaded.ok) == ([], ["head"], False)
    assert loaded.summary == "All 2 weights were written; 1 layer not built."
    assert str(loaded).startswith("weight  status\n" + "-" * 59 + "\nhead    not known: not built")


def test_whatever_reads_the_weights_of_a_model_names_layers_that_are_not_built(tmp_path):
    model = Net()
    model(np.ones((2, 4)), features=True)
    note = "Not built yet, and so without weights: head."
    assert keras_initx.initialize(model, seed=0, dry_run=True).notes == (note,)
    assert keras_initx.initialize(model, seed=0).notes == (note,)
    assert note in keras_initx.audit(model).summary
    assert note in keras_initx.audit(model, like=model).summary
    assert keras_initx.load_pretrained(model, model).summary == f"2 of 2 weights loaded. {note}"


def test_a_layer_that_makes_no_weights_need_not_be_built():
    class Idle(keras.Model):
        def __init__(self):
            super().__init__()
            self.used = layers.Dense(2)
            self.unused = [layers.Dropout(0.5), layers.ReLU(), layers.Flatten(), layers.Softmax()]

        def build(self, shape):
            self.used.build(shape)

        def call(self, x):
            return self.used(x)

    model = Idle()
    model(np.ones((2, 4)))
    assert keras_initx.initialize(model, seed=0).notes == ()


MODES = ["int8", pytest.param("int4", marks=[needs_int4, pytest.mark.rare]), "float8"]


def made_by_quantize(model, mode):
    """Return the paths of the weights that a quantization makes in this model, such as integers and scales."""
    before = {weight.path.split("/", 1)[-1] for weight in model.weights if weight.dtype == "float32"}
    after = quantized(keras.models.clone_model(model), mode)
    return {
        path
        for path, variable in ((weight.path.split("/", 1)[-1], weight) for weight in after.weights)
        if path not in before or "int" in variable.dtype
    }


@pytest.mark.release_backends
@pytest.mark.parametrize("is_given", often([True, False], [False]))
@pytest.mark.parametrize("mode", MODES)
def test_what_quantize_makes_in_the_block_is_not_known(mode, is_given):
    model = network() if is_given else None
    with keras_initx.loading(model, seed=0) as loaded:
        model = model or network()
        model.set_weights([np.ones(weight.shape) for weight in model.weights])
        quantized(model, mode)
    expected = dict.fromkeys(("h/kernel", "h/bias", "o/kernel", "o/bias"), "loaded")
    expected |= dict.fromkeys(made_by_quantize(network(), mode), "not known")
    assert statuses(loaded) == expected
    assert not loaded.ok
    assert {row.detail for row in loaded.problems} == {"made by `quantize` in the block: quantize after it"}
    for weight in model.weights:
        assert np.isfinite(np.asarray(to_numpy(weight), "float32")).all()


@pytest.mark.release_backends
@pytest.mark.parametrize("mode", MODES)
def test_what_is_written_before_the_quantization_or_after_it_in_a_quantized_model_is_loaded(mode):
    source = quantized(network(), mode)
    with keras_initx.loading(strict=True) as loaded:
        model = network()
        model.set_weights([np.ones(weight.shape) for weight in model.weights])
    quantized(model, mode)
    assert set(statuses(loaded).values()) == {"loaded"}
    with keras_initx.loading(model, strict=True) as loaded:
        model.set_weights(source.get_weights())
    assert set(statuses(loaded).values()) == {"loaded"}


# What `quantize` computes from NaN differs between backends.
@pytest.mark.release_backends
@pytest.mark.parametrize("is_written_later", often([True, False], [False]))
def test_a_kernel_that_was_not_written_before_its_quantization_is_not_known(is_written_later):
    source, model = quantized(network()), network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NaN that becomes an integer
        with keras_initx.loading(model, seed=0) as loaded:
            quantized(model)
            if is_written_later:
                model.set_weights(source.get_weights())
    made = [f"{layer}/{name}" for layer in "ho" for name in ("kernel", "kernel_scale")]
    biases = dict.fromkeys(["h/bias", "o/bias"], "loaded" if is_written_later else "left")
    assert statuses(loaded) == {**dict.fromkeys(made, "not known"), **biases}
    assert sorted(loaded.not_known) == made


def quantized(model, mode="int8"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of Keras of its own input layer
        model.quantize(mode)
    return model


@pytest.mark.rare
@pytest.mark.release_backends
def test_the_integers_of_a_quantized_model_are_watched_as_wholes(tmp_path):
    source, model = quantized(network()), quantized(network())
    before = to_numpy(model.layers[1]._kernel).copy()
    with keras_initx.loading(model) as loaded:
        model.layers[0].set_weights(source.layers[0].get_weights())
    assert loaded.missed == ["o/bias", "o/kernel", "o/kernel_scale"]
    np.testing.assert_array_equal(to_numpy(model.layers[1]._kernel), before)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_new_head_is_watched_and_drawn(is_loaded):
    model = network()
    with keras_initx.loading(model, {"o/kernel": "ones"}, seed=3) as loaded:
        model.layers[0].set_weights([np.ones((4, 5)), np.ones(5)])
        model.pop()
        model.add(layers.Dense(7, name="o"))
        if is_loaded:
            model.layers[1].set_weights([np.full((5, 7), 2.0), np.zeros(7)])
    assert loaded.missed == ([] if is_loaded else ["o/kernel", "o/bias"])
    assert np.unique(to_numpy(model.layers[1].kernel)).tolist() == [2.0 if is_loaded else 1.0]
    assert [row.shape for row in loaded.rows] == [(4, 5), (5,), (5, 7), (7,)]


def test_a_head_that_was_given_up_has_its_values_again():
    model = network()
    old = model.layers[1]
    before = to_numpy(old.kernel).copy()
    with keras_initx.loading(model):
        model.pop()
        model.add(layers.Dense(7, name="o"))
    np.testing.assert_array_equal(to_numpy(old.kernel), before)


def test_after_an_error_what_the_block_has_made_has_its_first_values():
    model = network()
    before = to_numpy(model.layers[0].kernel).copy()

    def change_and_fail():
        with keras_initx.loading(model):
            model.pop()
            model.add(layers.Dense(7, name="o", kernel_initializer="ones"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert np.unique(to_numpy(model.layers[1].kernel)).tolist() == [1]
    np.testing.assert_array_equal(to_numpy(model.layers[0].kernel), before)


class OwnVariable(layers.Layer):
    def build(self, shape):
        self.scale = keras.Variable(np.ones(shape[-1]), name="scale")

    def call(self, x):
        return x * self.scale


def test_a_variable_that_a_layer_makes_without_add_weight_is_not_known():
    with keras_initx.loading() as loaded:
        model = built((4,), OwnVariable(name="own"), layers.Dense(2, name="o"))
        model.layers[1].set_weights([np.ones((4, 2)), np.ones(2)])
    assert (loaded.missed, loaded.not_known) == ([], ["own/scale"])
    assert loaded.rows[0].detail == "made in the block, not by `add_weight`"
    assert to_numpy(model.layers[0].scale).tolist() == [1] * 4


def test_parameters_of_torch_that_another_tensor_replaces_are_refused():
    import torch

    model = built((4,), layers.TorchModuleWrapper(torch.nn.Linear(4, 3), name="net"))
    state = {"weight": torch.ones(3, 4), "bias": torch.ones(3)}
    message = r"'net/variable' is no parameter of its layer any more.*assign=True"
    with pytest.raises(ValueError, match=message), keras_initx.loading(model):
        model.layers[0].module.load_state_dict(state, assign=True)


def test_a_torch_module_that_is_wrapped_in_the_block_is_not_known():
    import torch

    with keras_initx.loading() as loaded:
        model = built((4,), layers.TorchModuleWrapper(torch.nn.Linear(4, 3), name="net"))
    assert loaded.not_known == ["net/weight", "net/bias"]
    assert np.isfinite(to_numpy(model(np.ones((1, 4))))).all()


@pytest.mark.every_backend
def test_factors_of_lora_that_a_base_file_sets_to_zero_are_never_written(tmp_path):
    source, model = network(), network()
    source.save_weights(tmp_path / "base.weights.h5")
    model.layers[0].enable_lora(2)
    with keras_initx.loading(model, seed=0) as loaded:
        model.load_weights(tmp_path / "base.weights.h5")
    assert loaded.missed == ["h/lora_kernel_a", "h/lora_kernel_b"]
    assert to_numpy(model.layers[0].lora_kernel_a).any()
    np.testing.assert_array_equal(to_numpy(model.layers[0].kernel), to_numpy(source.layers[0].kernel))


def test_factors_of_lora_that_were_loaded_are_not_missed():
    model = network()
    model.layers[0].enable_lora(2)
    with keras_initx.loading(model) as loaded:
        for weight in model.weights:
            weight.assign(np.ones(weight.shape))
    assert loaded.missed == []


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "ScheduleFreeAdamW"), reason="an optimizer of later versions of Keras"
)
def test_what_an_optimizer_copied_from_unwritten_weights_begins_anew():
    source = network()
    with keras_initx.loading(seed=0) as loaded:
        model = network()
        model.compile(keras.optimizers.ScheduleFreeAdamW(), "mse")
        model.optimizer.build(model.trainable_variables)
        model.layers[0].set_weights(source.layers[0].get_weights())
    assert loaded.missed == ["o/kernel", "o/bias"]
    copies = [one for one in model.optimizer.variables if one.shape and to_numpy(one).any()]
    assert np.isfinite(to_numpy(copies[-1])).all()
    assert any(np.array_equal(to_numpy(model.layers[1].kernel), to_numpy(copy)) for copy in copies)


def test_unwritten_and_other_nan_are_told_apart_in_one_weight():
    model = network()
    kernel = model.layers[0].kernel
    with keras_initx.loading(model, {"h/kernel": "ones"}, seed=0) as loaded:
        for layer in model.layers:
            layer.bias.assign(np.zeros(layer.bias.shape))
        model.layers[1].kernel.assign(np.zeros((5, 3)))
        values = to_numpy(kernel).copy()
        values[0] = [2, 3, np.nan, 5, 6]
        kernel.assign(values)
    (row,) = (row for row in loaded.rows if row.path == "h/kernel")
    assert (row.status, row.size, row.changed) == ("drawn", 20, 4)
    assert row.detail == "15 of 20 values, Ones(); 1 others are NaN, perhaps never written"
    np.testing.assert_array_equal(to_numpy(kernel), [[2, 3, np.nan, 5, 6], *np.ones((3, 5))])


@pytest.mark.rare
def test_factors_of_lora_are_not_computed_with_the_integers_of_their_layer():
    model = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NaN that becomes an integer
        with keras_initx.loading(model, seed=0) as loaded:
            quantized(model)
            model.layers[0].enable_lora(2)
    found = statuses(loaded)
    assert found["h/kernel"] == "not known"
    assert {found["h/lora_kernel_a"], found["h/lora_kernel_b"]} <= {"drawn", "left"}


@pytest.mark.every_backend  # torch shares the memory of what the layer has made of its weights
def test_a_normalization_computes_with_the_statistics_that_it_has_at_the_end():
    norm = layers.Normalization(name="norm")
    model = built((2,), norm)
    norm.adapt(np.array([[1.0, 2], [3, 6]]))
    expected = to_numpy(model(np.array([[1.0, 2]])))
    with keras_initx.loading(model):
        norm.finalize_state()  # as where Keras loads it
    np.testing.assert_array_equal(to_numpy(model(np.array([[1.0, 2]]))), expected)
