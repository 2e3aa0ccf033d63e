"""Which layers the names in files of Keras tell, and which arrays are no weights."""

import pytest

from keras_initx.files._keras_files import enclosing_layers, is_optimizer_or_seed

GROUPS = {"layers/functional": "inner", "layers/functional/layers/conv2d": "conv1", "head": "head"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("layers/functional/layers/conv2d/vars/0", ("inner", "conv1", "0")),
        ("head/vars/1", ("head", "1")),
        ("head/head/kernel:0", ("head", "kernel")),
        ("model_weights/head/net/head/kernel", ("head", "kernel")),
        ("dense_3/dense_3/kernel:0", ("dense_3", "kernel")),
        ("blocks/kernel", None),
        ("kernel", None),
    ],
)
def test_layers_stand_around_an_array(name, path):
    assert enclosing_layers(name, GROUPS) == path


@pytest.mark.parametrize(
    "name",
    [
        "optimizer/vars/0",
        "optimizer/inner_optimizer/vars/12",
        "optimizer_weights/adam/iteration",
        "layers/dropout/seed_generator/vars/0",
        "seed_generator_1/vars/0",
    ],
)
def test_an_optimizer_and_seeds_are_no_weights(name):
    assert is_optimizer_or_seed(name)


@pytest.mark.parametrize(
    "name",
    ["layers/optimizer/vars/0", "layers/dense/vars/0", "vars/0", "optimizer", "optimizer/kernel", "optimizer_weights"],
)
def test_layers_that_sound_like_an_optimizer_have_weights(name):
    assert not is_optimizer_or_seed(name)
