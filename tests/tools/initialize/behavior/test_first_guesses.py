"""What you write at the first try works, or the error has the next step."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx import initialize
from keras_initx.initializers._initializer import constructor_parameters


@pytest.fixture
def model():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(2, name="out")], name="net"
    )


def drawn(plan, initializer):
    return [row.path for row in plan if row.initializer == initializer]


def test_biases_that_a_rule_draws_as_kernels_are_noted(model):
    for name in ("he_normal", "initx.he_normal"):
        plan = initialize(model, {"*": name}, seed=0, dry_run=True)
        (note,) = plan.notes
        assert note.startswith("2 biases are drawn as kernels: hidden/bias, out/bias.")
        assert '"*/kernel"' in note
        assert "2 biases are drawn as kernels" in str(plan).splitlines()[-2]
    (note,) = initialize(model, {"out/*": "he_normal"}, dry_run=True).notes
    assert note.startswith("1 bias is drawn as a kernel: out/bias.")


def test_scales_and_moving_statistics_are_noted_too():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="hidden"), layers.BatchNormalization(name="norm")]
    )
    (note,) = initialize(model, {"*": "he_normal"}, dry_run=True).notes
    assert note.startswith(
        "5 vectors are drawn as kernels: hidden/bias, norm/gamma, norm/beta, norm/moving_mean and 1 more"
    )


@pytest.mark.parametrize(
    "rules",
    [
        {"*/kernel": "he_normal"},
        {"*/kernel": "he_normal", "*": "zeros"},
        {"*": "zeros"},
        {"*": keras.initializers.RandomNormal(stddev=0.02)},
        {"*/kernel": "he_normal", "*/bias": keras_initx.HeNormal(input_axes=[], output_axes=[0])},
    ],
)
def test_no_note_where_a_bias_is_not_drawn_as_a_kernel(model, rules):
    assert initialize(model, rules, dry_run=True).notes == ()


def test_no_note_where_the_layer_itself_draws_it_so():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, bias_initializer="he_normal", name="hidden")])
    assert initialize(model, {"*": "he_normal"}, dry_run=True).notes == ()


def test_a_layer_as_a_key_is_for_its_kernels(model):
    plan = initialize(model, {model.layers[0]: "ones"}, dry_run=True)
    assert drawn(plan, "Ones()") == ["hidden/kernel"]
    other = layers.Dense(3, name="hidden")
    with pytest.raises(ValueError, match="matches none"):
        initialize(model, {other: "ones"})


def test_a_model_as_a_key_is_for_all_kernels_in_it(model):
    outer = keras.Sequential([keras.Input((4,)), model, layers.Dense(1, name="last")])
    assert drawn(initialize(outer, {model: "ones"}, dry_run=True), "Ones()") == ["net/hidden/kernel", "net/out/kernel"]


def test_the_path_of_a_variable_in_keras_is_a_key(model):
    path = model.layers[1].kernel.path
    assert path.startswith("net/")
    assert drawn(initialize(model, {path: "ones"}, dry_run=True), "Ones()") == ["out/kernel"]


def test_a_class_is_made_as_in_a_layer(model):
    plan = initialize(model, {"hidden/kernel": keras_initx.HeNormal, "out/kernel": keras.initializers.Ones}, seed=0)
    assert [plan["hidden/kernel"].initializer, plan["out/kernel"].initializer] == ["HeNormal()", "Ones()"]


@pytest.mark.parametrize(
    ("value", "step"),
    [
        (0.1, "keras.initializers.Constant(0.1)"),
        (np.ones((4, 3)), "keras.initializers.Constant(array)"),
        (lambda shape, dtype=None: np.zeros(shape), "`keras.initializers.Initializer` that calls it"),
    ],
)
def test_what_is_no_initializer_names_the_one_to_write(model, value, step):
    with pytest.raises(TypeError, match=re.escape(step)):
        initialize(model, {"hidden/kernel": value})


def test_the_name_of_a_layer_alone_is_answered_with_its_weights_the_kernel_first(model):
    with pytest.raises(ValueError, match="it is a layer with 'hidden/kernel', 'hidden/bias'"):
        initialize(model, {"hidden": "he_normal"})


ENTRIES = [entry for entry in keras_initx.catalog().values() if constructor_parameters(entry.cls)]


@pytest.mark.parametrize("cls", [entry.cls for entry in ENTRIES])
def test_a_misspelled_argument_names_the_class_and_the_nearest_one(cls):
    parameters = [name for name in constructor_parameters(cls) if len(name) > 3]
    name = "seed" if "seed" in parameters else parameters[0]
    misspelled = name[:-2] + name[-1]
    with pytest.raises(TypeError, match=rf"{cls.__name__}\(\).*{misspelled!r}; did you mean {name!r}"):
        cls(**{misspelled: 0})


def test_the_catalog_says_what_it_is_and_finds_the_nearest_id():
    assert repr(keras_initx.catalog()).startswith(f"<Catalog of {len(keras_initx.catalog())} initializers: initx.")
    with pytest.raises(KeyError, match=r"did you mean 'initx\.he_normal'"):
        keras_initx.catalog()["he_norml"]


def test_what_is_in_keras_alone_is_pointed_to():
    with pytest.raises(AttributeError, match=r"`keras\.initializers\.Zeros`"):
        keras_initx.Zeros  # noqa: B018, is read for its error


def test_a_plan_is_saved_as_json_and_nothing_else(model, tmp_path):
    plan = initialize(model, seed=0, dry_run=True)
    for suffix, method in [(".csv", "to_csv"), (".HTML", "to_html"), (".md", "to_markdown")]:
        with pytest.raises(ValueError, match=f"`{method}` writes such a file"):
            plan.save(tmp_path / f"plan{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "method"), [("df", "to_pandas()"), ("to_dataframe", "to_pandas()"), ("save", "to_json(path)")]
)
def test_a_result_names_the_method_that_there_is(model, name, method):
    with pytest.raises(AttributeError, match=re.escape(f"did you mean {method}")):
        getattr(keras_initx.audit(model), name)
