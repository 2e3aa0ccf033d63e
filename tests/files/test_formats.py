"""Files of arrays: every format, and what is refused."""

import functools
import io
import os
import pickle

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from array_files import BIAS, KERNEL
from modes import to_numpy

from keras_initx import Pretrained
from keras_initx.files import _formats

layers = keras.layers


def write_hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[f"model/{name}"] = array


WRITERS = {
    "a.npz": (np.savez, "kernel"),
    "a.safetensors": (lambda path, **arrays: safetensors.numpy.save_file(arrays, path), "kernel"),
    "a.h5": (write_hdf5, "model/kernel"),
    "a.HDF5": (write_hdf5, "model/kernel"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_reads_the_array_named(name, tmp_path):
    write, key = WRITERS[name]
    for stored in ("float16", "float32", "float64"):
        path = tmp_path / f"{stored}_{name}"
        write(path, kernel=KERNEL.astype(stored), bias=BIAS)
        np.testing.assert_array_equal(to_numpy(Pretrained(path, key)((4, 3))), KERNEL, stored)


def test_reads_a_scalar_of_the_other_byte_order(tmp_path):
    write_hdf5(tmp_path / "a.h5", scale=np.array(0.75, ">f4"))
    assert to_numpy(Pretrained(tmp_path / "a.h5")(())) == 0.75


@pytest.mark.parametrize(("name", "dtype"), [("model.keras", "float32"), ("model.weights.h5", "bfloat16")])
def test_reads_what_keras_saves(name, dtype, tmp_path):
    inner = keras.Sequential([layers.Dense(3), layers.Dense(2, dtype=dtype, name="last")])
    model = keras.Sequential([keras.Input((4,)), inner])
    model.save(tmp_path / name) if name == "model.keras" else model.save_weights(tmp_path / name)
    values = Pretrained(tmp_path / name, "layers/sequential/layers/dense_1/vars/0")((3, 2))
    np.testing.assert_array_equal(to_numpy(values), to_numpy(inner.layers[1].kernel).astype("float32"))


def test_reads_bfloat16_from_safetensors(tmp_path):
    kernel = (KERNEL / 3).astype("bfloat16")
    safetensors.numpy.save_file({"kernel": kernel}, tmp_path / "a.safetensors")
    for dtype in ("bfloat16", "float32"):
        values = to_numpy(Pretrained(tmp_path / "a.safetensors")((4, 3), dtype))
        np.testing.assert_array_equal(values, kernel.astype(dtype))


def test_refuses_a_folder_with_the_name_of_a_file(tmp_path):
    (tmp_path / "a.keras").mkdir()
    with pytest.raises(
        ValueError, match=r"`path` must be an existing file, but there is a folder at .* Received: path="
    ):
        Pretrained(tmp_path / "a.keras")((4, 3))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors", "a.h5", "a.keras"])
def test_refuses_a_file_of_another_format(name, tmp_path):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=rf"`path` must be a \.{name[2:]} file: .*Received: path="):
        Pretrained(tmp_path / name)((4, 3))


def test_refuses_half_a_file(kernel_file):
    kernel_file.write_bytes(kernel_file.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"`path` must be a \.npy file: .*Received: path="):
        Pretrained(kernel_file)((4, 3))


def test_refuses_a_saved_model_without_weights(arrays_file):
    renamed = arrays_file.rename(arrays_file.with_suffix(".keras"))
    with pytest.raises(ValueError, match=r"`path` must be a \.keras file: .*model\.weights\.h5.*Received: path="):
        Pretrained(renamed)((4, 3))


class Bomb:
    def __reduce__(self):
        return exec, ("import os; os.environ['KERAS_INITX_UNPICKLED'] = '1'",)


@pytest.mark.parametrize("name", ["object.npy", "raw.npy", "object.npz"])
def test_never_unpickles(name, tmp_path):
    bomb = np.array([Bomb()], dtype=object)
    if name == "raw.npy":
        (tmp_path / name).write_bytes(pickle.dumps(bomb))
    else:
        (np.save if name.endswith(".npy") else np.savez)(tmp_path / name, bomb)
    with pytest.raises(ValueError, match=r"(`path` must be a .npy file: |`key` must name an array of a dtype in )"):
        Pretrained(tmp_path / name)((1,))
    assert "KERAS_INITX_UNPICKLED" not in os.environ


def test_the_values_of_an_object_array_are_not_read_either(tmp_path):
    """Behind the check of the dtype, which refuses them first."""
    np.save(tmp_path / "object.npy", np.array([Bomb()], dtype=object))
    array = _formats._make_npy_array(functools.partial(io.FileIO, tmp_path / "object.npy"))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        array.read(...)
    assert "KERAS_INITX_UNPICKLED" not in os.environ


def test_npy_has_no_keys(kernel_file):
    with pytest.raises(
        ValueError, match=r"`key` must .*The file has: None \(4, 3\) float32\. Received: .*key='kernel'"
    ):
        Pretrained(kernel_file, "kernel")((4, 3))


def test_an_empty_file_is_said_to_have_nothing(tmp_path):
    np.savez(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"`key` must .*The file has: nothing\. Received"):
        Pretrained(tmp_path / "a.npz")((3,))


def test_leaves_out_arrays_whose_values_are_in_other_files(tmp_path):
    write_hdf5(tmp_path / "other.h5", kernel=KERNEL)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["bias"] = BIAS
        file["link"] = h5py.ExternalLink("other.h5", "model/kernel")
        file.create_dataset("outside", (3,), "float32", external=[(tmp_path / "raw", 0, 12)])
        layout = h5py.VirtualLayout((4, 3), "float32")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "model/kernel", (4, 3))
        file.create_virtual_dataset("virtual", layout)
    for key in ("link", "outside", "virtual"):
        with pytest.raises(ValueError, match=rf"The file has: 'bias' \(3,\) float32\. Received: .*key='{key}'"):
            Pretrained(tmp_path / "a.h5", key)((4, 3))
