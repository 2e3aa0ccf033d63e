"""Values from files: how arrays are named, and models that are loaded without the file."""

import hashlib
import os

import keras
import numpy as np
import pytest
from array_files import BIAS, KERNEL
from modes import STREAM_MODES, float64, run, to_numpy

from keras_initx import Concatenated, Pretrained, Scaled

layers = keras.layers


def test_float64_stays_what_it_is(tmp_path):
    np.save(tmp_path / "a.npy", np.array([0.1]))
    with float64():
        assert to_numpy(Pretrained(tmp_path / "a.npy")((1,), "float64")) == [0.1]


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", STREAM_MODES)
def test_a_large_array_in_every_mode(mode, tmp_path):
    whole = np.linspace(-1, 1, 60_000, dtype="float32").reshape(300, 200)
    np.save(tmp_path / "a.npy", whole)
    np.testing.assert_array_equal(run(mode, lambda: Pretrained(tmp_path / "a.npy")((300, 200))), whole)


@pytest.mark.parametrize(
    ("stored", "dtype", "number"),
    [
        ("float32", "float16", 1e5),
        ("float64", "float32", -1e39),
        ("float32", "bfloat16", 3.4e38),
    ],
)
def test_refuses_a_finite_number_that_the_weight_cannot_hold(stored, dtype, number, tmp_path):
    kernel = KERNEL.astype(stored)
    kernel[3, 2] = number
    np.save(tmp_path / "a.npy", kernel)
    message = rf"`dtype` must be able to hold .*Received: dtype='{dtype}', path=.*, with numbers beyond the range"
    with pytest.raises(ValueError, match=message):
        Pretrained(tmp_path / "a.npy")((4, 3), dtype)
    kernel[3, 2] = np.inf
    np.save(tmp_path / "a.npy", kernel)
    values = to_numpy(Pretrained(tmp_path / "a.npy")((4, 3), dtype))
    np.testing.assert_array_equal(values, kernel.astype(dtype))


def test_values_do_not_follow_a_file_that_changes(kernel_file):
    values = Pretrained(kernel_file)((4, 3))
    np.save(kernel_file, KERNEL + 1)
    np.testing.assert_array_equal(to_numpy(values), KERNEL)


def test_the_constructor_leaves_the_file_alone(tmp_path):
    initializer = Pretrained(tmp_path / "later.npy", key=None, sha256="ab" * 32)
    assert initializer.get_config() == {
        "path": str(tmp_path / "later.npy"),
        "key": None,
        "sha256": "ab" * 32,
    }


@pytest.mark.parametrize("convert", [str.lower, str.upper])
def test_accepts_the_files_digest(kernel_file, convert):
    digest = convert(hashlib.sha256(kernel_file.read_bytes()).hexdigest())
    np.testing.assert_array_equal(to_numpy(Pretrained(kernel_file, sha256=digest)((4, 3))), KERNEL)


def test_refuses_another_digest(kernel_file):
    digest = hashlib.sha256(kernel_file.read_bytes()).hexdigest()
    with pytest.raises(
        ValueError, match=rf"`sha256` must be the digest of the file, '{digest}'\. Received: sha256='aa"
    ):
        Pretrained(kernel_file, sha256="a" * 64)((4, 3))


def test_refuses_a_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = rf"`path` must be an existing file, but there is none at .*{tmp_path.name}.*\. Received: path='a\.npy'"
    with pytest.raises(ValueError, match=message):
        Pretrained("a.npy")((4, 3))


def test_refuses_a_url():
    with pytest.raises(ValueError, match="`path` must be a path on this machine: mount the storage as a folder"):
        Pretrained("s3://bucket/a.npy")((4, 3))


@pytest.mark.parametrize("dtype", ["int32", "S3"])
def test_refuses_other_dtypes_in_the_file(dtype, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3), dtype))
    message = r"`key` must name an array of a dtype in \('float16', .*The file has: None \(4, 3\) .*Received: shape="
    with pytest.raises(ValueError, match=message):
        Pretrained(tmp_path / "a.npy")((4, 3))


def test_wants_a_key_where_there_are_several_and_lists_first_what_fits(arrays_file):
    message = (
        r"`key` must be the name of an array in the file\. The file has: 'bias' \(3,\) float32, "
        r"'kernel' \(4, 3\) float32, .*'steps' \(3,\) int64\. Received: shape=\(3,\), key=None, path="
    )
    with pytest.raises(ValueError, match=message):
        Pretrained(arrays_file)((3,))


def test_a_misspelt_key_is_answered_by_the_closest(arrays_file):
    with pytest.raises(ValueError, match=r"`key` must .*The file has: 'kernel' .*Received: .*key='kernle'"):
        Pretrained(arrays_file, "kernle")((3,))


def test_another_shape_is_answered_by_what_fits(arrays_file):
    message = (
        r"`shape` must be the shape of the array, \(3,\); for another shape use `load_pretrained\(resize=\.\.\.\)`\. "
        r"The file has: 'kernel' \(4, 3\) float32, 'other_kernel' \(4, 3\) float32, 'bias'.*Received: shape=\(4, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        Pretrained(arrays_file, "bias")((4, 3))


def test_a_long_list_is_cut(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"layer_{number}": BIAS for number in range(50)})
    with pytest.raises(ValueError, match=r"The file has: 'layer_41' .* and 30 more\. Received") as caught:
        Pretrained(tmp_path / "a.npz", "layer_41 ")((3,))
    assert str(caught.value).count("float32") == 20


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (4, 3, 1)])
def test_refuses_another_shape(kernel_file, shape):
    with pytest.raises(ValueError, match=r"`shape` must be the shape of the array, \(4, 3\); .*Received: shape="):
        Pretrained(kernel_file)(shape)


def functional(path):
    x = keras.Input((5, 4))
    y = layers.Bidirectional(layers.SimpleRNN(3, kernel_initializer=Pretrained(path)))(x)
    return keras.Model(x, layers.Dense(8)(y))


def sequential(path):
    halves = Concatenated([Pretrained(path), Scaled(Pretrained(path), 0.5)])
    return keras.Sequential([keras.Input((4,)), layers.Dense(6, kernel_initializer=halves)])


def built_by_a_call(path):
    model = keras.Sequential([layers.Dense(3, kernel_initializer=Pretrained(path, sha256=None))])
    model(np.ones((2, 4), "float32"))
    return model


@pytest.mark.parametrize(
    ("make", "change"),
    [
        pytest.param(sequential, os.remove, marks=pytest.mark.every_backend),
        *((make, os.remove) for make in (functional, built_by_a_call)),
        (sequential, lambda path: np.save(path, BIAS)),
    ],
)
def test_a_saved_model_does_not_need_the_file(make, change, kernel_file, tmp_path):
    model = make(str(kernel_file))
    model.save(tmp_path / "model.keras")
    change(kernel_file)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_nor_does_one_in_the_old_format(kernel_file, tmp_path):
    model = sequential(str(kernel_file))
    keras.saving.save_model(model, tmp_path / "model.h5")
    kernel_file.unlink()
    loaded = keras.saving.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("pad", [None, "initx.relu_bias"])
def test_a_model_that_was_saved_with_pad_loads(pad, kernel_file):
    layer = keras.layers.Dense(4, kernel_initializer=Pretrained(kernel_file))
    config = layer.get_config()
    config["kernel_initializer"]["config"]["pad"] = pad
    assert keras.layers.Dense.from_config(config).kernel_initializer == Pretrained(kernel_file)


def test_a_model_made_from_its_config_needs_the_file(kernel_file):
    model = sequential(str(kernel_file))
    kernel_file.unlink()
    with pytest.raises(ValueError, match="`path` must be an existing file, but there is none"):
        keras.Sequential.from_config(model.get_config())


@keras.saving.register_keras_serializable(package="tests")
class WithTable(layers.Layer):
    """A layer with a table that is no weight, so that no saved model holds it."""

    def __init__(self, file, **kwargs):
        super().__init__(**kwargs)
        self.file = file

    def build(self, shape):
        self.table = to_numpy(Pretrained(self.file)((4, 3)))

    def call(self, x):
        return x @ keras.ops.convert_to_tensor(self.table)

    def get_config(self):
        return {**super().get_config(), "file": self.file}


@pytest.mark.every_backend
def test_values_that_are_no_weight_are_read_while_a_model_is_loaded(kernel_file, tmp_path):
    keras.Sequential([keras.Input((4,)), WithTable(str(kernel_file))]).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.layers[0].table, KERNEL)
    kernel_file.unlink()
    with pytest.raises(ValueError, match="`path` must be an existing file, but there is none"):
        keras.models.load_model(tmp_path / "model.keras")


@keras.saving.register_keras_serializable(package="tests")
class Unsaved(layers.Dense):
    """A layer that keeps its weights out of the saved model."""

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


@pytest.mark.every_backend
def test_a_weight_that_the_saved_model_lacks_is_nan(kernel_file, tmp_path):
    model = keras.Sequential([keras.Input((4,)), Unsaved(3, kernel_initializer=Pretrained(kernel_file))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.isnan(loaded.get_weights()[0]).all()


def network():
    stack = [layers.Conv2D(2, 3, name="conv1"), layers.BatchNormalization(name="norm")]
    inner = keras.Sequential(stack, name="block")
    return keras.Sequential([keras.Input((4, 4, 1)), inner, layers.Flatten(), layers.Dense(3)])


@pytest.mark.parametrize("file", ["a.weights.h5", "a.keras", "a.h5"])
def test_a_key_may_have_the_names_of_layers_and_weights_in_a_file_of_keras(file, tmp_path):
    model = network()
    model.compile("adam", "mse")
    if file == "a.weights.h5":
        model.save_weights(tmp_path / file)
    else:
        model.save(tmp_path / file)
    conv = model.layers[0].layers[0]
    expected = {"block/conv1/kernel": conv.kernel, f"{model.layers[-1].name}/kernel": model.layers[-1].kernel}
    for key, weight in expected.items():
        values = Pretrained(tmp_path / file, key)(tuple(weight.shape))
        np.testing.assert_array_equal(to_numpy(values), to_numpy(weight))


def test_a_key_may_have_the_number_of_a_weight_and_the_name_in_the_file(tmp_path):
    model = network()
    model.save_weights(tmp_path / "a.weights.h5")
    variance = np.array([2.0, 3.0], "float32")
    model.layers[0].layers[1].moving_variance.assign(variance)
    model.save_weights(tmp_path / "a.weights.h5")
    for key in ("block/norm/3", "layers/sequential/layers/batch_normalization/vars/3"):
        np.testing.assert_array_equal(to_numpy(Pretrained(tmp_path / "a.weights.h5", key)((2,))), variance)


def test_refuses_a_key_for_which_a_layer_has_several_arrays_of_the_shape(tmp_path):
    network().save_weights(tmp_path / "a.weights.h5")
    message = (
        "not have exactly one array of this shape. The file has: 'layers/sequential/layers/batch_normalization/vars/0'"
    )
    with pytest.raises(ValueError, match=message):
        Pretrained(tmp_path / "a.weights.h5", "block/norm/moving_variance")((2,))
    with pytest.raises(ValueError, match="must be the name of an array in the file"):
        Pretrained(tmp_path / "a.weights.h5", "block/conv1/9")((2,))


def test_a_layer_may_have_an_array_by_its_name(tmp_path):
    model = keras.Sequential([keras.Input((5,)), layers.Embedding(4, 3, name="words")])
    model.save_weights(tmp_path / "a.weights.h5")
    values = to_numpy(Pretrained(tmp_path / "a.weights.h5", "words/embeddings")((4, 3)))
    np.testing.assert_array_equal(values, to_numpy(model.layers[0].embeddings))
