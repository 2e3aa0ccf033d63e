"""A T5 that is made a variational autoencoder has a loss of NaN from the first batch on.

Fault: the denoising step exchanges the token numbers and the attention mask, so the mask has values far above 1.
Repair (asker, confirmed by the author): they are put back in their places.
The pretrained weights are replaced by a short training in `build` with proper masks, which is the same in both forms.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/seongminp/transformers-into-vaes/issues/4"
YEAR = 2022
TOPIC = "autoencoders"
CONFIRMED = "asker"
KINDS = ("attention: mask or scale", "inputs: other (wrong axis, all alike, no information)")
VISIBLE = True
EVIDENCE = "the mask row of x reaches 39 instead of 1, the token row only 0 and 1; the loss of the batch is NaN"
REPRODUCED = True

WORDS, LENGTH, WIDTH = 40, 10, 32


class Block(keras.layers.Layer):
    """Attention without scaling and a feed-forward part, with norms before them, as in T5."""

    def build(self, shape):
        names = ("query", "key", "value", "out", "wide", "narrow")
        sizes = (WIDTH, WIDTH, WIDTH, WIDTH, 4 * WIDTH, WIDTH)
        deviations = (1 / WIDTH, WIDTH**-0.5, WIDTH**-0.5, WIDTH**-0.5, WIDTH**-0.5, (4 * WIDTH) ** -0.5)
        for name, size, deviation in zip(names, sizes, deviations, strict=True):
            layer = keras.layers.Dense(
                size, use_bias=False, kernel_initializer=keras.initializers.RandomNormal(stddev=deviation)
            )
            layer.build((None, 4 * WIDTH if name == "narrow" else WIDTH))
            setattr(self, name, layer)
        self.norm1, self.norm2 = (keras.layers.LayerNormalization(center=False) for _ in range(2))
        self.norm1.build((None, None, WIDTH))
        self.norm2.build((None, None, WIDTH))

    def call(self, hidden, bias):
        normed = self.norm1(hidden)
        scores = keras.ops.matmul(self.query(normed), keras.ops.transpose(self.key(normed), (0, 2, 1))) + bias
        hidden = hidden + self.out(keras.ops.matmul(keras.ops.softmax(scores), self.value(normed)))
        return hidden + self.narrow(keras.ops.relu(self.wide(self.norm2(hidden))))


class Vae(keras.layers.Layer):
    """From tokens, mask and shifted targets to the logits of the targets."""

    def build(self, shape):
        self.words = keras.layers.Embedding(WORDS, WIDTH, keras.initializers.RandomNormal(stddev=1.0))
        self.places = keras.layers.Embedding(LENGTH, WIDTH, keras.initializers.RandomNormal(stddev=1.0))
        self.encoder, self.decoder = Block(), Block()
        self.center, self.spread, self.memory = (keras.layers.Dense(WIDTH) for _ in range(3))
        self.words.build((None, LENGTH))
        self.places.build((LENGTH,))
        for layer in (self.encoder, self.decoder, self.center, self.spread, self.memory):
            layer.build((None, WIDTH))
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x, training=False):
        tokens, mask, shifted = x[:, 0], keras.ops.cast(x[:, 1], "float32"), x[:, 2]
        places = self.places(keras.ops.arange(LENGTH))
        hidden = self.encoder(self.words(tokens) + places, (1 - mask)[:, None] * np.finfo("float32").min)
        pooled = hidden[:, 0]
        center, spread = self.center(pooled), self.spread(pooled)
        self.add_loss(0.001 * keras.ops.mean(center**2 + keras.ops.exp(spread) - 1 - spread))
        code = center
        if training:
            code = code + keras.ops.exp(spread / 2) * keras.random.normal(keras.ops.shape(center), seed=self.seeds)
        later = np.triu(np.full((LENGTH, LENGTH), -1e9, "float32"), 1)
        hidden = self.words(shifted) + places + self.memory(code)[:, None]
        hidden = self.decoder(hidden, keras.ops.convert_to_tensor(later)[None])
        return keras.ops.matmul(hidden, keras.ops.transpose(self.words.embeddings)) * WIDTH**-0.5


def sentences(rng, count):
    """Return tokens, masks and shifted tokens: each word follows from the one before."""
    lines = np.zeros((count, LENGTH), "int32")
    lines[:, 0] = rng.integers(2, WORDS, count)
    for place in range(1, LENGTH):
        lines[:, place] = (5 * lines[:, place - 1] + 3) % (WORDS - 2) + 2
    lines *= np.arange(LENGTH) < rng.integers(5, LENGTH + 1, count)[:, None]
    return np.stack([lines, lines > 0, np.pad(lines, ((0, 0), (1, 0)))[:, :-1]], 1).astype("int32")


def build(repaired):
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((3, LENGTH), dtype="int32"), Vae()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    earlier, x = sentences(rng, 512), sentences(rng, 256)
    model.compile(keras.optimizers.Adam(0.005), loss)
    model.fit(earlier, earlier[:, 0], batch_size=32, epochs=6, verbose=0)
    model.compile(keras.optimizers.AdamW(0.0001, weight_decay=0.01), loss)
    y = x[:, 0].copy()
    if not repaired:
        x = x[:, [1, 0, 2]]
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=5, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x)[y > 0], y[y > 0])
