"""Small convolutional student that learns from a larger trained teacher.

After keras.io examples/vision/knowledge_distillation.py.
"""

import keras
from _shared import digits
from keras import layers, ops

URL = "https://keras.io/examples/vision/knowledge_distillation/"


def network(first, second):
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(first, (3, 3), strides=(2, 2), padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.MaxPooling2D(pool_size=(2, 2), strides=(1, 1), padding="same"),
            layers.Conv2D(second, (3, 3), strides=(2, 2), padding="same"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


class Distiller(keras.Model):
    def __init__(self, student, teacher, alpha=0.1, temperature=10):
        super().__init__()
        self.student, self.teacher, self.alpha, self.temperature = student, teacher, alpha, temperature
        self.teacher.trainable = False

    def call(self, x):
        return self.student(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        soft = ops.softmax(self.teacher(x, training=False) / self.temperature, axis=1)
        distance = keras.losses.kl_divergence(soft, ops.softmax(y_pred / self.temperature, axis=1))
        return (
            self.alpha * super().compute_loss(x, y, y_pred)
            + (1 - self.alpha) * ops.mean(distance) * self.temperature**2
        )


def build():
    x, y = digits(28)
    teacher = network(32, 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher.compile(optimizer=keras.optimizers.Adam(), loss=loss)
    teacher.fit(x, y, epochs=4, verbose=0)
    model = Distiller(network(8, 16), teacher)
    model.compile(optimizer=keras.optimizers.Adam(), loss=loss, metrics=[keras.metrics.SparseCategoricalAccuracy()])
    return model, x, y
