"""The networks of the command line and the demo."""

import dataclasses
import hashlib
import runpy
import sys
from pathlib import Path
from typing import Any, Self

import keras
from keras import layers

from keras_initx.studies import check_build


@dataclasses.dataclass(frozen=True)
class Network:
    """Build and compile a classifier with one initializer for all of its kernels.

    Attributes:
        name: One of `NETWORKS`.
        shape: Shape of an input.
        classes: Number of classes.
        optimizer: Name of the optimizer.
        learning_rate: Its learning rate, by default that of Keras.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    optimizer: str = "sgd"
    learning_rate: float | None = None

    def __call__(self, initializer: Any) -> keras.Model:
        """Return the compiled network."""
        kernels = {"kernel_initializer": initializer}
        if self.name == "lstm":
            kernels["recurrent_initializer"] = initializer
        model = network(self.name, self.shape, self.classes, **kernels)
        optimizer = keras.optimizers.get(self.optimizer)
        if self.learning_rate is not None:
            optimizer.learning_rate = self.learning_rate
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


@dataclasses.dataclass(frozen=True)
class FileBuild:
    """Build a model with a function from a Python file.

    Attributes:
        path: Path of the file.
        function: Name of the function. It takes an initializer and returns a compiled model.
        digest: Digest of the file, so that a study is not resumed with a changed file.
    """

    path: str
    function: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `FILE.py:function`.

        Raises:
            ValueError: If there is no such function.
        """
        path, _, function = text.rpartition(":")
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        build = cls(str(Path(path).resolve()), function, digest)
        try:
            check_build(build._load(), "initializer")
        except TypeError as error:
            raise ValueError(f"{path} has no function {function!r} to use: {error}") from None
        return build

    @property
    def name(self) -> str:
        """The names of the file and the function."""
        return f"{Path(self.path).name}:{self.function}"

    def __call__(self, initializer: Any) -> keras.Model:
        """Return the model that the function builds."""
        return self._load()(initializer)

    def _load(self) -> Any:
        return function_of(self.path, self.function)


def function_of(path: str, name: str) -> Any:
    """Return the function of this name in a Python file, or `None`."""
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:  # where Python looks when it runs the file
        sys.path.insert(0, folder)
    return runpy.run_path(path).get(name)


def network(name: str, shape: tuple[int, ...], classes: int, **initializers: Any) -> keras.Model:
    """Return a classifier that maps inputs of `shape` to class probabilities.

    Args:
        name: One of `NETWORKS`.
        shape: Shape of an input: an image with channels; any shape for `"mlp"`, time steps first
            for `"lstm"`.
        classes: Number of classes.
        **initializers: Initializer arguments of the hidden layers. The last layer uses the same
            `kernel_initializer`.
    """
    inputs = keras.Input(shape)
    outputs = _HIDDEN_LAYERS[name](inputs, initializers)
    kernel = initializers["kernel_initializer"]
    outputs = layers.Dense(classes, "softmax", kernel_initializer=kernel)(outputs)
    # Not a `Sequential`, whose weight paths change when it is loaded.
    return keras.Model(inputs, outputs)


def _mlp(x: keras.KerasTensor, initializers: dict[str, Any]) -> keras.KerasTensor:
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(64, "relu", **initializers)(x)
    return x


def _cnn(x: keras.KerasTensor, initializers: dict[str, Any]) -> keras.KerasTensor:
    x = layers.Conv2D(16, 3, activation="relu", **initializers)(x)
    x = layers.Conv2D(32, 3, strides=2, activation="relu", **initializers)(x)
    return layers.Flatten()(x)


def _image_study(x: keras.KerasTensor, initializers: dict[str, Any]) -> keras.KerasTensor:
    """The layer types of the image study."""
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", **initializers)(x)
        # Evaluation uses moving averages. With Keras' momentum of 0.99 they need hundreds of steps
        # to follow the data, and 30 epochs of a small data set in large batches have fewer.
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.MaxPooling2D(padding="same")(x)
        x = layers.Dropout(0.25)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, "relu", **initializers)(x)
    return layers.Dropout(0.5)(x)


def _lstm(x: keras.KerasTensor, initializers: dict[str, Any]) -> keras.KerasTensor:
    x = layers.Reshape((x.shape[1], -1))(x)  # the rows of an image as a sequence
    # Let Keras set the forget-gate bias to 1, unless there is a bias initializer.
    unit_forget_bias = "bias_initializer" not in initializers
    return layers.LSTM(48, unit_forget_bias=unit_forget_bias, **initializers)(x)


_HIDDEN_LAYERS = {"mlp": _mlp, "cnn": _cnn, "image_study": _image_study, "lstm": _lstm}
