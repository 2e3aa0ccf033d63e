"""A whole model takes the weights of a file, of another model or of arrays at hand: by names, all or nothing."""

import re
import shutil

import keras
import numpy as np
import pytest
import safetensors.numpy
from drawn import row
from loaded import STATE, Counting, network, normal
from modes import to_numpy
from stacks import arrays, built

from keras_initx import load_pretrained

layers = keras.layers

RULES = {"hidden": "body.fc", "norm": "body.bn", "out": "head"}


def assert_as_in_torch(model):
    found = arrays(model)
    np.testing.assert_array_equal(found["hidden/kernel"], STATE["body.fc.weight"].T)
    np.testing.assert_array_equal(found["norm/gamma"], STATE["body.bn.weight"])
    np.testing.assert_array_equal(found["norm/moving_variance"], STATE["body.bn.running_var"])
    np.testing.assert_array_equal(found["out/kernel"], STATE["head.weight"].T)
    np.testing.assert_array_equal(found["out/bias"], STATE["head.bias"])


@pytest.mark.every_backend
def test_rules_for_layers_cover_their_weights():
    model = network()
    plan = load_pretrained(model, STATE, RULES, layout="torch")
    assert_as_in_torch(model)
    assert row(plan, "norm/moving_mean").sources == ("body.bn.running_mean",)
    assert row(plan, "hidden/kernel").detail == "transposed"
    assert row(plan, "hidden/bias").detail == ""
    assert not plan.left
    assert plan.unused == {"body.bn.num_batches_tracked": ()}


@pytest.mark.parametrize("dtype", ["bool", "int32"])
def test_a_file_has_weights_that_are_no_real_numbers(dtype, tmp_path):
    safetensors.numpy.save_file({"n": np.array([1, 0, 1], dtype)}, tmp_path / "a.safetensors")
    model = built((2,), Counting(dtype, name="counting"))
    load_pretrained(model, tmp_path / "a.safetensors", {"counting/count": "n"}, layout="keras")
    np.testing.assert_array_equal(to_numpy(model.weights[0]), [1, 0, 1])


def test_another_model_gives_weights_by_path():
    source, model = network(), network()
    load_pretrained(source, STATE, RULES, layout="torch")
    load_pretrained(model, source)
    assert_as_in_torch(model)
    grown = built((4,), layers.Dense(4, name="hidden"), layers.Dense(3, name="new"))
    plan = load_pretrained(grown, source)
    assert [weight.path for weight in plan.left] == ["new/kernel", "new/bias"]
    assert "out/kernel" in plan.unused
    with pytest.raises(ValueError, match=r"'hidden/kernel' \(4, 4\): the shape is \(4, 2\) instead of \(4, 4\)"):
        load_pretrained(grown, source, {"hidden": "out"})


def test_the_first_rule_that_matches_counts_and_what_none_matches_is_left():
    model = network()
    before = arrays(model)
    rules = {"hidden/bias": None, "hidden": "body.fc", "hidden/*": "head.{0}"}
    plan = load_pretrained(model, STATE, rules, layout="torch")
    after = arrays(model)
    assert [weight.path for weight in plan.rows if weight.status != "left"] == ["hidden/kernel"]
    assert row(plan, "hidden/bias").detail == "None in names"
    assert row(plan, "out/bias").detail == "not in names"
    np.testing.assert_array_equal(after.pop("hidden/kernel"), STATE["body.fc.weight"].T)
    assert all((value == before[path]).all() for path, value in after.items())


def test_a_square_kernel_is_transposed_or_not_as_the_layout_says():
    state = {"hidden.kernel": normal(4, 4)}
    for layout, expected in (("torch", state["hidden.kernel"].T), ("keras", state["hidden.kernel"])):
        model = network()
        load_pretrained(model, state, layout=layout)
        np.testing.assert_array_equal(arrays(model)["hidden/kernel"], expected)
    with pytest.raises(ValueError, match=r"`layout` must be 'torch' or 'keras'.*Received: layout=None"):
        load_pretrained(network(), state)


def test_the_layout_of_a_model_of_keras_is_known(tmp_path):
    source = network()
    source.save(tmp_path / "source.keras")
    source.save_weights(tmp_path / "source.weights.h5")
    shutil.copy(tmp_path / "source.keras", tmp_path / "UPPER.KERAS")
    shutil.copy(tmp_path / "source.weights.h5", tmp_path / "plain.h5")
    rules = {"hidden/kernel": "layers/dense/vars/0"}
    load_pretrained(network(), tmp_path / "plain.h5", rules, layout="keras")
    with pytest.raises(ValueError, match=r"`layout` must be 'torch' or 'keras'.*Received: layout=None"):
        load_pretrained(network(), tmp_path / "plain.h5", rules)
    for name in ("source.keras", "source.weights.h5", "UPPER.KERAS"):
        model = network()
        load_pretrained(model, tmp_path / name, rules)
        np.testing.assert_array_equal(arrays(model)["hidden/kernel"], arrays(source)["hidden/kernel"])
    for stored in (source, *(tmp_path / name for name in ("source.keras", "source.weights.h5", "UPPER.KERAS"))):
        with pytest.raises(ValueError, match=r"`layout` must be 'keras' or `None` .* Received: layout='torch'"):
            load_pretrained(network(), stored, layout="torch")


OTHER_ENTRIES = {
    "string": "body.fc",
    "dict": {"epoch": 3},
    "ragged": [[1.0], [1.0, 2.0]],
    "complex": np.ones(4, "complex64"),
    "masked": np.ma.masked_array(np.ones(4, "float32"), [0, 0, 0, 1]),
}


@pytest.mark.parametrize("name", OTHER_ENTRIES)
def test_an_entry_that_is_no_array_of_numbers_is_refused_only_where_a_weight_needs_it(name):
    model = network()
    plan = load_pretrained(model, STATE | {"body.fc._extra_state": OTHER_ENTRIES[name]}, RULES, layout="torch")
    assert_as_in_torch(model)
    assert "body.fc._extra_state" in plan.unused
    before = arrays(model)
    with pytest.raises(ValueError, match=r"Received: 'hidden/bias' \(4,\): cannot cast .* to float32"):
        load_pretrained(model, STATE | {"body.fc.bias": OTHER_ENTRIES[name]}, RULES, layout="torch")
    assert all((value == before[path]).all() for path, value in arrays(model).items())


@pytest.mark.parametrize("name", ["complex", "masked"])
def test_a_function_must_return_numbers_as_well(name):
    rules = {"hidden/bias": ("body.fc.bias", lambda array: OTHER_ENTRIES[name])}
    with pytest.raises(ValueError, match=rf"'hidden/bias' \(4,\): the function returns {name}"):
        load_pretrained(network(), STATE, rules, layout="torch")


@pytest.mark.parametrize("shape", [(13, 6), ()])
def test_what_has_no_thirds_is_not_query_key_and_value(shape):
    inputs = keras.Input((3, 6))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 2, use_bias=False, name="attention")(inputs, inputs))
    state = {"attention.in_proj_weight": np.zeros(shape)}
    message = rf"'attention/query/kernel' .*: the shape {re.escape(str(shape))} cannot be split into query, key"
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, state, layout="torch")


def test_a_fused_array_is_taken_apart():
    fused, bias = normal(6, 12), normal(12)
    inputs = keras.Input((3, 6))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 2, name="attention")(inputs, inputs))
    parts = {name: np.s_[..., 4 * i : 4 * i + 4] for i, name in enumerate(["query", "key", "value"])}
    rules = {f"attention/{name}/kernel": ("qkv.weight", part) for name, part in parts.items()}
    rules |= {f"attention/{name}/bias": ("qkv.bias", part) for name, part in parts.items()}
    plan = load_pretrained(model, {"qkv.weight": fused, "qkv.bias": bias}, rules, layout="keras")
    np.testing.assert_array_equal(arrays(model)["attention/key/kernel"], fused[:, 4:8].reshape(6, 2, 2))
    np.testing.assert_array_equal(arrays(model)["attention/value/bias"], bias[8:].reshape(2, 2))
    assert row(plan, "attention/query/kernel").detail == "[..., 0:4], reshaped"


def test_queries_keys_and_values_may_have_arrays_of_their_own():
    inputs = keras.Input((3, 6))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 2, use_bias=False, name="attention")(inputs, inputs))
    state = {f"attention.{letter}_proj_weight": normal(4, 6) for letter in "qkv"}
    state["attention.out_proj.weight"] = normal(6, 4)
    assert not load_pretrained(model, state, layout="torch").left
    found = arrays(model)
    for name in ("query", "key", "value"):
        matrix = state[f"attention.{name[0]}_proj_weight"].T
        np.testing.assert_array_equal(found[f"attention/{name}/kernel"].reshape(6, 4), matrix)
    matrix = state["attention.out_proj.weight"].T
    np.testing.assert_array_equal(found["attention/attention_output/kernel"].reshape(4, 6), matrix)


def test_the_scale_of_an_rms_normalization_has_the_name_of_torch():
    plan = load_pretrained(built((4,), layers.RMSNormalization(name="rms")), {"rms.weight": normal(4)}, layout="torch")
    assert plan.rows[0].sources == ("rms.weight",)


def test_a_batch_of_matrices_is_no_matrix():
    model = built((3, 4), layers.EinsumDense("bed,edf->bef", (3, 5), name="experts"))
    for layout, message in (("torch", "the order of axes of a EinsumDense in torch"), ("keras", r"\(3, 4, 5\)$")):
        with pytest.raises(ValueError, match=message):
            load_pretrained(model, {"experts.kernel": normal(12, 5)}, layout=layout)


def test_a_pattern_covers_weights_by_the_outermost_layer_that_it_matches():
    inner = keras.Sequential([layers.Dense(4, name="dense")], name="inner")
    model = built((4,), layers.Dense(4, name="dense"), inner)
    plan = load_pretrained(model, {"k": normal(4, 4)}, {"*/kernel": "k"}, layout="keras")
    assert [row.path for row in plan.rows if row.sources] == ["dense/kernel", "inner/dense/kernel"]
    state = {"enc.dense.weight": normal(4, 4), "enc.dense.bias": normal(4)}
    plan = load_pretrained(model, state, {"inn*": "enc"}, layout="torch")
    assert [row.path for row in plan.rows if row.sources] == ["inner/dense/kernel", "inner/dense/bias"]
    state = {"m.inner.dense.weight": normal(4, 4), "m.inner.dense.bias": normal(4)}
    plan = load_pretrained(model, state, {"dense": None, "*": "m.{0}"}, layout="torch")
    assert [row.path for row in plan.rows if row.sources] == ["inner/dense/kernel", "inner/dense/bias"]


@pytest.mark.parametrize(
    ("equation", "shape", "units", "layout"),
    [("abcd,dce->abe", (7, 4, 4), (7, 2), "torch"), ("abc,ced->abde", (7, 4), (7, 3, 2), "keras")],
)
def test_inputs_and_units_of_a_matrix_are_in_the_order_of_the_layers(equation, shape, units, layout):
    model, x = built(shape, layers.EinsumDense(equation, units, name="layer")), normal(1, *shape)
    matrix = normal(x[0, 0].size, np.prod(units[1:]))
    state = {"weight": matrix.T if layout == "torch" else matrix}
    load_pretrained(model, state, {"layer/kernel": "weight"}, layout=layout)
    np.testing.assert_allclose(to_numpy(model(x))[0], (x.reshape(7, -1) @ matrix).reshape(units), atol=1e-4)


def test_a_square_matrix_in_the_layout_of_keras_is_the_kernel_itself():
    model, kernel = built((6, 4), layers.EinsumDense("abc,dc->abd", (None, 4), name="layer")), normal(4, 4)
    load_pretrained(model, {"layer.kernel": kernel}, layout="keras")
    np.testing.assert_array_equal(arrays(model)["layer/kernel"], kernel)
    model = built((6, 4), layers.EinsumDense("abc,dc->abd", (None, 5), name="layer"))
    with pytest.raises(ValueError, match=r"the shape is \(4, 5\) instead of \(5, 4\)"):
        load_pretrained(model, {"layer.kernel": normal(4, 5)}, layout="keras")


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        (["hidden"], TypeError, "`names` must be a dict"),
        ({layers.Dense: "head"}, TypeError, "`names` must have path patterns as keys"),
        ({"hidden": 3}, TypeError, r"The values of `names` must be .* Received: 3 for 'hidden'"),
        ({"hidden": ("head", "head")}, TypeError, r"The values of `names` must be"),
        ({"out/kernel": ["head.weight", np.s_[:1]]}, TypeError, r"The values of `names` must be .* for 'out/kernel'"),
        ({"out/kernel": ("head.weight", np.s_[:1], 1)}, TypeError, r"The values of `names` must be"),
        *(
            ({"hidden": template}, ValueError, rf"`names` must name arrays, with .* Received: '{re.escape(template)}'")
            for template in ("{0", "{name}")
        ),
        ({"out/kernel": ("head.weight", slice("a", None))}, ValueError, r"'out/kernel' .*: no part \[a:\]: slice"),
        ({"hiden": "head"}, ValueError, r"Each of `names` must match .*'hiden', which matches none; .* 'hidden'"),
        (
            {"hidden": "{1}"},
            ValueError,
            r"`names` must name arrays, with `\{0\}` .* Received: '\{1\}' for 'hidden/kernel'",
        ),
        ({"out": ("head", np.s_[:2])}, ValueError, "`names` must not have a part for a layer"),
        (
            {"out": "haed"},
            ValueError,
            r"Received: 'out/kernel' \(4, 2\): no array .*'haed.weight'; close matches are 'head.weight'.*; 'out/bias'",
        ),
        ({"out": "body.fc"}, ValueError, r"'out/kernel' \(4, 2\): the shape is \(4, 4\) instead of \(2, 4\)"),
        ({"out/kernel": ("head.weight", np.s_[0, 0, 0])}, ValueError, r"'out/kernel' .*: no part \[0, 0, 0\]"),
        (
            {"out/kernel": ("head.weight", np.ravel)},
            ValueError,
            r"'out/kernel' \(4, 2\): the function returns shape \(8,\)",
        ),
        (
            {"out/bias": "body.bn.num_batches_tracked"},
            ValueError,
            r"'out/bias' \(2,\): cannot cast 'body.bn.num_batches_tracked', int64, to float32",
        ),
    ],
)
def test_wrong_rules_change_nothing(rules, error, message):
    model = network()
    before = arrays(model)
    # Another rule, which is right, has no effect either.
    rules = {"hidden": "body.fc", **rules} if isinstance(rules, dict) and "hidden" not in rules else rules
    with pytest.raises(error, match=message):
        load_pretrained(model, STATE, rules, layout="torch")
    assert all((value == before[path]).all() for path, value in arrays(model).items())


def test_what_cannot_be_read_to_its_end_changes_nothing(tmp_path):
    np.savez(tmp_path / "a.npz", **STATE)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    place = content.index(STATE["head.bias"].tobytes())
    content[place] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    model = network()
    before = arrays(model)
    with pytest.raises(ValueError, match=r"`source` must be a \.npz file: .*Received: source="):
        load_pretrained(model, tmp_path / "a.npz", RULES, layout="torch")
    assert all((value == before[path]).all() for path, value in arrays(model).items())


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValueError, match=r"`model` must be built.*the model 'empty' without weights"):
        load_pretrained(keras.Sequential([layers.Dense(2)], name="empty"), STATE, layout="torch")


def of_torch():
    """Return a module of torch, and a model with the names of its parts."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential()
    module.add_module("hidden", torch.nn.Linear(4, 4))
    module.add_module("out", torch.nn.Linear(4, 3))
    return module, built((4,), layers.Dense(4, name="hidden"), layers.Dense(3, name="out"))


def test_a_module_of_torch_is_a_source_whose_layout_is_known():
    module, model = of_torch()
    report = load_pretrained(model, module)
    assert report.layout == "torch"
    assert report.summary == "4 of 4 weights loaded."
    np.testing.assert_array_equal(arrays(model)["hidden/kernel"], module.hidden.weight.detach().numpy().T)


def test_a_module_of_torch_may_have_the_axes_of_keras_by_an_argument():
    torch = pytest.importorskip("torch")
    module = torch.nn.Module()
    module.register_parameter("kernel", torch.nn.Parameter(torch.randn(4, 3)))
    model = built((4,), layers.Dense(3, use_bias=False, name="out"))
    with pytest.raises(ValueError, match="fits only in the layout of Keras: pass layout='keras'"):
        load_pretrained(model, module, {"out/kernel": "kernel"})
    load_pretrained(model, module, {"out/kernel": "kernel"}, layout="keras")
    np.testing.assert_array_equal(arrays(model)["out/kernel"], module.kernel.detach().numpy())


def test_a_layer_of_keras_is_no_module():
    with pytest.raises(TypeError, match=r"`source` must be .* a Keras model, a module of torch, or a dict"):
        load_pretrained(built((4,), layers.Dense(3)), layers.Dense(3), layout="torch")


class Mixture(layers.Layer):
    """Has a table with a row for each expert."""

    def __init__(self, experts=2, **options):
        super().__init__(**options)
        self.shape = (experts,)

    def build(self, shape):
        self.experts = self.add_weight((*self.shape, shape[-1]), name="experts")

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.experts))


def test_an_own_table_whose_sides_differ_is_loaded_by_its_shape_and_says_so():
    model, state = built((2,), Mixture(49, name="mixture")), {"mixture.experts": normal(49, 2)}
    report = load_pretrained(model, state, layout="torch")
    assert report["mixture/experts"].detail == "in its own order, because no other fits the shape"
    np.testing.assert_array_equal(arrays(model)["mixture/experts"], state["mixture.experts"])
    with pytest.raises(ValueError, match="the order of axes of a Mixture in torch is unknown"):
        load_pretrained(model, {"mixture.experts": normal(2, 49)}, layout="torch")
    assert load_pretrained(model, state, layout="keras")["mixture/experts"].detail == ""


def test_an_own_table_shows_no_layout():
    model = built((4,), Mixture(3, name="mixture"), layers.Dense(3, name="out"))
    state = {"mixture.experts": normal(3, 4), "out.weight": normal(3, 3), "out.bias": normal(3)}
    for layout in ("torch", "keras"):
        assert load_pretrained(model, state, layout=layout).ok


def test_axes_that_are_not_known_want_a_function():
    model, state = built((2,), Mixture(name="mixture")), {"experts": normal(2, 2)}
    with pytest.raises(ValueError, match=r"the order of axes of a Mixture in torch is unknown; pass a function"):
        load_pretrained(model, state, {"mixture/experts": "experts"}, layout="torch")
    load_pretrained(model, state, {"mixture/experts": ("experts", np.asarray)}, layout="torch")
    np.testing.assert_array_equal(arrays(model)["mixture/experts"], state["experts"])


# Of `network`, whose first kernel is square, as Keras has it and as torch has it.
AS_IN_KERAS = {"hidden.kernel": normal(4, 4), "norm.gamma": normal(4), "out.kernel": normal(4, 2)}
LAYOUTS = {"torch": AS_IN_KERAS, "keras": {name: array.T for name, array in AS_IN_KERAS.items()}}


@pytest.mark.parametrize("rules", [None, {"hidden/kernel": "hidden.kernel"}, {"out": None, "hidden": "hidden"}])
@pytest.mark.parametrize("given", LAYOUTS)
def test_a_square_kernel_is_refused_where_other_arrays_have_another_layout(given, rules):
    model, state = network(), {**LAYOUTS[given], "hidden.bias": normal(4)}
    right = "torch" if given == "keras" else "keras"
    shape = re.escape(str(state["out.kernel"].shape))
    expected = f"'hidden/kernel' .*: 'out.kernel' {shape} fits only in the layout of \\w+: pass layout='{right}'"
    with pytest.raises(ValueError, match=expected):
        load_pretrained(model, state, rules, layout=given)
    plan = load_pretrained(model, state, rules, layout=given, dry_run=True)
    assert row(plan, "hidden/kernel").status == "error"
    assert not load_pretrained(model, state, rules, layout=right).problems


@pytest.mark.parametrize(
    "other",
    [{}, {"norm.gamma": normal(4)}, {"out.kernel": normal(7, 7)}],
    ids=["no other array", "an array of one axis", "an array that fits in no layout"],
)
def test_a_square_kernel_is_loaded_where_no_array_has_another_layout(other):
    model, kernel = network(), normal(4, 4)
    load_pretrained(model, {"hidden.kernel": kernel, **other}, {"hidden/kernel": "hidden.kernel"}, layout="torch")
    np.testing.assert_array_equal(arrays(model)["hidden/kernel"], kernel.T)


def test_what_a_function_makes_says_nothing_of_the_layout():
    rules = {"hidden/kernel": "hidden.kernel", "out/kernel": ("out.kernel", np.positive)}
    assert not load_pretrained(network(), AS_IN_KERAS, rules, layout="torch", dry_run=True).problems


def test_arrays_of_both_layouts_do_not_say_which_is_meant():
    state = {**AS_IN_KERAS, "more.kernel": normal(3, 2)}
    model = built((4,), layers.Dense(4, name="hidden"), layers.Dense(2, name="out"), layers.Dense(3, name="more"))
    plan = load_pretrained(model, state, layout="torch", dry_run=True)
    assert [problem.text for problem in plan.problems] == ["'out/kernel' (4, 2): the shape is (4, 2) instead of (2, 4)"]


@pytest.mark.release_backends
def test_rows_of_a_flattened_image_are_reordered():
    model = built((4, 3, 2), layers.Conv2D(5, 2, name="conv"), layers.Flatten(), layers.Dense(7, name="out"))
    kernel = normal(7, 30)
    load_pretrained(model, {"w": kernel}, {"out/kernel": "w"}, layout="torch")
    expected = np.moveaxis(kernel.reshape(7, 5, 3, 2), 1, -1).reshape(7, 30).T
    np.testing.assert_array_equal(arrays(model)["out/kernel"], expected)
