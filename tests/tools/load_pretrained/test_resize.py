"""A model takes a checkpoint with other channels, words, positions or classes, where the user says which."""

import re

import keras
import numpy as np
import pytest
from drawn import row
from loaded import normal
from modes import often, to_numpy
from resizable import Positions, drawn, resnet, table
from stacks import arrays, built

from keras_initx import load_pretrained, weights_digest
from keras_initx.types import Channels, Grid, Rows, Units

layers = keras.layers


def as_gray(channels):
    """Return images whose channels are equal."""
    return np.repeat(np.random.default_rng(3).normal(size=(5, 8, 8, 1)), channels, axis=-1).astype("float32")


FROM_THREE = {
    1: "3 to 1 channels: mean for each, times 3",
    2: "3 to 2 channels: mean for each, times 1.5",
    5: "3 to 5 channels: first 3, mean for 2, times 0.6",
}


@pytest.mark.parametrize("new", [1, 2, pytest.param(5, marks=pytest.mark.release_backends)])
def test_a_residual_network_gives_the_same_for_images_whose_channels_are_equal(new):
    source = drawn(resnet(3))
    scaled = source.get_layer("scaled")
    scaled.load_own_variables({"0": np.full(3, 0.5), "1": np.full(3, 2.0), "2": 0})
    model = drawn(resnet(new), seed=1)
    plan = load_pretrained(model, source, resize={"scaled/*": "channels", "stem/kernel": "channels"})
    np.testing.assert_allclose(to_numpy(model(as_gray(new))), to_numpy(source(as_gray(3))), atol=2e-6)
    assert row(plan, "stem/kernel").detail == FROM_THREE[new]
    assert row(plan, "scaled/mean").detail == FROM_THREE[new].rpartition(", times")[0]
    assert row(plan, "branch/kernel").detail == ""
    assert not plan.left


STEMS = [
    (layers.Conv1D, (6,)),
    (layers.Conv3D, (4, 4, 4)),
    (layers.Conv1DTranspose, (6,)),
    (layers.Conv2DTranspose, (4, 4)),
    (layers.Conv3DTranspose, (3, 3, 3)),
]


@pytest.mark.parametrize(("stem", "places"), STEMS)
@pytest.mark.parametrize("new", often([1, 5], [5]))
def test_channels_are_on_the_axis_that_the_convolution_has_for_them(stem, places, new):
    images = np.random.default_rng(0).normal(size=(2, *places, 1)).astype("float32")
    old, model = (drawn(built((*places, channels), stem(4, 3, name="stem"))) for channels in (3, new))
    load_pretrained(model, old, resize={"stem": "channels"})
    expected = to_numpy(old(np.repeat(images, 3, axis=-1)))
    np.testing.assert_allclose(to_numpy(model(np.repeat(images, new, axis=-1))), expected, atol=1e-5)


def test_channels_may_be_those_of_flattened_patches():
    def patches(channels):
        stack = [layers.Reshape((4, 4 * channels)), layers.Dense(6, name="embedding")]
        return drawn(built((4, 4, channels), *stack))

    old, model = patches(3), patches(5)
    plan = load_pretrained(model, old, resize={"embedding/kernel": Channels(3, 5)})
    expected = "3 to 5 channels: first 3, mean for 2 at each of 4 places, times 0.6"
    assert row(plan, "embedding/kernel").detail == expected
    gray = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype("float32")
    expected = to_numpy(old(np.repeat(gray, 3, axis=-1)))
    np.testing.assert_allclose(to_numpy(model(np.repeat(gray, 5, axis=-1))), expected, atol=1e-5)
    # An einsum layer with one axis of inputs is another way to write it.
    einsum = drawn(built((4, 20), layers.EinsumDense("abc,cd->abd", (4, 6), bias_axes="d", name="embedding")))
    load_pretrained(einsum, old, resize={"embedding/kernel": Channels(3, 5)})
    np.testing.assert_array_equal(arrays(einsum)["embedding/kernel"], arrays(model)["embedding/kernel"])


class Tied(layers.Layer):
    """Gives logits by the table of another layer."""

    def __init__(self, tokens, **options):
        super().__init__(**options)
        self.tokens = tokens

    def build(self, shape):
        self.bias = self.add_weight((self.tokens.input_dim,), initializer="zeros", name="bias")

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.tokens.embeddings)) + self.bias


def language_model(words, length=6, head="tied", seed=0, **options):
    """Return a decoder of one block that gives logits."""
    ids = keras.Input((None,), dtype="int32")
    tokens = layers.Embedding(words, 8, name="tokens", **options)
    x = Positions(length, name="position", **options)(tokens(ids))
    x = x + layers.MultiHeadAttention(2, 4, name="attention", **options)(x, x, use_causal_mask=True)
    last = Tied(tokens, name="head", **options) if head == "tied" else layers.Dense(words, name="head", **options)
    return drawn(keras.Model(ids, last(x)), seed)


TEXT = np.random.default_rng(5).integers(0, 20, (4, 6))
WORDS = {"tokens/embeddings": "rows", "head/*": "units"}


def losses(logits, words):
    """Return the losses of the words of a text."""
    logits = logits.astype("float64")
    return np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, words[..., None], -1)[..., 0]


@pytest.mark.parametrize("head", ["tied", "not tied"])
@pytest.mark.parametrize("new", [1, 20])
def test_new_words_leave_the_old_logits_and_raise_the_loss_within_its_bound(head, new):
    old, model = language_model(20, head=head), language_model(20 + new, head=head, seed=1)
    plan = load_pretrained(model, old, resize=WORDS)
    before, after = to_numpy(old(TEXT)), to_numpy(model(TEXT))
    np.testing.assert_allclose(after[..., :20], before, atol=1e-5)
    words = np.roll(TEXT, -1, axis=1)
    rise = losses(after, words) - losses(before, words)
    assert (rise > 0).all()
    assert (rise <= np.log(1 + new / 20) + 1e-5).all()
    assert row(plan, "tokens/embeddings").detail == f"20 to {20 + new} rows: first 20, mean for {new}"
    assert row(plan, "head/bias").detail == f"20 to {20 + new} units: first 20, mean for {new}"
    assert not plan.left


@pytest.mark.parametrize("head", ["tied", "not tied"])
def test_a_vocabulary_that_is_cut_keeps_the_logits_of_the_words_that_stay(head):
    old = language_model(20, head=head)
    few, chosen = language_model(5, head=head), language_model(3, head=head)
    load_pretrained(few, old, resize=WORDS)
    np.testing.assert_allclose(to_numpy(few(TEXT % 5)), to_numpy(old(TEXT % 5))[..., :5], atol=1e-5)
    kept = [3, 17, 4]
    plan = load_pretrained(chosen, old, resize={"tokens/*": Rows(kept), "head/*": Units(kept)})
    ids = TEXT % 3
    np.testing.assert_allclose(to_numpy(chosen(ids)), to_numpy(old(np.array(kept)[ids]))[..., kept], atol=1e-5)
    assert row(plan, "tokens/embeddings").detail == "20 to 3 rows: chosen 3"


def test_words_that_are_chosen_are_also_put_in_another_order():
    old, model = language_model(4), language_model(4, seed=1)
    order = [2, 0, 3, 1]
    load_pretrained(model, old, resize={"tokens/*": Rows(order), "head/*": Units(order)})
    np.testing.assert_array_equal(arrays(model)["tokens/embeddings"], arrays(old)["tokens/embeddings"][order])
    np.testing.assert_array_equal(arrays(model)["head/bias"], arrays(old)["head/bias"][order])


@pytest.mark.parametrize("axes", [2, 3])
def test_shorter_texts_give_the_same_with_more_or_fewer_positions(axes):
    def model_of(length):
        ids = keras.Input((None,), dtype="int32")
        x = layers.Embedding(20, 8, name="tokens")(ids)
        return drawn(keras.Model(ids, Positions(length, axes, name="position")(x)))

    old = model_of(8)
    for length in (4, 12):
        model = model_of(length)
        load_pretrained(model, old, resize={"position/table": "rows"})
        np.testing.assert_array_equal(to_numpy(model(TEXT[:, :4])), to_numpy(old(TEXT[:, :4])))


def test_positions_of_an_image_are_interpolated():
    def vision(side):
        x = keras.Input((side * 2, side * 2, 3))
        patches = layers.Reshape((side**2, 4))(layers.Conv2D(4, 2, strides=2, name="patches")(x))
        token = layers.Dense(4, name="token")(keras.ops.zeros_like(patches[:, :1]))
        x_with_token = layers.Concatenate(axis=1)([token, patches])
        return drawn(keras.Model(x, Positions(side**2 + 1, name="position")(x_with_token)))

    old, model = vision(3), vision(5)
    kind = Grid((3, 3), (5, 5), leading=1)
    plan = load_pretrained(model, old, resize={"position/*": kind})
    table = arrays(old)["position/table"]
    expected = kind.resized(table, 0, 26).astype("float32")
    np.testing.assert_array_equal(arrays(model)["position/table"], expected)
    np.testing.assert_array_equal(expected[0], table[0])
    assert row(plan, "position/table").detail == "3 x 3 to 5 x 5 positions: cubic, first 1 kept"
    # The same number of patches may lie otherwise.
    kind = Grid((2, 4), (4, 2), leading=1)
    load_pretrained(vision(3), old, resize={"position/*": Grid((3, 3), (3, 3), leading=1)})
    with pytest.raises(ValueError, match="10 rows are not the positions of 2 x 4 patches with leading=1"):
        load_pretrained(vision(3), old, resize={"position/*": kind})


def test_a_grid_of_as_many_patches_that_lie_otherwise_is_interpolated():
    source = {"position/table": normal(8, 2)}
    model = drawn(built((8, 2), Positions(8, name="position")))
    kind = Grid((2, 4), (4, 2))
    plan = load_pretrained(model, source, layout="keras", resize={"position/table": kind})
    expected = kind.resized(source["position/table"], 0, 8).astype("float32")
    np.testing.assert_array_equal(arrays(model)["position/table"], expected)
    assert row(plan, "position/table").detail == "2 x 4 to 4 x 2 positions: cubic"


TORCH = {
    "conv.weight": normal(4, 3, 3, 3),
    "conv.bias": normal(4),
    "bn.weight": normal(4),
    "bn.bias": normal(4),
    "bn.running_mean": normal(4),
    "bn.running_var": normal(4) ** 2,
    "up.weight": normal(4, 2, 3, 3),
    "up.bias": normal(2),
    "head.weight": normal(10, 2),
    "head.bias": normal(10),
}


def network_of_torch(channels, classes):
    return built(
        (8, 8, channels),
        layers.Conv2D(4, 3, name="conv"),
        layers.BatchNormalization(epsilon=1e-5, name="bn"),
        layers.Conv2DTranspose(2, 3, name="up"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(classes, name="head"),
    )


@pytest.mark.parametrize(("channels", "classes"), [(1, 12), (5, 7)])
def test_a_network_of_torch_is_converted_first(channels, classes):
    torch = pytest.importorskip("torch")
    model = network_of_torch(channels, classes)
    plan = load_pretrained(model, TORCH, layout="torch", resize={"conv": "channels", "head": "units"})
    assert row(plan, "conv/kernel").detail.startswith(f"transposed, 3 to {channels} channels: ")
    assert row(plan, "head/kernel").detail.startswith(f"transposed, 10 to {classes} units: ")
    images = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype("float32")
    state = {name: torch.tensor(array) for name, array in TORCH.items()}
    x = torch.nn.functional.conv2d(torch.tensor(np.repeat(images, 3, 1)), state["conv.weight"], state["conv.bias"])
    statistics = [state[f"bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    x = torch.nn.functional.batch_norm(x, *statistics)
    x = torch.nn.functional.conv_transpose2d(x, state["up.weight"], state["up.bias"]).mean((2, 3))
    expected = (x @ state["head.weight"].T + state["head.bias"]).numpy()
    found = to_numpy(model(np.repeat(images, channels, 1).transpose(0, 2, 3, 1)))
    kept = min(classes, 10)
    np.testing.assert_allclose(found[:, :kept], expected[:, :kept], atol=1e-4)


def test_the_same_resize_serves_both_layouts():
    resize = {"conv/kernel": "channels", "head/*": "units"}
    first, second = network_of_torch(5, 12), network_of_torch(5, 12)
    load_pretrained(first, TORCH, layout="torch", resize=resize)
    whole = network_of_torch(3, 10)
    load_pretrained(whole, TORCH, layout="torch")
    load_pretrained(second, whole, resize=resize)
    assert weights_digest(first) == weights_digest(second)


def test_a_torch_module_inside_has_its_own_axes():
    torch = pytest.importorskip("torch")

    def model_of(channels, classes):
        flat = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        module = torch.nn.Sequential(
            torch.nn.Conv2d(channels, 4, 3), torch.nn.ConvTranspose2d(4, 5, 3), *flat, torch.nn.Linear(5, classes)
        )
        return drawn(built((channels, 8, 8), layers.TorchModuleWrapper(module, name="net")))

    if keras.backend.backend() != "torch":
        pytest.skip("needs torch as the backend")
    old, model = model_of(3, 4), model_of(5, 6)
    resize = {"net/0.weight": "channels", "net/4.*": "units"}
    plan = load_pretrained(model, old, resize=resize)
    assert row(plan, "net/0.weight").detail == "3 to 5 channels: first 3, mean for 2, times 0.6"
    gray = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype("float32")
    found, expected = (to_numpy(one(np.repeat(gray, n, 1))) for one, n in ((model, 5), (old, 3)))
    np.testing.assert_allclose(found[:, :4], expected, atol=1e-5)
    wider = drawn(built((3, 8, 8), layers.TorchModuleWrapper(torch.nn.ConvTranspose2d(3, 5, 3), name="net")))
    narrow = drawn(built((1, 8, 8), layers.TorchModuleWrapper(torch.nn.ConvTranspose2d(1, 5, 3), name="net")))
    load_pretrained(narrow, wider, resize={"net/weight": "channels"})
    expected = to_numpy(wider(np.repeat(gray, 3, 1)))
    np.testing.assert_allclose(to_numpy(narrow(gray)), expected, atol=1e-5)


def test_rows_behind_a_flattened_image_keep_their_order_where_units_are_resized():
    def model_of(classes):
        return built((4, 3, 2), layers.Conv2D(5, 2, name="conv"), layers.Flatten(), layers.Dense(classes, name="out"))

    kernel = normal(7, 30)
    model, whole = model_of(9), model_of(7)
    rules = {"out/kernel": "w"}
    plan = load_pretrained(model, {"w": kernel}, rules, layout="torch", resize={"out": "units"})
    load_pretrained(whole, {"w": kernel}, rules, layout="torch")
    np.testing.assert_array_equal(arrays(model)["out/kernel"][:, :7], arrays(whole)["out/kernel"])
    assert row(plan, "out/kernel").detail == (
        "transposed, rows reordered from channels first, 7 to 9 units: first 7, mean for 2"
    )


def test_rows_that_torch_has_in_another_order_are_not_resized():
    model = built((4, 3, 2), layers.Conv2D(5, 2, name="conv"), layers.Flatten(), layers.Dense(7, name="out"))
    message = "torch may have the channels in another order than the weight, so they cannot be resized; pass a function"
    resize = {"out/kernel": Channels(3, 5)}
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, {"w": normal(7, 18)}, {"out/kernel": "w"}, layout="torch", resize=resize)


def test_a_function_says_the_layout_and_resize_the_shape():
    model = drawn(built((8, 2), Positions(8, axes=3, name="position")))
    table = normal(1, 6, 2)
    source, rules = {"pos": table}, {"position/table": ("pos", np.asarray)}
    plan = load_pretrained(model, source, rules, layout="torch", resize={"position/table": "rows"})
    np.testing.assert_array_equal(arrays(model)["position/table"][:, :6], table)
    assert row(plan, "position/table").detail == "asarray(), 6 to 8 rows: first 6, mean for 2"
    with pytest.raises(
        ValueError, match=r"the function returns shape \(1, 6, 2\); to load another number of rows, pass resize="
    ):
        load_pretrained(model, source, rules, layout="torch")


def test_a_part_is_taken_first():
    model = drawn(built((8, 2), Positions(8, name="position")))
    table = normal(1, 6, 2)
    rules = {"position/table": ("pos", np.s_[0])}
    load_pretrained(model, {"pos": table}, rules, layout="keras", resize={"position": "rows"})
    np.testing.assert_array_equal(arrays(model)["position/table"][:6], table[0])


def test_arrays_of_the_right_shape_are_not_touched():
    source, model = drawn(resnet(3)), drawn(resnet(3), seed=1)
    resize = {"stem": "rows", "scaled": "channels", "head": "channels", "branch/*": "units"}
    plan = load_pretrained(model, source, resize=resize)
    assert {weight.detail for weight in plan.rows} == {""}
    assert weights_digest(model) == weights_digest(source)


def test_the_first_pattern_that_matches_counts_and_a_layer_covers_its_weights():
    inner = keras.Sequential([layers.Dense(3, name="dense")], name="inner")
    old = built((4,), keras.Sequential([layers.Dense(2, name="dense")], name="inner"))
    model = built((4,), inner)
    plan = load_pretrained(model, drawn(old), resize={"inner/dense/bias": Units([1, 0]), "inner": "units"})
    assert [weight.detail for weight in plan.rows] == [
        "2 to 3 units: first 2, mean for 1",
        "2 to 3 units: chosen 2, mean for 1",
    ]


@pytest.mark.release_backends
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_values_are_rounded_once(dtype):
    table = np.random.default_rng(2).normal(size=(7, 3)).astype(dtype)
    old = built((2,), layers.Embedding(7, 3, name="tokens", dtype=dtype))
    old.weights[0].assign(table)
    model = built((2,), layers.Embedding(9, 3, name="tokens", dtype=dtype))
    load_pretrained(model, old, resize={"tokens": "rows"})
    found = to_numpy(model.weights[0].value)
    np.testing.assert_array_equal(found[:7], table)
    mean = Rows().resized(table, 0, 8)[7]
    np.testing.assert_array_equal(found[7:], np.stack([mean.astype(dtype)] * 2))


def test_a_model_of_a_class_with_shared_and_frozen_layers_is_resized_too():
    class Twice(keras.Model):
        def __init__(self, words):
            super().__init__()
            self.table = layers.Embedding(words, 4, name="table", trainable=False)
            self.inner = keras.Sequential([self.table, layers.Dense(words, name="head")], name="inner")

        def call(self, ids):
            return self.inner(ids) + keras.ops.sum(self.table(ids))

    old, model = Twice(6), Twice(9)
    for one in (old, model):
        one(TEXT % 6)
        drawn(one)
    load_pretrained(model, old, resize={"*table": "rows", "*head": "units"})
    np.testing.assert_allclose(to_numpy(model(TEXT % 6))[..., :6], to_numpy(old(TEXT % 6)), atol=1e-5)


def test_the_head_of_an_embedding_that_is_not_tied_is_resized_by_rows_and_by_units():
    reversible = getattr(layers, "ReversibleEmbedding", None)
    if reversible is None:
        pytest.skip("Keras is older than 3.12, which has it")

    def model_of(words):
        layer = reversible(words, 4, tie_weights=False, name="tokens")
        ids = keras.Input((None,), dtype="int32")
        return drawn(keras.Model(ids, layer(layer(ids), reverse=True)))

    old = model_of(6)
    expected = to_numpy(old(TEXT % 6))
    for resize in ({"tokens/*": "rows"}, {"tokens/embeddings": "rows", "tokens/reverse*": "units"}):
        model = model_of(8)
        load_pretrained(model, old, resize=resize)
        np.testing.assert_allclose(to_numpy(model(TEXT % 6))[..., :6], expected, atol=1e-6)


def test_a_file_is_resized_as_a_model_is(tmp_path):
    source = drawn(resnet(3))
    source.save_weights(tmp_path / "three.weights.h5")
    first, second = resnet(5), resnet(5)
    resize = {"scaled": "channels", "stem": "channels"}
    load_pretrained(first, source, resize=resize)
    load_pretrained(second, tmp_path / "three.weights.h5", resize=resize)
    assert weights_digest(first) == weights_digest(second)


@pytest.mark.every_backend
def test_the_same_bits_on_every_backend():
    shapes = [(3, 3, 3, 4), (20, 8), (8, 20), (20,), (9, 8)]
    draws = np.random.default_rng(7)
    source = {str(place): draws.normal(size=shape).astype("float32") for place, shape in enumerate(shapes)}
    ids, images = keras.Input((5,), dtype="int32"), keras.Input((6, 6, 5))
    x = Positions(16, name="position")(layers.Embedding(27, 8, name="tokens")(ids))
    y = layers.Conv2D(4, 3, use_bias=False, name="stem")(images)
    model = keras.Model([ids, images], [layers.Dense(27, name="head")(x), y])
    names = ["stem/kernel", "tokens/embeddings", "head/kernel", "head/bias", "position/table"]
    kinds = ["channels", "rows", "units", Units([3, 0, 5]), Grid((3, 3), (4, 4))]
    rules = dict(zip(names, source, strict=True))
    load_pretrained(model, source, rules, layout="keras", resize=dict(zip(names, kinds, strict=True)))
    assert weights_digest(model) == "60c56a87410137db57f5b3df773a5be1"


def test_without_resize_the_error_names_the_kind_that_fits():
    source, model = drawn(resnet(3)), drawn(resnet(5), seed=1)
    before = arrays(model)
    message = (
        r"'stem/kernel' \(3, 3, 5, 4\): the shape is \(3, 3, 3, 4\) instead of \(3, 3, 5, 4\); "
        r"to load another number of channels, pass resize=\{'stem/kernel': 'channels'\}"
    )
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, source)
    plan = load_pretrained(model, source, dry_run=True)
    for problem in plan.problems:
        rule = {problem.path: "channels"}
        assert problem.text.endswith(f"; to load another number of channels, pass resize={rule}")
    assert len(plan.problems) == 3
    old = language_model(20, head="not tied")
    problems = load_pretrained(language_model(30, 8, "not tied"), old, dry_run=True).problems
    ends = [problem.text.rpartition(", pass resize=")[2] for problem in problems]
    kinds = ["rows", "rows", "units", "units"]
    rules = [str({problem.path: kind}) for problem, kind in zip(problems, kinds, strict=True)]
    grid = ", or a `Grid` for positions of an image"
    assert ends == [f"{rules[0]}{grid}", f"{rules[1]}{grid}", *rules[2:]]
    assert all((value == before[path]).all() for path, value in arrays(model).items())


def test_a_dry_run_shows_what_would_be_done(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model = drawn(resnet(5))
    before = arrays(model)
    resize = {"scaled": "channels", "stem": "channels"}
    plan = load_pretrained(model, drawn(resnet(3), seed=1), resize=resize, dry_run=True)
    assert "loaded: 3 to 5 channels: first 3, mean for 2, times 0.6" in " ".join(str(plan).split())
    assert row(plan, "stem/kernel").source_shape == (3, 3, 3, 4)
    assert row(plan, "stem/kernel").changed == 180
    assert all((value == before[path]).all() for path, value in arrays(model).items())


NO_UNITS = "cannot get other units: `resize` changes these only in kernels and biases of dense layers"


@pytest.mark.rare
def test_the_bias_of_a_quantized_layer_is_not_resized():
    model = built((4,), layers.Dense(3, name="layer"))
    model.layers[0].quantize("int8")
    options = {"names": {"layer/bias": "array"}, "layout": "keras", "resize": {"layer/bias": "units"}}
    with pytest.raises(ValueError, match=re.escape(f"the bias of a Dense that is quantized {NO_UNITS}")):
        load_pretrained(model, {"array": normal(2)}, **options)


def test_weights_that_are_not_loaded_are_not_resized():
    model = drawn(resnet(5))
    before = arrays(model)
    rules = {"scaled": None, "stem": None, "*": "{0}"}
    plan = load_pretrained(model, drawn(resnet(3), seed=1), rules, resize={"stem": "channels"})
    assert row(plan, "stem/kernel").status == "left"
    np.testing.assert_array_equal(arrays(model)["stem/kernel"], before["stem/kernel"])


def test_positions_of_an_own_layer_are_resized_by_index_in_the_layout_of_torch():
    old = np.random.default_rng(0).normal(size=(1, 5, 3)).astype("float32")
    grid = Grid((2, 2), (3, 3), leading=1)
    names = {"pos/table": ("pos_embed", np.s_[0])}
    load_pretrained(model := table(10, 3), {"pos_embed": old}, names, layout="torch", resize={"pos": grid})
    load_pretrained(other := table(1, 10, 3), {"pos/table": old}, layout="keras", resize={"pos": grid})
    np.testing.assert_array_equal(to_numpy(model.weights[0]), to_numpy(other.weights[0])[0])


@pytest.mark.parametrize("layout", ["keras", "torch"])
def test_a_table_may_have_the_axes_of_the_image(layout):
    old = np.random.default_rng(0).normal(size=(1, 4, 2, 3)).astype("float32")
    grid = Grid((4, 2), (6, 3))
    model = table(1, 6, 3, 3)
    report = load_pretrained(model, {"a": old}, {"pos/table": "a"}, layout=layout, resize={"pos": grid})
    load_pretrained(other := table(1, 18, 3), {"pos/table": old.reshape(1, 8, 3)}, layout="keras", resize={"pos": grid})
    np.testing.assert_array_equal(to_numpy(model.weights[0]).reshape(1, 18, 3), to_numpy(other.weights[0]))
    assert "4 x 2 to 6 x 3 positions" in report.rows[0].detail


def test_a_grid_that_is_in_neither_shape_is_an_error():
    source = {"pos/table": np.zeros((10, 3), "float32")}
    with pytest.raises(ValueError, match="10 rows fit neither grid of"):
        load_pretrained(table(10, 3), source, layout="keras", resize={"pos": Grid((4, 4), (7, 7))})
    for grid in (Grid((2, 2), (3, 3), leading=1), Grid((3, 3), (2, 2), leading=1)):
        assert not load_pretrained(table(10, 3), source, layout="keras", resize={"pos": grid}).left


def test_an_infinite_value_of_an_old_row_is_left_out_of_the_mean():
    old = np.array([[1, -np.inf], [3, 5], [5, 7]], "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Embedding(5, 2, name="words")])
    report = load_pretrained(model, {"words/embeddings": old}, layout="keras", resize={"words": "rows"})
    np.testing.assert_array_equal(to_numpy(model.weights[0])[:3], old)
    np.testing.assert_array_equal(to_numpy(model.weights[0])[3:], [[3, 6], [3, 6]])
    assert report.rows[0].detail.endswith("infinite values left out of the mean")
