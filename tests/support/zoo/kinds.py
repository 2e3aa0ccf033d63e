"""Mixed precision, wrapped modules and several inputs."""

import keras
from keras import layers
from modes import BACKEND

from zoo import CLASSES, normal, tokens


def mixed_precision():
    stack = [layers.Dense(32, "relu", dtype="mixed_bfloat16"), layers.LayerNormalization(dtype="mixed_bfloat16")]
    model = keras.Sequential([keras.Input((16,)), *stack, layers.Dense(4, dtype="float32")])
    return model, normal(32, 16), tokens(32, vocabulary=4), CLASSES


def wrapped():
    import torch

    torch.manual_seed(0)
    convolution = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    recurrent = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1568, 16), torch.nn.Dropout(0.2))

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = convolution, recurrent
            self.head = layers.Dense(10)

        def call(self, inputs):
            return self.head(self.second(self.first(inputs)))

    model, x = Network(), normal(8, 3, 16, 16)
    model(x)
    return model, x, tokens(8, vocabulary=10), CLASSES


def wide_and_deep():
    wide, deep, category = keras.Input((8,)), keras.Input((16,)), keras.Input((1,), dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(50, 4)(category))
    hidden = layers.Dense(32, "relu")(layers.Concatenate()([deep, embedded]))
    score = layers.Dense(1, "sigmoid", name="score")(layers.Concatenate()([wide, hidden]))
    model = keras.Model([wide, deep, category], [score, layers.Dense(3, name="other")(hidden)])
    model.compile("sgd", ["binary_crossentropy", "mse"])
    return model, [normal(32, 8), normal(32, 16), tokens(32, 1)], [tokens(32, 1, vocabulary=2), normal(32, 3)], None


ZOO = {
    "mixed precision": (mixed_precision, set()),
    "wide and deep": (wide_and_deep, set()),
}
if BACKEND == "torch":
    ZOO["wrapped modules"] = (wrapped, set())


# All of them: precision, wrapped modules and several inputs are matters of the backend.
EVERYWHERE = tuple(ZOO)
