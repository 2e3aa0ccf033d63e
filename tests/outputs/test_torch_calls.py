"""Modules of torch are recorded by hooks, and compared with models of Keras."""

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND

import keras_initx
from keras_initx.outputs import compare_outputs, record_outputs

if BACKEND == "torch":
    import torch
    from torch import nn

    class Block(nn.Module):
        """A block of a ResNet."""

        def __init__(self, channels):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + x)

    class ResNet(nn.Module):
        """Images have channels first, and are flattened so."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.pool = nn.MaxPool2d(2)
            self.blocks = nn.ModuleList([Block(8), Block(8)])
            self.fc1 = nn.Linear(8 * 4 * 4, 16)
            self.act = nn.GELU()
            self.fc2 = nn.Linear(16, 5)

        def forward(self, x):
            x = self.pool(self.stem(x))
            for block in self.blocks:
                x = block(x)
            return self.fc2(self.act(self.fc1(torch.flatten(x, 1))))


IMAGES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
NAMES = {
    "block_*/conv_*": "blocks.{0}.conv{1}",
    "block_*/norm_*": "blocks.{0}.bn{1}",
    "block_*/relu_2": "blocks.{0}",
    "stem": "stem",
    "pool": "pool",
    "fc*": "fc{0}",
}


def drawn(module):
    torch.manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.normal_(0, 0.3)
            if name.endswith("running_var"):
                value.abs_().add_(1)
    return module.eval()


def resnet(epsilon=1e-5, padding="valid", activation="gelu"):
    inputs = keras.Input((16, 16, 3))
    x = inputs
    if padding == "valid":
        x = layers.ZeroPadding2D(1, name="padding")(x)
    x = layers.Conv2D(8, 3, strides=2, padding=padding, name="stem")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    for number in range(2):
        y = x
        for place in (1, 2):
            name = f"block_{number}"
            y = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv_{place}")(y)
            y = layers.BatchNormalization(epsilon=epsilon, name=f"{name}_norm_{place}")(y)
            if place == 2:
                y = y + x
            y = layers.ReLU(name=f"{name}_relu_{place}")(y)
        x = y
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(16, activation, name="fc1")(x)
    return keras.Model(inputs, layers.Dense(5, name="fc2")(x), name="net")


RESNET_NAMES = {key.replace("/", "_"): name for key, name in NAMES.items()}


def loaded(model, module):
    keras_initx.load_pretrained(
        model, module.state_dict(), {key: name for key, name in RESNET_NAMES.items() if "relu" not in key and key != "pool"}, layout="torch"
    )
    return model


@pytest.fixture(scope="module")
def module():
    return drawn(ResNet())


@pytest.fixture(scope="module")
def recorded(module):
    return record_outputs(module, np.moveaxis(IMAGES, -1, 1))


def test_a_resnet_of_torch_is_compared_with_its_axes_moved(module, recorded):
    report = compare_outputs(loaded(resnet(), module), IMAGES, recorded, names=RESNET_NAMES)
    print(report)
    for row in report.rows: print(row, row.answer, row.noise)
    assert report.ok
