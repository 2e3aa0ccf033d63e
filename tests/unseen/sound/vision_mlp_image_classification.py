"""Pictures by MLP-Mixer, dense layers over patches and over channels.

After keras.io examples/vision/mlp_image_classification.py.
"""

import keras
from _shared import Patches, pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/mlp_image_classification/"


class Mixer(layers.Layer):
    def __init__(self, count, width, rate=0.2):
        super().__init__()
        self.over_patches = keras.Sequential(
            [layers.Dense(count, activation="gelu"), layers.Dense(count), layers.Dropout(rate)]
        )
        self.over_channels = keras.Sequential(
            [layers.Dense(width, activation="gelu"), layers.Dense(width), layers.Dropout(rate)]
        )
        self.normalize = layers.LayerNormalization(epsilon=1e-6)

    def call(self, x):
        channels = ops.transpose(self.normalize(x), (0, 2, 1))
        x = ops.transpose(self.over_patches(channels), (0, 2, 1)) + x
        return x + self.over_channels(self.normalize(x))


def build(width=48, blocks=4):
    x, y = pictures(10, 32)
    x = x * 255
    normalization = layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(layers.Resizing(64, 64)(normalization(inputs)))
    h = layers.RandomZoom(height_factor=0.2, width_factor=0.2)(h)
    h = layers.Dense(width)(Patches(8)(h))
    h = keras.Sequential([Mixer(64, width) for _ in range(blocks)])(h)
    h = layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(h))
    model = keras.Model(inputs, layers.Dense(10)(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.005, weight_decay=0.0001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return model, x, y
