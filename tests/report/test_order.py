"""Figures of the weights of a model, in their order."""

import math

from results import points

from keras_initx.report._order import Points, plot_in_order


def test_values_are_in_the_order_of_the_model_and_only_finite_ones_are_drawn():
    groups = {"kernels": Points({0: 2.0, 2: 3.0}, "blue"), "others": Points({1: math.nan}, "red")}
    shown = plot_in_order(["a", "b", "c"], {"size": groups}, of="weight")
    assert points(shown) == {"kernels": [(1, 2.0), (3, 3.0)]}
    assert shown.axes[0].get_ylabel() == "size"


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
