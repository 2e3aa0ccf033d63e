"""A module of torch with several recurrent layers is loaded into layers of Keras, in their order."""

import re

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

from keras_initx import load_pretrained

layers = keras.layers


def gru_state(layer_count, units=3, *, both=False):
    """Return arrays as `torch.nn.GRU` has them, all of its inputs and units of one size."""
    random = np.random.default_rng(0)
    state = {}
    for place in range(layer_count):
        for direction in ("", "_reverse") if both else ("",):
            inputs = units * 2 if both and place else units
            for name, shape in {
                "weight_ih": (9, inputs),
                "weight_hh": (9, 3),
                "bias_ih": (9,),
                "bias_hh": (9,),
            }.items():
                state[f"rnn.{name}_l{place}{direction}"] = random.normal(size=shape).astype("float32")
    return state


def stacked(count=2, *, both=False):
    stack = []
    for place in range(count):
        layer = layers.GRU(3, return_sequences=True, name=f"gru_of_{place}")
        stack.append(layers.Bidirectional(layer, name=f"both_{place}") if both else layer)
    return keras.Sequential([keras.Input((4, 3)), *stack])


def sources(changes):
    return {row.path: row.sources[0] for row in changes.rows if row.path.endswith("/kernel")}


@pytest.mark.parametrize("rules", [{"*": "rnn"}, {"gru_of_0": "rnn", "gru_of_1": "rnn"}])
def test_layers_take_the_layers_of_a_module_in_their_order(rules):
    changes = load_pretrained(stacked(), gru_state(2), rules, layout="torch")
    assert sources(changes) == {f"gru_of_{n}/gru_cell/kernel": f"rnn.weight_ih_l{n}" for n in range(2)}
    assert changes.summary == "6 of 6 weights loaded."


def test_both_directions_take_the_same_layer_of_a_module():
    changes = load_pretrained(stacked(both=True), gru_state(2, both=True), {"*": "rnn"}, layout="torch")
    assert [source.removeprefix("rnn.weight_ih_") for source in sources(changes).values()] == [
        "l0",
        "l0_reverse",
        "l1",
        "l1_reverse",
    ]


def test_cells_of_one_layer_take_the_layers_of_a_module():
    cells = layers.RNN([layers.GRUCell(3, name="a"), layers.GRUCell(3, name="b")], name="stack")
    model = keras.Sequential([keras.Input((4, 3)), cells])
    rules = {"stack/*/a": "rnn", "stack/*/b": "rnn"}
    changes = load_pretrained(model, gru_state(2), rules, layout="torch")
    assert list(sources(changes).values()) == ["rnn.weight_ih_l0", "rnn.weight_ih_l1"]


def test_a_layer_that_a_module_lacks_is_an_error_that_names_the_array():
    with pytest.raises(ValueError, match=r"no array .* or 'rnn\.weight_ih_l1'"):
        load_pretrained(stacked(), gru_state(1), {"*": "rnn"}, layout="torch")


def test_an_array_that_several_weights_get_is_named():
    model = keras.Sequential([keras.Input((3,)), *(layers.Dense(3, name=name) for name in "ab")])
    state = {"fc.weight": np.ones((3, 3)), "fc.bias": np.ones(3)}
    changes = load_pretrained(model, state, {"*": "fc"}, layout="torch")
    assert changes.summary == (
        "4 of 4 weights loaded. "
        "Several weights get one array: fc.weight (a/kernel, b/kernel), fc.bias (a/bias, b/bias). "
        "Remedy: if this is not meant, name an array for each weight in `names`."
    )


def test_an_array_of_which_each_weight_has_a_rule_of_its_own_is_not_named():
    model = keras.Sequential([keras.Input((3,)), *(layers.Dense(3, use_bias=False, name=name) for name in "ab")])
    rules = {"a/kernel": "fc", "b/kernel": "fc"}
    changes = load_pretrained(model, {"fc": np.ones((3, 3))}, rules, layout="torch")
    assert changes.summary == "2 of 2 weights loaded."


@pytest.mark.skipif(BACKEND != "torch", reason="compares with modules of torch")
@pytest.mark.parametrize("both", [False, True])
def test_outputs_are_those_of_a_module_of_two_layers(both):
    import torch

    module = torch.nn.GRU(3, 3, num_layers=2, batch_first=True, bidirectional=both).eval()
    state = {f"rnn.{name}": value for name, value in module.state_dict().items()}
    model = stacked(both=both)
    load_pretrained(model, state, {"*": "rnn"}, layout="torch")
    x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(model(x)), module(torch.tensor(x))[0].detach().numpy(), atol=1e-6)


class Stack(keras.Model):
    """Makes recurrent layers in an order and calls `lower` first, with something between them."""

    def __init__(self, *order, both=False, between=None):
        super().__init__()
        for name in order:
            layer = layers.GRU(3, return_sequences=True, name=name)
            setattr(self, name, layers.Bidirectional(layer, name=name) if both else layer)
        self.between = between or layers.Dropout(0.1)

    def call(self, x):
        return self.upper(self.between(self.lower(x)))


def stack(*order, **kwargs):
    model = Stack(*order, **kwargs)
    model(np.zeros((1, 4, 3), "float32"))
    return model


@pytest.mark.release_backends
@pytest.mark.parametrize("both", [False, True])
def test_layers_of_a_module_are_those_of_the_model_in_the_order_of_calls(both):
    for order in (("lower", "upper"), ("upper", "lower")):
        model = stack(*order, both=both)
        report = load_pretrained(model, gru_state(2, both=both), {"*": "rnn"}, layout="torch")
        assert report.notes == []
        for row in report.rows:
            assert row.sources[0].removesuffix("_reverse")[-1] == ("0" if "lower" in row.path else "1")


def functional(build):
    x = inputs = keras.Input((4, 3))
    a, b = (layers.GRU(3, return_sequences=True, return_state=True, name=name) for name in "ab")
    return keras.Model(inputs, build(x, a, b))


OTHER_MODULES = {
    "side by side": lambda: functional(lambda x, a, b: layers.add([a(x)[0], b(x)[0]])),
    "a state": lambda: functional(lambda x, a, b: b(x, initial_state=a(x)[1])[0]),
    "a sum": lambda: functional(lambda x, a, b: b(x + a(x)[0])[0]),
    "a normalization": lambda: stack("lower", "upper", between=layers.LayerNormalization(scale=False, center=False)),
}


@pytest.mark.parametrize("kind", OTHER_MODULES)
def test_it_is_said_where_a_layer_does_not_read_the_one_before_it(kind):
    report = load_pretrained(OTHER_MODULES[kind](), gru_state(2), {"*": "rnn"}, layout="torch")
    (note,) = report.notes
    assert "`_l1` of rnn reads the unchanged outputs of `_l0` in torch, but" in note
    assert note in report.summary


@pytest.mark.release_backends
def test_a_functional_model_has_its_order_in_its_graph():
    model = functional(lambda x, a, b: a(layers.SpatialDropout1D(0.1)(b(x)[0]))[0])
    report = load_pretrained(model, gru_state(2), {"*": "rnn"}, layout="torch")
    assert report.notes == []
    assert sources(report) == {"a/gru_cell/kernel": "rnn.weight_ih_l1", "b/gru_cell/kernel": "rnn.weight_ih_l0"}


def test_it_is_said_where_the_order_of_calls_is_not_known():
    class Hidden(Stack):
        def call(self, x):
            if to_numpy(x).max() < 0:
                return x
            return super().call(x)

    model = Hidden("upper", "lower")
    model.between = layers.Identity()
    for name in ("lower", "upper"):
        getattr(model, name).build((None, 4, 3))
    model.built = True
    report = load_pretrained(model, gru_state(2), {"*": "rnn"}, layout="torch")
    (note,) = report.notes
    assert re.match("The order in which the model calls .* and .* is not known", note)
    assert "in which they were made" in note
