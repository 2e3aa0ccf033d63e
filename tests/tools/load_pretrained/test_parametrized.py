"""Weights that torch keeps in parts are computed as torch computes them, or refused by name."""

import warnings

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import load_pretrained
from keras_initx.checkpoints._sources import to_lazy
from keras_initx.tools.load_pretrained._parametrized import find_parametrized

layers = keras.layers
RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def dense(units=4):
    return keras.Sequential([keras.Input((6,)), layers.Dense(units, name="d")])


def parts(form, gain, direction):
    names = {
        "old": ("fc.weight_g", "fc.weight_v"),
        "new": ("fc.parametrizations.weight.original0", "fc.parametrizations.weight.original1"),
    }
    return {"fc.bias": normal(4), names[form][0]: gain, names[form][1]: direction}


@pytest.mark.every_backend
@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize("shape", [(4, 1), (1, 6), (1, 1), ()])
def test_weight_normalization_is_computed_over_the_axes_of_its_gain(form, shape):
    gain, direction = normal(*shape), normal(4, 6)
    axes = tuple(axis for axis, length in enumerate(shape) if length == 1) or (0, 1)
    expected = gain * direction / np.sqrt(np.sum(direction**2, axis=axes, keepdims=True))
    state = parts(form, gain, direction)
    for names in ({"d": "fc"}, {"d/kernel": [*state][2], "d/bias": "fc.bias"}):
        model = dense()
        report = load_pretrained(model, state, names, layout="torch")
        np.testing.assert_allclose(to_numpy(model.layers[0].kernel), expected.T, rtol=1e-6, atol=1e-6)
        assert "g * v / |v|" in report.rows[0].detail
        assert not report.unused
        assert report.rows[0].sources == ([*state][2], [*state][1])


@pytest.mark.parametrize("shape", [(4, 6), (4, 1, 3)])
def test_full_matrices_of_one_shape_are_no_gain_and_direction(shape):
    state = {"net.weight_g": normal(*shape), "net.weight_v": normal(*shape)}
    assert find_parametrized({name: to_lazy(array) for name, array in state.items()}) == {}


@pytest.mark.every_backend
@pytest.mark.parametrize("form", ["old", "new"])
def test_the_norm_of_a_single_value_is_its_absolute_value(form):
    gain, direction = normal(4, 1), normal(4, 1)
    model = keras.Sequential([keras.Input((1,)), layers.Dense(4, name="d")])
    report = load_pretrained(model, parts(form, gain, direction), {"d": "fc"}, layout="torch")
    np.testing.assert_allclose(to_numpy(model.layers[0].kernel), (gain * np.sign(direction)).T, rtol=1e-6)
    assert "g * v / |v|" in report.rows[0].detail


REFUSED = {
    "old spectral": {"weight_orig": (4, 6), "weight_u": (4,), "weight_v": (6,)},
    "new spectral": {
        "parametrizations.weight.original": (4, 6),
        "parametrizations.weight.0._u": (4,),
        "parametrizations.weight.0._v": (6,),
    },
    "pruned": {"weight_orig": (4, 6), "weight_mask": (4, 6)},
    "own": {"parametrizations.weight.original": (4, 6)},
    "orthogonal": {"parametrizations.weight.original": (4, 6), "parametrizations.weight.0.base": (4, 6)},
    "two": {"parametrizations.weight.original0": (4, 2), "parametrizations.weight.original1": (2, 6)},
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("is_named", [True, False])
def test_what_cannot_be_computed_is_refused_by_name(kind, is_named):
    state = {f"fc.{name}": normal(*shape) for name, shape in REFUSED[kind].items()}
    first = next(iter(state))
    state["fc.bias"] = normal(4)
    model = dense()
    before = model.get_weights()
    names = {"d/kernel": first} if is_named else {"d": "fc"}
    with pytest.raises(ValueError, match=r"'fc\.weight' (is parametrized|is pruned|has a spectral).* first"):
        load_pretrained(model, state, names, layout="torch")
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_are_refused_without_names_too():
    state = {f"d.{name}": normal(*shape) for name, shape in REFUSED["new spectral"].items()}
    with pytest.raises(ValueError, match="spectral normalization"):
        load_pretrained(dense(), {**state, "d.bias": normal(4)}, layout="torch")


def test_a_pruned_weight_of_torch_is_loaded_once_its_pruning_is_removed():
    torch = pytest.importorskip("torch")
    prune = pytest.importorskip("torch.nn.utils.prune")
    linear = prune.l1_unstructured(torch.nn.Linear(6, 4), "weight", 0.5)
    module = torch.nn.ModuleDict({"m": linear})
    model = dense()
    with pytest.raises(ValueError, match=r"'m\.weight' is pruned: .* `prune\.remove` first"):
        load_pretrained(model, module.state_dict(), {"d": "m"}, layout="torch")
    prune.remove(linear, "weight")
    load_pretrained(model, module.state_dict(), {"d": "m"}, layout="torch")
    np.testing.assert_array_equal(to_numpy(model.layers[0].kernel), linear.weight.detach().numpy().T)


def test_no_close_match_is_a_part():
    state = {f"other.{end}": normal(4, 6) for end in ("weight_v", "weight_g", "weight_orig", "weight_u")}
    state["other.parametrizations.weight.original0"] = normal(4, 6)
    with pytest.raises(ValueError, match="no array") as error:
        load_pretrained(dense(), {**state, "fc.bias": normal(4)}, {"d": "fc"}, layout="torch")
    assert "close match" not in str(error.value).replace("close matches are 'fc.bias'", "")


@keras.saving.register_keras_serializable("tests")
class Gated(layers.Layer):
    """Has a gate and a value."""

    def build(self, shape):
        self.x_g = self.add_weight((4, 1), name="x_g")
        self.x_v = self.add_weight((4, 6), name="x_v")
        self.weight_g = self.add_weight((4, 1), name="weight_g")
        self.weight_v = self.add_weight((4, 6), name="weight_v")

    def call(self, x):
        return x


def test_a_gate_and_a_value_stay_what_they_are():
    model = keras.Sequential([keras.Input((6,)), Gated(name="gated")])
    state = {f"gated.{weight.name}": normal(*weight.shape) for weight in model.weights}
    names = {f"gated/{weight.name}": (f"gated.{weight.name}", lambda array: array) for weight in model.weights}
    for given in (None, names):
        load_pretrained(model, state, given, layout="keras")
        for weight in model.weights:
            np.testing.assert_array_equal(to_numpy(weight), state[f"gated.{weight.name}"])


def modules(torch):
    """Return modules with weights in parts, each with the model of Keras and the names for it."""
    nn, utils = torch.nn, torch.nn.utils
    new = utils.parametrizations.weight_norm

    def with_one_input():
        return keras.Sequential([keras.Input((1,)), layers.Dense(4, name="d")])

    def sequence_of_numbers():
        return keras.Sequential([keras.Input((5, 1)), layers.LSTM(4, name="d", return_sequences=True)])

    def image():
        return keras.Sequential([keras.Input((5, 5, 3)), layers.Conv2D(4, 3, name="d")])

    def sequence():
        return keras.Sequential([keras.Input((5, 6)), layers.LSTM(4, name="d", return_sequences=True)])

    yield utils.weight_norm(nn.Linear(6, 4)), dense, (6,)
    yield new(nn.Linear(6, 4), dim=1), dense, (6,)
    yield new(nn.Linear(6, 4), dim=None), dense, (6,)
    yield new(nn.Conv2d(3, 4, 3)), image, (5, 5, 3)
    yield new(nn.LSTM(6, 4, batch_first=True), "weight_hh_l0"), sequence, (5, 6)
    yield new(nn.Linear(1, 4)), with_one_input, (1,)
    yield utils.weight_norm(nn.Linear(1, 4)), with_one_input, (1,)
    yield utils.weight_norm(nn.Linear(6, 4), "bias"), dense, (6,)
    yield new(nn.LSTM(1, 4, batch_first=True), "weight_ih_l0"), sequence_of_numbers, (5, 1)


@pytest.mark.parametrize("place", range(9))
def test_outputs_are_those_of_torch(place):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, build, shape = list(modules(torch))[place]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2).add_(0.1)
    x = normal(2, *shape)
    found = module(torch.from_numpy(x if len(shape) < 3 else x.transpose(0, 3, 1, 2)))
    found = (found[0] if isinstance(found, tuple) else found).detach().numpy()
    if len(shape) == 3:
        found = found.transpose(0, 2, 3, 1)
    model = build()
    state = {f"m.{name}": value for name, value in module.state_dict().items()}
    report = load_pretrained(model, state, {"d": "m"}, layout="torch")
    assert not report.left
    np.testing.assert_allclose(to_numpy(model(x)), found, atol=1e-5)
