"""Speech transcription with an encoder-decoder Transformer over spectrograms.

After keras.io examples/audio/transformer_asr.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/audio/transformer_asr/"

LETTERS, FRAMES, BINS, LENGTH = 20, 64, 33, 12


class Encoder(layers.Layer):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attention = layers.MultiHeadAttention(heads, width)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.drops = [layers.Dropout(0.1) for _ in range(2)]

    def call(self, x, training=False):
        x = self.norms[0](x + self.drops[0](self.attention(x, x), training=training))
        return self.norms[1](x + self.drops[1](self.dense(x), training=training))


class Transcriber(keras.Model):
    def __init__(self, width=32, heads=2, hidden=48):
        super().__init__()
        convolutions = [layers.Conv1D(width, 11, strides=2, padding="same", activation="relu") for _ in range(3)]
        self.encoder = keras.Sequential(convolutions + [Encoder(width, heads, hidden) for _ in range(4)])
        self.tokens = layers.Embedding(LETTERS, width)
        self.positions = layers.Embedding(LENGTH, width)
        self.own = layers.MultiHeadAttention(heads, width)
        self.cross = layers.MultiHeadAttention(heads, width)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(3)]
        self.drops = [layers.Dropout(rate) for rate in (0.5, 0.1, 0.1)]
        self.classifier = layers.Dense(LETTERS)

    def call(self, inputs, training=False):
        source, target = inputs
        memory = self.encoder(source, training=training)
        x = self.tokens(target) + self.positions(ops.arange(target.shape[1]))
        x = self.norms[0](x + self.drops[0](self.own(x, x, use_causal_mask=True), training=training))
        x = self.norms[1](x + self.drops[1](self.cross(x, memory), training=training))
        return self.classifier(self.norms[2](x + self.drops[2](self.dense(x), training=training)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        return super().compute_loss(x, ops.one_hot(y, LETTERS), y_pred, ops.cast(ops.not_equal(y, 0), "float32"))


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise from 1e-5 to 1e-3 in 15 epochs, then linear fall to 1e-5 in 85."""

    def __call__(self, step):
        epoch = ops.cast(step, "float32") / 6
        rise = 1e-5 + (1e-3 - 1e-5) / 14 * epoch
        fall = ops.maximum(1e-5, 1e-3 - (epoch - 15) * (1e-3 - 1e-5) / 85)
        return ops.minimum(rise, fall)


def build(count=192):
    rng = np.random.default_rng(0)
    text = rng.integers(4, LETTERS, (count, LENGTH - 1))
    text[np.arange(LENGTH - 1) >= rng.integers(6, LENGTH, (count, 1))] = 0
    pitch = np.repeat(text * 1.5, FRAMES // (LENGTH - 1) + 1, axis=1)[:, :FRAMES]
    x = np.exp(-((np.arange(BINS) - pitch[..., None]) ** 2) / 3) + np.abs(rng.normal(0, 0.1, (count, FRAMES, BINS)))
    x = np.sqrt(x)
    x = (x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True)
    start = np.concatenate([np.full((count, 1), 2), text], axis=1)
    model = Transcriber()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(optimizer=keras.optimizers.Adam(Warmup()), loss=loss)
    return model, [x.astype("float32"), start[:, :-1].astype("int32")], start[:, 1:].astype("int32")
