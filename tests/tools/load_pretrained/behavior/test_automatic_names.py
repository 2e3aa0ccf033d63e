"""Layers with automatic names are paired as Keras pairs them, which is the judge, or left with a reason."""

import itertools

import keras
import numpy as np
import pytest
from modes import often, to_numpy

from keras_initx import load_pretrained
from keras_initx.inspection._inventory import Inventory

layers = keras.layers
Dense = layers.Dense
RANDOM = np.random.default_rng(0)
OTHER_NUMBER = "another number of layers has this automatic name in the source"
OTHER_ORDER = "layers with this automatic name have another order in the source"
BY_NUMBER = "paired by number: the source has no order"
BY_ATTRIBUTES = "paired by the order of attributes, which calls may not follow"


def functional(*order, units=4, name=None):
    """Return a model whose layers were made in one order and are called in another."""
    made = [Dense(units, activation="tanh") for _ in order]
    x = inputs = keras.Input((4,))
    for place in order:
        x = made[place](x)
    return keras.Model(inputs, x, name=name)


def sequential(count, name=None):
    return keras.Sequential([keras.Input((4,)), *(Dense(4, activation="tanh") for _ in range(count))], name=name)


def branches(first):
    """Return a model with two ways, of which either was made first."""
    inputs = keras.Input((4,))
    ways = {}
    for name in sorted(("a", "b"), reverse=first == "b"):
        ways[name] = keras.Sequential([Dense(4, activation="tanh"), layers.BatchNormalization()])
    return keras.Model(inputs, Dense(4)(layers.Concatenate()([ways["a"](inputs), ways["b"](inputs)])))


@keras.saving.register_keras_serializable("tests")
class Attributes(keras.Model):
    """Holds layers by attributes, which are called in the order in which they are given."""

    def __init__(self, *names, made=None, **kwargs):
        super().__init__(**kwargs)
        self.names = names
        for name in names if made is None else made:
            setattr(self, name, Dense(4, activation="tanh"))

    def call(self, x):
        for name in self.names:
            x = getattr(self, name)(x)
        return x


def attributes(*names, made=None):
    model = Attributes(*names, made=made)
    model(np.zeros((1, 4), "float32"))
    return model


def of_own_class(names, made, name=None):
    """Return a model of a class that makes layers in one order and calls them in another."""
    title = "".join(name.replace("_", "").title() for name in (*names, "of", *made))
    cls = type(title, (Attributes,), {})
    model = cls(*names, made=made, name=name)
    model(np.zeros((1, 4), "float32"))
    return model


# Attributes that Keras saves one by one, those that it saves in the list `layers`, and both.
ATTRIBUTES = [("body", "head", "a"), ("mid", "out", "z"), ("body", "out", "_private"), ("layer1", "layer2", "layers_1")]


def drawn_model(random, count):
    """Return one of the models of `count` equal layers, whose order of calls is known to nobody else."""
    kind = random.choice(["functional", "sequential", "attributes", "attributes"])
    name = random.choice([None, None, "chosen"])
    if kind == "functional":
        return functional(*random.permutation(count), name=name)
    if kind == "sequential":
        return sequential(count, name)
    names = ATTRIBUTES[random.integers(len(ATTRIBUTES))]
    names = [str(one) for one in random.permutation(names)[:count]]
    return of_own_class(names, [str(one) for one in random.permutation(names)], name)


@keras.saving.register_keras_serializable("tests")
class Lists(keras.Model):
    """Holds layers in a list, in a dict, and a model among them."""

    def __init__(self, reverse=False, **kwargs):
        super().__init__(**kwargs)
        made = [Dense(4, activation="tanh") for _ in range(3)]
        self.blocks = made[::-1] if reverse else made
        self.ends = {"b": Dense(4), "a": Dense(4)}
        self.inner = functional(1, 0)

    def call(self, x):
        for layer in [*self.blocks, *self.ends.values(), self.inner]:
            x = layer(x)
        return x


def lists(reverse=False):
    model = Lists(reverse)
    model(np.zeros((1, 4), "float32"))
    return model


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """Has two layers, the second of which was made first."""

    def __init__(self, is_reversed=False, **kwargs):
        super().__init__(**kwargs)
        if is_reversed:
            self.second = Dense(4, activation="tanh")
        self.first = Dense(4, activation="tanh")
        if not is_reversed:
            self.second = Dense(4, activation="tanh")
        self.norm = layers.LayerNormalization()

    def build(self, shape):
        for layer in (self.first, self.second, self.norm):
            layer.build(shape)

    def call(self, x):
        return self.norm(self.second(self.first(x)))


def blocks(*are_reversed):
    return keras.Sequential([keras.Input((4,)), *map(Block, are_reversed), Dense(4)])


def nested(*order, inner=(0, 1)):
    made = [functional(*inner), Dense(4), functional(*inner), Dense(4)]
    x = inputs = keras.Input((4,))
    for place in order:
        x = made[place](x)
    return keras.Model(inputs, x)


def shared(is_first):
    """Return a model that calls a layer twice, once in a model within it."""
    twice = Dense(4, activation="tanh") if is_first else None
    other = Dense(4, activation="tanh")
    twice = twice or Dense(4, activation="tanh")
    inner = keras.Sequential([keras.Input((4,)), twice, Dense(4)])
    inputs = keras.Input((4,))
    return keras.Model(inputs, twice(inner(other(inputs))))


def images(order):
    made = [layers.Conv2D(3, 3, padding="same"), layers.DepthwiseConv2D(3, padding="same")]
    made += [layers.Conv2D(3, 3, padding="same"), layers.DepthwiseConv2D(3, padding="same")]
    x = inputs = keras.Input((4, 4, 3))
    for place in order:
        x = made[place](x)
    return keras.Model(inputs, layers.Flatten()(x))


def recurrent(order):
    made = [layers.Bidirectional(layers.LSTM(2, return_sequences=True)) for _ in range(2)]
    made += [layers.TimeDistributed(Dense(4)) for _ in range(2)]
    x = inputs = keras.Input((3, 4))
    for place in order:
        x = made[place](x)
    return keras.Model(inputs, x)


def mixed(name="middle", *, is_reversed=False):
    """Return a model with a chosen name among automatic ones."""
    first, second = Dense(4), Dense(4)
    if is_reversed:
        first, second = second, first
    return keras.Sequential([keras.Input((4,)), first, Dense(4, name=name), second])


# Groups of models of which Keras loads the weights of each into each.
GROUPS = {
    "three": [
        lambda: functional(0, 1, 2),
        lambda: functional(2, 0, 1),
        lambda: functional(2, 1, 0),
        lambda: sequential(3),
    ],
    "ways": [lambda: branches("a"), lambda: branches("b")],
    "attributes": [
        lambda: attributes("body", "head"),
        lambda: attributes("head", "body"),
        lambda: attributes("body", "head", made=("head", "body")),
    ],
    "lists": [lists, lambda: lists(reverse=True)],
    "blocks": [lambda: blocks(False, False), lambda: blocks(True, False), lambda: blocks(True, True)],
    "nested": [lambda: nested(0, 1, 2, 3), lambda: nested(2, 1, 0, 3, inner=(1, 0)), lambda: nested(0, 3, 2, 1)],
    "shared": [lambda: shared(True), lambda: shared(False)],
    "images": [lambda: images((0, 1, 2, 3)), lambda: images((2, 3, 0, 1)), lambda: images((2, 1, 0, 3))],
    "recurrent": [lambda: recurrent((0, 2, 1, 3)), lambda: recurrent((1, 3, 0, 2))],
    "mixed": [mixed, lambda: mixed(is_reversed=True)],
}
PAIRS = []
for group, models in GROUPS.items():
    for source, target in itertools.product(range(len(models)), repeat=2):
        is_often = (source, target) == (0, 1)
        PAIRS.append(pytest.param(group, source, target, marks=[] if is_often else [pytest.mark.rare]))


def changed(model):
    """Give the weights of a model values that tell them apart."""
    for weight in model.weights:
        weight.assign(RANDOM.uniform(0.1, 1, size=weight.shape))
    return model


def check_judged(report, model, judge):
    """Assert that each weight has the value that Keras gave it in `judge`, or was left with a reason."""
    expected = {}
    for weight, found in zip(Inventory(judge).weights, Inventory(model).weights, strict=True):
        expected[found.path] = (to_numpy(weight.variable), to_numpy(found.variable))
    for row in report.rows:
        if row.status == "loaded" and BY_NUMBER not in row.detail:
            np.testing.assert_array_equal(*expected[row.path], row.path)
        elif row.status == "left":
            assert row.detail in (OTHER_NUMBER, OTHER_ORDER), row
        else:
            assert row.status == "loaded", row


@pytest.mark.parametrize(("group", "source", "target"), PAIRS)
def test_files_and_models_are_loaded_as_keras_does(group, source, target, tmp_path):
    saved, target = changed(GROUPS[group][source]()), GROUPS[group][target]
    saved.save_weights(path := tmp_path / "a.weights.h5")
    judge = changed(target())
    judge.load_weights(path)
    for one in (path, saved):
        report = load_pretrained(model := changed(target()), one)
        check_judged(report, model, judge)
        assert not report.left


def have_equal_attributes(saved, model):
    """Return whether two models have the same attributes, with the same weights."""
    names, others = (sorted(getattr(one, "names", ())) for one in (saved, model))
    if not names or names != others:
        return False
    kernels = [(getattr(saved, name).kernel, getattr(model, name).kernel) for name in names]
    return all(np.array_equal(to_numpy(one), to_numpy(other)) for one, other in kernels)


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.rare) for seed in range(1, 60))]


@pytest.mark.parametrize("seed", SEEDS)
def test_other_outputs_than_those_of_the_source_are_never_given_without_a_word(seed, tmp_path):
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 4))
    x = random.normal(size=(3, 4)).astype("float32")
    for _ in range(5):
        saved, model = changed(drawn_model(random, count)), drawn_model(random, count)
        saved.save_weights(path := tmp_path / "a.weights.h5")
        for source in (path, saved, by_variables(saved), by_paths(saved)):
            changed(model)
            try:
                report = load_pretrained(model, source, layout="keras")
            except ValueError:  # a dict in which no array has the name of a weight
                assert isinstance(source, dict)
                continue
            is_equal = np.allclose(to_numpy(saved(x)), to_numpy(model(x)), atol=1e-6)
            is_told = any(row.detail for row in report.rows)
            assert is_equal or is_told or have_equal_attributes(saved, model), (type(saved), type(model), source)
            if isinstance(source, dict):
                continue
            are_lists = all(isinstance(one, keras.Sequential | keras.Function) for one in (saved, model))
            is_known = not (source is path and "chosen" in (saved.name, model.name))
            if are_lists and is_known:
                assert is_equal
                assert {row.detail for row in report.rows} == {""}


@pytest.mark.parametrize("names", ATTRIBUTES)
def test_a_model_of_the_same_class_is_loaded_without_a_note(names, tmp_path):
    made = names[::-1]
    saved = changed(of_own_class(names, made))
    saved.save_weights(path := tmp_path / "a.weights.h5")
    for source in (path, saved):
        report = load_pretrained(model := changed(of_own_class(names, made)), source, layout="keras")
        assert {row.detail for row in report.rows} == {""}
        assert not report.notes
        for one, other in zip(saved.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_dict_of_the_same_class_does_not_say_in_which_order_its_layers_were_made():
    for made in ("abc", "cba"):
        saved = attributes(*"abc")
        report = load_pretrained(attributes(*"abc", made=made), by_variables(saved), layout="keras")
        assert {row.detail for row in report.rows} == {BY_ATTRIBUTES}


def test_layers_of_other_shapes_are_loaded_from_a_dict_without_a_note():
    class Funnel(Attributes):
        def __init__(self):
            super().__init__("body", "head", made=())
            self.body, self.head = Dense(3), Dense(4)

    saved, model = Funnel(), Funnel()
    for one in (saved, model):
        one(np.zeros((1, 4), "float32"))
    report = load_pretrained(model, by_variables(changed(saved)), layout="keras")
    assert {(row.status, row.detail) for row in report.rows} == {("loaded", "")}


@pytest.mark.parametrize("has_file", [True, False])
def test_a_list_of_attributes_is_none_of_calls(has_file, tmp_path):
    listed, calls = of_own_class(["mid", "out"], ["out", "mid"]), functional(1, 0)
    for saved, model in ((listed, calls), (calls, listed)):
        changed(saved).save_weights(path := tmp_path / "a.weights.h5")
        report = load_pretrained(model, path if has_file else saved)
        assert {(row.status, row.detail) for row in report.rows} == {("loaded", BY_ATTRIBUTES)}


@pytest.mark.parametrize("file", ["a.weights.h5", "a.keras", pytest.param("a.h5", marks=pytest.mark.rare)])
def test_each_format_has_the_order_of_the_layers(file, tmp_path):
    saved = changed(functional(2, 0, 1))
    saved.save(tmp_path / file) if file != "a.weights.h5" else saved.save_weights(tmp_path / file)
    model = sequential(3)
    report = load_pretrained(model, tmp_path / file, layout="keras")
    assert (len(report.left), report.notes) == (0, [])
    x = RANDOM.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(to_numpy(saved(x)), to_numpy(model(x)), atol=1e-6)


@pytest.mark.every_backend
@pytest.mark.parametrize("has_file", [True, False])
def test_another_number_of_layers_is_left_with_the_reason(has_file, tmp_path):
    saved = changed(sequential(2))
    saved.save_weights(tmp_path / "a.weights.h5")
    model = sequential(3)
    before = model.get_weights()
    report = load_pretrained(model, tmp_path / "a.weights.h5" if has_file else saved)
    assert [row.detail for row in report.left] == [OTHER_NUMBER] * 6
    assert OTHER_NUMBER in report.summary
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_layers_are_loaded_beside_those_of_another_number(tmp_path):
    def build(count):
        dense = [Dense(4) for _ in range(count)]
        return keras.Sequential([keras.Input((4,)), *dense, layers.LayerNormalization(), Dense(4, name="head")])

    saved, model = changed(build(1)), build(2)
    saved.save_weights(tmp_path / "a.weights.h5")
    report = load_pretrained(model, tmp_path / "a.weights.h5")
    assert {row.path.split("/")[0] for row in report.left} == {"dense", "dense_1"}
    np.testing.assert_array_equal(to_numpy(model.layers[-1].kernel), to_numpy(saved.layers[-1].kernel))


def test_a_chosen_name_is_no_place_for_an_automatic_one(tmp_path):
    changed(sequential(3)).save_weights(tmp_path / "a.weights.h5")
    report = load_pretrained(mixed(), tmp_path / "a.weights.h5")
    assert {row.detail for row in report.left} == {OTHER_NUMBER, "not in the source"}


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("has_file", [True, False])
def test_attributes_are_layers_of_a_list_where_their_names_are_in_order(is_reversed, has_file, tmp_path):
    saved = changed(functional(1, 0))
    names = ("second", "first") if is_reversed else ("first", "second")
    model = attributes(*names)
    saved.save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(model, path if has_file else saved)
    if is_reversed:
        # The attributes are saved in an order in which they are not called.
        assert [row.detail for row in report.rows] == [OTHER_ORDER] * 4
        return
    assert not report.left
    x = RANDOM.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(to_numpy(saved(x)), to_numpy(model(x)), atol=1e-6)


def by_variables(model):
    return {weight.path: to_numpy(weight).copy() for weight in model.weights}


def by_paths(model):
    return {weight.path: to_numpy(weight.variable).copy() for weight in Inventory(model).weights}


@pytest.mark.parametrize("named", [by_variables, by_paths])
def test_a_dict_counts_where_numbers_and_its_order_agree(named):
    saved = changed(functional(1, 0))
    report = load_pretrained(changed(sequential(2)), named(saved), layout="keras")
    assert [row.detail for row in report.rows] == [OTHER_ORDER] * 4
    for build in (lambda: sequential(2), lambda: functional(1, 0)):
        saved = changed(build())
        report = load_pretrained(model := changed(build()), named(saved), layout="keras")
        assert not report.left
        for one, other in zip(saved.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("named", [by_variables, by_paths])
def test_a_dict_with_another_number_of_layers_is_refused(named):
    report = load_pretrained(sequential(3), named(sequential(2)), layout="keras")
    assert [row.detail for row in report.rows] == [OTHER_NUMBER] * 6


def test_it_is_said_where_a_dict_is_paired_by_numbers_alone():
    saved = changed(sequential(2))
    named = by_paths(saved)
    for names in (list(named), sorted(named)):
        report = load_pretrained(sequential(2), {name: named[name] for name in names}, layout="keras")
        assert {row.detail for row in report.rows} == {BY_NUMBER}
    report = load_pretrained(sequential(1), by_paths(sequential(1)), layout="keras")
    assert {row.detail for row in report.rows} == {""}


def test_no_bias_is_loaded_alone_by_a_name_of_torch(tmp_path):
    saved = changed(sequential(2))
    saved.save_weights(path := tmp_path / "a.weights.h5")
    for source in (path, saved, by_paths(saved)):
        report = load_pretrained(sequential(3), source, layout="keras")
        assert len(report.left) == len(report.rows)


def test_names_of_a_user_lead_to_automatic_layers_of_a_file(tmp_path):
    saved = changed(sequential(2))
    saved.save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(model := sequential(3), path, {"dense_2": "dense_1", "dense": "layers/dense"})
    assert len(report.left) == 2
    np.testing.assert_array_equal(to_numpy(model.layers[2].kernel), to_numpy(saved.layers[1].kernel))


@keras.saving.register_keras_serializable("tests")
class Refusing(layers.Layer):
    """Cannot say what it saves."""

    def build(self, shape):
        self.table = self.add_weight((4,), name="table")

    def call(self, x):
        return x + self.table

    def save_own_variables(self, store):
        raise RuntimeError("not here")


@pytest.mark.every_backend
def test_a_layer_that_cannot_be_saved_does_not_stop_others():
    def build(order):
        made = [Dense(4), Dense(4)]
        return keras.Sequential([keras.Input((4,)), Refusing(), *(made[place] for place in order)])

    saved, model = changed(build((1, 0))), build((0, 1))
    assert not load_pretrained(model, saved).left
    for one, other in zip(saved.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


class Towers(keras.Model):
    """Holds layers in lists or in a dict, which it makes in an order and calls by name."""

    def __init__(self, kind, order, units=(4, 4)):
        super().__init__()
        self.kind = kind
        made = {name: Dense(units[name == "query"], use_bias=False) for name in order}
        if kind in ("embeddings", "towers"):
            setattr(self, kind, made)
        for name, layer in made.items():
            if kind == "lists":
                setattr(self, name, [layer])
            elif kind == "early lists":
                setattr(self, f"a_{name}", (layer,))
            elif kind == "list":
                self.towers = list(made.values())

    def call(self, x):
        query, passage = (self.tower(name)(x) for name in ("query", "passage"))
        return keras.ops.concatenate([query, -passage], axis=-1)

    def tower(self, name):
        if self.kind == "lists":
            return getattr(self, name)[0]
        if self.kind == "early lists":
            return getattr(self, f"a_{name}")[0]
        if self.kind == "list":
            return self.towers[name == "passage"]
        return getattr(self, self.kind)[name]


def towers(kind, *order, **kwargs):
    model = Towers(kind, order, **kwargs)
    model(np.zeros((1, 4), "float32"))
    return changed(model)


CONTAINERS = ["lists", "early lists", "embeddings", "towers"]


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_layer_in_a_list_or_dict_is_that_of_the_same_attribute_and_key(kind):
    x = RANDOM.normal(size=(3, 4)).astype("float32")
    for order in (("query", "passage"), ("passage", "query")):
        saved, model = towers(kind, "query", "passage"), towers(kind, *order)
        report = load_pretrained(model, saved)
        np.testing.assert_allclose(to_numpy(model(x)), to_numpy(saved(x)), atol=1e-6)
        assert ({row.detail for row in report.rows}, report.notes) == ({""}, [])


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", CONTAINERS)
def test_it_is_said_once_where_a_file_does_not_name_lists_and_keys(kind, tmp_path):
    towers(kind, "query", "passage").save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(towers(kind, "passage", "query"), path)
    assert {row.detail for row in report.rows} == {""}
    if kind == "early lists":  # which have their names in the file
        assert report.notes == []
    else:
        (note,) = report.notes
        assert "passage" in note
        assert "query" in note
        assert "the source does not name lists and keys of dicts" in note


@pytest.mark.parametrize(("kind", "units"), [("list", (4, 4)), ("lists", (4, 3)), ("towers", (4, 3))])
def test_a_file_names_enough_where_there_is_one_list_or_shapes_differ(kind, units, tmp_path):
    saved, model = (towers(kind, "query", "passage", units=units) for _ in range(2))
    saved.save_weights(path := tmp_path / "a.weights.h5")
    report = load_pretrained(model, path)
    assert ({row.detail for row in report.rows}, report.notes) == ({""}, [])
    for one, other in zip(saved.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("made_before", often([0, 9], [9]))
def test_numbers_of_two_digits_are_no_order_of_a_dict(made_before):
    def build(names):
        model = Attributes(*"abc", made=names, name="net")
        for name in "abc":
            getattr(model, name).use_bias = False
        model(np.zeros((1, 4), "float32"))
        return changed(model)

    keras.utils.clear_session()
    for _ in range(made_before):
        Dense(1)
    arrays = by_variables(build("abc"))
    keras.utils.clear_session()
    report = load_pretrained(build("cba"), arrays, layout="keras")
    assert {row.detail for row in report.rows} == {BY_NUMBER}


def test_a_dict_that_is_sorted_within_each_dtype_has_no_order():
    arrays = by_variables(sequential(2))
    halves = {name: array.astype("float16" if "bias" in name else "float32") for name, array in arrays.items()}
    in_file = sorted(halves, key=lambda name: (halves[name].dtype == "float16", name))
    report = load_pretrained(sequential(2), {name: halves[name] for name in in_file}, layout="keras")
    assert {row.detail for row in report.rows} == {BY_NUMBER}


def of_two_modules(torch):
    return torch.nn.ModuleDict({name: torch.nn.Linear(4, 4, bias=False) for name in ("one", "two")})


@pytest.mark.parametrize("names", [("dense_0", "dense_1"), ("dense_1", "dense_2"), ("dense_7", "lstm_0")])
@pytest.mark.parametrize("ending", ["", "/kernel"])
def test_names_find_layers_by_the_numbers_that_a_user_has_given(names, ending):
    module = of_two_modules(pytest.importorskip("torch"))
    model = keras.Sequential([keras.Input((4,)), *(Dense(4, use_bias=False, name=name) for name in names)])
    end = ".weight" if ending else ""
    given = {f"{names[0]}{ending}": f"one{end}", f"{names[1]}{ending}": f"two{end}"}
    load_pretrained(model, module, given, layout="torch")
    for layer, part in zip(model.layers, module.values(), strict=True):
        np.testing.assert_array_equal(to_numpy(layer.kernel), part.weight.detach().numpy().T)


def test_names_that_reports_show_count_before_those_of_keras():
    module = of_two_modules(pytest.importorskip("torch"))
    # As where a process has made two layers before: reports show `dense` and `dense_1`.
    stack = [Dense(4, use_bias=False, name=name) for name in ("dense_2", "dense_3")]
    model = keras.Sequential([keras.Input((4,)), *stack])
    report = load_pretrained(model, module, {"dense": "one", "dense_1": "two"}, layout="torch")
    assert [row.sources for row in report.rows] == [("one.weight",), ("two.weight",)]
    with pytest.raises(ValueError, match="Received: 'dense_9', which matches none"):
        load_pretrained(model, module, {"dense_2": "one", "dense_9": "two"}, layout="torch")
    # No reading of one key with another one of the other kind.
    with pytest.raises(ValueError, match="Received: 'dense_3', which matches none"):
        load_pretrained(model, module, {"dense": "one", "dense_3": "two"}, layout="torch")
