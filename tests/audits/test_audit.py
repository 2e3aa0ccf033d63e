"""What an audit takes, what it compares weights with, and what it says."""

import itertools
import json
import random
import re
import weakref
from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import layers
from meshes import distribution, mesh_of
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx import recipes
from keras_initx.backends import backend
from keras_initx.recipes import NotedRules
from keras_initx.testing import assert_initialized

RNG = np.random.default_rng(0)
RULES = {"*/kernel": "initx.he_normal", "*/bias": "zeros"}


def network(kernel="glorot_uniform", dtype=None):
    return keras.Sequential(
        [
            keras.Input((48,)),
            layers.Dense(64, "relu", kernel_initializer=kernel, name="hidden", dtype=dtype),
            layers.Dense(40, name="last", dtype=dtype),
        ]
    )


class Holding(keras.Model):
    """A model whose weights have these paths and values."""

    def __init__(self, arrays, **options):
        super().__init__(**options)
        inside = {}
        for path, values in arrays.items():
            first, _, rest = path.partition("/")
            if rest:
                inside.setdefault(first, {})[rest] = values
            else:
                dtype = keras.backend.standardize_dtype(values.dtype)
                self.add_weight(values.shape, "zeros", dtype, trainable=False, name=path).assign(values)
        self.parts = [Holding(others, name=name) for name, others in inside.items()]
        self.built = True


def audit(arrays, rules, **options):
    """Return the audit of a model with these weights."""
    return keras_initx.audit(Holding(arrays), rules, **options)


def off(report):
    return {row.path: row.verdict for row in report.problems}


@pytest.mark.parametrize("dtype", [pytest.param("bfloat16", marks=pytest.mark.every_backend), "float32", "float16"])
def test_a_model_is_as_its_layers_and_as_its_rules_say(dtype):
    keras.utils.set_random_seed(1)
    model = network(dtype=dtype)
    assert keras_initx.audit(model).ok
    assert off(keras_initx.audit(model, RULES)) == {"hidden/kernel": "scale", "last/kernel": "scale"}
    keras_initx.initialize(model, RULES, seed=0)
    assert keras_initx.audit(model, RULES).ok
    assert off(keras_initx.audit(model)) == {"hidden/kernel": "scale", "last/kernel": "scale"}


def test_nothing_is_drawn_or_changed():
    model = network()
    before = [to_numpy(weight) for weight in model.weights]
    keras.utils.set_random_seed(5)
    expected = random.random()
    keras.utils.set_random_seed(5)
    keras_initx.audit(model, RULES, seed=0)
    assert random.random() == expected
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), values)


def test_layers_with_fans_that_keras_does_not_know_are_right_in_both_ways():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((9, 9, 64)),
            layers.DepthwiseConv2D(3, depthwise_initializer="he_normal", name="depthwise"),
            layers.Conv2DTranspose(64, 4, strides=2, kernel_initializer="he_normal", name="up"),
        ]
    )
    assert keras_initx.audit(model).ok  # with the fans of the shape, by Keras
    rules = {"*kernel": "initx.he_normal", "*bias": "zeros"}
    problems = keras_initx.audit(model, rules).problems
    assert {row.path: row.verdict for row in problems} == {"depthwise/kernel": "scale", "up/kernel": "scale"}
    assert {row.cause for row in problems} == {"as its layer declares: HeNormal()"}
    keras_initx.initialize(model, seed=0)
    assert keras_initx.audit(model).ok  # with those of the layer
    assert keras_initx.audit(model, rules).ok


def test_a_layer_that_ignores_its_initializer_is_found():
    class Small(layers.Dense):
        def build(self, input_shape):
            super().build(input_shape)
            self._kernel.assign(0.1 * self._kernel)

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((48,)), Small(64, kernel_initializer="he_normal", name="small")])
    (row,) = keras_initx.audit(model).problems
    assert (row.path, row.verdict, round(row.ratio, 1)) == ("small/kernel", "scale", 0.1)


@pytest.mark.every_backend
def test_with_a_seed_each_value_is_compared():
    model = network()
    keras_initx.initialize(model, RULES, seed=3)
    assert keras_initx.audit(model, RULES, seed=3).ok
    kernel = model.layers[0].kernel
    values = to_numpy(kernel)
    values[5, 7] *= 1 + 2.0**-20
    kernel.assign(values)
    report = keras_initx.audit(model, RULES, seed=3)
    assert off(report) == {"hidden/kernel": "bits"}
    assert report.problems[0].evidence == "1 of 3072 values are not those of the seed"
    assert set(off(keras_initx.audit(model, RULES, seed=4)).values()) == {"bits"}
    assert keras_initx.audit(model, RULES).ok


@pytest.mark.parametrize("of_plan", [False, True])
def test_another_seed_is_found_also_where_weights_are_as_their_layers_say(of_plan):
    model = network()
    keras_initx.initialize(model, seed=3)
    plan = keras_initx.initialize(model, seed=4, dry_run=True)
    report = keras_initx.audit(model, plan) if of_plan else keras_initx.audit(model, seed=4)
    assert off(report) == {"hidden/kernel": "bits", "last/kernel": "bits"}


def test_orthogonal_kernels_are_compared_to_rounding():
    model = network(keras_initx.Orthogonal())
    keras_initx.initialize(model, seed=3)
    kernel = model.layers[0].kernel
    kernel.assign(to_numpy(kernel) + 1e-7)
    assert keras_initx.audit(model, seed=3).ok


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
@pytest.mark.parametrize("expected", ["seed", "plan", "rules"])
def test_a_sharded_model_is_audited_without_a_copy_that_stays(expected, tmp_path, monkeypatch):
    from keras_initx.backends import backend

    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map[".*kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map, batch_dim_name="inputs").scope():
        model = network()
        plan = keras_initx.initialize(model, RULES, seed=3)
        plan.save(tmp_path / "init.json")
        kernel = model.layers[0].kernel
        whole = []
        view = type(backend).host_view
        monkeypatch.setattr(type(backend), "host_view", lambda self, x: whole.append(x.shape) or view(self, x))
        arguments = {"seed": (RULES, 3), "plan": (tmp_path / "init.json", None), "rules": (RULES, None)}[expected]
        report = keras_initx.audit(model, arguments[0], seed=arguments[1])
        assert report.ok
        assert (kernel.shape in whole) == (expected == "rules")
        assert kernel.value._npy_value is None
        assert report.weights[0].std == pytest.approx(float(np.std(to_numpy(kernel))))
        values = np.array(to_numpy(kernel))
        values[40, 3] *= 1.5
        kernel.assign(values)
        (row,) = keras_initx.audit(model, arguments[0], seed=arguments[1]).problems or [None]
        if expected == "rules":
            assert row is None
        else:
            assert row.evidence == f"1 of 3072 values are not those of the {expected}"


def test_a_weight_that_is_verified_raises_no_alarm_by_chance(tmp_path):
    model = network()
    keras_initx.initialize(model, RULES, seed=10).save(tmp_path / "init.json")
    assert not keras_initx.audit(model, RULES, alpha=0.9).ok
    assert keras_initx.audit(model, RULES, seed=10, alpha=0.9).ok
    assert keras_initx.audit(model, tmp_path / "init.json", alpha=0.9).ok


def test_the_zeros_of_a_constraint_are_no_fault_of_constants():
    keep = keras_initx.KeepSparse(keras_initx.Sparse(5, seed=0))
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, kernel_constraint=keep, name="sparse")])
    keras_initx.initialize(model, {"*kernel": "ones"}, seed=3)
    assert keras_initx.audit(model, {"*kernel": "ones"}, seed=3).ok


def test_the_zeros_of_a_constraint_are_no_fault_of_a_rule():
    keep = keras_initx.KeepSparse(keras_initx.Sparse(5, seed=0))
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, kernel_constraint=keep, name="sparse")])
    rules = {"*kernel": "initx.he_normal"}
    keras_initx.initialize(model, rules, seed=3)
    assert [row.reason for row in keras_initx.audit(model, rules).not_compared] == ["zeros of a constraint"]
    assert keras_initx.audit(model, rules, seed=3).ok
    model.layers[0].kernel.assign(2 * model.layers[0].kernel)
    assert off(keras_initx.audit(model, rules, seed=3)) == {"sparse/kernel": "bits"}


def test_equal_weights_are_reported_with_the_first():
    model = keras.Sequential([keras.Input((40,)), *[layers.Dense(40, name=name) for name in "abc"]])
    keras_initx.initialize(model, seed=0)
    model.get_layer("c").kernel.assign(model.get_layer("a").kernel)
    (row,) = keras_initx.audit(model).problems
    assert (row.path, row.verdict, row.evidence) == ("c/kernel", "equal weights", "equal to 'a/kernel'")


def test_the_values_of_another_weight_in_another_shape_are_reported():
    values = RNG.normal(0, 0.02, (20, 30))
    arrays = {"a": values, "b": values.reshape(30, 20)}
    (row,) = audit(arrays, {"*": keras_initx.RandomNormal(stddev=0.02)}).problems
    assert (row.path, row.evidence) == ("b", "the values of 'a' in another shape")


def test_what_cannot_be_compared_is_listed_with_the_reason():
    class Own(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, kernel_initializer=Own(), name="own"),
            layers.Dense(8, name="int8"),
        ]
    )
    model.layers[1].quantize("int8")
    report = keras_initx.audit(model)
    assert report.ok
    reasons = {row.path: row.reason for row in report.not_compared}
    assert set(reasons.values()) == {"quantized"}
    assert str(report).splitlines()[-1] == "2 of 5 weights are as their layers say, 3 not compared."


def test_a_saved_model_is_loaded(tmp_path):
    model = network()
    keras_initx.initialize(model, RULES, seed=0)
    model.save(tmp_path / "model.keras")
    for path in (tmp_path / "model.keras", str(tmp_path / "model.keras")):
        assert keras_initx.audit(path, RULES, seed=0).ok
        assert off(keras_initx.audit(path)) == {"hidden/kernel": "scale", "last/kernel": "scale"}


class Lazy:
    """An array that is read when it is needed."""

    def __init__(self, array):
        self.array = array
        self.shape = list(array.shape)
        self.dtype = str(array.dtype)

    def __array__(self, dtype=None, copy=None):
        return self.array


def trainable_tensor(array):
    return keras.Variable(array).value  # on torch a `Parameter`


@pytest.mark.every_backend
@pytest.mark.parametrize("form", [np.ndarray.tolist, Lazy, keras.Variable, trainable_tensor])
def test_arrays_of_a_dict_may_have_any_form(form):
    values = RNG.normal(0, 0.02, (64, 32)).astype("float32")
    others = {"_extra_state": object(), "version": None}
    expected = {name: form(RNG.normal(0, 0.02, (64, 32)).astype("float32")) for name in ("right", "wrong")}
    report = keras_initx.audit(
        {"right": form(values), "wrong": form(2 * values), **others}, like={**expected, **others}
    )
    assert off(report) == {"wrong": "scale"}
    assert {row.path: row.reason for row in report.not_compared} == {
        "_extra_state": "no array",
        "version": "no array",
    }


def test_weights_that_are_saved_alone_are_arrays(tmp_path):
    model = network()
    model.save_weights(tmp_path / "before.weights.h5")
    model.layers[1].bias.assign(np.ones(40))
    model.save_weights(tmp_path / "after.weights.h5")
    report = keras_initx.audit(tmp_path / "after.weights.h5", like=tmp_path / "before.weights.h5")
    assert len(report.unchanged) == len(report.weights) - 1 == 3
    assert set(off(report).values()) == {"values"}


@pytest.mark.parametrize("rules", [None, {"*": "zeros"}, "selu", recipes.selu])
def test_rules_and_recipes_are_for_models(rules):
    message = "`rules` must be a plan if `weights` are arrays"
    with pytest.raises(ValueError, match=message):
        keras_initx.audit({"a": np.zeros(3)}, rules)


def test_the_table_begins_with_what_is_no_matter_of_scale_and_then_with_the_worst(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    arrays = {
        "a": RNG.normal(0, 0.1, (50, 50)),
        "b": RNG.normal(0, 0.001, (50, 50)),
        "c": np.zeros((50, 50)),
        "d": RNG.normal(0, 0.02, (50, 50)),
        "e": RNG.normal(0, 1, 3).astype("int32"),
    }
    report = audit(arrays, {"e": None, "*": keras_initx.RandomNormal(stddev=0.02)})
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == ["c", "b", "a", "e"]
    assert lines[-1] == "3 of 5 weights are not as the rules say, 1 not compared."
    assert [row.path for row in report.weights] == list("abcde")


def test_weights_that_differ_in_one_way_are_one_row_of_a_table_that_fits_a_page():
    rules = {"*output/kernel": keras_initx.RandomNormal(stddev=0.005), "*": keras_initx.RandomNormal(stddev=0.02)}
    rng = np.random.default_rng(0)
    arrays = {"tokens/embeddings": rng.normal(0, 0.06, (99, 40))}
    for number in range(12):
        for name in ("self_attention/attention_output", "feedforward_output"):
            arrays[f"transformer_layer_{number}/{name}/kernel"] = rng.normal(0, 0.02, (99, 40))
    report = audit(arrays, rules)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    names = [line.strip().split("  ")[0] for line in lines[2:-2]]
    assert names[-1] == "tokens/embeddings"
    of_projections = ["transformer_layer_*/self_attention/attention_output/kernel"]
    of_projections += ["transformer_layer_*/feedforward_output/kernel"]
    assert "".join(names[:-1]) == "".join(of_projections)
    assert lines[2].split()[1:3] == ["24", "0.02"]
    assert lines[-1] == "25 of 25 weights are not as the rules say."
    assert len(report.to_csv().splitlines()) == 26


def test_the_names_of_a_row_are_in_the_order_of_the_weights():
    rules = {"*output/kernel": keras_initx.RandomNormal(stddev=0.00528), "*": keras_initx.RandomNormal(stddev=0.02)}
    rng = np.random.default_rng(0)
    arrays = {"tokens/embeddings": rng.normal(0, 0.02, (99, 40))}
    for number in range(12):
        for name, stddev in (("attention_output", 0.0198), ("feedforward_output", 0.0202)):
            arrays[f"layer_{number}/{name}/kernel"] = rng.normal(0, stddev, (99, 40))
    (row,) = audit(arrays, rules)._rows()
    assert "feedforward" in row.worst.path
    assert row.names == ["layer_*/attention_output/kernel", "layer_*/feedforward_output/kernel"]


def test_a_report_without_a_fault_is_one_sentence():
    report = audit({"a": np.zeros(8)}, {"a": "zeros"})
    assert str(report) == "1 of 1 weights are as the rules say."
    assert report._repr_html_() == "<p>1 of 1 weights are as the rules say.</p>"


@pytest.mark.parametrize(
    ("rules", "source"), [(None, "as their layers say"), ({"*kernel": "glorot_uniform"}, "as the rules say")]
)
def test_the_plot_says_what_weights_are_compared_with(rules, source):
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(20), keras.layers.Dense(5)])
    figure = keras_initx.audit(model, rules).plot()
    assert figure.get_suptitle().endswith(source)
    low, high = figure.axes[0].get_ylim()
    assert low < 0.5 < 2 < high < 3


def test_a_small_alpha_needs_more_evidence():
    values = {"a": RNG.normal(0, 0.0225, 1000)}
    rules = {"a": keras_initx.RandomNormal(stddev=0.02)}
    assert not audit(values, rules).ok
    assert audit(values, rules, alpha=1e-12).ok


def test_alarms_are_as_rare_as_alpha_says():
    # 300 audits of two weights: with an alpha of 1 %, more than 12 alarms have a chance of 1 in 20,000.
    rules = {"*": keras_initx.TruncatedNormal(stddev=0.02)}
    alarms = 0
    for seed in range(300):
        arrays = {}
        for number in (0, 4):
            initializer = keras_initx.TruncatedNormal(stddev=0.02, seed=1000 * seed + number)
            arrays[str(number)] = to_numpy(initializer((8, 5 + 12 * number)))
        alarms += not audit(arrays, rules).ok
    assert alarms <= 12


class Refused(NamedTuple):
    """A call of `audit`, and what is said against it."""

    arguments: tuple
    error: type[Exception]
    message: str
    options: dict = {}


@pytest.mark.parametrize(
    Refused._fields,
    [
        Refused(arguments=(3,), error=TypeError, message="`weights` must be a Keras model, a path, or a dict"),
        Refused(arguments=(network, None), error=TypeError, message="`weights`"),
        Refused(arguments=("missing.npz", {"*": "zeros"}), error=ValueError, message="missing.npz"),
        Refused(arguments=(network(), {"b": "zeros"}), error=ValueError, message="'b', which matches none"),
        Refused(arguments=({}, {"*": "zeros"}), error=ValueError, message="`weights` must have at least one array"),
        Refused(arguments=({0: np.zeros(3)}, {"*": "zeros"}), error=TypeError, message="Received: 0 as a name"),
        Refused(
            arguments=({"a": np.zeros(3)}, {"a": "zeros"}),
            options={"alpha": 1.0},
            error=ValueError,
            message="`alpha` must be between 0 and 1",
        ),
        Refused(
            arguments=({"a": np.zeros(3)}, {"a": "zeros"}), options={"alpha": 0}, error=ValueError, message="`alpha`"
        ),
        Refused(
            arguments=({"a": np.zeros(3)}, {"a": "zeros"}), options={"seed": -1}, error=ValueError, message="`seed`"
        ),
        Refused(
            arguments=({"a": np.zeros(3)}, {"a": "zeros"}), options={"seed": 0.5}, error=TypeError, message="`seed`"
        ),
    ],
)
def test_arguments_are_checked(arguments, options, error, message):
    with pytest.raises(error, match=message):
        keras_initx.audit(*arguments, **options)


def test_an_assertion_shows_the_table():
    model = network()
    keras_initx.initialize(model, RULES, seed=0)
    assert_initialized(model, RULES)
    assert_initialized(model, RULES, seed=0)
    with pytest.raises(AssertionError, match=r"2 of 4 weights are not as their layers say\.\n\nweight .*\n-+\n"):
        assert_initialized(model)


def test_a_report_in_which_most_weights_are_odd_asks_for_the_rules():
    model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(8, use_bias=False) for _ in range(3))])
    keras_initx.initialize(model, {"*": keras_initx.RandomNormal(stddev=1.0)}, seed=0)
    assert "Pass these too: audit(model, rules)." in str(keras_initx.audit(model))
    assert "Pass these" not in str(keras_initx.audit(model, {"*": "ones"}))
    assert "Pass these" not in str(keras_initx.audit(keras.models.clone_model(model)))


def test_rules_are_matched_once():
    asked = []

    def kernels(weight):
        asked.append(weight.path)
        return weight.name == "kernel"

    report = keras_initx.audit(keras.Sequential([keras.Input((8,)), layers.Dense(4, name="a")]), {kernels: "zeros"})
    assert asked == ["a/kernel", "a/bias"]
    assert [(row.path, row.cause) for row in report.problems] == [
        ("a/kernel", "as its layer declares: GlorotUniform()")
    ]


def test_a_recipe_says_how_a_model_should_be():
    model = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), alpha=0.25)
    rules = recipes.mobilenet(model)
    report = keras_initx.audit(model, rules)
    kernels = [row for row in report.weights if row.path.endswith("kernel")]
    assert len(kernels) > 25
    assert {row.cause for row in report.problems} == {"as its layer declares: GlorotUniform()"}
    keras_initx.initialize(model, rules, seed=0)
    assert keras_initx.audit(model, rules).ok


def sole(report):
    """Return the verdict and the cause of the only weight that is off."""
    (row,) = report.problems
    return row.verdict, row.cause


def test_equal_slices_are_named():
    kernel = to_numpy(keras_initx.HeNormal(seed=0)((64, 4, 8)))
    twice = np.repeat(kernel[:, :2], 2, axis=1)
    opposite = np.concatenate([kernel[..., :4], -kernel[..., :4]], axis=2)
    one_unit = kernel.copy()
    one_unit[:, 2, 3] = kernel[:, 0, 1]
    report = audit({"a": twice, "b": opposite, "c": one_unit}, {"*": "initx.he_normal"})
    assert [(row.verdict, row.evidence) for row in report.problems] == [
        ("equal slices", "2 of 4 slices along axis 1 equal to another: [1] to [0], [3] to [2]"),
        (
            "equal slices",
            "4 of 8 slices along axis 2 equal to another but for the sign: "
            "[4] to [0], [5] to [1], [6] to [2], and 1 more",
        ),
        ("equal slices", "1 of 32 slices along axes 1 to 2 equal to another: [2, 3] to [0, 1]"),
    ]


@pytest.mark.parametrize("kernel", ["initx.he_normal", "initx.orthogonal"])
def test_equal_parts_of_a_law_by_parts_are_named(kernel):
    rules = {"a": keras_initx.Concatenated([kernel, "zeros", kernel, kernel])}
    values = to_numpy(keras_initx.Concatenated([kernel, "zeros", kernel, kernel])((16, 64)))
    assert audit({"a": values}, rules).ok
    values = np.concatenate([values[:, :48], values[:, :16]], axis=1)
    (row,) = audit({"a": values}, rules).problems
    assert row.verdict == "equal slices"
    assert row.evidence.startswith("16 of 64 slices along axis 1 equal to another: [48] to [0]")


@pytest.mark.parametrize("part", ["initx.he_normal", "initx.sparse", "initx.orthogonal"])
def test_parts_of_any_law_that_are_equal_but_for_the_sign_are_named(part):
    initializer = keras_initx.Concatenated([part] * 2)
    half = to_numpy(initializer((3, 3, 4, 64)))[..., :32]
    (row,) = audit({"a": np.concatenate([half, -half], axis=-1)}, {"a": initializer}).problems
    assert row.verdict == "equal slices"
    assert "equal to another but for the sign" in row.evidence


@pytest.mark.parametrize(
    "initializer", [keras_initx.Sparse(8), keras_initx.Orthogonal(input_axes=[1, 2], output_axes=[0])]
)
def test_an_exchanged_axis_is_named(initializer):
    shape = (60, 90) if isinstance(initializer, keras_initx.Sparse) else (64, 4, 16)
    contract = keras_initx.contract(lambda: {"a": to_numpy(initializer(shape))})
    values = to_numpy(initializer(shape))
    (row,) = keras_initx.audit({"a": values.T.copy()}, like=contract).problems
    assert (row.verdict, row.cause) == ("reshaped", "an axis exchanged")


def test_the_values_of_a_plan_with_an_axis_exchanged():
    model = network()
    plan = keras_initx.initialize(model, seed=0)
    values = {weight.path: plan.draw(weight.path) for weight in plan.weights}
    values["hidden/kernel"] = values["hidden/kernel"].T.reshape(48, 64)
    assert sole(keras_initx.audit(values, plan)) == ("bits", "an axis exchanged")


class Own(keras.initializers.Initializer):
    """An initializer of a user, whose law is not known."""

    def __init__(self, make):
        self.make = make
        self.generator = keras.random.SeedGenerator(3)

    def __call__(self, shape, dtype=None):
        return keras.ops.cast(self.make(self.generator, shape), dtype or "float32")


def drawn(stddev):
    return lambda generator, shape: keras.random.normal(shape, 0.0, stddev, seed=generator)


SCALES = itertools.cycle((0.1, 1.0, 3.0))


def of_another_scale_each_time(generator, shape):
    return keras.random.normal(shape, 0.0, next(SCALES), seed=generator)


@pytest.mark.every_backend
def test_an_initializer_without_a_law_is_drawn_from_a_copy():
    own = Own(drawn(0.1))
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, kernel_initializer=own, name="own")])
    before = to_numpy(own.generator.state).tolist()
    keras.utils.clear_session()  # with the global generator, which Keras before 3.11 starts once only
    keras.utils.set_random_seed(6)
    next_numbers = [random.random(), np.random.rand(), to_numpy(keras.random.normal((3,))).tolist()]  # noqa: NPY002
    keras.utils.clear_session()
    keras.utils.set_random_seed(6)
    assert keras_initx.audit(model, {"own/kernel": own}).ok
    assert to_numpy(own.generator.state).tolist() == before
    assert [random.random(), np.random.rand(), to_numpy(keras.random.normal((3,))).tolist()] == next_numbers  # noqa: NPY002
    assert off(keras_initx.audit(model, {"own/kernel": Own(drawn(0.2))})) == {"own/kernel": "scale"}


class NoCopy(Own):
    def __deepcopy__(self, memo):
        raise TypeError


@pytest.mark.parametrize(
    ("initializer", "reason"),
    [
        (NoCopy(drawn(0.1)), "its initializer cannot be drawn from"),
        (Own(lambda generator, shape: np.linspace(0, 1, 3072).reshape(shape)), "equal in each draw"),
    ],
)
def test_an_initializer_that_tells_nothing_is_unknown(initializer, reason):
    report = keras_initx.audit(network(), {"hidden/kernel": initializer})
    (row,) = report.not_compared
    assert row.reason.startswith(reason)


def test_of_draws_with_scales_of_their_own_only_the_shape_is_compared():
    rules = {"hidden/kernel": Own(of_another_scale_each_time)}
    report = keras_initx.audit(network(keras.initializers.RandomNormal(stddev=20.0)), rules)
    assert report.ok
    assert report.not_compared == []
    assert report.weights[0].ratio is None
    assert off(keras_initx.audit(network("random_uniform"), rules)) == {"hidden/kernel": "shape"}
    (row,) = audit({"a": np.ones(4) + np.arange(4)}, {"a": Own(of_another_scale_each_time)}).not_compared
    assert row.reason == "its scale differs from draw to draw"


def test_rows_with_scales_of_their_own_have_another_shape_in_each_draw():
    def drawn_by_row(generator, shape):
        scales = keras.random.normal((shape[0], 1), seed=generator)
        return scales * keras.random.normal(shape, seed=generator) * next(SCALES)

    own = Own(drawn_by_row)
    keras.utils.set_random_seed(0)
    assert all(keras_initx.audit(network(own), {"hidden/kernel": own}).ok for _ in range(20))


@pytest.mark.parametrize(
    ("initializer", "shape"),
    [
        (keras_initx.Orthogonal(blocks=4, seed=52), (1, 4)),  # all are equal with this seed
        (keras.initializers.RandomNormal(seed=0), (4, 200)),
        (keras.initializers.RandomNormal(seed=0), (5000,)),
        (keras_initx.ChronoBias(50, cell="lstm", seed=0), (64,)),  # those of two gates are opposite
        (keras_initx.ICNR(keras.initializers.HeNormal(seed=0), 2), (3, 3, 8, 64)),
        (keras_initx.Sparse(1, seed=0), (8, 64)),
        # Nearly all values are the lowest.
        (keras_initx.TimeStepBias(floor=0.09, seed=0), (4,)),
    ],
)
def test_slices_that_may_be_equal_raise_no_alarm(initializer, shape):
    values = initializer(shape, dtype="bfloat16")  # in which values are equal by rounding too
    config = json.loads(re.sub(r'"seed": \d+', '"seed": null', json.dumps(initializer.get_config())))
    assert audit({"a": values}, {"a": type(initializer).from_config(config)}).ok


def test_values_that_a_law_bounds_from_below_raise_no_alarm():
    initializer = keras_initx.TimeStepBias(floor=0.05, seed=0)  # most are the lowest
    assert audit({"a": to_numpy(initializer((64,)))}, {"a": keras_initx.TimeStepBias(floor=0.05)}).ok


def test_a_value_that_passes_the_truncation_of_keras_on_torch_raises_no_alarm():
    """Of 100,000 values, one is farther out in one of 70 draws."""
    values = to_numpy(keras_initx.TruncatedNormal(stddev=1.0, seed=0)((1000, 100))).copy()
    values[3, 5] = 3.6
    assert audit({"a": values}, {"a": keras_initx.TruncatedNormal(stddev=1.0)}).ok


def test_parts_of_which_all_values_are_the_lowest_raise_no_alarm():
    parts = [keras_initx.TimeStepBias(floor=0.0999) for _ in range(2)]
    values = np.full(64, parts[0].law((32,)).bounds[0], "float32")
    assert audit({"a": values}, {"a": keras_initx.Concatenated(parts)}).ok


@pytest.mark.parametrize(
    ("initializer", "dtype"),
    [
        (keras_initx.RandomNormal(stddev=2e-8), "float16"),  # below its smallest number
        (keras_initx.RandomUniform(-1e-6, 1e-6), "float16"),
        (keras_initx.RandomNormal(1.0, 1e-3), "float16"),
        (keras_initx.RandomNormal(1.0, 1e-3), "bfloat16"),  # nearly all are 1
        # JAX draws 128 levels.
        pytest.param(keras.initializers.HeNormal(), "bfloat16", marks=pytest.mark.every_backend),
    ],
)
def test_values_that_their_dtype_can_hardly_hold_raise_no_alarm(initializer, dtype):
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, kernel_initializer=initializer, dtype=dtype, name="layer")]
    )
    report = keras_initx.audit(model, {"layer/kernel": initializer})
    assert report.ok


def test_what_was_rounded_beyond_a_bound_raises_no_alarm():
    values = keras_initx.Scaled(keras_initx.HeNormal(seed=61), 2)((16, 1), "bfloat16")
    assert audit({"a": values}, {"a": keras_initx.Scaled("initx.he_normal", 2)}, alpha=1e-5).ok


def test_blocks_that_the_other_axes_do_not_have_are_not_looked_for():
    arrays = {"a": np.random.default_rng(0).normal(0, 0.1, (66, 264))}
    assert sole(audit(arrays, {"a": keras_initx.Orthogonal(blocks=4)})) == ("orthonormality", "")


def test_what_is_drawn_of_a_plan_is_gone_before_the_next_weight_is_drawn(monkeypatch):
    model = network()
    plan = keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0)
    drawn = []
    counts = []
    to_tensor = backend.to_tensor

    def watch(array):
        counts.append(sum(reference() is not None for reference in drawn))
        drawn.append(weakref.ref(array))
        return to_tensor(array)

    monkeypatch.setattr(backend, "to_tensor", watch)
    assert keras_initx.audit(model, plan).ok
    assert len(counts) == 4
    assert max(counts) <= 1


def test_of_two_causes_the_one_is_named_that_explains_other_weights_too():
    rng = np.random.default_rng(0)
    rules = {"*": keras_initx.VarianceScaling(3.0, "fan_in", "untruncated_normal")}
    std = np.sqrt(2 * 3 / 128)
    arrays = {"a": rng.normal(0, std, (128, 64))}  # by the units, too
    assert sole(audit(arrays, rules))[1] == ""
    arrays["b"] = rng.normal(0, std, (128, 300))
    assert {row.cause for row in audit(arrays, rules).problems} == {"the fan of one of 2 shards"}


def test_a_cause_is_named_for_small_weights_too_where_few_are_possible():
    rng = np.random.default_rng(0)
    rules = {"*output": keras_initx.RandomNormal(stddev=0.02 / np.sqrt(24)), "*": keras_initx.RandomNormal(stddev=0.02)}
    arrays = {f"block_{number}/output": rng.normal(0, 0.02, (24, 24)) for number in range(24)}
    arrays["table"] = rng.normal(0, 0.02, (24, 24))
    causes = {row.path: row.cause for row in audit(arrays, rules).problems}
    assert set(causes.values()) == {"depth scaling 1/sqrt(24) not applied"}
    assert len(causes) == 24
    # By fans: of He, Glorot or the fan of a shard, several fit a scale that is so inexact.
    row = audit({"a": rng.normal(0, 0.3, (24, 24))}, {"a": "initx.he_normal"}).problems[0]
    assert row.cause == ""


@pytest.mark.parametrize(
    ("left", "text"),
    [(("hidden/kernel",), "1 weight (hidden/kernel) is for."), (("hidden/kernel", "hidden/bias"), "bias) are for.")],
)
def test_a_weight_that_a_recipe_does_not_know_is_a_note_and_no_fault(left, text):
    report = keras_initx.audit(network(), NotedRules({"last/*": None}, (), left))
    assert report.ok
    reasons = [row.reason for row in report.weights if row.path in left]
    assert reasons == ["the recipe does not know what it is for"] * len(left)
    assert text in report.summary


def test_a_weight_of_one_element():
    rules = {"a": keras_initx.RandomNormal(stddev=0.02)}
    assert audit({"a": np.float32([0.03])}, rules).ok
    assert off(audit({"a": np.float32([0.3])}, rules)) == {"a": "bounds"}


class Logs(keras.initializers.Initializer):
    """The logarithms of 0, 1, 2, ..., of which the first is -inf."""

    def __call__(self, shape, dtype=None):
        return keras.ops.log(keras.ops.cast(keras.ops.arange(shape[0]), dtype))


class Decay(layers.Layer):
    def __init__(self, initializer, trainable=True, **options):
        super().__init__(**options)
        self.initializer, self.is_trained = initializer, trainable

    def build(self, shape):
        options = {"initializer": self.initializer, "trainable": self.is_trained}
        self.rate = self.add_weight(shape=shape[-1:], name="A_log", **options)

    def call(self, inputs):
        return inputs * keras.ops.exp(-keras.ops.exp(self.rate))

    def get_config(self):
        return {**super().get_config(), "initializer": self.initializer, "trainable": self.is_trained}


def decaying(initializer=None, trainable=True):
    decay = Decay(Logs() if initializer is None else initializer, trainable, name="decay")
    return keras.Sequential([keras.Input((16,)), decay, layers.Dense(16, name="last")])


FOUND = {"decay/A_log": "not finite"}


@pytest.mark.every_backend
@pytest.mark.parametrize("initializer", [Logs, lambda: keras.initializers.Constant(-np.inf)])
def test_what_is_trained_must_be_finite_whoever_says_otherwise(initializer, tmp_path):
    model = decaying(initializer())
    assert off(keras_initx.audit(model)) == FOUND
    plan = keras_initx.initialize(model, seed=0)
    assert off(keras_initx.audit(model, plan)) == FOUND
    keras_initx.contract(lambda: decaying(initializer())).save(tmp_path / "contract.json")
    assert off(keras_initx.audit(model, like=tmp_path / "contract.json")) == FOUND


def test_the_row_says_how_many_values_are_not_finite():
    (row,) = keras_initx.audit(decaying()).problems
    assert (row.evidence, row.initializer) == ("1 of 16 values is -inf", "Logs()")


def test_a_contract_shows_what_is_not_finite_and_demands_it_of_nobody():
    contract = keras_initx.contract(decaying)
    assert contract.weights[0].text == "(not finite where it must be)"
    (row,) = keras_initx.audit(decaying("ones"), like=contract).not_compared
    assert (row.path, row.reason) == ("decay/A_log", "not finite where it must be")


def test_what_a_user_keeps_beside_the_trained_weights_may_be_infinite():
    constant = keras.initializers.Constant([0.0, -np.inf] * 8)
    for initializer in (Logs(), constant):
        model = decaying(initializer, trainable=False)
        assert keras_initx.audit(model).ok
        assert keras_initx.audit(model, like=keras_initx.contract(model)).ok
    assert off(keras_initx.audit(decaying(keras.initializers.Constant(np.nan), trainable=False))) == FOUND
    model.layers[0].rate.assign(np.full(16, -np.inf))
    assert off(keras_initx.audit(model)) == FOUND


def test_a_weight_of_an_unknown_initializer_must_be_finite_too():
    class Made(layers.Layer):
        def build(self, shape):
            self.factor = keras.Variable(np.full(shape[-1], np.inf), name="factor")

        def call(self, inputs):
            return keras.ops.tanh(inputs * self.factor)

    model = keras.Sequential([keras.Input((4,)), Made(name="made")])
    assert off(keras_initx.audit(model)) == {"made/factor": "not finite"}


def test_the_statistics_of_a_layer_of_keras_must_be_finite():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="norm")])
    model.layers[0].moving_variance.assign([1, 1, np.inf, 1])
    assert off(keras_initx.audit(model)) == {"norm/moving_variance": "not finite"}
