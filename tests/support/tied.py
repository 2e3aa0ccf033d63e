"""A layer that uses the kernel of another one."""

import keras


class SharedKernel(keras.layers.Layer):
    """Multiplies by the transposed kernel of another layer, as a weight of its own."""

    def __init__(self, kernel, **options):
        super().__init__(**options)
        self.kernel = kernel

    def call(self, x):
        return x @ keras.ops.transpose(self.kernel)
