"""Recorded outputs are saved without pickles, and a damaged file is refused."""

import io
import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs._outputs_file import read_outputs
from keras_initx.types import RecordedOutputs

X = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, "relu", name="hidden"), layers.Dense(2, name="out")], name="net"
    )


@pytest.fixture
def path(model, tmp_path):
    outputs = record_outputs(model, X)
    outputs.save(tmp_path / "outputs.npz")
    return tmp_path / "outputs.npz"


@pytest.mark.every_backend
def test_a_file_says_what_was_recorded(model, path):
    assert compare_outputs(model, X, path).ok
    assert compare_outputs(model, X, str(path)).ok
    model.get_layer("out").bias.assign([0.0, 1e-5])
    assert compare_outputs(model, X, path).first.path == "out"


def test_a_file_has_plain_arrays(path):
    with np.load(path, allow_pickle=False) as arrays:
        content = json.loads(arrays["calls"].tobytes())
        assert [arrays[dtype].dtype for dtype in ("float32", "float64", "int64")] == ["float32", "float64", "int64"]
    fields = content["content"]["fields"]
    calls = [call["fields"] for call in fields["calls"]]
    assert [call["key"]["fields"]["name"] for call in calls] == ["hidden", "out", "net"]
    assert fields["framework"] == "keras"
    # The input of the second is the output of the first.
    (inputs,), (outputs,) = calls[1]["inputs"]["dict"], calls[0]["outputs"]["dict"]
    assert (inputs, outputs) == (["inputs", {"tensor": 1}], ["", {"tensor": 1}])


def changed(path, **arrays):
    with np.load(path) as before:
        content = {**before, **arrays}
    file = io.BytesIO()
    np.savez(file, **content)
    path.write_bytes(file.getvalue())


def calls_of(path):
    with np.load(path) as arrays:
        return json.loads(arrays["calls"].tobytes())


def as_array(content):
    return np.frombuffer(json.dumps(content).encode(), "uint8")


def test_a_damaged_file_is_refused(model, path):
    whole = path.read_bytes()
    refused = r"`like` must be a file that `record_outputs\(\.\.\.\)\.save` wrote, and not damaged\. Received: like="
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:300] + b"\x00" * 8 + whole[308:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=refused):
            compare_outputs(model, X, path)
    path.write_bytes(whole)
    calls = calls_of(path)
    large = json.loads(json.dumps(calls["tensors"]))
    large[0]["fields"]["shape"] = {"tuple": [10**30]}
    for damage in (
        {"calls": as_array({**calls, "format": "another"})},
        {"calls": as_array({**calls, "tensors": large})},
        {"calls": as_array({**calls, "tensors": calls["tensors"][:-1]})},
        {"calls": as_array([])},
        {"float32": np.zeros(3, "float32")},
        {"float32": np.array([None])},
    ):
        changed(path, **damage)
        with pytest.raises(ValueError, match=refused):
            compare_outputs(model, X, path)
        path.write_bytes(whole)
    with pytest.raises(FileNotFoundError):
        compare_outputs(model, X, path.with_name("other.npz"))


def with_header(path, former, other):
    """Return a sound archive in which the headers of arrays are others."""
    file = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(file, "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, archive.read(name).replace(former, other, 1))
    return file.getvalue()


def test_what_reading_raises_is_damage(model, path):
    with np.load(path) as before:
        np.savez(path, **before, unread=np.arange(1000))
    whole = path.read_bytes()
    assert compare_outputs(model, X, path).ok
    damaged = [with_header(path, b", }", b",  "), with_header(path, b"'descr'", b"'descs'")]
    # Bits of the flags, of the offset of the directory, and of the values of a member that nobody reads.
    flags, offset, values = (b"PK\x01\x02", 8), (b"PK\x05\x06", 19), (b"unread.npy", 600)
    for (mark, place), bits in ((flags, (0, 5)), (offset, (0, 5, 7)), (values, (0, 5, 7))):
        for bit in bits:
            content = bytearray(whole)
            content[content.find(mark) + place] ^= 1 << bit
            damaged.append(bytes(content))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"`like` must be a file that `record_outputs"):
            compare_outputs(model, X, path)


def test_a_file_of_another_version_is_refused_as_that(model, path):
    changed(path, calls=as_array({**calls_of(path), "version": 1}))
    text = r"`like` must be a file of the version 5, .*: record the outputs again\. Received: .* of the version 1$"
    with pytest.raises(ValueError, match=text):
        compare_outputs(model, X, path)


def test_another_suffix_or_a_url_is_refused(model):
    outputs = record_outputs(model, X)
    with pytest.raises(ValueError, match=r"`path` must end in `\.npz`\. Received: path='outputs\.json'"):
        outputs.save("outputs.json")
    with pytest.raises(ValueError, match="must be a path on this machine"):
        outputs.save("s3://bucket/outputs.npz")


@pytest.mark.every_backend
def test_a_file_has_the_versions_and_devices_that_have_computed_it(model, path):
    environment = RecordedOutputs(*read_outputs("path", path)).environment
    assert environment == record_outputs(model, X).environment
    assert environment.versions["keras"] == keras.__version__
    assert environment.devices
