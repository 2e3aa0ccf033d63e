"""The models of `build.py` and `tools.py`."""

WIDTHS = tuple(range(100, 600, 10))


def mlp(initializer):
    """Return 50 dense layers of 50 different widths."""
    import keras

    inputs = outputs = keras.Input((90,))
    for width in WIDTHS:
        outputs = keras.layers.Dense(width, "relu", kernel_initializer=initializer)(outputs)
    return keras.Model(inputs, outputs)


def transformer(initializer, blocks=12, width=768, heads=12):
    """Return a stack of transformer blocks with 7.1 million weights each."""
    import keras

    inputs = x = keras.Input((128, width))
    for _ in range(blocks):
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.MultiHeadAttention(heads, width // heads, kernel_initializer=initializer)(
            y, y
        )
        x = keras.layers.Add()([x, y])
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.Dense(4 * width, "gelu", kernel_initializer=initializer)(y)
        y = keras.layers.Dense(width, kernel_initializer=initializer)(y)
        x = keras.layers.Add()([x, y])
    return keras.Model(inputs, x)


def decoder(words, length, blocks=6, width=256, heads=4):
    """Return a compiled language model: for 5,000 words it has 7.3 million weights."""
    import keras

    inputs = keras.Input((length,), dtype="int32")
    table = keras.layers.Embedding(words, width, name="tokens")(inputs)
    places = keras.ops.cumsum(keras.ops.ones_like(inputs), axis=1) - 1
    positions = keras.layers.Embedding(length, width, name="positions")(places)
    x = keras.layers.Add()([table, positions])
    for _ in range(blocks):
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=True)
        x = keras.layers.Add()([x, y])
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.Dense(4 * width, "gelu")(y)
        y = keras.layers.Dense(width)(y)
        x = keras.layers.Add()([x, y])
    logits = keras.layers.Dense(words, name="head")(keras.layers.LayerNormalization()(x))
    model = keras.Model(inputs, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    return model


def resnet50_config():
    """Return the config of ResNet-50, to build it in a process that has not built it before."""
    import keras

    return keras.applications.ResNet50(weights=None).get_config()


def resnet50(initializer, config):
    """Return ResNet-50 with another kernel initializer, for which it has no argument."""
    import keras

    for layer in config["layers"]:
        if "kernel_initializer" in layer["config"]:
            layer["config"]["kernel_initializer"] = initializer
    return keras.Model.from_config(config)
