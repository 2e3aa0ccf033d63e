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


IMAGE, SEQUENCE, VOLUME = (6, 5, 4), (6, 4), (4, 4, 4, 4)
PAIRS = {
    "linear": (lambda: nn.Linear(4, 4), layers.Dense(4), (4,)),
    "linear without bias": (lambda: nn.Linear(4, 3, bias=False), layers.Dense(3, use_bias=False), SEQUENCE),
    "einsum": (lambda: nn.Linear(4, 4), layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), SEQUENCE),
    "conv1d": (lambda: nn.Conv1d(4, 4, 4), layers.Conv1D(4, 4), SEQUENCE),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2)), layers.Conv2D(6, (3, 2)), IMAGE),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), layers.Conv2D(6, 3, groups=2), IMAGE),
    "conv3d": (lambda: nn.Conv3d(4, 2, 2), layers.Conv3D(2, 2), VOLUME),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), layers.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), layers.Conv2DTranspose(6, 3, strides=2), IMAGE),
    "batchnorm": (lambda: nn.BatchNorm2d(4), layers.BatchNormalization(epsilon=1e-5), IMAGE),
    "layernorm": (lambda: nn.LayerNorm(4), layers.LayerNormalization(epsilon=1e-5), SEQUENCE),
    "groupnorm": (lambda: nn.GroupNorm(2, 4), layers.GroupNormalization(2, epsilon=1e-5), IMAGE),
    "prelu": (lambda: nn.PReLU(4), layers.PReLU(shared_axes=[1, 2]), IMAGE),
    "rnn": (lambda: nn.RNN(4, 3, **RNN), layers.SimpleRNN(3, return_sequences=True), SEQUENCE),
    "lstm": (lambda: nn.LSTM(4, 4, **RNN), layers.LSTM(4, return_sequences=True), SEQUENCE),
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensors_in_16_bits(dtype):
    module = nn.Linear(3, 2).to(torch.bfloat16)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype=dtype, name="linear")])
    load_pretrained(model, {f"linear.{name}": tensor for name, tensor in module.named_parameters()}, layout="torch")
    kernel = model.layers[0].kernel.value.detach()
    assert torch.equal(kernel, module.weight.T.to(kernel.dtype))


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
    assert torch.equal(wrapped.module.weight, source["body"])
    assert torch.equal(model.layers[1].kernel.value.T, source["head.weight"])


def test_a_tensor_without_a_place_in_memory_may_be_in_the_source():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="dense")])
    source = {"fc.weight": torch.ones(2, 4), "fc.bias": torch.ones(2), "mask": torch.eye(3).to_sparse()}
    assert list(load_pretrained(model, source, {"dense": "fc"}, layout="torch").unused) == ["mask"]


def chain():
    """Return a model of three layers, whose kernels are 0, 1 and 2."""
    kernels = [keras.initializers.Constant(number) for number in range(3)]
    dense = [layers.Dense(2, use_bias=False, kernel_initializer=kernel) for kernel in kernels]
    return keras.Sequential([keras.Input((2,)), *dense])


def kernels_of(model):
    return [weight.value.detach() for weight in model.weights]


def in_one_tensor(model):
    """Return a tensor in which the model has its kernels."""
    whole = torch.stack(kernels_of(model))
    for weight, part in zip(model.weights, whole, strict=True):
        weight.value.data = part
    return whole


# The arrays of the kernels of a model, in views of all kinds.
VIEWS = {
    "slices": lambda model: [kernel[:] for kernel in kernels_of(model)],
    "transposed": lambda model: [kernel.t() for kernel in kernels_of(model)],
    "flat": lambda model: [kernel.view(-1).view(2, 2) for kernel in kernels_of(model)],
    "state dicts": lambda model: [next(iter(layer.state_dict().values())) for layer in model.layers],
    "arrays": lambda model: [kernel.numpy() for kernel in kernels_of(model)],
    "parts of arrays": lambda model: [kernel.numpy()[::-1] for kernel in kernels_of(model)],
    "of DLPack": lambda model: [np.from_dlpack(kernel) for kernel in kernels_of(model)],
    "in one tensor": lambda model: list(in_one_tensor(model)),
    "in one array": lambda model: list(in_one_tensor(model).numpy()),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views_are_as_they_were_before_the_first_weight_changed(kind):
    model = chain()
    state = dict(zip("abc", VIEWS[kind](model), strict=True))
    load_pretrained(model, state, {"dense_1/kernel": "a", "dense_2/kernel": "b", "dense/kernel": "c"}, layout="keras")
    assert [kernel.mean() for kernel in kernels_of(model)] == [2, 0, 1]


def test_a_tensor_that_begins_before_the_weights_in_it_is_as_it_was_before():
    model = chain()
    whole = torch.cat([torch.full((1, 2, 2), 7.0), torch.stack(kernels_of(model))])
    for weight, part in zip(model.weights, whole[1:], strict=True):
        weight.value.data = part
    rules = {
        "dense/kernel": ("whole", 0),
        "dense_1/kernel": ("whole", 1),
        "dense_2/kernel": ("whole", 2),
    }
    load_pretrained(model, {"whole": whole}, rules, layout="keras")
    assert [kernel.mean() for kernel in kernels_of(model)] == [7, 0, 1]


@pytest.mark.parametrize(
    "row",
    [
        lambda kernel: kernel[1],
        lambda kernel: kernel.numpy()[1],
        lambda kernel: kernel.t()[:, 1],
        lambda kernel: kernel.view(-1)[2:],
        lambda kernel: kernel[1:].numpy().ravel(),
    ],
)
def test_a_part_that_begins_behind_the_first_number_of_a_weight(row):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="dense")])
    kernel, bias = kernels_of(model)
    kernel.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    load_pretrained(model, {"k": torch.zeros(2, 2), "b": row(kernel)}, {"*/kernel": "k", "*/bias": "b"}, layout="keras")
    assert bias.tolist() == [3, 4]


def test_a_model_with_the_same_memory_is_as_it_was():
    model, source = chain(), chain()
    for weight, own in zip(source.weights, model.weights, strict=True):
        weight.value.data = own.value.data
    load_pretrained(model, source, {"dense_1/kernel": "dense/kernel", "dense_2/kernel": "dense_1/kernel"})
    assert [kernel.mean() for kernel in kernels_of(model)] == [0, 0, 1]


def test_the_state_of_a_module_within_the_model_is_as_it_was():
    module = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3)))
    for number, layer in enumerate(module):
        nn.init.constant_(layer.weight, number)
    model = keras.Sequential([layers.TorchModuleWrapper(module)])
    model(np.ones((1, 2), "float32"))
    names = [f"torch_module_wrapper/variable{number}" for number in ("_1", "_2")]
    load_pretrained(model, module.state_dict(), {names[0]: "0.weight", names[1]: "1.weight"}, layout="torch")
    assert [layer.weight.mean() for layer in module] == [0, 0, 1]
