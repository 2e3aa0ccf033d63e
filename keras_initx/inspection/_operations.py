"""Find the meaning of operations by the names of their classes.

The class of `keras.ops.add(x, y)` is `Add`. A layer of Keras that does the same has the same name:
`keras.layers.Add`.
"""

import keras

from keras_initx.inspection._hooks import activation_name

ADD = "Add"
SUBTRACT = "Subtract"
MULTIPLY = "Multiply"
CONCATENATE = "Concatenate"
# Half of the channels times the sigmoid of the others.
GLU = "Glu"
# They return what they get, in another dtype or as a tensor.
SAME = ("Cast", "ConvertToTensor")
# They give values that do not depend on those that they get.
CONSTANT = ("FullLike", "OnesLike", "ZerosLike")
# Of one tensor they give a sum of what they give for its terms.
SCALING = ("Dropout", "Identity", "Multiply", "TrueDivide")
# They make several tensors of one.
SPLITTING = ("ArraySplit", "GetItem", "Slice", "Split", "Take", "Unstack")
# They sum products of two tensors.
SUMS_OF_PRODUCTS = ("Dot", "Einsum", "Matmul", "Tensordot")
# By these a user's layer without others in it multiplies by a kernel.
PRODUCTS = ("Conv", "DepthwiseConv", *SUMS_OF_PRODUCTS)
# They weigh values by queries and keys.
ATTENTION = ("DotProductAttention",)
# They look up rows of a table.
LOOKING_UP = ("Take",)
SELU = ("Selu",)
FOURIER = ("FFT", "FFT2", "RFFT")
# Layers that weigh values by queries and keys with kernels of their own.
ATTENTION_LAYERS = (keras.layers.GroupQueryAttention, keras.layers.MultiHeadAttention)
# Activations whose outputs are weights between 0 and 1.
_WEIGHING = ("hard_sigmoid", "sigmoid", "softmax", "sparse_sigmoid", "sparsemax")
# Operations whose outputs are such weights too.
_CHOOSING = ("Argmax", "TopK")
# What `keras.ops` and layers call activations, but those that are none or do not compute each
# number by itself.
_NOT_ELEMENTWISE = ("linear", "log_softmax", "logsoftmax", "softmax")
_ACTIVATIONS = {name.replace("_", "") for name in dir(keras.activations)}
_ACTIVATIONS.difference_update(_NOT_ELEMENTWISE)


def get_kind(operation: keras.Operation | None) -> str:
    return type(operation).__name__


def gives_weights(operation: keras.Operation | None) -> bool:
    """Return whether an operation makes weights: a sigmoid, a softmax or a choice."""
    kind = get_kind(operation)
    name = kind.lower()
    if isinstance(operation, keras.Layer):
        name = activation_name(operation) or ""
    weighing = {activation.replace("_", "") for activation in _WEIGHING}
    return kind in _CHOOSING or name.replace("_", "") in weighing


def activation_in(operation: keras.Operation | None) -> str | None:
    """Return the name of the elementwise activation that an operation applies, or `None`.

    A layer may apply any function.
    """
    if isinstance(operation, keras.Layer):
        name = activation_name(operation) or "linear"
        return None if name in _NOT_ELEMENTWISE else name
    name = get_kind(operation).lower()
    return name if name in _ACTIVATIONS else None
