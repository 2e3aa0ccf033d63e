"""The arrays of a source, which are as they were before the first weight changed."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
from loaded import network, normal
from modes import BACKEND, to_numpy
from stacks import arrays, built

from keras_initx import load_pretrained
from keras_initx.backends._current import backend
from keras_initx.inspection._inventory import Inventory

if BACKEND == "torch":
    import torch

layers = keras.layers


def test_a_tensor_without_a_place_in_memory_may_be_in_the_source():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="dense")])
    source = {"fc.weight": torch.ones(2, 4), "fc.bias": torch.ones(2), "mask": torch.eye(3).to_sparse()}
    assert list(load_pretrained(model, source, {"dense": "fc"}, layout="torch").unused) == ["mask"]


def test_a_masked_array_is_no_values_of_a_weight():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="dense")])
    source = {"fc.weight": np.ones((2, 4)), "fc.bias": np.ma.masked_array(np.ones(2), [0, 1])}
    with pytest.raises(ValueError, match=r"'dense/bias' \(2,\): cannot cast .fc.bias., masked float64, to float32"):
        load_pretrained(model, source, {"dense": "fc"}, layout="torch")


def chain():
    """Return a model of three layers, whose kernels are 0, 1 and 2."""
    kernels = [keras.initializers.Constant(number) for number in range(3)]
    dense = [layers.Dense(2, use_bias=False, kernel_initializer=kernel) for kernel in kernels]
    return keras.Sequential([keras.Input((2,)), *dense])


def kernels_of(model):
    return [weight.value.detach() for weight in model.weights]


def in_one_tensor(model):
    """Return a tensor in which the model has its kernels."""
    whole = torch.stack(kernels_of(model))
    for weight, part in zip(model.weights, whole, strict=True):
        weight.value.data = part
    return whole


# The arrays of the kernels of a model, in views of all kinds.
VIEWS = {
    "transposed": lambda model: [kernel.t() for kernel in kernels_of(model)],
    "arrays of DLPack": lambda model: [np.from_dlpack(kernel) for kernel in kernels_of(model)],
    "in one tensor": lambda model: list(in_one_tensor(model)),
    "in one array": lambda model: list(in_one_tensor(model).numpy()),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views_are_as_they_were_before_the_first_weight_changed(kind, request):
    if "array" in kind:
        request.getfixturevalue("shared_memory")
    model = chain()
    state = dict(zip("abc", VIEWS[kind](model), strict=True))
    load_pretrained(model, state, {"dense_1/kernel": "a", "dense_2/kernel": "b", "dense/kernel": "c"}, layout="keras")
    assert [kernel.mean() for kernel in kernels_of(model)] == [2, 0, 1]


def test_a_tensor_that_begins_before_the_weights_in_it_is_as_it_was_before():
    model = chain()
    whole = torch.cat([torch.full_like(kernels_of(model)[0][None], 7.0), torch.stack(kernels_of(model))])
    for weight, part in zip(model.weights, whole[1:], strict=True):
        weight.value.data = part
    rules = {
        "dense/kernel": ("whole", 0),
        "dense_1/kernel": ("whole", 1),
        "dense_2/kernel": ("whole", 2),
    }
    load_pretrained(model, {"whole": whole}, rules, layout="keras")
    assert [kernel.mean() for kernel in kernels_of(model)] == [7, 0, 1]


@pytest.mark.usefixtures("shared_memory")
@pytest.mark.parametrize("row", [lambda kernel: kernel[1], lambda kernel: kernel.numpy()[1]], ids=["tensor", "array"])
def test_a_part_that_begins_behind_the_first_number_of_a_weight(row):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="dense")])
    kernel, bias = kernels_of(model)
    kernel.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    load_pretrained(model, {"k": torch.zeros(2, 2), "b": row(kernel)}, {"*/kernel": "k", "*/bias": "b"}, layout="keras")
    assert bias.tolist() == [3, 4]


def test_a_model_with_the_same_memory_is_as_it_was():
    model, source = chain(), chain()
    for weight, own in zip(source.weights, model.weights, strict=True):
        weight.value.data = own.value.data
    load_pretrained(model, source, {"dense_1/kernel": "dense/kernel", "dense_2/kernel": "dense_1/kernel"})
    assert [kernel.mean() for kernel in kernels_of(model)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, TypeError, "`source` must be a path of a file or folder, a list of paths, a Keras model"),
        ({1: np.zeros(2)}, TypeError, "`source` must be a dict from names to arrays. Received: 1 as a name"),
        (
            {"epoch": 3, "state_dict": {"out/bias": np.zeros(2)}, "optimizer": {"state": {}}},
            TypeError,
            r"Received: a dict that contains dicts\. Pass one of them: source\['state_dict'\], source\['optimizer'\]",
        ),
        *(
            (
                f"model{ending}",
                ValueError,
                rf"`source` must not be a pickle.*: pass `torch.load\('model{ending}', weights_only=True\)`",
            )
            for ending in (".PTH", ".ckpt")
        ),
        ({}, ValueError, r"`names` must map weights to arrays"),
        (
            keras.Sequential([layers.Dense(2)], name="source"),
            ValueError,
            "`source` must be built.*model 'source'",
        ),
        ("a.npy", ValueError, r"`source` must be a file that ends in one of \('.npz'"),
        ("absent.npz", ValueError, "`source` must be an existing file"),
        ("s3://bucket/a.npz", ValueError, "`source` must be a path on this machine: mount the storage"),
        ({"other": np.zeros(2)}, ValueError, r"`names` must map weights to arrays.*'hidden/kernel'.*; arrays 'other'"),
    ],
)
def test_wrong_sources(source, error, message):
    with pytest.raises(error, match=message):
        load_pretrained(network(), source, layout="torch")


def test_files_with_other_endings_members_and_versions(tmp_path):
    kernel, bias = normal(4, 4), np.zeros(4)
    with zipfile.ZipFile(tmp_path / "A.NPZ", "w") as archive:
        for name, array, version in (("w", kernel, (2, 0)), ("b", bias, (3, 0))):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, version)
        archive.writestr("readme.txt", "no array")
    with h5py.File(tmp_path / "A.HDF5", "w") as file:
        file["w"], file["b"], file["nothing"] = kernel, bias, h5py.Empty("f4")
        file.create_group("group")
    for name in ("A.NPZ", "A.HDF5"):
        model = network()
        plan = load_pretrained(model, tmp_path / name, {"hidden/kernel": "w", "hidden/bias": "b"}, layout="torch")
        np.testing.assert_array_equal(arrays(model)["hidden/kernel"], kernel.T)
        assert plan.unused == {}


def chain_of():
    """Return a model of four layers, whose kernels have the values 0, 1, 2 and 3."""
    values = [keras.initializers.Constant(number) for number in range(4)]
    return built(
        (2,),
        *(
            layers.Dense(2, use_bias=False, kernel_initializer=value, name=f"block_{number}")
            for number, value in enumerate(values)
        ),
    )


# Each layer is to get the kernel of the one before, which has been overwritten by then.
SHIFTED = {"block_0/kernel": None, **{f"block_{i + 1}/kernel": f"block_{i}/kernel" for i in range(3)}}


def assert_shifted(model):
    assert [to_numpy(weight.value).mean() for weight in model.weights] == [0, 0, 1, 2]


def numpy_view(variable):
    """Return the values of a variable as an array that has their memory, if the backend has such arrays."""
    return backend.host_view(variable.value)


FORMS = [
    pytest.param(lambda variable: variable, id="variable"),
    pytest.param(lambda variable: variable.value, id="tensor", marks=pytest.mark.every_backend),
    pytest.param(numpy_view, id="array", marks=pytest.mark.every_backend),
    pytest.param(lambda variable: numpy_view(variable)[::-1, ::-1].T, id="part of an array"),
    pytest.param(lambda variable: memoryview(numpy_view(variable)), id="buffer"),
]


@pytest.mark.parametrize("form", FORMS)
def test_what_has_the_memory_of_a_weight_is_as_it_was_before(form):
    model = chain_of()
    source = {weight.path: form(weight.variable) for weight in Inventory(model).weights}
    load_pretrained(model, source, SHIFTED, layout="keras")
    assert_shifted(model)


def test_weights_of_the_model_itself_are_those_from_before():
    model = chain_of()
    load_pretrained(model, model, SHIFTED)
    assert_shifted(model)


def test_only_what_has_the_memory_of_a_weight_is_copied(monkeypatch):
    source, model = chain_of(), chain_of()
    arrays_of_source = {weight.path: numpy_view(weight.variable) for weight in Inventory(source).weights}
    monkeypatch.setattr(type(backend), "snapshot", None)  # which would copy
    for given in (source, arrays_of_source):
        load_pretrained(model, given, SHIFTED, layout="keras", atomic=False)
        assert_shifted(model)


@pytest.mark.skipif(BACKEND != "torch", reason="needs torch")
@pytest.mark.parametrize("kind", ["meta", "sparse"])
def test_a_tensor_without_values_to_read_is_an_error_with_its_name(kind):
    import torch

    tensor = torch.ones(4, 3)
    state = {"out.weight": tensor.to("meta") if kind == "meta" else tensor.to_sparse(), "out.bias": torch.ones(4)}
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="out")])
    before = to_numpy(model.layers[0].kernel).copy()
    with pytest.raises(
        ValueError, match=rf"'out/kernel' \(3, 4\): cannot cast 'out.weight', {kind} float32, to float32"
    ):
        load_pretrained(model, state, layout="torch")
    np.testing.assert_array_equal(to_numpy(model.layers[0].kernel), before)
