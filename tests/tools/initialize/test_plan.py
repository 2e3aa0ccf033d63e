"""A plan outlives the call: saved as a text, executed on another model, drawn weight by weight."""

import doctest
import hashlib
import pathlib
import re

import keras
import numpy as np
import pytest
from cases import label
from modes import BACKEND, to_numpy
from plans import RULES, SPARSE, assert_same, changed, holder, lines, network, saved
from stacks import arrays

import keras_initx
from keras_initx import initialize, weights_digest
from keras_initx.inspection._inventory import Inventory
from keras_initx.types import InitializationPlan

layers = keras.layers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "init.json"


@pytest.mark.release_backends
def test_an_executed_plan_gives_another_model_the_same_weights(path):
    model, other = network("bfloat16"), network("bfloat16")
    rules = {name: value for name, value in RULES.items() if name != "norm/gamma"}
    first = saved(path, model, rules, seed=5)
    again = initialize(other, str(path))
    assert weights_digest(other) == weights_digest(model)
    assert [row.expected_std for row in again.rows] == [row.expected_std for row in first.rows]
    assert again.seed == 5
    again.save(path.with_name("again.json"))
    assert path.with_name("again.json").read_text() == path.read_text()


def test_a_plan_object_is_executed_too(path):
    model, other = network(), network()
    plan = initialize(model, RULES, seed=5)
    before = arrays(other)["norm/gamma"]
    assert initialize(other, plan, dry_run=True).dry_run
    initialize(other, plan)
    assert weights_digest(other) == weights_digest(model)
    plan.save(path)
    initialize(other, InitializationPlan.load(path), atomic=False)
    assert weights_digest(other) == weights_digest(model)
    np.testing.assert_array_equal(arrays(other)["norm/gamma"], before)


def test_a_plan_equals_its_file_which_has_no_roles_and_not_one_with_another_reason(path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden")])
    plan = initialize(model, "torch", seed=5, dry_run=True)
    plan.save(path)
    loaded = InitializationPlan.load(path)
    assert (plan["hidden/kernel"].detail, loaded["hidden/kernel"].detail) == ("by its layer in torch.nn", "")
    assert plan == loaded
    left = initialize(model, [{"hidden/bias": None}, "torch"], seed=5, dry_run=True)
    assert left != plan
    left.save(path)
    assert left == InitializationPlan.load(path)
    path.write_text(path.read_text().replace("by rule", "by hand"))
    assert left != InitializationPlan.load(path)


# Of a version that did not count the strides of transposed convolutions.
WITHOUT_STRIDES = """{
 "format": "keras_initx plan",
 "version": 1,
 "keras_initx": "0.1.0",
 "keras": "3.15.1",
 "seed": 5,
 "weights": [
  {"path": "up/kernel", "shape": [4, 3, 2], "dtype": "float32", "fans": [8, 12], \
"initializer": {"class": "initx.HeNormal", "config": {"seed": 1279434500, "input_axes": [0, 2], \
"output_axes": [0, 1]}}, "digest": "425ab241cb1108f3d044e1e922467c74"},
  {"path": "odd/kernel", "shape": [3, 3, 3], "dtype": "float32", "fans": [9, 9], \
"initializer": {"class": "initx.GlorotUniform", "config": {"seed": 527767578, "input_axes": [0, 2], \
"output_axes": [0, 1]}}, "digest": "59063a88a12f73cfd657459a4b998eab"}
 ]
}
"""


def test_transposed_convolutions_are_drawn_with_the_fans_of_the_plan(path):
    model = keras.Sequential(
        [
            keras.Input((8, 2)),
            layers.Conv1DTranspose(3, 4, 2, name="up", use_bias=False),
            layers.Conv1DTranspose(3, 3, 2, name="odd", use_bias=False),
        ]
    )
    rules = {"up/kernel": "initx.he_normal", "odd/kernel": "initx.glorot_uniform"}
    saved(path, model, rules, seed=5)
    old = path.with_name("old.json")
    old.write_text(WITHOUT_STRIDES)
    for file, fans in (path, [(4, 12), (4.5, 9)]), (old, [(8, 12), (9, 9)]):
        again = initialize(model, file)
        assert [(row.fan_in, row.fan_out) for row in again.rows] == fans
        assert keras_initx.audit(model, file).ok
    again.save(path)
    assert lines(path) == lines(old)


def test_the_digest_is_that_of_the_dtype_the_shape_and_the_bytes(path):
    model = network("bfloat16")
    saved(path, model, seed=1)
    values = arrays(model)["hidden/kernel"]
    content = b"bfloat16 8x6\n" + values.view("<u2").tobytes()
    assert lines(path)["hidden/kernel"]["digest"] == hashlib.blake2b(content, digest_size=16).hexdigest()


def test_a_dry_run_saves_the_same_but_for_the_digests(path):
    saved(path, network(), RULES, seed=1)
    drawn = lines(path)
    saved(path, network(), RULES, seed=1, dry_run=True)
    planned = lines(path)
    assert all(line.get("digest") is None for line in planned.values())
    for line in drawn.values():
        if "digest" in line:
            line["digest"] = None
    assert planned == drawn


@pytest.mark.parametrize("rules", [None, {"hidden/kernel": "initx.he_normal"}], ids=["own", "rule"])
def test_the_zeros_of_keep_sparse_are_kept(path, rules):
    kept = {"kernel_initializer": SPARSE, "kernel_constraint": keras_initx.KeepSparse(SPARSE)}
    model, other = network(**kept), network(**kept)
    plan = saved(path, model, rules, seed=3)
    initialize(other, path)
    assert weights_digest(other) == weights_digest(model)
    assert np.count_nonzero(plan.draw("hidden/kernel")) == 12
    np.testing.assert_array_equal(plan.draw("hidden/kernel"), arrays(model)["hidden/kernel"])


def test_other_zeros_are_refused(path):
    constraint = keras_initx.KeepSparse(SPARSE)
    saved(path, network(), seed=3)
    with pytest.raises(ValueError, match="hidden/kernel' keeps the zeros of Sparse"):
        initialize(network(kernel_constraint=constraint), path)
    saved(path, network(kernel_constraint=constraint), {"hidden/kernel": "he_normal"}, seed=3)
    with pytest.raises(ValueError, match="hidden/kernel' keeps the zeros of None"):
        initialize(network(), path)


def with_another_name():
    model = network()
    return keras.Sequential([*model.layers[:-1], layers.Dense(2, name="scores")])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (with_another_name, "the model has no 'logits/bias'.*the plan has no 'scores/bias'"),
        (lambda: network("float16"), r"'hidden/kernel' has the dtype float16, and float32 in the plan"),
        (
            lambda: keras.Sequential([*network().layers[:-1], layers.Dense(3, name="logits")]),
            r"'logits/kernel' has the shape \(6, 3\), and \(6, 2\) in the plan",
        ),
    ],
    ids=["path", "dtype", "shape"],
)
def test_a_plan_of_other_weights_is_refused_and_changes_nothing(path, other, message):
    plan = saved(path, network(), seed=3)
    model = other()
    model.build((None, 8, 8, 4))
    before = weights_digest(model)
    for given in path, plan:
        with pytest.raises(ValueError, match=message):
            initialize(model, given)
    assert weights_digest(model) == before


def test_a_seed_is_refused_with_a_plan(path):
    plan = saved(path, network(), seed=3)
    for given in path, plan:
        with pytest.raises(ValueError, match="Leave out `seed`: a plan has its own seeds"):
            initialize(network(), given, seed=3)


def off(weights, plan):
    return {row.path: (row.status, row.detail) for row in keras_initx.audit(weights, plan).problems}


def change_one_value(model, path):
    (weight,) = [weight for weight in Inventory(model).weights if weight.path == path]
    values = to_numpy(weight.variable.value).copy()
    values.flat[0] *= 1.01
    weight.variable.assign(values)


def test_an_audit_finds_one_changed_value(path):
    model = network("bfloat16")
    rules = {"hidden/kernel": "initx.he_normal", "logits/kernel": "initx.orthogonal", "norm/*": None}
    plan = saved(path, model, rules, seed=4)
    for given in plan, path, str(path), InitializationPlan.load(path):
        assert keras_initx.audit(model, given).summary == "8 of 12 weights are as the plan says, 4 not compared."
    change_one_value(model, "hidden/kernel")
    model.get_layer("logits").kernel.assign(-arrays(model)["logits/kernel"])  # as orthonormal, but without a digest
    expected = {
        "hidden/kernel": ("bits", "1 of 48 values differ from the plan"),
        "logits/kernel": ("bits", "12 of 12 values differ from the plan"),
    }
    assert off(model, plan) == expected
    assert off(model, path) == expected


def test_an_audit_finds_a_line_that_was_edited(path):
    model = network()
    saved(path, model, {"grouped/kernel": "initx.random_normal"}, seed=4)
    changed(path, lambda plan: plan["weights"][2]["initializer"]["config"].update(stddev=0.5))
    assert [(row.path, row.status) for row in keras_initx.audit(model, path).problems] == [("grouped/kernel", "scale")]
    saved(path, model, seed=4)
    changed(path, lambda plan: plan["weights"][2].update(digest="0" * 32))
    assert off(model, path)["grouped/kernel"][1].endswith(f", and {'0' * 32} in the plan")


def test_an_audit_knows_the_zeros_of_keep_sparse(path):
    model = network(kernel_constraint=keras_initx.KeepSparse(SPARSE))
    plan = saved(path, model, {"hidden/kernel": "initx.he_normal"}, seed=4)
    for given in plan, path:
        assert keras_initx.audit(model, given).ok
    change_one_value(model, "hidden/kernel")
    model.get_layer("hidden").kernel.assign(arrays(model)["hidden/kernel"] + 1)
    for given in plan, path:
        assert off(model, given) == {"hidden/kernel": ("bits", "48 of 48 values differ from the plan")}


@pytest.mark.parametrize("mark", ["/", "."])
def test_arrays_are_compared_with_the_lines_of_their_names(tmp_path, path, mark):
    model = network()
    saved(path, model, seed=4)
    found = {name.replace("/", mark): values for name, values in arrays(model).items()}
    np.savez(tmp_path / "arrays.npz", **found)
    assert keras_initx.audit(tmp_path / "arrays.npz", path).summary == "12 of 12 weights are as the plan says."
    found["step"] = np.zeros(1, "float32")
    found[f"hidden{mark}kernel"] = found[f"hidden{mark}kernel"].astype("float16")
    assert off(found, path) == {f"hidden{mark}kernel": ("bits", "float16, and float32 in the plan")}
    (row,) = keras_initx.audit(found, path).not_compared
    assert (row.path, row.detail) == ("step", "not in the plan")


def test_an_audit_refuses_a_plan_of_other_weights(path):
    model = network()
    saved(path, model, seed=4)
    found = arrays(model)
    del found["logits/bias"]
    found["hidden/kernel"] = found["hidden/kernel"].T
    with pytest.raises(ValueError, match=r"'hidden/kernel' has the shape \(6, 8\).*there is no 'logits/bias'"):
        keras_initx.audit(found, path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="`rules` must be a file that"):
        keras_initx.audit(model, path)


@pytest.mark.parametrize(
    ("region", "error"),
    [
        ((slice(1), slice(1), slice(1)), ValueError),
        ((0, slice(1)), TypeError),
        ([0, 1], TypeError),
    ],
    ids=label,
)
def test_a_region_is_checked(region, error):
    plan = initialize(holder((6, 8)), {"*": "he_normal"}, seed=1, dry_run=True)
    message = r"`region` must be a tuple of a slice for each axis of 'holder/kernel', of shape \(6, 8\)\. Received: reg"
    with pytest.raises(error, match=message):
        plan.draw("holder/kernel", region)


def test_what_is_not_drawn_has_no_values():
    plan = initialize(network(), {"norm/*": None}, seed=1, dry_run=True)
    with pytest.raises(ValueError, match="'norm/gamma', which is left unchanged: by rule"):
        plan.draw("norm/gamma")
    with pytest.raises(ValueError, match="close matches are 'hidden/kernel'"):
        plan.draw("hidden/kernels")


PAGE = pathlib.Path(__file__).parents[3] / "docs" / "coming_from.md"
BLOCK = re.compile(r"^```(python|\{testcode\}|\{doctest\})\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def programs():
    """Return the programs of the page by their headings, and the first, which saves the plan."""
    found = {}
    for section in re.split(r"\n##+ ", PAGE.read_text()):
        heading = section.partition("\n")[0]
        for kind, text in BLOCK.findall(section):
            examples = doctest.DocTestParser().get_examples(text)
            found[heading] = "".join(example.source for example in examples) if "doctest" in kind else text
    return found


def run_first_programs(*others):
    """Run the program that saves the plan and the named ones, and return their names."""
    names = {}
    found = programs()
    for heading in (next(iter(found)), *others):
        exec(found[heading], names)
    return names


@pytest.mark.release_backends
@pytest.mark.skipif(BACKEND == "tensorflow", reason="programs in torch and JAX")
def test_a_model_outside_keras_gets_the_weights_of_a_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_first_programs({"torch": "In torch", "jax": "In JAX"}[BACKEND])
    digest = weights_digest(names["model"])
    assert capsys.readouterr().out == f"{digest}\n"
    assert f"'{digest}'" in PAGE.read_text()


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="a program in JAX")
def test_shards_outside_keras_are_parts_of_the_weight(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_first_programs("In JAX", "One shard at a time")
    assert_same(np.asarray(names["kernel"]), names["plan"].draw("logits/kernel"))


def test_the_name_of_an_initializer_is_no_plan():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    required = r"`rules` must be a dict from conditions to initializers, such as {'\*kernel': 'initx.he_normal'}"
    with pytest.raises(ValueError, match=required):
        keras_initx.initialize(model, "initx.he_normal")
