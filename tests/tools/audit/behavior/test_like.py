"""What `like` takes, and what a comparison with other weights says of equal bits."""

import keras
import numpy as np
import pytest
from stacks import built

import keras_initx
from keras_initx import load_pretrained

layers = keras.layers


def network(seed=0):
    keras.utils.set_random_seed(seed)
    return built((8,), layers.Dense(16, "relu", name="hidden"), layers.Dense(3, name="head"))


def test_equal_bits_are_counted_whether_all_or_none_are_equal():
    one = network()
    assert keras_initx.audit(one, like=network()).summary == (
        "4 of 4 weights are as in the other model. The same bit for bit: 4 of 4."
    )
    other = keras_initx.audit(one, like=network(seed=1)).summary
    assert "The same bit for bit: 2 of 4. 2 weights (head/kernel, hidden/kernel) have too few values" in other
    moved = network(seed=1)
    for layer in moved.layers:
        layer.bias.assign(np.linspace(-1, 1, layer.units))
    assert "The same bit for bit: 0 of 4." in keras_initx.audit(moved, like=one).summary


def test_nothing_is_said_of_bits_that_are_not_known():
    assert "bit for bit" not in keras_initx.audit(network()).summary
    assert "bit for bit" not in keras_initx.audit(network(), like=keras_initx.contract(network)).summary


def others(folder):
    """Return other weights in all forms, which are no rules."""
    import torch

    model = network()
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    np.savez(folder / "arrays.npz", ones=np.ones(3))
    module = torch.nn.Linear(2, 2)
    names = ("model.keras", "model.weights.h5", "arrays.npz")
    files = [*(str(folder / name) for name in names), folder / "model.keras", [folder / "arrays.npz"]]
    return [model, module, module.state_dict(), {"ones": np.ones(3)}, *files]


def test_other_weights_by_position_are_refused_with_the_name_of_the_argument(tmp_path):
    model = network()
    for other in others(tmp_path):
        with pytest.raises(TypeError, match=r"Pass other weights as `like`: `audit\(\.\.\., like=\.\.\.\)`"):
            keras_initx.audit(model, other)
    keras_initx.contract(model).save(tmp_path / "contract.json")
    with pytest.raises(ValueError, match=r"\"keras_initx contract\"\. Pass it as `like`"):
        keras_initx.audit(model, tmp_path / "contract.json")


def ported():
    """Return a module of torch, and a model with its values."""
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential()
    module.conv = torch.nn.Conv2d(3, 8, 3)
    module.norm = torch.nn.BatchNorm2d(8)
    module.flat = torch.nn.Flatten()
    module.head = torch.nn.Linear(8, 4)
    module.norm.running_mean.fill_(2)
    model = built(
        (3, 3, 3),
        layers.Conv2D(8, 3, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.Flatten(),
        layers.Dense(4, name="head"),
    )
    load_pretrained(model, module)
    return module, model


@pytest.mark.parametrize("is_module_first", [True, False])
def test_a_module_is_compared_in_the_order_of_axes_of_keras(is_module_first):
    module, model = ported()
    sides = (module, model) if is_module_first else (model, module)
    report = keras_initx.audit(sides[0], like=sides[1])
    assert "The same bit for bit: 8 of 8." in report.summary
    assert report.ok
    model.get_layer("norm").moving_mean.assign(np.ones(8))
    model.get_layer("head").kernel.assign(2 * model.get_layer("head").kernel)
    report = keras_initx.audit(sides[0], like=sides[1])
    assert {row.path: row.status for row in report.problems} == {"norm/moving_mean": "values", "head/kernel": "bounds"}


def test_a_module_with_another_shape_or_other_weights_is_told():
    import torch

    module, model = ported()
    module.head = torch.nn.Linear(8, 5)
    module.more = torch.nn.Linear(2, 2, bias=False)
    del module.norm
    report = keras_initx.audit(model, like=module)
    verdicts = {row.path: row.status for row in report.problems}
    assert verdicts["head/kernel"] == verdicts["head/bias"] == "reshaped"
    assert (verdicts["more.weight"], verdicts["norm/gamma"]) == ("missing", "new")
    assert "conv/kernel" not in verdicts


def test_modules_without_a_common_name_get_a_remedy():
    import torch

    report = keras_initx.audit(network(), like=torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)))
    assert "have no name in common. Remedy: load the module into a copy of the model" in report.summary


def test_a_module_alone_is_measured(tmp_path):
    import torch

    def build():
        return torch.nn.Linear(8, 64)

    torch.manual_seed(0)
    module = build()
    assert [row.path for row in keras_initx.contract(module).rows] == ["weight", "bias"]
    assert keras_initx.audit(module, like=module).unchanged == ["weight", "bias"]
    keras_initx.contract(build).save(tmp_path / "contract.json")
    assert keras_initx.audit(module, like=tmp_path / "contract.json").ok
    torch.nn.init.normal_(module.weight)
    assert [row.path for row in keras_initx.audit(module, like=tmp_path / "contract.json").problems] == ["weight"]
