"""Pictures by a Transformer with external attention, after keras.io examples/vision/eanet.py."""

import keras
from _shared import Patches, Places, pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/eanet/"


def external(x, heads, rate=0.2, coefficient=4):
    _, count, width = x.shape
    heads = heads * coefficient
    x = layers.Dense(width * coefficient)(x)
    x = ops.transpose(ops.reshape(x, (-1, count, heads, width * coefficient // heads)), (0, 2, 1, 3))
    weights = layers.Softmax(axis=2)(layers.Dense(64 // coefficient)(x))
    weights = layers.Lambda(lambda a: a / (1e-9 + ops.sum(a, axis=-1, keepdims=True)))(weights)
    x = layers.Dense(width * coefficient // heads)(layers.Dropout(rate)(weights))
    x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, count, width * coefficient))
    return layers.Dropout(rate)(layers.Dense(width)(x))


def build(width=32, blocks=8, rate=0.2):
    x, y = pictures(10, 32)
    x = x * 255
    normalization = layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(normalization(inputs))
    h = layers.RandomZoom(height_factor=0.2, width_factor=0.2)(
        layers.RandomContrast(factor=0.1)(layers.RandomRotation(factor=0.1)(h))
    )
    h = Places(64, width)(Patches(4)(h))
    for _ in range(blocks):
        inner = external(layers.LayerNormalization(epsilon=1e-5)(h), 2)
        h = layers.Add()([inner, h])
        inner = layers.LayerNormalization(epsilon=1e-5)(h)
        inner = layers.Dropout(rate)(layers.Dense(width, activation="gelu")(inner))
        inner = layers.Dropout(rate)(layers.Dense(width)(inner))
        h = layers.Add()([inner, h])
    h = layers.GlobalAveragePooling1D()(h)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(h))
    model.compile(
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    return model, x, keras.utils.to_categorical(y, 10)
