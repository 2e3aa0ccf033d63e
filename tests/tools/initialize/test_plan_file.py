"""The text of a plan: a line for each weight, which is written, read and edited."""

import keras
import numpy as np
import pytest
from cases import CASES, label
from modes import BACKEND, often, to_numpy
from plans import RULES, Holder, Registered, changed, holder, lines, network, saved
from stacks import arrays

import keras_initx
from keras_initx import initialize, weights_digest

layers = keras.layers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "init.json"


GOLDEN = """{
 "format": "keras_initx plan",
 "version": 1,
 "keras_initx": "VERSION",
 "keras": "KERAS",
 "seed": 5,
 "weights": [
  {"path": "grouped/kernel", "shape": [3, 1, 4], "dtype": "float32", "fans": [3, 6], \
"initializer": {"class": "initx.Scaled", "config": {"initializer": \
{"class": "initx.HeNormal", "config": {"seed": 804414497, "input_axes": null, \
"output_axes": null}, "groups": [1, 2]}, "factor": 0.5}}, "digest": "ea7806dc1daa77e51c9fda9a33fd3b5f"},
  {"path": "grouped/bias", "shape": [4], "dtype": "float32", "initializer": null, "reason": "by rule"},
  {"path": "logits/kernel", "shape": [4, 2], "dtype": "float32", "fans": [4, 2], \
"initializer": {"class": "initx.Orthogonal", \
"config": {"gain": "relu", "seed": 1220242678, "method": "householder", "blocks": 1, "singular_values": null, \
"input_axes": null, "output_axes": null}}, "digest": null},
  {"path": "logits/bias", "shape": [2], "dtype": "float32", "initializer": {"class": "Zeros", "config": {}}, \
"digest": "a051a87c30d6f6b58ceac9e9db15949a"}
 ]
}
"""


def test_the_file_has_a_line_for_each_weight(path):
    model = keras.Sequential(
        [
            keras.Input((8, 2)),
            layers.Conv1D(4, 3, groups=2, name="grouped"),
            layers.Dense(2, name="logits", kernel_initializer=keras_initx.Orthogonal("relu")),
        ]
    )
    rules = {"grouped/kernel": keras_initx.Scaled("initx.he_normal", 0.5), "grouped/bias": None}
    saved(path, model, rules, seed=5)
    text = path.read_text().replace(keras.__version__, "KERAS").replace(f'"{keras_initx.__version__}"', '"VERSION"')
    assert text == GOLDEN


OF_FORMER_RECIPES = """{
 "format": "keras_initx plan",
 "version": 1,
 "keras_initx": "0.1.0",
 "keras": "3.15.1",
 "seed": 0,
 "weights": [
  {"path": "up/kernel", "shape": [2, 3], "dtype": "float32", "fans": [2, 3], "initializer": \
{"class": "initx.Scaled", "config": {"initializer": {"class": "initx.VarianceScaling", "config": {"scale": 1.0, \
"mode": "fan_avg", "distribution": "untruncated_normal", "seed": 1617389986, "input_axes": null, \
"output_axes": null}}, "factor": 0.5946035575013605}}, "digest": "d2665048d82e145b726c6d4ea01cd9bd"},
  {"path": "up/bias", "shape": [3], "dtype": "float32", "initializer": null, \
"reason": "the recipe keeps all others"}
 ]
}
"""


def test_a_plan_of_a_recipe_that_there_was_gives_the_same_values_and_reasons(path):
    # As `deepnorm` and `lora` wrote them.
    path.write_text(OF_FORMER_RECIPES)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, bias_initializer="ones", name="up")])
    plan = initialize(model, path)
    assert to_numpy(model.layers[0].bias).tolist() == [1, 1, 1]
    written = lines(path)
    plan.save(path)
    assert lines(path) == written
    assert [(row.path, row.detail) for row in plan.left] == [("up/bias", "the recipe keeps all others")]


def holders(initializer_of):
    """Return a model with a weight for each case of an initializer."""
    stack = [Holder(case.shapes[0], initializer_of(case), name=f"case_{number}") for number, case in enumerate(CASES)]
    return keras.Sequential([keras.Input((1,)), *stack])


@pytest.mark.filterwarnings("ignore:`ReLUBias` gives all units")  # each weight is called a kernel
def test_every_initializer_is_written_and_executed(path):
    model, other = holders(lambda case: case.make()), holders(lambda case: "zeros")
    saved(path, model, seed=1)
    initialize(other, path)
    written, expected, found = lines(path), arrays(model), arrays(other)
    for number, case in enumerate(CASES):
        name = f"case_{number}/kernel"
        assert written[name]["initializer"]["class"].startswith("initx."), case
        assert (written[name]["digest"] is not None) == case.exact, case
        np.testing.assert_array_equal(found[name], expected[name], err_msg=str(case))


class Unregistered(Registered):
    pass


@keras.saving.register_keras_serializable("tests")
class WithoutConfig(Registered):
    def get_config(self):
        return {}


@keras.saving.register_keras_serializable("tests")
class WithoutSeedArgument(keras_initx.RandomNormal):
    def __init__(self, mean=0.0):
        super().__init__(mean)


@pytest.mark.parametrize(
    "initializer",
    [
        WithoutSeedArgument(1.0),
        keras_initx.Scaled(Registered(2.0), 0.5),
        keras_initx.Concatenated(["he_normal", keras_initx.Scaled("he_normal", 3.0)], sizes=[2, 4]),
        keras.initializers.Constant(np.arange(6.0)),
        keras.initializers.RandomUniform(),
        keras.initializers.Identity(2.0),
    ],
    ids=label,
)
def test_what_is_nested_of_keras_or_of_a_user_is_executed(path, initializer):
    model, other = holder((6, 6)), holder((6, 6))
    saved(path, model, {"*": initializer}, seed=3)
    initialize(other, path)
    np.testing.assert_array_equal(arrays(other)["holder/kernel"], arrays(model)["holder/kernel"])
    assert arrays(other)["holder/kernel"].any()


@pytest.mark.parametrize(
    ("initializer", "reason"),
    [
        (lambda shape, dtype=None: keras.ops.ones(shape, dtype), "a function, which has no config"),
        (Unregistered(1.0, seed=1), "Unregistered is not registered with Keras"),
        (keras.initializers.Constant(float("inf")), "Out of range float values are not JSON compliant"),
        (keras_initx.Scaled(WithoutConfig(1.0, seed=1), 2), "the config of WithoutConfig lacks arguments"),
    ],
    ids=["function", "unregistered", "infinite", "nested"],
)
def test_what_cannot_be_written_is_a_line_with_the_reason_and_left_unchanged(path, initializer, reason):
    model, other = holder((3, 3), initializer), holder((3, 3))
    saved(path, model, seed=3)
    line = lines(path)["holder/kernel"]
    assert line["initializer"] is None
    assert line["reason"].startswith(reason)
    (row,) = initialize(other, path).rows
    assert row.initializer is None
    assert row.detail == line["reason"]
    assert not arrays(other)["holder/kernel"].any()


def first_line(content):
    return content["weights"][0]


def nested(content):
    """Return the initializer inside of the one for the grouped kernel."""
    return content["weights"][2]["initializer"]["config"]["initializer"]


BROKEN = {
    "other version": (lambda path: changed(path, lambda plan: plan.update(version=2)), "has version 2"),
    "seed": (
        lambda path: changed(path, lambda plan: plan.update(seed=-1)),
        "cannot be read at the seed: ValueError: `seed` must be .* seed=-1",
    ),
    "no dtype": (
        lambda path: changed(path, lambda plan: first_line(plan).pop("dtype")),
        "cannot be read at weight 1, 'depthwise/kernel': KeyError: 'dtype'",
    ),
    "key": (
        lambda path: changed(path, lambda plan: first_line(plan).update(zeroes=2)),
        "cannot be read at weight 1, 'depthwise/kernel': ValueError: unknown key 'zeroes'",
    ),
    "twice": (
        lambda path: changed(path, lambda plan: plan["weights"].append(first_line(plan))),
        "at weight 13, 'depthwise/kernel': ValueError: the path must be a text that no earlier line has",
    ),
    "class": (
        lambda path: changed(path, lambda plan: first_line(plan)["initializer"].update({"class": "tests>Mine"})),
        "at weight 1, 'depthwise/kernel': ValueError: unknown class 'tests>Mine'",
    ),
    "config": (
        lambda path: changed(
            path,
            lambda plan: first_line(plan).update(initializer={"class": "RandomNormal", "config": {"stddev": "0.1"}}),
        ),
        "at weight 1, 'depthwise/kernel': ValueError: `stddev` must be a finite number. Received: stddev='0.1'",
    ),
    "key of an initializer": (
        lambda path: changed(path, lambda plan: first_line(plan)["initializer"].update(gruops=[1, 2])),
        "at weight 1, 'depthwise/kernel': ValueError: unknown key 'gruops' of initx",
    ),
    "seed beside the config": (
        lambda path: changed(path, lambda plan: first_line(plan)["initializer"].update(seed=2)),
        "at weight 1, 'depthwise/kernel': ValueError: unknown key 'seed' of initx",
    ),
    "key of a config": (
        lambda path: changed(path, lambda plan: first_line(plan)["initializer"]["config"].update(sede=2)),
        "at weight 1, 'depthwise/kernel': TypeError: .*'sede'",
    ),
    "nested key": (
        lambda path: changed(path, lambda plan: nested(plan).update(seed=2)),
        "at weight 3, 'grouped/kernel': ValueError: unknown key 'seed' of initx.HeNormal",
    ),
    "null as a seed": (
        lambda path: changed(path, lambda plan: first_line(plan)["initializer"]["config"].update(seed=None)),
        "at weight 1, 'depthwise/kernel': ValueError: initx.* must have a seed, an integer",
    ),
    "no nested seed": (
        lambda path: changed(path, lambda plan: nested(plan)["config"].pop("seed")),
        "at weight 3, 'grouped/kernel': ValueError: initx.HeNormal must have a seed, an integer",
    ),
    "digest of another kind": (
        lambda path: changed(path, lambda plan: first_line(plan).update(digest="abc")),
        "at weight 1, 'depthwise/kernel': ValueError: a digest must be null or 32 .* Received: 'abc'",
    ),
    "digest that is a number": (
        lambda path: changed(path, lambda plan: first_line(plan).update(digest=7)),
        "at weight 1, 'depthwise/kernel': ValueError: a digest must be null or 32 .* Received: 7",
    ),
    "missing": (lambda path: path.unlink(), "must be an existing file"),
}


@pytest.mark.parametrize("name", often(BROKEN, [*BROKEN][::2]))
def test_a_file_that_is_no_plan_is_refused_and_changes_nothing(path, name):
    destroy, message = BROKEN[name]
    model = network()
    before = weights_digest(model)
    saved(path, network(), RULES, seed=3)
    destroy(path)
    with pytest.raises(ValueError, match=message):
        initialize(model, path)
    assert weights_digest(model) == before


def test_an_edited_initializer_that_does_not_fill_its_weight_is_refused(path):
    saved(path, network(), seed=3)
    bias = {"class": "initx.Sparse", "config": {"connections": 1, "seed": 1}}
    changed(path, lambda plan: plan["weights"][1].update(initializer=bias))
    model = network()
    before = weights_digest(model)
    with pytest.raises(ValueError, match="for 'depthwise/bias'"):
        initialize(model, path)
    assert weights_digest(model) == before


def test_a_seed_that_was_changed_beside_its_digest_is_told_and_saved_with_the_new_one(path):
    saved(path, network(), seed=3)
    assert initialize(network(), path).notes == ()
    old = lines(path)["depthwise/kernel"]
    changed(path, lambda plan: first_line(plan)["initializer"]["config"].update(seed=1))
    plan = initialize(network(), path)
    (note,) = plan.notes
    assert note.startswith("The values of depthwise/kernel differ from its digest in the plan")
    assert note in " ".join(str(plan).split())
    plan.save(path)
    new = lines(path)["depthwise/kernel"]
    assert (new["initializer"]["config"]["seed"], len(new["digest"])) == (1, 32)
    assert new["digest"] != old["digest"]
    assert initialize(network(), path).notes == ()


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")  # of JAX
@pytest.mark.every_backend
def test_a_plan_in_float64_is_told_where_the_backend_has_no_such_values(path):
    def of_dtype(dtype):
        return keras.Sequential([keras.Input((4,), dtype=dtype), layers.Dense(3, name="hidden", dtype=dtype)])

    saved(path, of_dtype("float32"), seed=3)
    in_float64 = "0123456789abcdef" * 2
    changed(path, lambda plan: [line.update(dtype="float64", digest=in_float64) for line in plan["weights"]])
    notes = initialize(of_dtype("float64"), path).notes
    assert len(notes) == 2
    told = "which this backend has not switched on: its values are float32" in notes[0]
    assert told == (BACKEND == "jax")
