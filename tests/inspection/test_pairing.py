"""Places of layers tell those of two models with automatic names, in any process and as texts of a file."""

import re

import keras
import numpy as np
import pytest

from keras_initx import RandomNormal, initialize
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._pairing import (
    BY_ATTRIBUTES,
    BY_NUMBER,
    OTHER_NUMBER,
    OTHER_ORDER,
    canonical_layer_paths,
    canonical_weight_paths,
    note_containers,
    pair_by_path,
    pair_by_path_or_name,
)
from keras_initx.tools.initialize._digest import array_digest

Dense = keras.layers.Dense


def crossed():
    first, second = Dense(4), Dense(4)
    inputs = keras.Input((4,))
    return keras.Model(inputs, first(second(inputs)))


class Attributes(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = Dense(4)
        self.head = Dense(4)
        self.only = keras.layers.LayerNormalization()

    def call(self, x):
        return self.only(self.head(self.hidden(x)))


class Behind(keras.Model):
    """Its attributes come after `layers` in the alphabet."""

    def __init__(self):
        super().__init__()
        self.out = Dense(4)
        self.mid = Dense(4)

    def call(self, x):
        return self.out(self.mid(x))


def test_a_place_has_the_order_of_the_model_and_the_number_of_such_layers():
    model = keras.Sequential([keras.Input((4,)), crossed(), Dense(4, name="middle"), Dense(4)])
    found = [canonical_layer_paths(Inventory(model))[layer] for layer in model.layers]
    assert found == ["functional 1 of 1", "middle", "dense 1 of 1"]
    inner = model.layers[0]
    places = {layer.name: place for layer, place in canonical_layer_paths(Inventory(model)).items()}
    first, second = (places[layer.name] for layer in inner.layers[1:])
    # The layer that is called first was made last.
    assert first == "functional 1 of 1/dense 1 of 2 made 2"
    assert second == "functional 1 of 1/dense 2 of 2 made 1"


def test_the_place_of_a_layer_in_an_attribute_names_it():
    model = Attributes()
    model(np.zeros((1, 4), "float32"))
    places = canonical_weight_paths(Inventory(model), Inventory(model).weights)
    assert places["dense/kernel"] == "dense 2 of 2 in hidden made 1/kernel"
    assert places["dense_1/kernel"] == "dense 1 of 2 in head made 2/kernel"
    assert places["layer_normalization/gamma"] == "layer_normalization 1 of 1/gamma"


def test_attributes_whose_names_have_numbers_are_in_the_order_of_these():
    class Numbered(keras.Model):
        def __init__(self):
            super().__init__()
            self.a10, self.a9 = Dense(4), Dense(4)

        def call(self, x):
            return self.a9(self.a10(x))

    model = Numbered()
    model(np.zeros((1, 4), "float32"))
    paths = canonical_layer_paths(Inventory(model))
    assert paths[model.a9] == "dense 1 of 2 in a9 made 2"
    assert paths[model.a10] == "dense 2 of 2 in a10 made 1"


@pytest.mark.parametrize(
    ("ours", "theirs", "is_paired"),
    [
        ("dense 2 of 3", "dense 2 of 3 made 1", True),
        ("dense 2 of 3 in out", "dense 2 of 3", True),
        ("dense 2 of 3 in out made 1", "dense 2 of 3 in out made 3", True),
        ("dense 2 of 3 in out made 1", "dense 2 of 3 in out", True),
        ("dense 2 of 3 in out made 1", "dense 2 of 3", OTHER_ORDER),
        ("dense 2 of 3 in out made 1", "dense 2 of 3 in end", OTHER_ORDER),
        ("dense 2 of 3", "dense 2 of 4", OTHER_NUMBER),
        ("block 1 of 2/dense 1 of 1", "block 1 of 3/dense 1 of 1", OTHER_NUMBER),
        ("head", "tail", None),
        ("dense 1 of 1", "conv2d 1 of 1", None),
        ("dense 1 of 1/kernel", "dense 1 of 1/bias", None),
    ],
)
def test_layers_are_paired_by_their_places(ours, theirs, is_paired):
    pairs = pair_by_path({"own": ours}, {"other": theirs})
    assert pairs.names == ({"own": "other"} if is_paired is True else {})
    assert pairs.reasons == ({"own": is_paired} if isinstance(is_paired, str) else {})


@pytest.mark.parametrize(
    ("ours", "theirs", "is_noted"),
    [
        ("dense 2 of 3", "dense 2 of 3 made 1", False),
        ("dense 2 of 3 in out", "dense 2 of 3", True),
        ("dense 2 of 3 in layers.out", "dense 2 of 3", True),
        ("dense 2 of 3 in layers.out", "dense 2 of 3 in layers.out", False),
        ("dense 2 of 3 in layers.out", "dense 2 of 3 in layers.top", True),
        ("dense 2 of 3 in layers.out", "dense 2 of 3 in =", False),
        ("dense 2 of 3 in layers.out", "dense 2 of 3 in ?", True),
        ("dense 2 of 3", "dense 2 of 3 in =", False),
        ("dense 2 of 3", "dense 2 of 3 in ? made 1", True),
        ("dense 2 of 3 in head", "dense 2 of 3 in =", True),
        # Files have no keys of dicts. Of two models, only the key says which layer it is.
        ("dense 2 of 3 in heads.dense_1[key]", "dense 2 of 3 in heads.dense_1", False),
        ("dense 2 of 3 in heads.dense_1", "dense 2 of 3 in heads.dense_1[key]", False),
        ("dense 2 of 3 in heads.dense_1[key]", "dense 2 of 3 in heads.dense[key]", False),
        ("dense 2 of 3 in heads.dense_1[key]", "dense 2 of 3 in heads.dense_1[query]", True),
    ],
)
def test_it_is_said_where_calls_may_have_another_order_than_lists(ours, theirs, is_noted):
    pairs = pair_by_path({"own": ours}, {"other": theirs})
    assert pairs.names == {"own": "other"}
    assert pairs.notes == ({"own": BY_ATTRIBUTES} if is_noted else {})


def test_the_place_of_a_layer_in_an_attribute_behind_the_list_of_layers_names_it_too():
    model = Behind()
    model(np.zeros((1, 4), "float32"))
    places = canonical_weight_paths(Inventory(model), Inventory(model).weights)
    assert places["dense/kernel"] == "dense 1 of 2 in layers.out/kernel"
    assert places["dense_1/kernel"] == "dense 2 of 2 in layers.mid/kernel"


class WithSet(keras.layers.Layer):
    """It has a layer in a set, which Keras does not save."""

    def __init__(self):
        super().__init__()
        self.first, self.others = Dense(4), {Dense(4)}

    def call(self, x):
        for layer in (self.first, *self.others):
            x = layer(x)
        return x


def test_a_layer_that_is_not_saved_comes_after_those_that_are():
    model = keras.Sequential([keras.Input((4,)), WithSet()])
    places = [place for place in canonical_layer_paths(Inventory(model)).values() if "dense" in place]
    assert places == ["with_set 1 of 1/dense 1 of 2 in first", "with_set 1 of 1/dense 2 of 2"]


@pytest.mark.parametrize(("order", "is_paired"), [("tracked", True), ("listed", False), ("none", False)])
def test_a_side_without_attributes_is_paired_by_its_order_or_by_numbers(order, is_paired):
    pairs = pair_by_path({"own": "dense 2 of 2 made 1"}, {"other": "dense 2 of 2"}, order=order)
    assert bool(pairs.names) == is_paired
    assert pairs.reasons == ({} if is_paired else {"own": OTHER_ORDER})
    same = pair_by_path({"own": "dense 2 of 2 made 1"}, {"other": "dense 2 of 2 made 1"}, order=order)
    assert same.names == {"own": "other"}


def test_layers_in_attributes_are_paired_as_they_were_made_with_a_side_that_lists_them_so():
    ours = {"a": "dense 2 of 2 in hidden made 1", "b": "dense 1 of 2 in head made 2"}
    pairs = pair_by_path(ours, {"c": "dense 1 of 2", "d": "dense 2 of 2"}, order="tracked")
    assert (pairs.names, pairs.reasons) == ({"a": "c", "b": "d"}, {})


def test_the_seed_of_a_weight_is_that_of_its_path_and_not_of_its_place():
    model = crossed()
    plan = initialize(model, {"*kernel": RandomNormal()}, seed=0)
    digests = {row.path: array_digest(weight.values()) for row, weight in zip(plan.rows, plan._planned, strict=True)}
    assert digests["dense/kernel"] == "0bd6c6c6e519bbbfe6e988c1505541dd"
    assert digests["dense_1/kernel"] == "709b8fe1b23420b0540c3c078d246263"


def stack():
    return keras.Sequential([keras.Input((4,)), Dense(4), Dense(4)])


@pytest.mark.every_backend
@pytest.mark.parametrize("is_in_file", [True, False])
def test_a_plan_is_executed_in_the_order_of_layers(is_in_file, tmp_path):
    source, model = crossed(), stack()
    plan = initialize(source, seed=0)
    plan.save(path := tmp_path / "plan.json")
    initialize(model, path if is_in_file else plan)
    for one, other in zip(source.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_plan_of_another_number_of_layers_says_so():
    plan = initialize(stack(), seed=0)
    with pytest.raises(ValueError, match="another number of layers has this automatic name in the plan"):
        initialize(keras.Sequential([keras.Input((4,)), *(Dense(4) for _ in range(3))]), plan)


def test_a_plan_without_places_goes_by_paths(tmp_path):
    source = crossed()
    initialize(source, seed=0, dry_run=True).save(path := tmp_path / "plan.json")
    text = re.sub('"place": "[^"]*", ', "", path.read_text())
    assert "place" not in text
    path.write_text(text)
    initialize(model := crossed(), path)
    initialize(source, seed=0)
    for one, other in zip(source.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("own", "other", "order", "note"),
    [
        ("dense 2 of 2", "dense 2 of 2", "none", BY_NUMBER),
        ("block 1 of 2/dense 1 of 1", "block 1 of 2/dense 1 of 1", "none", BY_NUMBER),
        ("dense 1 of 1", "dense 1 of 1", "none", None),
        ("dense 2 of 2", "dense 2 of 2", "tracked", None),
        ("dense 2 of 2 in out made 1", "dense 1 of 2", "tracked", BY_ATTRIBUTES),
        ("block 2 of 2 in out/dense 1 of 1", "block 2 of 2/dense 1 of 1", "tracked", BY_ATTRIBUTES),
    ],
)
def test_it_is_said_where_a_side_has_no_order_or_no_attributes(own, other, order, note):
    pairs = pair_by_path({"own": own}, {"other": other}, order=order)
    assert pairs.names == {"own": "other"}
    assert pairs.notes == ({} if note is None else {"own": note})


def test_layers_of_two_digits_have_the_order_of_their_calls():
    model = keras.Sequential([keras.Input((4,)), *(Dense(4) for _ in range(12))])
    found = [canonical_layer_paths(Inventory(model))[layer] for layer in model.layers]
    assert found == [f"dense {number + 1} of 12" for number in range(12)]


def test_notes_name_both_sides():
    pairs = pair_by_path({"own": "dense 2 of 2"}, {"other": "dense 2 of 2"}, order="none")
    assert pairs.worded("the dict").notes == {"own": "paired by number: the dict has no order"}
    pairs = pair_by_path_or_name({"dense_1": "dense_1"}, {"dense_1": "dense 2 of 2"})
    assert pairs.worded("the model", "the dict").notes == {"dense_1": "paired by number: the dict has no order"}


def test_chosen_names_are_paired_beside_others_that_one_side_lacks():
    pairs = pair_by_path_or_name({"head/kernel": "head/kernel"}, {"head.kernel": "head.kernel", "tail": "tail"})
    assert (pairs.names, pairs.reasons, pairs.notes) == ({"head/kernel": "head.kernel"}, {}, {})
    pairs = pair_by_path_or_name({"dense_1": "dense_1"}, {"dense_1": "dense 2 of 2", "dense": "dense 1 of 2"})
    assert (pairs.names, pairs.reasons) == ({}, {"dense_1": OTHER_NUMBER})


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        (("layers.towers.dense", "layers.ends.dense"), "ends, towers"),
        (("towers.dense[query]", "towers.dense_1[key]"), "towers[key], towers[query]"),
        (("layers.out", "layers.mid"), ""),
        (("out", "mid"), ""),
    ],
)
def test_containers_that_a_file_may_have_in_another_order_are_noted(attributes, named):
    first, second = attributes
    paths = {"a": f"dense 1 of 2 in {first}/kernel", "b": f"dense 2 of 2 in {second}/kernel"}
    remarks = note_containers(paths, {"a": (4, 4), "b": (4, 4)})
    assert [f"shapes in {named} are paired" in remark for remark in remarks] == [True] * bool(named)
    assert note_containers(paths, {"a": (4, 4), "b": (3, 4)}) == []


def test_two_sides_without_layers_have_no_pairs():
    assert pair_by_path({}, {}).names == {}


def test_layers_of_equal_attributes_are_paired_by_these():
    ours = {"a": "dense 1 of 2 in layers.in", "b": "dense 2 of 2 in layers.out"}
    theirs = {"c": "dense 1 of 2 in layers.out", "d": "dense 2 of 2 in layers.in"}
    pairs = pair_by_path(ours, theirs)
    assert (pairs.names, pairs.reasons, pairs.notes) == ({"a": "d", "b": "c"}, {}, {})


@pytest.mark.parametrize(("inner", "is_noted"), [("up", True), ("down", False)])
def test_layers_in_containers_are_noted_if_what_is_in_them_has_the_same_names(inner, is_noted):
    paths = {"a": "block 1 of 2 in layers.first.block/up/kernel"}
    paths["b"] = f"block 2 of 2 in layers.last.block/{inner}/kernel"
    assert bool(note_containers(paths, {"a": (4, 4), "b": (4, 4)})) == is_noted
