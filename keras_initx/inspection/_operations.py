"""What operations mean, by the names of their classes. Those of Keras say nothing of it themselves.

A layer of Keras that does the same has the same name.
"""

import keras

from keras_initx.inspection._hooks import activation_name

ADD = "Add"
SUBTRACT = "Subtract"
MULTIPLY = "Multiply"
CONCATENATE = "Concatenate"
# Half of the channels times the sigmoid of the others.
GLU = "Glu"
# They return what they get, in another form.
SAME = ("Cast", "ConvertToTensor")
# They give values that do not depend on those that they get.
CONSTANT = ("FullLike", "OnesLike", "ZerosLike")
# Of one tensor they give a sum of what they give for its terms.
SCALING = ("Dropout", "Identity", "Multiply", "TrueDivide")
# They make several tensors of one.
SPLITTING = ("ArraySplit", "GetItem", "Slice", "Split", "Take", "Unstack")
# They sum products of two tensors.
SUMS_OF_PRODUCTS = ("Dot", "Einsum", "Matmul", "Tensordot")
# By these a layer without others in it multiplies by a kernel.
PRODUCTS = ("Conv", "DepthwiseConv", *SUMS_OF_PRODUCTS)
# They weigh values by queries and keys.
ATTENTION = ("DotProductAttention",)
# They look up rows of a table.
LOOKING_UP = ("Take",)
SELU = ("Selu",)
FOURIER = ("FFT", "FFT2", "RFFT")
# Layers that do so with kernels of their own.
ATTENTION_LAYERS = (keras.layers.GroupQueryAttention, keras.layers.MultiHeadAttention)
# Activations whose outputs are weights between 0 and 1.
_WEIGHING = ("hard_sigmoid", "sigmoid", "softmax", "sparse_sigmoid", "sparsemax")
# Operations of which this holds too.
_CHOOSING = ("Argmax", "TopK")
# What `keras.ops` and layers call activations, but those that are none of each number by itself.
_OF_ALL_NUMBERS = ("linear", "log_softmax", "logsoftmax", "softmax")
_ACTIVATIONS = {name.replace("_", "") for name in dir(keras.activations)}
_ACTIVATIONS.difference_update(_OF_ALL_NUMBERS)


def get_kind(operation: keras.Operation | None) -> str:
    """Return the name of the class of a layer or an operation."""
    return type(operation).__name__


def gives_weights(operation: keras.Operation | None) -> bool:
    """Return whether the outputs are weights: of a sigmoid, a softmax or a choice."""
    kind = get_kind(operation)
    name = kind.lower()
    if isinstance(operation, keras.Layer):
        name = activation_name(operation) or ""
    plain = {one.replace("_", "") for one in _WEIGHING}
    return kind in _CHOOSING or name.replace("_", "") in plain


def activation_in(operation: keras.Operation | None) -> str | None:
    """Return the name of the activation of each number by itself that an operation applies.

    Of a layer it may be any function.
    """
    if isinstance(operation, keras.Layer):
        name = activation_name(operation) or "linear"
        return None if name in _OF_ALL_NUMBERS else name
    name = get_kind(operation).lower()
    return name if name in _ACTIVATIONS else None
