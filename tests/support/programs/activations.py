"""Activations in deep stacks, behind which signals or gradients vanish, explode or die."""

import numpy as np
from keras.layers import Dense

from programs.networks import blobs, circles, compiled, draws, lenet, narrow, normal, wide
from programs.program import AUTOTRAINER, OVERFLOW, program


@program(
    OVERFLOW,
    "39217567",
    fault="three layers of sigmoids with weights of deviation 0.05",
    repair="ReLU",
    expected={"alike|vanishing|vanishing gradient": "tanh|ReLU|HeNormal|Glorot|Orthogonal"},
)
def _(repaired):
    x = (np.arange(256)[:, None] >> np.arange(8)) % 2
    y = draws().permutation(x)
    if repaired:
        stack = Dense(8, "relu", kernel_initializer="he_normal"), Dense(8, "relu"), Dense(8, "sigmoid")
    else:
        stack = [Dense(8, "sigmoid", kernel_initializer=normal()) for _ in range(3)]
    return compiled(x, y, *stack, loss="mse", optimizer="sgd")


# What keeps the signal of a deep network.
DEEP = "tanh|ReLU|HeNormal|Glorot|Orthogonal|fewer|residual|normalization"


@program(
    AUTOTRAINER,
    "circle, model_5ab0aeda",
    fault="eleven layers of sigmoids",
    repair="ReLU, batch normalization",
    expected={"vanishing gradient|vanishing": DEEP},
)
def _(repaired):
    return wide(circles) if repaired else narrow(circles, 11, "sigmoid")


@program(
    AUTOTRAINER,
    "blob, model_bd4e58b7",
    fault="twelve layers of sigmoids, sigmoids for classes that exclude each other",
    repair="ReLU, softmax",
    expected={"vanishing gradient|vanishing": DEEP, "no probabilities": "softmax"},
)
def _(repaired):
    return wide(blobs) if repaired else narrow(blobs, 12, "sigmoid")


@program(
    AUTOTRAINER,
    "circle, model_0eb8d545",
    fault="eleven layers of exponential functions",
    repair="another activation",
    expected={"exploding": "activation|Glorot|HeNormal"},
)
def _(repaired):
    return wide(circles) if repaired else narrow(circles, 11, "exponential")


@program(
    AUTOTRAINER,
    "circle, model_8e28bdef",
    fault="16 layers of five ReLUs, which die",
    repair="another activation, or another start",
    expected={"dead units|vanishing|alike|vanishing gradient": DEEP},
)
def _(repaired):
    return wide(circles) if repaired else narrow(circles, 16, "relu")


@program(
    AUTOTRAINER,
    "MNIST, model_2af630c4",
    fault="a LeNet of sigmoids with seven dense layers",
    repair="ReLU",
    expected={"vanishing gradient|vanishing": DEEP},
)
def _(repaired):
    if repaired:
        return lenet(kernel="he_normal", depth=2)
    return lenet(activation="sigmoid", kernel="he_normal", depth=7)
