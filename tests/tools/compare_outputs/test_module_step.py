"""The first step of a module of torch is compared with that of the model that has its weights."""

import copy
import random

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, everywhere, often

import keras_initx
from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs import _module_step
from keras_initx.tools.compare_outputs._recorded_outputs import RecordedOutputs
from keras_initx.tools.compare_outputs._recorded_step import (
    ArrayChange,
    RecordedArray,
    RecordedStep,
    record_targets,
)

if BACKEND == "torch":
    import torch
    from torch import nn
    from torch_ports import PORTS, Port
else:
    PORTS = ()

VARIANCE = "torch divides the variance of a batch by n - 1, and Keras by n, with n = 200 (bn/moving_variance)"


def state_of(module):
    """Return all that a module and the random generators hold, as bytes and objects."""
    tensors = {name: tensor.detach().numpy().tobytes() for name, tensor in module.state_dict(keep_vars=True).items()}
    gradients = [parameter.grad for parameter in module.parameters()]
    return (
        tensors,
        [None if gradient is None else gradient.numpy().tobytes() for gradient in gradients],
        [id(gradient) for gradient in gradients],
        [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())],
        [part.training for part in module.modules()],
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        np.random.get_state()[1].tobytes(),  # noqa: NPY002, which a module may use
    )


@pytest.mark.parametrize("name", often(PORTS, ["dense", "convolution", "lstm"]))
def test_a_step_of_a_right_port_is_equal_whatever_the_optimizer_is(name, tmp_path):
    port = Port(name)
    state = state_of(port.module)
    recorded = port.recorded()
    assert state_of(port.module) == state
    recorded.save(tmp_path / "step.npz")
    report = port.compared(tmp_path / "step.npz", keras.optimizers.Adam(0.1, clipnorm=1e-3))
    assert report.ok, str(report)
    step = report.step
    assert {row.gradient.status for row in step.rows if row.kind == "trained"} == {"equal"}
    assert {row.update for row in step.rows if row.kind == "trained"} == {None}
    explained = [row.path for row in step.rows if row.status == "explained"]
    assert explained == (["bn/moving_variance"] if name == "convolution" else [])
    reason = f" but for what the frameworks do differently: {VARIANCE}" if explained else ""
    assert step.summary == f"The first step is equal{reason}."
    lines = " ".join(str(step).split())
    assert lines.endswith("docs/first_step.md#what-optimizers-of-torch-do-differently")
    assert "The optimizers were not compared." in lines


def shrink_variance(normalization, inputs, outputs):
    normalization.running_var = 0.999 * normalization.running_var


@pytest.mark.parametrize("momentum", [0.1, 0.1005, 0.2])
def test_a_variance_that_differs_in_more_is_not_explained(momentum):
    port = Port("convolution")
    port.module.bn.momentum = momentum  # the share of the new values
    if momentum == 0.1:
        port.module.bn.register_forward_hook(shrink_variance)
    step = port.compared(port.recorded()).step
    assert step["bn/moving_variance"].status == "differs"
    assert (step["bn/moving_mean"].status == "differs") == (momentum != 0.1)
    assert not step.ok


def test_a_graph_that_a_user_has_is_still_differentiated():
    port = Port("convolution")
    outputs = port.module(torch.from_numpy(port.x_of_module)).sum()
    port.recorded()
    outputs.backward()
    assert port.module.conv.weight.grad is not None


def test_nothing_has_changed_after_an_error():
    def failing(*_):
        raise RuntimeError("of a user")

    port = Port("convolution")
    state = state_of(port.module)
    with pytest.raises(RuntimeError, match="of a user"):
        port.recorded(failing)
    assert state_of(port.module) == state


def test_weights_that_only_the_module_trains_differ():
    port = Port("block")
    port.model.get_layer("norm2").trainable = False
    step = port.compared(port.recorded()).step
    assert step["norm2/gamma"].gradient.detail == "trained there only"
    assert not step.ok


def test_a_gradient_that_is_missing_is_zero():
    port = Port("dense")
    port.module.fc1.forward = lambda x: nn.functional.linear(x, port.module.fc1.weight.detach(), port.module.fc1.bias)
    step = port.compared(port.recorded()).step
    assert step.first.path == "fc1/kernel"
    assert step.first.gradient.norm_there == 0


class WithDropout(nn.Module if BACKEND == "torch" else object):
    """Has all modules that have a rate, of which one is called again while gradients are computed."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 6, 2, dropout=0.3, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.1, batch_first=True)
        self.again = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.AlphaDropout(0.4))

    def forward(self, x):
        x, _ = self.lstm(x[:, None])
        x, _ = self.attention(x, x, x)
        x = self.encoder(x)[:, 0]
        return torch.utils.checkpoint.checkpoint(self.again, x, use_reentrant=False)


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_dropout_of_modules_is_off_and_then_on_again(error):
    def loss(outputs, _):
        if error is not None:
            raise error
        return outputs.square().mean()

    torch.manual_seed(0)
    module = WithDropout()
    x = Port("dense").x
    rates = module.lstm.dropout, module.attention.dropout, module.encoder.dropout1.p, module.again[1].p
    if error is not None:
        with pytest.raises(error):
            record_outputs(module, x, x, loss=loss)
    else:
        step = record_outputs(module, x, x, loss=loss).step
        assert not step.obstacle
        assert step.rates["lstm/dropout"] == 0.3
        assert step.rates["encoder.self_attn/dropout"] == 0.1
        assert step.rates["again.1/rate"] == 0.5
        without = copy.deepcopy(module).eval()  # the same as in training without dropout
        loss(without(torch.from_numpy(x)), None).backward()
        (array,) = [array for array in step.arrays if array.name == "again.0.weight"]
        expected = without.again[0].weight.grad.numpy().reshape(-1)
        np.testing.assert_allclose(array.gradient.values, expected, rtol=1e-4, atol=1e-7)
    assert rates == (module.lstm.dropout, module.attention.dropout, module.encoder.dropout1.p, module.again[1].p)


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_rates_of_modules_are_compared_as_settings(rate):
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("fc", nn.Linear(6, 3))
    module.add_module("drop", nn.Dropout(0.5))
    parts = [layers.Dense(3, name="fc"), layers.Dropout(rate, name="drop")]
    model = keras.Sequential([keras.Input((6,)), *parts], name="net")
    keras_initx.load_pretrained(model, module.state_dict(), layout="torch")
    model.compile("sgd", "mse")
    port = Port("dense")
    report = compare_outputs(model, port.x, record_outputs(module, port.x, port.y, loss=nn.MSELoss()), y=port.y)
    assert report.ok == (rate == 0.5), str(report)
    assert report.step.summary.endswith("; dropout was off.")
    assert report.step.later == ([] if rate == 0.5 else ["rate: 0.3 here, 0.5 there (drop)"])


class Functional(nn.Module if BACKEND == "torch" else object):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


def test_drawn_numbers_are_not_compared():
    port = Port("dense")
    port.module = nn.Sequential(port.module, Functional(), nn.Tanh())
    recorded = port.recorded()
    assert recorded.step.obstacle == "the module draws random numbers in 1"
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    report = compare_outputs(model, port.x, recorded, y=port.y)
    assert report.step.summary == "The first step was not compared: the module draws random numbers in 1 there."


def test_numbers_that_are_drawn_without_effect_are_no_obstacle():
    class Layerdrop(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(x) if torch.rand(()) >= 0 else x

    assert not record_outputs(
        Layerdrop(), np.ones((4, 6), "float32"), np.zeros((4, 3), "float32"), loss=nn.MSELoss()
    ).step.obstacle


def test_names_may_be_those_of_weights_with_parts_of_arrays():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = nn.Parameter(torch.randn(11, 6))
            self.head = nn.Linear(8, 3, bias=False)
            self.act = nn.Tanh()

        def forward(self, x):
            return self.head(self.act(x @ self.both[:8].T)) + x @ self.both[8:].T

    torch.manual_seed(0)
    module, inputs = Fused(), keras.Input((6,))
    hidden = layers.Dense(8, use_bias=False, name="hidden")(inputs)
    outputs = layers.Dense(3, use_bias=False, name="out")(layers.Activation("tanh", name="tanh")(hidden))
    outputs = outputs + layers.Dense(3, use_bias=False, name="skip")(inputs)
    model = keras.Model(inputs, outputs, name="net")
    names = {
        "hidden/kernel": ("both", np.s_[:8]),
        "skip/kernel": ("both", lambda array: array[8:].T),
        "out/kernel": "head.weight",
    }
    keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(8, 6)).astype("float32"), draws.normal(size=(8, 3)).astype("float32")
    recorded = record_outputs(module, x, y, loss=nn.MSELoss())
    report = compare_outputs(model, x, recorded, y=y, names={**names, "tanh": "act"})
    assert report.step.ok, str(report.step)
    assert [row.gradient.status for row in report.step.rows] == ["equal"] * 3
    like = {row.path: row.like for row in report.rows if row.status == "equal"}
    assert like == {"tanh": "act", "out": "head", "net": "Fused"}


def test_a_function_that_computes_values_has_no_gradients():
    port = Port("dense")
    names = {"fc1/kernel": ("fc1.weight", lambda array: 2 * array.T), "fc1/bias": "fc1.bias", "fc2": "fc2"}
    step = port.compared(port.recorded(), names=names).step
    assert step["fc1/kernel"].gradient.detail == "it is computed of fc1.weight"
    assert step["fc2/kernel"].gradient.status == "equal"


def test_weights_that_torch_computes_are_not_compared():
    port = Port("dense")
    nn.utils.parametrizations.weight_norm(port.module.fc1)
    step = port.compared(port.recorded()).step
    assert step["fc1/kernel"].gradient.detail.startswith("it is computed of fc1.parametrizations")
    assert step["fc1/bias"].gradient.status == "equal"


@pytest.mark.parametrize("name", often(["block", "embedded", "lstm"], ["embedded"]))
def test_of_large_modules_some_values_are_compared(monkeypatch, name):
    changes = {"count": 2000} if name == "embedded" else {}
    port = Port(name, **changes)
    monkeypatch.setattr(_module_step, "_MOST_WHOLE", 10)
    recorded = port.recorded()
    assert not recorded.step.is_whole
    step = port.compared(recorded).step
    assert step.loss.status == "equal"
    assert all(row.gradient.status == "equal" for row in step.rows)
    assert step.ok
    port.model.get_layer("fc2" if name == "block" else "fc").trainable = False
    assert not port.compared(recorded).step.ok


def test_modes_that_training_has_are_kept():
    port = Port("convolution")
    port.module.train()
    port.module.bn.eval()  # frozen statistics
    port.model.get_layer("bn").trainable = False
    for parameter in port.module.bn.parameters():
        parameter.requires_grad_(False)
    assert port.compared(port.recorded()).step.ok


def test_an_image_as_output_is_compared_with_its_axes_moved():
    port = Port("convolution")
    module = nn.Sequential(port.module.conv)
    inputs = keras.Input((5, 5, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, padding="same", use_bias=False, name="0")(inputs), name="net")
    keras_initx.load_pretrained(model, module.state_dict(), layout="torch")
    model.compile(keras.optimizers.SGD(0.1), lambda y, outputs: keras.ops.mean(outputs**2, axis=(1, 2, 3)))
    y = np.zeros(8, "float32")
    recorded = record_outputs(module, port.x_of_module, y, loss=lambda outputs, _: (outputs**2).mean())
    step = compare_outputs(model, port.x, recorded, y=y).step
    assert step.ok, str(step)


@pytest.mark.parametrize("is_one_hot", [True, False])
def test_classes_are_numbers_in_torch(is_one_hot):
    port = Port("dense")
    classes = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    module = nn.Sequential(port.module)
    recorded = record_outputs(module, port.x, classes, loss=nn.CrossEntropyLoss())
    losses = keras.losses.CategoricalCrossentropy, keras.losses.SparseCategoricalCrossentropy
    port.model.compile("sgd", losses[not is_one_hot](from_logits=True))
    for shift, answer in ((0, True), (1, False)):
        y = np.roll(classes, shift)
        if is_one_hot:
            y = np.eye(3, dtype="float32")[y]
        step = compare_outputs(port.model, port.x, recorded, y=y, names={"fc*": "0.fc{0}"}).step
        assert step.ok is answer, str(step)
        assert bool(step.inputs) is not answer


def test_images_as_targets_have_channels_first():
    port = Port("convolution")
    module = nn.Sequential(port.module.conv)
    inputs = keras.Input((5, 5, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, padding="same", use_bias=False, name="0")(inputs), name="net")
    keras_initx.load_pretrained(model, module.state_dict(), layout="torch")
    model.compile("sgd", "mse")
    y = np.random.default_rng(1).normal(size=(8, 5, 5, 4)).astype("float32")
    recorded = record_outputs(module, port.x_of_module, np.moveaxis(y, -1, 1), loss=nn.MSELoss())
    assert compare_outputs(model, port.x, recorded, y=y).step.ok
    assert compare_outputs(model, port.x, recorded, y=y[::-1]).step.inputs == ["targets: other values"]


def test_a_tied_array_is_no_other_weight():
    port = Port("dense")
    port.module.again = port.module.fc2
    step = port.compared(port.recorded()).step
    assert step.ok
    assert not step.unmatched
    port.module.other = nn.Linear(2, 2)
    assert port.compared(port.recorded()).step.unmatched == ["other.weight", "other.bias"]


@pytest.mark.rare
def test_a_module_inside_of_a_model_has_the_names_of_the_module():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    inputs = keras.Input((6,))
    wrapper = layers.TorchModuleWrapper(copy.deepcopy(module), name="inner", output_shape=(None, 3))
    model = keras.Model(inputs, wrapper(inputs), name="net")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    port = Port("dense")
    recorded = record_outputs(nn.ModuleDict({"inner": module}).inner, port.x, port.y, loss=nn.MSELoss())
    step = compare_outputs(model, port.x, recorded, y=port.y, names={"inner/*": "{0}"}).step
    assert step.ok, str(step)
    assert {row.gradient.status for row in step.rows if row.kind == "trained"} == {"equal"}


@pytest.mark.rare
def test_layers_of_recurrent_modules_and_both_directions_are_compared():
    torch.manual_seed(0)
    module = nn.ModuleDict({"rnn": nn.GRU(5, 7, 2, batch_first=True, bidirectional=True)}).rnn
    model = keras.Sequential(
        [
            keras.Input((4, 5)),
            layers.Bidirectional(layers.GRU(7, return_sequences=True), name="first"),
            layers.Bidirectional(layers.GRU(7, return_sequences=True), name="second"),
        ]
    )
    holder = nn.Sequential(module)
    holder.forward = lambda x: module(x)[0]
    names = {"*": "0"}
    keras_initx.load_pretrained(model, holder.state_dict(), names, layout="torch")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(8, 4, 5)).astype("float32"), draws.normal(size=(8, 4, 14)).astype("float32")
    recorded = record_outputs(holder, x, y, loss=nn.MSELoss())
    step = compare_outputs(model, x, recorded, y=y, names=names).step
    assert step.ok, str(step)
    assert len(step.rows) == 12


def bad_loss(outputs, _):
    return outputs


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": None}, TypeError, "`loss` must be a function of the outputs of the module and of `y`"),
        ({"loss": bad_loss}, ValueError, r"`loss` must return a tensor with a single number, .* returns \(8, 3\)"),
        ({"loss": lambda *_: 1.0}, ValueError, "which returns float"),
        ({"loss": lambda outputs, _: outputs.detach().sum()}, ValueError, "which returns a tensor without a gradient"),
    ],
)
def test_bad_arguments_are_refused(options, error, message):
    port = Port("dense")
    state = state_of(port.module)
    with pytest.raises(error, match=message):
        port.recorded(**options)
    assert state_of(port.module) == state


def test_arguments_for_modules_alone_are_refused():
    port = Port("dense")
    with pytest.raises(ValueError, match="`loss` must be left out for a Keras model"):
        record_outputs(port.model, port.x, port.y, loss=nn.MSELoss())
    with pytest.raises(ValueError, match="`loss` must be left out without targets"):
        record_outputs(port.module, port.x, loss=nn.MSELoss())


@pytest.mark.parametrize("factor", everywhere([1.0, 2.0], [2.0], others=[pytest.mark.release_backends]))
def test_a_file_of_torch_is_compared_on_every_backend(tmp_path, factor):
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(16, 4)).astype("float32"), draws.normal(size=(16, 3)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="fc")], name="net")
    kernel = draws.normal(size=(4, 3)).astype("float32")
    model.layers[0].kernel.assign(kernel)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    error = x @ kernel - y
    gradients = {"fc.weight": 2 * error.T @ x / error.size, "fc.bias": 2 * error.sum(axis=0) / error.size}
    arrays = []
    for name, gradient in gradients.items():
        values = (factor * gradient).astype("float32")
        change = ArrayChange(float(np.linalg.norm(values)), values.reshape(-1), np.zeros(0, "float32"))
        arrays.append(RecordedArray(name, "trained", gradient.shape, "float32", change))
    here = record_outputs(model, x, y)
    there = RecordedStep(
        targets=record_targets(y),
        outputs=here.step.outputs,
        loss=here.step.loss,
        arrays=arrays,
        is_whole=True,
    )
    RecordedOutputs(here.calls, "torch", "", there).save(tmp_path / "torch.npz")
    step = compare_outputs(model, x, tmp_path / "torch.npz", y=y).step
    assert {row.gradient.status for row in step.rows} == {"equal" if factor == 1 else "differs"}
    assert [row.like for row in step.rows] == ["fc.weight", "fc.bias"]
    assert step.ok is (factor == 1)


def test_arrays_with_the_axes_of_keras_have_a_first_step_too():
    class Transposed(nn.Module):
        """As `Conv1D` in GPT-2 of transformers."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 3))
            self.bias = nn.Parameter(torch.zeros(3))

        def forward(self, x):
            return x @ self.weight + self.bias

    torch.manual_seed(0)
    module = nn.Sequential(Transposed())
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="0")], name="net")
    loaded = keras_initx.load_pretrained(model, module.state_dict(), layout="keras")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(8, 6)).astype("float32"), draws.normal(size=(8, 3)).astype("float32")
    recorded = record_outputs(module, x, y, loss=nn.MSELoss())
    report = compare_outputs(model, x, recorded, y=y, layout="keras")
    assert report.ok, str(report)
    assert [row.gradient.status for row in report.step.rows] == ["equal"] * 2
    # With the axes of torch, the array does not fit.
    assert "not all was compared" in str(compare_outputs(model, x, recorded, y=y).step)
    assert keras_initx.port_report(model, module, x, y, loaded=loaded, loss=nn.MSELoss()).ok
    with pytest.raises(ValueError, match="`layout` must be left out unless `like` is recorded from a module of torch"):
        compare_outputs(model, x, record_outputs(model, x), layout="keras")
    with pytest.raises(ValueError, match="`layout` must be one of"):
        compare_outputs(model, x, recorded, y=y, layout="numpy")
