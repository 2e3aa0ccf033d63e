"""Files of safetensors are written array by array, and read by the library and by torch."""

import numpy as np
import pytest
from modes import BACKEND
from saved import assert_same_bits, read

from keras_initx.files._safetensors import DTYPES_OF_NUMPY, ArraySpec, read_header, write_safetensors

PLAIN = sorted({*DTYPES_OF_NUMPY} - {"BF16", "C64", "F8_E4M3", "F8_E5M2"})


def arrays_of(dtypes):
    arrays = {"empty": np.zeros((0, 3), "float32")}
    for dtype in dtypes:
        arrays[f"{dtype} ä"] = np.arange(6).reshape(2, 3).astype(DTYPES_OF_NUMPY[dtype])
        arrays[f"{dtype} scalar"] = np.array(3).astype(DTYPES_OF_NUMPY[dtype])
    return arrays


def write(path, arrays):
    names = {ours: theirs for theirs, ours in DTYPES_OF_NUMPY.items()}
    described = {name: ArraySpec(names[one.dtype.name], one.shape, one.nbytes) for name, one in arrays.items()}
    write_safetensors(path, described, arrays.values(), {"format": "pt"})


def test_the_library_reads_what_was_written(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = arrays_of(PLAIN)
    write(tmp_path / "a.safetensors", arrays)
    found = safetensors.load_file(tmp_path / "a.safetensors")
    assert_same_bits({name: found[name] for name in arrays}, arrays)


@pytest.mark.skipif(BACKEND != "torch", reason="needs torch")
def test_torch_reads_what_was_written(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    import torch

    arrays = arrays_of([*PLAIN, "BF16", "F8_E4M3", "F8_E5M2"])
    write(tmp_path / "a.safetensors", arrays)
    found = safetensors.load_file(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        tensor = found[name]
        assert tuple(tensor.shape) == array.shape
        bits = tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        assert bits == array.tobytes()


def test_this_package_reads_what_was_written(tmp_path):
    arrays = arrays_of(DTYPES_OF_NUMPY)
    write(tmp_path / "a.safetensors", arrays)
    assert_same_bits(read(tmp_path / "a.safetensors"), arrays)
    head = read_header(tmp_path / "a.safetensors")
    assert head.metadata == {"format": "pt"}
    assert head.arrays["empty"].begin % 8 == 0


def test_arrays_in_another_order_are_written_in_that_of_c(tmp_path):
    arrays = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.arange(6.0).astype(">f8")[::2]}
    write(tmp_path / "a.safetensors", arrays)
    found = read(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["a"], arrays["a"])
    np.testing.assert_array_equal(found["b"], arrays["b"])
