"""The data sets and networks of the command line."""

import sys

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx.cli import _data, _networks, _options

pytestmark = pytest.mark.once


def test_digits():
    data = _data.load("digits")
    assert (data.name, data.shape, data.classes) == ("digits", (8, 8, 1), 10)
    assert (len(data.train[0]), len(data.validation[1])) == (1347, 450)
    assert (data.train[0].min(), data.train[0].max()) == (0, 1)
    assert_no_image_is_in_both_parts(data)


def assert_no_image_is_in_both_parts(data):
    seen, held_out = ({image.tobytes() for image in images} for images in (data.train[0], data.validation[0]))
    assert not seen & held_out


def test_synthetic_images_have_the_shape_of_cifar_and_a_name_that_says_what_they_are():
    data, again = _data.load("synthetic"), _data.synthetic()
    assert data.name == "synthetic CIFAR-shaped images"
    assert (data.shape, data.classes, data.train[0].dtype) == ((32, 32, 3), 10, np.float32)
    np.testing.assert_array_equal(data.train[0], again.train[0])
    np.testing.assert_array_equal(data.validation[1], again.validation[1])
    assert (len(data.train[0]), len(data.train[1]), len(data.validation[0])) == (4000, 4000, 1000)
    assert_no_image_is_in_both_parts(data)
    # The patterns have a mean of zero: classes do not differ in brightness.
    brightness = [data.train[0][data.train[1] == label].mean() for label in range(10)]
    np.testing.assert_allclose(brightness, 0.5, atol=0.002)
    assert data.train[0].min() >= 0
    assert data.train[0].max() <= 1


@pytest.mark.parametrize("name", _options.DOWNLOADED)
def test_what_cannot_be_downloaded_is_told(monkeypatch, name):
    def offline():
        raise OSError("no route to host")

    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", offline)
    with pytest.raises(_data.DataError, match=f"{name} could not be downloaded, and is not in .* no route to host"):
        _data.load(name)


def test_downloaded_images_are_scaled(monkeypatch):
    images, labels = np.full((4, 28, 28), 255, "uint8"), np.array([[0], [1], [2], [1]], "uint8")
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((images, labels), (images, labels)))
    data = _data.load("mnist")
    assert (data.shape, data.classes, data.train[1].shape) == ((28, 28, 1), 3, (4,))
    assert (data.validation[0].shape, data.validation[1].tolist()) == ((4, 28, 28, 1), [0, 1, 2, 1])
    assert data.train[0].max() == data.validation[0].max() == 1


def test_a_file(tmp_path):
    x, y = np.ones((5, 7)), np.arange(5)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = _data.load(str(tmp_path / "own.npz"))
    assert (data.name, data.shape, data.classes) == ("own", (7,), 5)
    assert data.train[0].dtype == data.validation[0].dtype == "float32"


def test_a_file_of_gray_bytes_with_a_column_of_labels(tmp_path):
    x, y = np.full((3, 4, 5), 51, "uint8"), np.array([[2], [0], [1]])
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = _data.load(str(tmp_path / "own.npz"))
    np.testing.assert_array_equal(data.train[0], np.full((3, 4, 5, 1), np.float32(0.2)))
    assert data.validation[0].shape == (2, 4, 5, 1)
    assert (data.train[1].tolist(), data.validation[1].tolist()) == ([2, 0, 1], [2, 0])


def test_rows_of_bytes_are_no_gray_images(tmp_path):
    x = np.full((3, 4), 255, "uint8")
    np.savez(tmp_path / "own.npz", x_train=x, y_train=[0, 1, 2], x_test=x, y_test=[0, 1, 2])
    np.testing.assert_array_equal(_data.load(str(tmp_path / "own.npz")).train[0], np.ones((3, 4)))


@pytest.mark.parametrize(("train", "validation"), [([0, 1], [2, 0]), ([2, 0], [0, 1])])
def test_a_class_may_occur_in_one_part_only(tmp_path, train, validation):
    np.savez(tmp_path / "own.npz", x_train=np.ones((2, 3)), y_train=train, x_test=np.ones((2, 3)), y_test=validation)
    assert _data.load(str(tmp_path / "own.npz")).classes == 3


def test_a_folder_is_told(tmp_path):
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(_data.DataError, match=r"d.npz must be a .npz file with x_train, y_train, x_test and y_test"):
        _data.load(str(tmp_path / "d.npz"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": [1]}, "must be a .npz file with x_train, y_train, x_test and y_test"),
        ({"y_train": [0.5, 1.0]}, "must have one label for each input, a non-negative integer"),
        (
            {"y_train": [1]},
            r"must have one label for each input, .* x_train of shape \(2, 3\), y_train of shape \(1,\)",
        ),
        ({"x_test": np.ones((2, 4))}, r"inputs of one shape. .* x_train of shape \(2, 3\), x_test of shape \(2, 4\)"),
        ({"y_test": np.ones((2, 0), int)}, r"must hold numbers. Received: y_test of dtype int64, shape \(2, 0\)"),
        ({"x_train": [], "y_train": []}, r"must hold numbers. Received: x_train of dtype float64, shape \(0,\)"),
        ({"x_train": ["a", "b"]}, "must hold numbers. Received: x_train of dtype <U1"),
        ({"x_train": np.ones((2, 3)) * 1j}, "must hold numbers. Received: x_train of dtype complex128"),
        ({"x_train": 1.0}, r"must hold numbers. Received: x_train of dtype float64, shape \(\)"),
        ({"y_test": [-1, 2]}, "must have one label for each input, a non-negative integer"),
        (
            {"x_train": np.ones((2, 3), "uint8")},
            "inputs of bytes, .* in both parts or in neither. .* x_train of dtype uint8, x_test of dtype float64",
        ),
    ],
    ids=[
        *("missing", "not whole", "too few", "other shape", "no labels", "empty", "strings", "complex", "number"),
        "negative",
        "bytes in one part",
    ],
)
def test_a_file_that_does_not_suit_is_told(tmp_path, arrays, message):
    whole = {"x_train": np.ones((2, 3)), "y_train": [0, 1], "x_test": np.ones((2, 3)), "y_test": [1, 0]}
    np.savez(tmp_path / "own.npz", **(arrays if "x" in arrays else whole | arrays))
    with pytest.raises(_data.DataError, match=message):
        _data.load(str(tmp_path / "own.npz"))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04nonsense", b"\x93NUMPY"], ids=repr)
def test_a_file_that_is_no_archive_is_told(tmp_path, content):
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(_data.DataError, match=r"own.npz must be a .npz file with x_train, y_train, x_test and y_test"):
        _data.load(str(tmp_path / "own.npz"))


@pytest.mark.parametrize("name", ["nonsense", "nowhere.npz"])
def test_other_names_are_an_error(name):
    with pytest.raises(_data.DataError, match=name):
        _data.load(name)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3)], ids=str)
@pytest.mark.parametrize("name", _options.NETWORKS)
def test_networks_suit_images(name, shape):
    model = _networks.Network(name, shape, 10, "adam", 0.25)("initx.he_normal")
    assert model.output_shape == (None, 10)
    assert type(model.optimizer).__name__ == "Adam"
    assert to_numpy(model.optimizer.learning_rate).item() == 0.25
    kernels = [weight for weight in model.trainable_weights if "kernel" in weight.path]
    assert len(kernels) >= 2
    assert all(to_numpy(kernel).std() > 0 for kernel in kernels)


@pytest.mark.parametrize(("name", "count"), [("mlp", 3), ("cnn", 3), ("image_study", 4), ("lstm", 3)])
def test_all_kernels_of_a_network_have_one_initializer(name, count):
    model = _networks.Network(name, (8, 6, 3), 10)("zeros")
    kernels = [weight for weight in model.trainable_weights if "kernel" in weight.path]
    assert len(kernels) == count
    assert not any(to_numpy(kernel).any() for kernel in kernels)


def test_the_rows_of_an_image_are_the_steps_of_an_lstm():
    model = _networks.network("lstm", (8, 6, 3), 10, kernel_initializer="zeros", bias_initializer="ones")
    (lstm,) = (layer for layer in model.layers if type(layer).__name__ == "LSTM")
    assert lstm.input.shape == (None, 8, 18)
    assert (to_numpy(lstm.cell.bias) == 1).all()


def test_the_network_of_the_image_study_has_its_kinds_of_layers():
    model = _networks.Network("image_study", (8, 8, 1), 10)("he_normal")
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds >= {"Conv2D", "MaxPooling2D", "Dropout", "BatchNormalization", "Dense"}
    averages = [layer.momentum for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    assert averages == [0.9, 0.9]
    assert type(model.optimizer).__name__ == "SGD"
    assert to_numpy(model.optimizer.learning_rate).item() == np.float32(0.01)


def test_a_function_of_a_file(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("SIZE = 3\ndef build(initializer):\n    return initializer * SIZE\n")
    build = _networks.FileBuild.parse(f"{file}:build")
    assert build("ab") == "ababab"
    assert build.name == "own.py:build"
    file.write_text("def build(initializer):\n    return initializer\n")
    assert _networks.FileBuild.parse(f"{file}:build") != build


def test_a_function_of_a_file_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    folder = tmp_path / "a:b"
    folder.mkdir()
    lines = ["SIZE = 3", *(f"# line {number}" for number in range(20)), "def build(initializer):", "    return {}"]
    (folder / "own.py").write_text("\n".join(lines).format(1))
    monkeypatch.chdir(folder)
    build = _networks.FileBuild.parse("own.py:build")
    # Processes of a study may work in another folder.
    monkeypatch.chdir(tmp_path)
    assert build("zeros") == 1
    assert build == _networks.FileBuild.parse(f"{folder / 'own.py'}:build")
    (folder / "own.py").write_text("\n".join(lines).format(2))
    assert build != _networks.FileBuild.parse(f"{folder / 'own.py'}:build")
    with pytest.raises(ValueError, match=r"own.py has no function 'SIZE'"):
        _networks.FileBuild.parse(f"{folder / 'own.py'}:SIZE")


def test_a_file_imports_its_neighbors(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "neighbor_of_own.py").write_text("SIZE = 3\n")
    (tmp_path / "own.py").write_text("from neighbor_of_own import SIZE\ndef build(initializer):\n    return SIZE\n")
    assert _networks.FileBuild.parse(f"{tmp_path / 'own.py'}:build")("he_normal") == 3


def test_a_function_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="has no function 'nonsense'"):
        _networks.FileBuild.parse(f"{__file__}:nonsense")
