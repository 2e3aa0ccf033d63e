"""Around an image that is flattened or made, weights of torch get Keras' order of rows and units, or a note."""

import keras
import numpy as np
import pytest
from modes import often, to_numpy

from keras_initx import load_pretrained
from keras_initx.inspection._inventory import Inventory

torch = pytest.importorskip("torch")
nn = torch.nn

layers, ops = keras.layers, keras.ops
NOTE = "the order of the rows is not known"
FLATTEN, STEPS = layers.Flatten, layers.TimeDistributed


class Parts(nn.Module):
    """A module of parts, which have the names of the layers, and a function of it and the inputs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def dense(units=7, name="out"):
    return layers.Dense(units, name=name)


def images(*stack, shape=(8, 6, 3), conv=None):
    """Return a model of a convolution, which gives images of 6 by 4 pixels with 5 channels, and other layers."""
    return keras.Sequential([keras.Input(shape), conv or layers.Conv2D(5, 3, name="conv"), *stack])


def flat(out=None, conv=None):
    """Return a module that flattens the images of a convolution."""
    parts = {"conv": conv or nn.Conv2d(3, 5, 3), "out": out or nn.Linear(120, 7)}
    return Parts(lambda m, x: m.out(m.conv(x).flatten(1)), **parts)


def frames(*stack):
    """Return a model with a convolution of each of four frames, and other layers."""
    return keras.Sequential([keras.Input((4, 8, 6, 3)), STEPS(layers.Conv2D(5, 3), name="conv"), *stack])


def flat_frames(out, of_result):
    """Return a module that flattens each of four frames."""

    def function(m, x):
        return of_result(m.out(m.conv(x.flatten(0, 1)).flatten(1).unflatten(0, (-1, 4))))

    return Parts(function, conv=nn.Conv2d(3, 5, 3), out=out)


def made(*stack):
    """Return a model that makes images of 5 by 4 pixels with 3 channels."""
    return keras.Sequential([keras.Input((4,)), *stack, layers.Conv2D(2, 3, name="conv")])


def view(**parts):
    """Return a module that makes such images of the results of its parts."""

    def function(m, x):
        for name in parts:
            x = getattr(m, name)(x)
        return m.conv(x.view(-1, 3, 5, 4)).movedim(1, -1)

    return Parts(function, **parts, conv=nn.Conv2d(3, 2, 3))


REORDERED = {}
SAME = {}


def case(table):
    return lambda function: table.setdefault(function.__name__, function)


@case(REORDERED)
def a_recurrent_layer():
    out = nn.LSTM(120, 7, batch_first=True)
    return frames(layers.Reshape((4, 120)), layers.LSTM(7, name="out")), flat_frames(out, lambda y: y[0][:, -1])


@case(REORDERED)
def both_directions():
    model = frames(STEPS(FLATTEN()), layers.Bidirectional(layers.GRU(7, return_sequences=True), name="out"))
    return model, flat_frames(nn.GRU(120, 7, batch_first=True, bidirectional=True), lambda y: y[0])


@case(REORDERED)
def each_frame():
    return frames(STEPS(FLATTEN()), STEPS(dense(), name="out")), flat_frames(nn.Linear(120, 7), lambda y: y)


@case(REORDERED)
def repeated():
    def function(m, x):
        return m.out(m.conv(x).flatten(1)[:, None].repeat(1, 3, 1))[0]

    model = images(FLATTEN(), layers.RepeatVector(3), layers.SimpleRNN(7, return_sequences=True, name="out"))
    return model, Parts(function, conv=nn.Conv2d(3, 5, 3), out=nn.RNN(120, 7, batch_first=True))


@case(REORDERED)
def einsum():
    return images(FLATTEN(), layers.EinsumDense("ab,bc->ac", 7, bias_axes="c", name="out")), flat()


@case(REORDERED)
def einsum_over_all_axes():
    return images(layers.EinsumDense("ahwc,hwco->ao", 7, bias_axes="o", name="out")), flat()


@case(REORDERED)
def volumes():
    conv = layers.Conv3D(3, 3, name="conv")
    return images(FLATTEN(), dense(), shape=(5, 6, 4, 2), conv=conv), flat(nn.Linear(72, 7), nn.Conv3d(2, 3, 3))


@case(REORDERED)
def one_axis():
    conv = layers.Conv1D(5, 3, name="conv")
    return images(FLATTEN(), dense(), shape=(9, 3), conv=conv), flat(nn.Linear(35, 7), nn.Conv1d(3, 5, 3))


@case(REORDERED)
def lambdas():
    return images(layers.Lambda(lambda x: ops.reshape(2 * x, (-1, 120))), dense()), Parts(
        lambda m, x: m.out(2 * m.conv(x).flatten(1)), conv=nn.Conv2d(3, 5, 3), out=nn.Linear(120, 7)
    )


def padded(widths):
    """Return a layer that adds zeros at the ends of axes, by an operation."""
    return layers.Lambda(lambda x: ops.pad(x, ((0, 0), *widths)))


@case(REORDERED)
def padded_before_a_pooling():
    def function(m, x):
        return m.out(nn.functional.max_pool2d(nn.functional.pad(m.conv(x), (1, 1, 1, 1)), 3, 2).flatten(1))

    model = images(padded(((1, 1), (1, 1), (0, 0))), layers.MaxPooling2D(3, 2), FLATTEN(), dense())
    return model, Parts(function, conv=nn.Conv2d(3, 5, 3), out=nn.Linear(30, 7))


@case(REORDERED)
def padded_with_channels():
    def function(m, x):
        return m.out(nn.functional.pad(m.conv(x), (0, 0, 0, 0, 0, 3)).flatten(1))

    model = images(padded(((0, 0), (0, 0), (0, 3))), FLATTEN(), dense())
    return model, Parts(function, conv=nn.Conv2d(3, 5, 3), out=nn.Linear(192, 7))


@case(REORDERED)
def normalized():
    norms = [layers.LayerNormalization(epsilon=1e-5, name="norm"), layers.PReLU(name="slopes")]
    parts = {"conv": nn.Conv2d(3, 5, 3), "norm": nn.LayerNorm(120), "slopes": nn.PReLU(120), "out": nn.Linear(120, 7)}
    module = Parts(lambda m, x: m.out(m.slopes(m.norm(m.conv(x).flatten(1)))), **parts)
    return images(FLATTEN(), *norms, dense()), module


@case(REORDERED)
def two_inputs():
    image, numbers = keras.Input((8, 6, 3)), keras.Input((4,))
    x = layers.Concatenate()([FLATTEN()(layers.Conv2D(5, 3, name="conv")(image)), numbers])
    model = keras.Model([image, numbers], dense()(x))
    parts = {"conv": nn.Conv2d(3, 5, 3), "out": nn.Linear(124, 7)}
    return model, Parts(lambda m, x, n: m.out(torch.cat([m.conv(x).flatten(1), n], 1)), **parts)


@case(REORDERED)
def two_images():
    image = keras.Input((8, 6, 3))
    x = layers.Concatenate()([layers.Conv2D(5, 3, name="a")(image), layers.Conv2D(2, 3, name="b")(image)])
    parts = {"a": nn.Conv2d(3, 5, 3), "b": nn.Conv2d(3, 2, 3), "out": nn.Linear(168, 7)}
    module = Parts(lambda m, x: m.out(torch.cat([m.a(x), m.b(x)], 1).flatten(1)), **parts)
    return keras.Model(image, dense()(FLATTEN()(x))), module


@case(REORDERED)
def a_residual_branch():
    def function(m, x):
        x = m.conv(x).flatten(1)
        return m.out(x + m.mix(x))

    image = keras.Input((8, 6, 3))
    x = FLATTEN()(layers.Conv2D(5, 3, name="conv")(image))
    module = Parts(function, conv=nn.Conv2d(3, 5, 3), mix=nn.Linear(120, 120), out=nn.Linear(120, 7))
    return keras.Model(image, dense()(x + dense(120, "mix")(x))), module


@case(REORDERED)
def convolution_of_one_pixel():
    def function(m, x):
        return m.out(m.conv(x).flatten(1)[:, :, None, None]).flatten(1)

    model = images(layers.Reshape((1, 1, 120)), layers.Conv2D(7, 1, name="out"), FLATTEN())
    return model, Parts(function, conv=nn.Conv2d(3, 5, 3), out=nn.Conv2d(120, 7, 1))


@case(REORDERED)
def units():
    norm = layers.BatchNormalization(epsilon=1e-5, name="norm")
    model = made(dense(60), norm, layers.ReLU(), layers.Reshape((5, 4, 3)), layers.UpSampling2D(1))
    return model, view(out=nn.Linear(4, 60), norm=nn.BatchNorm1d(60), relu=nn.ReLU())


@case(REORDERED)
def units_of_several_axes():
    out = layers.EinsumDense("ab,bhwc->ahwc", (5, 4, 3), bias_axes="hwc", name="out")
    return made(out), view(out=nn.Linear(4, 60))


@case(REORDERED)
def rows_and_units():
    def function(m, x):
        return m.up(m.out(m.conv(x).flatten(1)).view(-1, 5, 6, 4)).movedim(1, -1)

    up = layers.Conv2DTranspose(2, 3, name="up")
    parts = {"conv": nn.Conv2d(3, 5, 3), "out": nn.Linear(120, 120), "up": nn.ConvTranspose2d(5, 2, 3)}
    return images(FLATTEN(), dense(120), layers.Reshape((6, 4, 5)), up), Parts(function, **parts)


@case(SAME)
def permuted_to_torch():
    return images(layers.Permute((3, 1, 2)), FLATTEN(), dense()), flat()


@case(SAME)
def moved_to_torch():
    image = keras.Input((8, 6, 3))
    x = ops.moveaxis(layers.Conv2D(5, 3, name="conv")(image), -1, 1)
    return keras.Model(image, dense()(ops.reshape(x, (-1, 120)))), flat()


@case(SAME)
def units_as_in_torch():
    return made(dense(60), layers.Reshape((3, 5, 4)), layers.Permute((2, 3, 1))), view(out=nn.Linear(4, 60))


@case(SAME)
def one_channel():
    model = images(FLATTEN(), dense(), conv=layers.Conv2D(1, 3, name="conv"))
    return model, flat(nn.Linear(24, 7), nn.Conv2d(3, 1, 3))


@case(SAME)
def pooled():
    parts = {"conv": nn.Conv2d(3, 5, 3), "out": nn.Linear(5, 7)}
    image = keras.Input((8, 6, 3))
    x = ops.mean(layers.Conv2D(5, 3, name="conv")(image), axis=(1, 2))
    return keras.Model(image, dense()(x)), Parts(lambda m, x: m.out(m.conv(x).mean((2, 3))), **parts)


class Attention(layers.Layer):
    """Attention with one kernel for queries, keys and values, by operations."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.fused, self.last = dense(24, "fused"), dense(8, "last")

    def call(self, x):
        query, key, value = ops.unstack(ops.transpose(ops.reshape(self.fused(x), (-1, 12, 3, 2, 4)), (2, 0, 3, 1, 4)))
        weights = ops.softmax(query @ ops.swapaxes(key, -1, -2))
        return self.last(ops.reshape(ops.transpose(weights @ value, (0, 2, 1, 3)), (-1, 12, 8)))


class TorchAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.fused, self.last = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        query, key, value = self.fused(x).view(-1, 12, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2)).softmax(-1)
        return self.last((weights @ value).transpose(1, 2).reshape(-1, 12, 8))


@case(SAME)
def patches(kind=Attention):
    def function(m, x):
        x = m.conv(x).flatten(2).transpose(1, 2)
        return m.out((x + m.attention(m.norm(x)))[:, 0])

    image = keras.Input((8, 6, 3))
    x = layers.Reshape((12, 8))(layers.Conv2D(8, 2, strides=2, name="conv")(image))
    x = x + kind(name="attention")(layers.LayerNormalization(epsilon=1e-5, name="norm")(x))
    parts = {"conv": nn.Conv2d(3, 8, 2, 2), "norm": nn.LayerNorm(8), "attention": TorchAttention()}
    return keras.Model(image, dense()(x[:, 0])), Parts(function, **parts, out=nn.Linear(8, 7))


class EinsumAttention(Attention):
    def call(self, x):
        query, key, value = ops.unstack(ops.reshape(self.fused(x), (-1, 12, 3, 2, 4)), axis=2)
        weights = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", query, key))
        return self.last(ops.reshape(ops.einsum("bhqk,bkhd->bqhd", weights, value), (-1, 12, 8)))


@case(SAME)
def patches_with_einsum():
    return patches(EinsumAttention)


class Twice(layers.Wrapper):
    """A wrapper of one's own."""

    def call(self, x):
        return self.layer(2 * x)


@case(REORDERED)
def a_wrapper_of_ones_own():
    parts = {"conv": nn.Conv2d(3, 5, 3), "out": nn.Linear(120, 7)}
    model = images(Twice(FLATTEN()), Twice(dense(), name="out"))
    return model, Parts(lambda m, x: m.out(4 * m.conv(x).flatten(1)), **parts)


@case(SAME)
def sequences():
    def function(m, x):
        return m.out(m.lstm(torch.relu(m.first(x.flatten(1))).view(-1, 3, 3))[0].flatten(1))

    recurrent = layers.LSTM(4, return_sequences=True, name="lstm")
    stack = [FLATTEN(), layers.Dense(9, "relu", name="first"), layers.Reshape((3, 3)), recurrent, FLATTEN(), dense()]
    parts = {"first": nn.Linear(10, 9), "lstm": nn.LSTM(3, 4, batch_first=True), "out": nn.Linear(12, 7)}
    return keras.Sequential([keras.Input((10, 1)), *stack]), Parts(function, **parts)


def loaded(model, module):
    """Return the result of loading a module with values as after training."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) * 0.4 + 0.1)
    rules = {name: name for name, part in module.named_children() if part.state_dict()}
    return load_pretrained(model, module.eval().state_dict(), rules, layout="torch")


ORDERS = [*REORDERED, *SAME]


@pytest.mark.parametrize("name", often(ORDERS, ORDERS[::2]))
def test_outputs_are_those_of_torch_without_a_note(name):
    torch.manual_seed(0)
    model, module = {**REORDERED, **SAME}[name]()
    hows = [row.detail for row in loaded(model, module).rows]
    assert any("from channels first" in how for how in hows) == (name in REORDERED)
    assert not any(NOTE in how for how in hows)
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(2, *one.shape[1:])).astype("float32") for one in model.inputs]
    given = [torch.tensor(x) for x in inputs]
    given = [x.movedim(-1, x.ndim - 3 if name in FRAMES else 1) if x.ndim > 2 else x for x in given]
    expected = module(*given).detach().numpy()
    np.testing.assert_allclose(
        to_numpy(model(inputs if len(inputs) > 1 else inputs[0])), expected, rtol=1e-5, atol=1e-3
    )


FRAMES = ("a_recurrent_layer", "both_directions", "each_frame")


class Unseen(keras.Model):
    """Its `call` knows no symbolic tensors."""

    def __init__(self, convolution, **kwargs):
        super().__init__(**kwargs)
        self.conv, self.out = convolution, dense()

    def call(self, x):
        return self.out(torch.flatten(self.conv(x), 1))


def unseen(convolution, shape):
    model = Unseen(convolution)
    model(np.zeros((1, *shape), "float32"))
    return model


def shared():
    image, vector = keras.Input((8, 6, 3)), keras.Input((120,))
    out = dense()
    x = out(FLATTEN()(layers.Conv2D(5, 3, name="conv")(image))) + out(vector)
    return keras.Model([image, vector], x)


def joined():
    inputs = keras.Input((4,))
    x = layers.Concatenate()([dense(30)(inputs), dense(30, "other")(inputs)])
    return keras.Model(inputs, layers.Conv2D(2, 3)(layers.Reshape((5, 4, 3))(x)))


NOTED = {
    "a part of the axes": lambda: images(layers.Reshape((6, 20)), layers.LSTM(7, name="out")),
    "another order of the pixels": lambda: images(layers.Permute((2, 1, 3)), FLATTEN(), dense()),
    "two orders": shared,
    "a dense layer on pixels": lambda: images(dense(3, "pixels"), FLATTEN(), dense()),
    "an input that may be an image": lambda: keras.Sequential([keras.Input((8, 6, 3)), FLATTEN(), dense()]),
    "a model that is not seen": lambda: unseen(layers.Conv2D(5, 3), (8, 6, 3)),
    "a function that is not seen": lambda: images(layers.Lambda(lambda x: torch.flatten(x, 1)), dense()),
    "a pixel that becomes an image": lambda: images(
        layers.GlobalAveragePooling2D(keepdims=True), padded(((1, 1), (1, 1), (0, 0))), FLATTEN(), dense()
    ),
    "units of two layers": joined,
    "units of an image that is padded": lambda: made(
        dense(60), layers.Reshape((5, 4, 3)), padded(((1, 1), (1, 1), (0, 0)))
    ),
    "units of a recurrent layer": lambda: keras.Sequential(
        [keras.Input((3, 4)), layers.LSTM(60, name="out"), layers.Reshape((5, 4, 3)), layers.Conv2D(2, 3)]
    ),
    "units of a sequence": lambda: keras.Sequential(
        [keras.Input((4,)), dense(60), layers.Reshape((20, 3)), layers.Conv1D(2, 3)]
    ),
}


def how_of_rows(model):
    """Return how the kernel of the layer `out` is converted from an array of torch."""
    weight = next(one for one in Inventory(model).weights if "out/" in one.path and one.name == "kernel")
    rows, units = weight.shape
    plan = load_pretrained(model, {"a": np.zeros((units, rows))}, {weight.path: "a"}, layout="torch")
    return next(row.detail for row in plan.rows if row.sources)


@pytest.mark.parametrize("name", NOTED)
def test_an_order_that_is_not_known_is_noted(name):
    note = NOTE.replace("rows", "units") if name.startswith("units") else NOTE
    assert how_of_rows(NOTED[name]()).endswith(f", {note}")


def shuffled(operation):
    inputs = keras.Input((4, 4, 4))
    return keras.Model(inputs, operation(layers.Conv2D(16, 1, name="c")(inputs), 2))


# In torch both have the channels of a pixel in another order.
@pytest.mark.skipif(not hasattr(ops, "depth_to_space"), reason="operations of later versions of Keras")
@pytest.mark.parametrize("name", ["depth_to_space", "space_to_depth"])
def test_channels_that_become_places_are_noted_for_those_that_made_them(name):
    plan = load_pretrained(shuffled(getattr(ops, name)), conv_state(), layout="torch")
    assert [row.detail.split(", ")[-1] for row in plan.rows] == ["the order of the units is not known"] * 2


# Images of 4 by 4 pixels with 16 channels become those of 8 by 8 pixels with 4 channels.
SHUFFLED = {
    "layers": [layers.Reshape((4, 4, 2, 2, 4)), layers.Permute((1, 3, 2, 4, 5)), layers.Reshape((8, 8, 4))],
    "operations": [
        lambda x: ops.reshape(ops.transpose(ops.reshape(x, (-1, 4, 4, 2, 2, 4)), (0, 1, 3, 2, 4, 5)), (-1, 8, 8, 4))
    ],
    "channels outermost": [
        lambda x: ops.reshape(ops.transpose(ops.reshape(x, (-1, 4, 4, 4, 2, 2)), (0, 1, 4, 2, 5, 3)), (-1, 8, 8, 4))
    ],
    "einsum": [
        layers.Reshape((4, 4, 2, 2, 4)),
        lambda x: ops.reshape(ops.einsum("nhwpqc->nhpwqc", x), (-1, 8, 8, 4)),
    ],
    "one axis after the other": [
        layers.Reshape((4, 8, 8)),
        lambda x: ops.swapaxes(ops.reshape(ops.swapaxes(x, 1, 2), (-1, 8, 8, 4)), 1, 2),
    ],
    "a function": [
        layers.Lambda(lambda x: ops.reshape(ops.moveaxis(ops.reshape(x, (-1, 4, 4, 2, 2, 4)), 3, 2), (-1, 8, 8, 4)))
    ],
    "a model": [
        keras.Sequential([keras.Input((4, 4, 16)), layers.Reshape((4, 4, 2, 2, 4)), layers.Permute((1, 3, 2, 4, 5))]),
        layers.Reshape((8, 8, 4)),
    ],
}


def between(stack, first=None, last=None):
    """Return a model of two convolutions, `a` and `b`, and what is between them."""
    x = inputs = keras.Input((4, 4, 3))
    for layer in [first or layers.Conv2D(16, 1, name="a"), *stack, last or layers.Conv2D(2, 3, name="b")]:
        x = layer(x)
    return keras.Model(inputs, x)


def notes(model):
    """Return the last words on the conversion of each weight from arrays of torch, if its order is not known."""
    state = {}
    for weight in Inventory(model).weights:
        shape = weight.shape
        if weight.name == "kernel":
            shape = (*shape[:1:-1], *shape[:2])
        state[weight.path] = np.zeros(shape, "float32")
    plan = load_pretrained(model, state, {path: path for path in state}, layout="torch", dry_run=True)
    assert not plan.problems
    return {row.path: row.detail.split("the order of the ")[1] for row in plan.rows if "is not known" in row.detail}


UNITS = {"a/kernel": "units is not known", "a/bias": "units is not known"}
ROWS = {"b/kernel": "rows is not known"}


@pytest.mark.parametrize("form", SHUFFLED)
@pytest.mark.parametrize("last", [layers.Conv2D, layers.Conv2DTranspose], ids=["convolution", "transposed"])
def test_pixels_shuffled_by_hand_are_noted_before_and_behind(form, last):
    assert notes(between(SHUFFLED[form], last=last(2, 3, name="b"))) == UNITS | ROWS


def test_pixels_of_an_input_that_are_shuffled_by_hand_are_noted_behind():
    inputs = keras.Input((4, 4, 16))
    x = inputs
    for layer in [*SHUFFLED["layers"], layers.Conv2DTranspose(3, 2, name="b")]:
        x = layer(x)
    assert notes(keras.Model(inputs, x)) == ROWS


@pytest.mark.parametrize("kind", [layers.BatchNormalization, layers.PReLU], ids=["normalized", "activated"])
def test_weights_of_channels_that_are_shuffled_later_are_noted_too(kind):
    options = {"shared_axes": [1, 2]} if kind is layers.PReLU else {"epsilon": 1e-5}
    model = between([kind(name="norm", **options), *SHUFFLED["layers"]])
    own = {weight.path: "rows is not known" for weight in Inventory(model).weights if weight.path.startswith("norm/")}
    assert own
    assert notes(model) == UNITS | own | ROWS


@pytest.mark.parametrize(
    "stack",
    [
        [layers.Conv1D(4, 3, name="a"), layers.Reshape((8, 2)), layers.Conv1D(2, 3, name="b")],
        [layers.Conv1D(4, 3, name="a"), layers.Flatten(), layers.Reshape((8, 2)), layers.Conv1D(2, 3, name="b")],
    ],
    ids=["a shuffle", "a vector in between"],
)
def test_a_sequence_that_is_reshaped_is_shuffled_unless_it_was_flattened(stack):
    model = keras.Sequential([keras.Input((6, 3)), *stack])
    state = {f"{name}.weight": np.zeros(shape) for name, shape in {"a": (4, 3, 3), "b": (2, 2, 3)}.items()}
    hows = {row.path: row.detail for row in load_pretrained(model, state, layout="torch", dry_run=True).rows}
    is_shuffled = not any(isinstance(layer, layers.Flatten) for layer in stack)
    assert hows["a/kernel"].endswith("the order of the units is not known") == is_shuffled
    assert hows["b/kernel"].endswith("the order of the rows is not known")


def test_pixels_that_become_channels_are_noted_behind_only():
    stack = [layers.Reshape((2, 2, 2, 2, 16)), layers.Permute((1, 3, 2, 4, 5)), layers.Reshape((2, 2, 64))]
    assert notes(between(stack, last=layers.Conv2DTranspose(2, 2, name="b"))) == ROWS


def test_channels_that_are_shuffled_among_themselves_have_no_note_and_give_the_outputs_of_torch():
    model = between([layers.Reshape((4, 4, 2, 8)), layers.Permute((1, 2, 4, 3)), layers.Reshape((4, 4, 16))])
    parts = {"a": nn.Conv2d(3, 16, 1), "b": nn.Conv2d(16, 2, 3)}
    module = Parts(lambda m, x: m.b(m.a(x).view(-1, 2, 8, 4, 4).transpose(1, 2).reshape(-1, 16, 4, 4)), **parts)
    assert not any("not known" in row.detail for row in loaded(model, module).rows)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    expected = module(torch.tensor(x).movedim(-1, 1)).movedim(1, -1).detach().numpy()
    np.testing.assert_allclose(to_numpy(model(x)), expected, rtol=1e-5, atol=1e-4)


def conv_state():
    return {"c.weight": torch.ones(16, 4, 1, 1), "c.bias": torch.ones(16)}


def test_channels_that_stay_channels_have_no_note_behind_an_operation_that_is_not_known():
    inputs = keras.Input((4, 4, 4))
    model = keras.Model(inputs, ops.flip(layers.Conv2D(16, 1, name="c")(inputs), axis=1))
    assert [row.detail for row in load_pretrained(model, conv_state(), layout="torch").rows] == ["transposed", ""]


@pytest.mark.parametrize(
    "stack",
    [
        [layers.LSTM(7, name="out")],
        [layers.MaxPooling1D(2), FLATTEN(), dense()],
        [layers.Conv1D(1, 3), FLATTEN(), dense()],
    ],
    ids=["recurrent", "pooled", "convolved"],
)
def test_steps_of_a_flattened_image_are_in_another_order(stack):
    model = images(FLATTEN(), layers.Reshape((120, 1)), *stack)
    kernels = [one for one in Inventory(model).weights if one.name == "kernel" and not one.path.startswith("conv/")]
    hows = []
    for weight in kernels:
        array = np.zeros(weight.shape[::-1])
        plan = load_pretrained(model, {"a": array}, {weight.path: "a"}, layout="torch")
        hows += [row.detail for row in plan.rows if row.sources]
    assert any(how.endswith(NOTE) for how in hows)


@pytest.mark.rare
def test_built_in_layers_that_scale_channels_have_no_note():
    scale = keras.applications.ConvNeXtTiny(weights=None, input_shape=(32, 32, 3)).get_layer(
        "convnext_tiny_stage_0_block_0_layer_scale"
    )
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, scale(layers.Conv2D(96, 3, name="c")(inputs)))
    (weight,) = [one for one in Inventory(model).weights if one.shape == (96,) and not one.path.startswith("c/")]
    plan = load_pretrained(model, {"a": np.ones(96)}, {weight.path: "a"}, layout="torch")
    assert [row.detail for row in plan.rows if row.sources] == [""]


# Operations that only move values of a vector, and are the same in torch. (What moves a flattened image into the order
# of torch is not: there nothing is moved.)
MOVES = {
    "the first": lambda x: x[:, :60],
    "every second": lambda x: x[:, ::2],
    "a pixel": lambda x: x[:, 5:10],
    "halves exchanged": lambda x: ops.concatenate(ops.split(x, 2, axis=1)[::-1], axis=1),
    "twice": lambda x: ops.concatenate([x, x], axis=1),
    "reversed": lambda x: ops.flip(x, axis=1),
    "rolled": lambda x: ops.roll(x, 7, axis=1),
    "split and joined": lambda x: ops.reshape(ops.reshape(x, (-1, 24, 5)), (-1, 120)),
    "transposed": lambda x: ops.reshape(ops.transpose(ops.reshape(x, (-1, 5, 24)), (0, 2, 1)), (-1, 120)),
    "axes of one": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "stacked": lambda x: ops.reshape(ops.stack([x, x], axis=1), (-1, 240)),
    "repeated": lambda x: ops.repeat(x, 2, axis=1),
}


def moves_of(operation):
    """Return from where an operation takes each value, by the operation itself on arrays of places."""
    places = np.arange(120, dtype="float32")
    found = to_numpy(operation(ops.convert_to_tensor(places[None])))[0].astype(int)
    other = np.random.default_rng(0).permutation(places)
    np.testing.assert_array_equal(to_numpy(operation(ops.convert_to_tensor(other[None])))[0], other[found])
    return found


@pytest.mark.parametrize("name", MOVES)
def test_rules_agree_with_what_operations_do(name):
    operation = MOVES[name]
    moves = moves_of(operation)
    in_torch = np.arange(120).reshape(5, 24).T.reshape(-1)  # the place there of each value of an image, flattened
    rows = []
    for place in moves:
        found = np.flatnonzero(moves == in_torch[place])
        rows.append(found.tolist())
    image = keras.Input((8, 6, 3))
    x = operation(FLATTEN()(layers.Conv2D(5, 3, name="conv")(image)))
    model = keras.Model(image, dense(1)(x))
    plan = load_pretrained(
        model, {"a": np.arange(len(moves), dtype="float32")[None]}, {"out/kernel": "a"}, layout="torch"
    )
    (how,) = [row.detail for row in plan.rows if row.sources]
    if NOTE in how:
        return
    loaded_rows = to_numpy(model.get_layer("out").kernel)[:, 0]
    assert all(row in choices for row, choices in zip(loaded_rows, rows, strict=True))


def test_rules_know_the_moves_of_most_operations():
    known = {"split and joined", "axes of one", "twice", "stacked"}
    assert known <= MOVES.keys()
    for name in known:
        image = keras.Input((8, 6, 3))
        x = MOVES[name](FLATTEN()(layers.Conv2D(5, 3, name="conv")(image)))
        assert NOTE not in how_of_rows(keras.Model(image, dense()(x)))


def test_what_is_not_seen_and_has_no_image_has_no_note():
    assert how_of_rows(unseen(layers.Dense(5), (8,))) == "transposed"


def test_the_layout_of_keras_has_no_note():
    model = images(layers.Permute((2, 1, 3)), FLATTEN(), dense())
    plan = load_pretrained(model, {"a": np.zeros((120, 7))}, {"out/kernel": "a"}, layout="keras")
    assert [row.detail for row in plan.rows if row.sources] == [""]
