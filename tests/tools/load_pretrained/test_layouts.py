"""What modules of torch give, the layers of Keras give with their weights."""

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

from keras_initx import load_pretrained

if BACKEND != "torch":
    pytest.skip("needs torch", allow_module_level=True)

import safetensors.torch
import torch
from torch import nn

layers = keras.layers
RNN = {"batch_first": True}


def with_statistics(module):
    """Give a normalization statistics and parameters as after training."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return module.eval()


def outputs_of_torch(module, x):
    """Return what `module` gives for `x` with channels last."""
    tensor = torch.from_numpy(x)
    is_image = tensor.is_floating_point() and not isinstance(module, nn.RNNBase | nn.Linear | nn.LayerNorm)
    if isinstance(module, nn.MultiheadAttention):
        return module(tensor, tensor, tensor)[0]
    result = module(tensor.movedim(-1, 1) if is_image else tensor)
    if isinstance(module, nn.RNNBase):
        return result[0]
    return result.movedim(1, -1) if is_image else result


def attention(x):
    layer = layers.MultiHeadAttention(2, 4, name="layer")
    return layer(x, x)


IMAGE, SEQUENCE = (6, 5, 4), (6, 4)
PAIRS = {
    "linear": (lambda: nn.Linear(4, 4), layers.Dense(4), (4,)),
    "einsum": (lambda: nn.Linear(4, 4), layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), SEQUENCE),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2)), layers.Conv2D(6, (3, 2)), IMAGE),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), layers.Conv2D(6, 3, groups=2), IMAGE),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), layers.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), layers.Conv2DTranspose(6, 3, strides=2), IMAGE),
    "batchnorm": (lambda: nn.BatchNorm2d(4), layers.BatchNormalization(epsilon=1e-5), IMAGE),
    "layernorm": (lambda: nn.LayerNorm(4), layers.LayerNormalization(epsilon=1e-5), SEQUENCE),
    "groupnorm": (lambda: nn.GroupNorm(2, 4), layers.GroupNormalization(2, epsilon=1e-5), IMAGE),
    "prelu": (lambda: nn.PReLU(4), layers.PReLU(shared_axes=[1, 2]), IMAGE),
    "rnn": (lambda: nn.RNN(4, 3, **RNN), layers.SimpleRNN(3, return_sequences=True), SEQUENCE),
    "gru": (lambda: nn.GRU(4, 3, **RNN), layers.GRU(3, return_sequences=True), SEQUENCE),
    "bidirectional": (
        lambda: nn.LSTM(4, 3, bidirectional=True, **RNN),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        SEQUENCE,
    ),
    "attention": (lambda: nn.MultiheadAttention(8, 2, **RNN), attention, (6, 8)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_are_those_of_torch(name):
    torch.manual_seed(0)
    make, layer, shape = PAIRS[name]
    module = with_statistics(make())
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    state = {f"m.{key}": value for key, value in module.state_dict().items()}
    plan = load_pretrained(model, state, {"*": "m"}, layout="torch")
    assert set(plan.unused) <= {"m.num_batches_tracked"}
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    expected = outputs_of_torch(module, x).detach().numpy()
    np.testing.assert_allclose(to_numpy(model(x)), expected, atol=1e-5)


def image_network(*flattened, convolution=None):
    """Return a model of Keras that flattens an image of 5 by 4 pixels with 3 channels."""
    stack = [convolution or layers.Conv2D(3, 2, name="conv"), layers.ReLU(), layers.MaxPooling2D(1), *flattened]
    return keras.Sequential([keras.Input((6, 5, 2)), *stack])


@keras.saving.register_keras_serializable("tests")
class ImageModel(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(3, 2, name="conv")
        self.flatten = layers.Flatten()
        self.out = layers.Dense(4, name="out")

    def call(self, x):
        return self.out(self.flatten(keras.ops.relu(self.conv(x))))


def own_model():
    model = ImageModel()
    model(np.zeros((1, 6, 5, 2), "float32"))
    return model


def nested_model():
    inputs = keras.Input((6, 5, 2))
    body = keras.Sequential([keras.Input((6, 5, 2)), layers.Conv2D(3, 2, activation="relu", name="conv")], name="body")
    head = keras.Sequential([keras.Input((5, 4, 3)), layers.Flatten(), layers.Dense(4, name="out")], name="head")
    return keras.Model(inputs, head(body(inputs)))


FLATTENED = {
    "flatten": lambda: image_network(layers.Flatten(), layers.Dense(4, name="out")),
    "reshape": lambda: image_network(layers.Reshape((60,)), layers.Dropout(0.5), layers.Dense(4, name="out")),
    "own model": own_model,
    "nested": nested_model,
}


@pytest.mark.parametrize("name", FLATTENED)
def test_rows_behind_a_flattened_image_are_in_the_order_of_keras(name):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4))
    model = FLATTENED[name]()
    prefixes = {"conv": "body/conv", "out": "head/out"} if name == "nested" else {"conv": "conv", "out": "out"}
    rules = {prefixes["conv"]: "0", prefixes["out"]: "3"}
    plan = load_pretrained(model, module.state_dict(), rules, layout="torch")
    kernel = next(row for row in plan.rows if row.path.endswith("out/kernel"))
    assert kernel.detail == "transposed, rows reordered from channels first"
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype("float32")
    expected = module(torch.from_numpy(x).movedim(-1, 1)).detach().numpy()
    np.testing.assert_allclose(to_numpy(model(x)), expected, atol=1e-5)


def test_a_normalization_of_a_flattened_image_has_its_order_too():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.BatchNorm1d(60), nn.Linear(60, 4))
    module = with_statistics(module)
    norm = layers.BatchNormalization(epsilon=1e-5, name="norm")
    model = keras.Sequential(
        [keras.Input((6, 5, 2)), layers.Conv2D(3, 2, name="conv"), layers.Flatten(), norm, layers.Dense(4, name="out")]
    )
    load_pretrained(model, module.state_dict(), {"conv": "0", "norm": "2", "out": "3"}, layout="torch")
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype("float32")
    expected = module(torch.from_numpy(x).movedim(-1, 1)).detach().numpy()
    np.testing.assert_allclose(to_numpy(model(x)), expected, rtol=1e-5, atol=1e-4)


def permuted():
    return image_network(layers.Permute((2, 1, 3)), layers.Flatten(), layers.Dense(4, name="out"))


class Hidden(layers.Layer):
    """Calls what knows no symbolic tensors."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.out = layers.Dense(4, name="out")

    def call(self, x):
        return self.out(torch.flatten(x, 1))

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 4))


def hidden():
    model = image_network(Hidden(name="hidden"))
    model(np.zeros((1, 6, 5, 2), "float32"))
    return model


@pytest.mark.parametrize("make", [permuted, hidden])
def test_rows_that_the_graph_cannot_show_are_noted_and_left_as_they_are(make):
    model, kernel = make(), torch.rand(4, 60)
    rules = {"*conv": "conv", "*out": "out"}
    state = {"conv.weight": torch.rand(3, 2, 2, 2), "conv.bias": torch.rand(3)}
    state |= {"out.weight": kernel, "out.bias": torch.rand(4)}
    plan = load_pretrained(model, state, rules, layout="torch")
    row = next(row for row in plan.rows if row.path.endswith("out/kernel"))
    assert row.detail == "transposed, the order of the rows is not known"
    assert torch.equal(model.layers[-1].trainable_weights[0].value.T, kernel)


@pytest.mark.parametrize(
    "stack",
    [
        [layers.Conv2D(1, 2), layers.Flatten()],
        [layers.Conv2D(3, (6, 5)), layers.Flatten()],
        [layers.Conv2D(3, 2), layers.GlobalAveragePooling2D()],
        [layers.Conv2D(3, 2), layers.Reshape((20, 3)), layers.LSTM(3, return_sequences=True), layers.Flatten()],
    ],
    ids=["one channel", "one pixel", "pooled", "a sequence"],
)
def test_other_rows_are_in_the_order_of_torch(stack):
    model = keras.Sequential([keras.Input((6, 5, 2)), *stack, layers.Dense(4, name="out")])
    kernel = torch.rand(4, model.layers[-1].kernel.shape[0])
    plan = load_pretrained(model, {"w": kernel}, {"out/kernel": "w"}, layout="torch")
    assert plan.rows[-2].detail == "transposed"
    assert torch.equal(model.layers[-1].kernel.value.T, kernel)


class Tagger(nn.Module):
    """Tells a tag for each word; its parts are called as the layers of `tagger`."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.lstm = nn.LSTM(8, 4, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(8, 8)

    def forward(self, x):
        x = self.words(x)
        x = self.norm(x + self.attention(x, x, x)[0])
        return self.tags(self.lstm(x)[0])


def tagger():
    inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 8, name="words")(inputs)
    attended = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x + attended)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="lstm")(x)
    return keras.Model(inputs, layers.TimeDistributed(layers.Dense(8), name="tags")(x))


def test_a_file_of_torch_needs_no_rules_where_the_parts_have_the_names_of_layers(tmp_path):
    torch.manual_seed(0)
    module, model = Tagger(), tagger()
    safetensors.torch.save_file(module.state_dict(), tmp_path / "tagger.safetensors")
    plan = load_pretrained(model, tmp_path / "tagger.safetensors", layout="torch")
    assert not plan.left
    assert not plan.unused
    x = np.random.default_rng(0).integers(20, size=(2, 7))
    np.testing.assert_allclose(to_numpy(model(x)), module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_tensors_in_16_bits():
    module = nn.Linear(3, 2).to(torch.bfloat16)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="linear")])
    load_pretrained(model, {f"linear.{name}": tensor for name, tensor in module.named_parameters()}, layout="torch")
    kernel = model.layers[0].kernel.value.detach()
    assert torch.equal(kernel.cpu(), module.weight.T.to(kernel.dtype))


def test_a_wrapped_module_has_the_order_of_torch():
    wrapped = layers.TorchModuleWrapper(nn.Linear(8, 5))
    model = keras.Sequential([wrapped, layers.Dense(3, name="head")])
    model(np.ones((1, 8), "float32"))
    source = {
        "body": torch.rand(5, 8),
        "bias": torch.rand(5),
        "head.weight": torch.rand(3, 5),
        "head.bias": torch.rand(3),
    }
    rules = {"torch_module_wrapper/variable": "body", "torch_module_wrapper/variable_1": "bias", "head": "head"}
    load_pretrained(model, source, rules, layout="torch")
    assert torch.equal(wrapped.module.weight.cpu(), source["body"])
    assert torch.equal(model.layers[1].kernel.value.T.cpu(), source["head.weight"])


def wrapped():
    parts = [nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3, bias=False)]
    inner = with_statistics(nn.Sequential(*parts))
    inner[0].weight.requires_grad_(False)
    return layers.TorchModuleWrapper(inner, name="inner")


def model_around(wrapper):
    model = keras.Sequential([keras.Sequential([keras.Input((4,)), wrapper], name="block"), layers.Dense(3)])
    model(np.ones((2, 4), "float32"), training=False)
    return model


def states_of(source, folder):
    """Yield what the state of a wrapped module may be in, and the rules for it."""
    model = model_around(source)
    state = source.module.state_dict()
    yield {f"m.{name}": value for name, value in state.items()}, {"block/inner": "m"}, "torch"
    yield {f"block.inner.{name}": value for name, value in state.items()}, None, "torch"
    yield model, None, None
    model.save_weights(folder / "a.weights.h5")
    yield folder / "a.weights.h5", None, None
    yield folder / "a.weights.h5", {"block": "block"}, None


def test_weights_and_statistics_of_a_wrapped_module_have_its_names(tmp_path):
    source = wrapped()
    for given, rules, layout in states_of(source, tmp_path):
        model = model_around(target := wrapped())
        former = {name: value.clone() for name, value in target.module.state_dict().items()}
        with pytest.raises(ValueError, match="cannot cast"):
            load_pretrained(model, {"inner.0.weight": np.array("")}, {"block/inner": "inner"}, layout="torch")
        assert all(torch.equal(value, former[name]) for name, value in target.module.state_dict().items())
        load_pretrained(model, given, rules, layout=layout)
        for name, value in target.module.state_dict().items():
            assert torch.equal(value, source.module.state_dict()[name])


def test_a_wrapped_module_needs_no_counter_of_batches():
    model = keras.Sequential([layers.TorchModuleWrapper(nn.BatchNorm1d(4), name="norm")])
    model(np.ones((2, 4), "float32"))
    state = {name: value for name, value in nn.BatchNorm1d(4).state_dict().items() if "batches" not in name}
    plan = load_pretrained(model, {f"m.{name}": value for name, value in state.items()}, {"norm": "m"}, layout="torch")
    assert [row.path for row in plan.left] == ["norm/num_batches_tracked"]
