"""Figures of the weights of a model, in their order."""

from results import network, points

import keras_initx
from keras_initx.report._order import plot_in_order


def test_a_plan_shows_the_standard_deviations_in_the_order_of_the_model():
    plan = keras_initx.initialize(network(), {"second/kernel": "initx.he_normal"}, seed=0)
    first, _, second, _, last, _ = (weight.std for weight in plan.rows)
    shown = points(plan.plot())
    assert shown == {"GlorotUniform": [(1, first), (3, last)], "HeNormal": [(2, second)]}


def test_a_plan_shows_no_constants():
    plan = keras_initx.initialize(network(), {"*/kernel": "ones"}, seed=0)
    assert points(plan.plot()) == {}


def test_of_many_weights_each_label_is_shown_once():
    names = [f"block_{number // 2 % 2}/{number}" for number in range(60)]
    labels = [label.partition(" ")[2] for label in labels_of(names).values()]
    assert len(set(labels)) == len(labels)


def labels_of(names):
    """Return the labels of a figure of weights, by their places."""
    (axis,) = plot_in_order(names, {"": {}}, of="weight").axes
    return {
        int(place): label.get_text() for place, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    }


def test_few_weights_have_a_label_each():
    assert labels_of(["first/kernel", "first/bias"]) == {1: "first/kernel", 2: "first/bias"}


def test_of_many_weights_the_first_of_each_block_has_a_label():
    parts = ["attention/query/kernel", "attention/value/kernel", "output/kernel"]
    blocks = [f"transformer_layer_{block}_{part}" for block in range(12) for part in parts]
    labels = labels_of(["embedding", *blocks])
    assert labels == {2 + 3 * block: f"{2 + 3 * block} transformer_layer_{block}" for block in range(12)}


def test_labels_of_very_many_groups_do_not_overlap():
    labels = labels_of([f"hidden_{number}/{name}" for number in range(60) for name in ("kernel", "bias")])
    assert 12 <= len(labels) <= 24
    assert labels[1] == "1 hidden_0"


def test_long_labels_are_cut_in_the_middle():
    names = [f"encoder/block_{block}/self_attention/query/kernel" for block in range(3)]
    assert list(labels_of(names).values()) == [f"encoder/block_{block}…ion/query/kernel" for block in range(3)]
