"""Pictures by a vision Transformer with a wide dense head.

After keras.io examples/vision/image_classification_with_vision_transformer.py.
"""

import keras
from _shared import Patches, Places, pictures
from keras import layers

URL = "https://keras.io/examples/vision/image_classification_with_vision_transformer/"


def build(size=36, patch=6, width=32, heads=4, blocks=8):
    x, y = pictures(10, 32, count=96)
    x = x * 255
    normalization = layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(layers.Resizing(size, size)(normalization(inputs)))
    h = layers.RandomZoom(height_factor=0.2, width_factor=0.2)(layers.RandomRotation(factor=0.02)(h))
    h = Places((size // patch) ** 2, width)(Patches(patch)(h))
    for _ in range(blocks):
        x1 = layers.LayerNormalization(epsilon=1e-6)(h)
        x2 = layers.Add()([layers.MultiHeadAttention(heads, width, dropout=0.1)(x1, x1), h])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        for units in (2 * width, width):
            x3 = layers.Dropout(0.1)(layers.Dense(units, activation="gelu")(x3))
        h = layers.Add()([x3, x2])
    h = layers.Dropout(0.5)(layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(h)))
    for units in (256, 128):
        h = layers.Dropout(0.5)(layers.Dense(units, activation="gelu")(h))
    model = keras.Model(inputs, layers.Dense(10)(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, x, y
