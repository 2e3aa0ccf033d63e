"""Small models as users write them, after public examples, whose names no recipe knows."""

import keras
import numpy as np
from keras import layers, ops

WIDTH, LENGTH, TOKENS, HEADS = 8, 6, 20, 2


@keras.saving.register_keras_serializable("strangers")
class TransformerBlock(layers.Layer):
    """That of "Text classification with Transformer" of keras.io, which normalizes after each sum."""

    def __init__(self, **options):
        super().__init__(**options)
        self.att = layers.MultiHeadAttention(HEADS, WIDTH)
        self.ffn = keras.Sequential([layers.Dense(16, "relu"), layers.Dense(WIDTH)])
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(0.1)
        self.dropout2 = layers.Dropout(0.1)

    def build(self, shape):
        self.att.build(shape, shape)
        for layer in (self.ffn, self.layernorm1, self.layernorm2):
            layer.build(shape)

    def call(self, inputs):
        attended = self.dropout1(self.att(inputs, inputs))
        first = self.layernorm1(inputs + attended)
        return self.layernorm2(first + self.dropout2(self.ffn(first)))


@keras.saving.register_keras_serializable("strangers")
class TokenAndPositionEmbedding(layers.Layer):
    """Of the same example."""

    def __init__(self, **options):
        super().__init__(**options)
        self.token_emb = layers.Embedding(TOKENS, WIDTH)
        self.pos_emb = layers.Embedding(LENGTH, WIDTH)

    def build(self, shape):
        self.token_emb.build(shape)
        self.pos_emb.build(shape)

    def call(self, x):
        positions = ops.arange(0, ops.shape(x)[-1], 1)
        return self.token_emb(x) + self.pos_emb(positions)


def text_classifier():
    inputs = keras.Input((LENGTH,))
    x = TokenAndPositionEmbedding()(inputs)
    x = TransformerBlock()(x)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(10, "relu")(x))
    return keras.Model(inputs, layers.Dense(2, "softmax")(x))


@keras.saving.register_keras_serializable("strangers")
class DecoderBlock(layers.Layer):
    """That of nanoGPT."""

    def __init__(self, **options):
        super().__init__(**options)
        self.ln1, self.ln2 = layers.LayerNormalization(), layers.LayerNormalization()
        self.attn = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        self.up, self.down = layers.Dense(4 * WIDTH, "gelu"), layers.Dense(WIDTH)
        self.drop = layers.Dropout(0.1)

    def build(self, shape):
        self.attn.build(shape, shape)
        for layer in (self.ln1, self.ln2, self.up):
            layer.build(shape)
        self.down.build((*shape[:-1], 4 * WIDTH))

    def call(self, x, training=None):
        normed = self.ln1(x)
        x = x + self.drop(self.attn(normed, normed, use_causal_mask=True), training=training)
        return x + self.drop(self.down(self.up(self.ln2(x))), training=training)


@keras.saving.register_keras_serializable("strangers")
class GPT(keras.Model):
    """A subclassed decoder that normalizes first."""

    def __init__(self, **options):
        super().__init__(**options)
        self.tok, self.pos = layers.Embedding(TOKENS, WIDTH), layers.Embedding(LENGTH, WIDTH)
        self.blocks = [DecoderBlock(), DecoderBlock()]
        self.ln = layers.LayerNormalization()
        self.head = layers.Dense(TOKENS, use_bias=False)

    def call(self, ids, training=None):
        x = self.tok(ids) + self.pos(ops.arange(ops.shape(ids)[1]))
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.ln(x))


def gpt():
    model = GPT()
    model(np.zeros((2, LENGTH), "int32"))
    return model


@keras.saving.register_keras_serializable("strangers")
class PatchEncoder(layers.Layer):
    """That of "Image classification with Vision Transformer" of keras.io."""

    def __init__(self, **options):
        super().__init__(**options)
        self.projection = layers.Dense(WIDTH)
        self.position_embedding = layers.Embedding(4, WIDTH)

    def build(self, shape):
        self.projection.build(shape)
        self.position_embedding.build(shape)

    def call(self, patches):
        positions = ops.expand_dims(ops.arange(0, 4, 1), axis=0)
        return self.projection(patches) + self.position_embedding(positions)


def vision_transformer():
    inputs = keras.Input((4, 4, 3))
    x = PatchEncoder()(ops.reshape(ops.image.extract_patches(inputs, 2), (-1, 4, 12)))
    for _ in range(2):
        normed = layers.LayerNormalization(epsilon=1e-6)(x)
        attended = layers.MultiHeadAttention(HEADS, WIDTH, dropout=0.1)(normed, normed)
        x2 = layers.Add()([attended, x])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        for units in (2 * WIDTH, WIDTH):
            x3 = layers.Dropout(0.1)(layers.Dense(units, keras.activations.gelu)(x3))
        x = layers.Add()([x3, x2])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    x = layers.Dropout(0.5)(layers.Dense(16, keras.activations.gelu)(x))
    return keras.Model(inputs, layers.Dense(5)(x))


def resnet():
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs)))
    for filters, stride in ((4, 1), (8, 2)):
        y = layers.Conv2D(filters, 3, stride, padding="same")(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(y))
        if stride > 1:
            x = layers.BatchNormalization()(layers.Conv2D(filters, 1, stride)(x))
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(5, "softmax")(layers.GlobalAveragePooling2D()(x)))


def perceptron():
    inputs = keras.Input((4,))
    x = layers.Dense(WIDTH, name="inp")(inputs)
    for number in (1, 2, 3):
        hidden = layers.Dense(WIDTH, "gelu", name=f"a{number}")(x)
        x = x + layers.Dense(WIDTH, name=f"b{number}")(hidden)
    return keras.Model(inputs, layers.Dense(1, name="out")(x))


@keras.saving.register_keras_serializable("strangers")
class Residual(layers.Layer):
    """A residual block of convolutions without normalization."""

    def __init__(self, filters, stride=1, **options):
        super().__init__(**options)
        self.filters, self.stride = filters, stride
        self.c1 = layers.Conv2D(filters, 3, stride, padding="same", activation="relu")
        self.c2 = layers.Conv2D(filters, 3, padding="same")
        self.down = layers.Conv2D(filters, 1, stride) if stride > 1 else None

    def call(self, x):
        y = self.c2(self.c1(x))
        if self.down is not None:
            x = self.down(x)
        return ops.relu(x + y)


@keras.saving.register_keras_serializable("strangers")
class ConvNet(keras.Model):
    """A subclassed residual network."""

    def __init__(self, **options):
        super().__init__(**options)
        self.stem = layers.Conv2D(4, 3, padding="same")
        self.blocks = [Residual(4), Residual(8, 2)]
        self.pool, self.fc = layers.GlobalAveragePooling2D(), layers.Dense(5)

    def call(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.pool(x))


def conv_net():
    model = ConvNet()
    model(np.zeros((2, 8, 8, 3), "float32"))
    return model


def parallel_block(x, form):
    """Attention and perceptron beside each other, of one normalization, as in GPT-J and PaLM."""
    normed = layers.LayerNormalization()(x)
    attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(normed, normed, use_causal_mask=True)
    mixed = layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, "gelu")(normed))
    if form == "x + a + m":
        return x + attended + layers.Dropout(0.1)(mixed)
    if form == "x + (a + m)":
        return x + layers.Dropout(0.1)(attended + mixed)
    return layers.Add()([attended, x, mixed])


def parallel_gpt(form):
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(TOKENS, WIDTH)(inputs)
    for _ in range(2):
        x = parallel_block(x, form)
    return keras.Model(inputs, layers.Dense(TOKENS, name="head")(layers.LayerNormalization()(x)))


@keras.saving.register_keras_serializable("strangers")
class CrossBlock(layers.Layer):
    """The decoder of "English-to-Spanish translation with a sequence-to-sequence Transformer" of keras.io."""

    def __init__(self, **options):
        super().__init__(**options)
        self.attention_1 = layers.MultiHeadAttention(HEADS, WIDTH)
        self.attention_2 = layers.MultiHeadAttention(HEADS, WIDTH)
        self.dense_proj = keras.Sequential([layers.Dense(16, "relu"), layers.Dense(WIDTH)])
        self.layernorm_1, self.layernorm_2, self.layernorm_3 = (layers.LayerNormalization() for _ in range(3))

    def call(self, inputs, mask=None):
        x, memory = inputs
        x = self.layernorm_1(x + self.attention_1(query=x, value=x, key=x, use_causal_mask=True))
        x = self.layernorm_2(x + self.attention_2(query=x, value=memory, key=memory))
        return self.layernorm_3(x + self.dense_proj(x))


def translator():
    """Of the same example: two functional models in a third, the decoder deeper."""
    source = keras.Input((LENGTH,), dtype="int32")
    memory = TransformerBlock()(TokenAndPositionEmbedding()(source))
    encoder = keras.Model(source, memory)
    target, encoded = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH, WIDTH))
    x = TokenAndPositionEmbedding()(target)
    for _ in range(2):
        x = CrossBlock()([x, encoded])
    decoder = keras.Model([target, encoded], layers.Dense(TOKENS, "softmax")(layers.Dropout(0.5)(x)))
    return keras.Model([source, target], decoder([target, encoder(source)]))


@keras.saving.register_keras_serializable("strangers")
class PlainTranslator(keras.Model):
    """A subclassed encoder and decoder that share a table. They normalize first, or not at all."""

    def __init__(self, normalization):
        super().__init__()
        self.tok, self.head = layers.Embedding(TOKENS, WIDTH), layers.Dense(TOKENS)
        self.self_attention = [layers.MultiHeadAttention(HEADS, WIDTH) for _ in range(3)]
        self.other_attention = layers.MultiHeadAttention(HEADS, WIDTH)
        self.up = [layers.Dense(16, "relu") for _ in range(3)]
        self.down = [layers.Dense(WIDTH) for _ in range(3)]
        self.norms = [normalization() for _ in range(7)]

    def block(self, x, place, norms, memory=None):
        normed = norms[0](x)
        x = x + self.self_attention[place](normed, normed)
        if memory is not None:
            x = x + self.other_attention(self.norms[6](x), memory)
        return x + self.down[place](self.up[place](norms[1](x)))

    def call(self, inputs):
        source, target = inputs
        memory = self.block(self.block(self.tok(source), 0, self.norms[:2]), 1, self.norms[2:4])
        return self.head(self.block(self.tok(target), 2, self.norms[4:6], memory))


def plain_translator(normalization=layers.Identity):
    model = PlainTranslator(normalization)
    model([np.zeros((2, LENGTH), "int32")] * 2)
    return model
