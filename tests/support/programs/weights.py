"""Initial weights: too small for the depth, or alike."""

from keras.initializers import Constant

from programs.networks import circles, lenet, narrow, uniform, wide
from programs.program import AUTOTRAINER, NEURALINT, program


@program(
    AUTOTRAINER,
    "circle, model_8de47bdc",
    fault="eight layers of ReLU with weights of 0.05",
    repair="He's initializer",
    expected={"vanishing": "HeNormal|HeUniform"},
)
def _(repaired):
    return wide(circles) if repaired else narrow(circles, 8, "relu", uniform)


@program(
    AUTOTRAINER,
    "MNIST, tmp_lenet5",
    fault="twelve dense layers with weights of 0.05",
    repair="He's initializer",
    expected={"vanishing": "HeNormal|HeUniform"},
)
def _(repaired):
    if repaired:
        return lenet(kernel="he_normal", depth=3)
    return lenet(kernel=uniform, depth=12)


@program(
    NEURALINT,
    "LeNet, constant kernels",
    fault="kernels of 0.1",
    repair="random kernels",
    expected={"equal units": "HeNormal|random"},
)
def _(repaired):
    return lenet(kernel="he_normal" if repaired else lambda: Constant(0.1))


@program(
    NEURALINT,
    "LeNet, kernels of zeros",
    fault="kernels of zeros",
    repair="random kernels",
    expected={"equal units": "HeNormal|random"},
)
def _(repaired):
    return lenet(kernel="he_normal" if repaired else "zeros")
