"""Six modules of torch and the models of Keras that compute the same, with the weights of the modules."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

import keras_initx


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 5 * 5, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.bn(self.conv(x))).flatten(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn = kind(5, 7, batch_first=True)
        self.fc = nn.Linear(7, 3)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])


class Block(nn.Module):
    """A block of a transformer."""

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(8)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 8)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.fc2(torch.relu(self.fc1(self.norm2(x))))


class Embedded(nn.Module):
    def __init__(self, count=20):
        super().__init__()
        self.emb = nn.Embedding(count, 8)
        self.norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.norm(self.emb(x)).mean(1))


def _chain(shape, *parts, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts], name="net")


def _block():
    inputs = keras.Input((5, 8))
    y = layers.LayerNormalization(epsilon=1e-5, name="norm1")(inputs)
    x = inputs + layers.MultiHeadAttention(2, 4, name="attn")(y, y)
    y = layers.LayerNormalization(epsilon=1e-5, name="norm2")(x)
    y = layers.Dense(8, name="fc2")(layers.Dense(16, "relu", name="fc1")(y))
    return keras.Model(inputs, x + y, name="net")


def _convolution():
    return _chain(
        (5, 5, 3),
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv"),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn"),
        layers.ReLU(name="relu"),
        layers.Flatten(name="flatten"),
        layers.Dense(3, name="fc"),
    )


def _embedded(count=20):
    return _chain(
        (6,),
        layers.Embedding(count, 8, name="emb"),
        layers.LayerNormalization(epsilon=1e-5, name="norm"),
        layers.GlobalAveragePooling1D(name="pool"),
        layers.Dense(3, name="fc"),
        dtype="int32",
    )


def _dense():
    return _chain((6,), layers.Dense(8, "tanh", name="fc1"), layers.Dense(3, name="fc2"))


# The module, the model, and the shapes of inputs and targets, without the batch.
PORTS = {
    "dense": (Dense, _dense, (6,), (3,)),
    "convolution": (Convolution, _convolution, (5, 5, 3), (3,)),
    "lstm": (
        lambda: Recurrent(nn.LSTM),
        lambda: _chain((4, 5), layers.LSTM(7, name="rnn"), layers.Dense(3, name="fc")),
        (4, 5),
        (3,),
    ),
    "gru": (
        lambda: Recurrent(nn.GRU),
        lambda: _chain((4, 5), layers.GRU(7, name="rnn"), layers.Dense(3, name="fc")),
        (4, 5),
        (3,),
    ),
    "block": (Block, _block, (5, 8), (5, 8)),
    "embedded": (Embedded, _embedded, (6,), (3,)),
}


class Port:
    """A module of torch and a model with its weights, and a batch for both.

    Attributes:
        module: The module.
        model: The model.
        x: The inputs of the model.
        x_of_module: Those of the module, which has channels first.
        y: The targets.
    """

    def __init__(self, name, **changes):
        make_module, make_model, shape, targets = PORTS[name]
        torch.manual_seed(0)
        self.module = make_module(**changes)
        self.model = make_model(**changes)
        keras_initx.load_pretrained(self.model, self.module.state_dict(), layout="torch")
        draws = np.random.default_rng(0)
        self.x = draws.normal(size=(8, *shape)).astype("float32")
        if name == "embedded":
            self.x = draws.integers(0, 20, (8, *shape))
        self.y = draws.normal(size=(8, *targets)).astype("float32")
        self.x_of_module = np.moveaxis(self.x, -1, 1) if len(shape) == 3 else self.x

    def recorded(self, loss=nn.functional.mse_loss):
        return keras_initx.record_outputs(self.module, self.x_of_module, self.y, loss=loss)

    def compared(self, recorded, optimizer="sgd", **options):
        self.model.compile(optimizer, "mse")
        return keras_initx.compare_outputs(self.model, self.x, recorded, y=self.y, **options)
