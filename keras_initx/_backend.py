"""The one file that knows the backends by name: are we being traced, how does a host array come in."""

import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

_BACKEND = keras.backend.backend()
ALIGNMENT = 64
_LARGE = 1 << 16  # bytes from which on handing over is cheaper than copying


def is_abstract() -> bool:
    """Tell whether new tensors have a shape and a dtype but no values (torch's meta device)."""
    return _BACKEND == "torch" and keras.ops.empty(()).device.type == "meta"


def is_tracing() -> bool:
    """Tell whether operations are being recorded into a program instead of being carried out."""
    if _BACKEND == "jax":
        import jax

        state, outside = _trace_state_of_jax()
        # Of all operations negation takes least time, but outside of traces it would be compiled first.
        return state() != outside and isinstance(jax.lax.neg(1.0), jax.core.Tracer)
    if _BACKEND == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    return False


@functools.cache
def _trace_state_of_jax():
    """Return a function that tells by which trace JAX records, and what it returns where operations are carried out.

    JAX does not promise to keep its own function, so where there is none every two states are different.
    """
    import jax
    import jax.extend.core

    name = "get_opaque_trace_state"  # in `jax.core` before JAX 0.10
    module = jax.extend.core if hasattr(jax.extend.core, name) else jax.core
    state = functools.partial(getattr(module, name, lambda convention: object()), convention="keras_initx")
    # A new thread is outside of every trace; this one may be in one, as where `fit` builds a model.
    with ThreadPoolExecutor(1) as executor:
        return state, executor.submit(state).result()


def available_dtype(dtype: str) -> str:
    """Return the dtype that tensors have here when `dtype` is asked for: JAX gives float32 for float64 without x64."""
    if _BACKEND == "jax" and dtype == "float64":
        import jax

        return jax.dtypes.canonicalize_dtype(dtype).name
    return dtype


def to_tensor(array: np.ndarray):
    """Hand an array that nobody else will write to over to the backend, without a copy where it allows that.

    JAX and TensorFlow take over arrays that begin at a multiple of `ALIGNMENT`. The first touch of fresh
    memory costs more than computing what goes there, so a copy would double the time of a large array.
    """
    if _BACKEND == "jax":
        import jax

        # Unlike jax.numpy.asarray, it compiles no program for each shape.
        return jax.device_put(array)
    # Neither DLPack nor torch can read bfloat16 from NumPy, so its bits go over as those of an integer.
    bfloat16 = array.dtype.name == "bfloat16"
    bits = array.view("int16") if bfloat16 else array
    if _BACKEND == "torch":
        import torch

        tensor = torch.from_numpy(bits)
        # Keras would copy an array; a tensor it only moves, to the device in use.
        return keras.ops.convert_to_tensor(tensor.view(torch.bfloat16) if bfloat16 else tensor)
    if _BACKEND == "tensorflow":
        import tensorflow as tf

        if array.nbytes < _LARGE or array.ctypes.data % ALIGNMENT:
            return tf.constant(array)  # in a third of the time that Keras takes
        tensor = tf.experimental.dlpack.from_dlpack(bits.__dlpack__())
        # Either operation moves it to the device in use.
        return tf.bitcast(tensor, "bfloat16") if bfloat16 else tf.identity(tensor)
    return keras.ops.convert_to_tensor(array)


def compiled(function):
    """Return `function` compiled for the CPU, or `None` if the backend has no compiler, or does not use the CPU.

    Args:
        function: A function of an int32 tensor that returns two int32 tensors of one length.

    Returns:
        A function of an int32 array that returns the elements of both results in turn, as uint32.
    """
    if _BACKEND == "jax":
        import jax

        try:
            cpu = jax.local_devices(backend="cpu")[0]
        except RuntimeError:  # JAX was told to use other platforms only
            return None

        def both(argument):
            # As one number, because the compiler would make two loops of two results, each with all of the work.
            return jax.lax.complex(*(jax.lax.bitcast_convert_type(part, "float32") for part in function(argument)))

        program = jax.jit(both)

        def call(argument):
            with jax.default_device(cpu):
                return np.asarray(program(argument)).view("uint32")

        return call
    if _BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True, autograph=False)
        def program(argument):
            return tf.complex(*(tf.bitcast(part, "float32") for part in function(argument)))  # as for JAX

        def call(argument):
            with tf.device("CPU:0"):
                return program(tf.constant(argument)).numpy().view("uint32")

        return call
    return None


def full_precision():
    """Return a context in which float32 matrix products are not rounded to fewer bits, as on GPUs."""
    if _BACKEND == "jax":
        import jax

        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


def as_one_value(x):
    """Return `x`, a tensor of a trace, as something that is computed once and lies where it is used.

    JAX cuts up what follows from constants alone, so that each use has its own copy. Where the
    place of a copy does not follow from the place of the result, each device would make all of it.
    """
    if _BACKEND == "jax":
        import jax

        return jax.lax.optimization_barrier(x)
    return x


def next_seed(generator: keras.random.SeedGenerator):
    """Advance `generator` and return its two seed words, without leaving a tracer in its state."""
    if _BACKEND == "jax" and is_tracing():
        import jax

        if not isinstance(generator.state.value, jax.core.Tracer):
            # The trace does not know this state: it would stay behind in it as a leaked tracer.
            with jax.ensure_compile_time_eval():
                return generator.next()
    return generator.next()


def untransformed(function):
    """Keep TensorFlow's AutoGraph and torch's Dynamo from rewriting `function` and what it calls."""
    if _BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.autograph.experimental.do_not_convert(function)
    if _BACKEND == "torch":
        import torch

        return torch.compiler.disable(function)
    return function


def has_values(tensor) -> bool:
    """Tell whether `tensor` is one whose values can be looked at, not one that stands for them in a program."""
    if _BACKEND == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    if _BACKEND == "tensorflow":
        import tensorflow as tf

        return not tf.is_symbolic_tensor(tensor)
    return tensor.device.type != "meta"


@contextlib.contextmanager
def leaving_no_trace(layers: list, *, gradients: bool = False):
    """Give a context in which whatever a model does to its own state, or to a stream of random numbers, is dropped.

    Args:
        layers: The layers of the model. Some keep state that Keras does not know.
        gradients: Whether what happens is recorded for a backward pass.
    """
    with contextlib.ExitStack() as stack:
        # The counters of random generators are variables too, also of the one that Keras shares.
        stack.enter_context(keras.StatelessScope(collect_losses=True))
        stack.enter_context(foreign_state_kept(layers))
        if _BACKEND == "torch":
            import torch

            # A dropout without a seed draws from torch's own stream.
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            stack.enter_context(torch.random.fork_rng(devices))
            stack.enter_context(torch.set_grad_enabled(gradients))
        yield


def foreign_state_kept(layers: list):
    """Return a context after which what `layers` keep past Keras is as it was."""
    if _BACKEND == "tensorflow":
        return _saved_models_as_they_were(layers)
    return _modules_as_they_were(layers) if _BACKEND == "torch" else contextlib.nullcontext()


@contextlib.contextmanager
def _saved_models_as_they_were(layers):
    """Put back the variables of TensorFlow's saved models, whose functions assign to them past Keras."""
    saved = [layer for layer in layers if isinstance(layer, keras.layers.TFSMLayer)]
    variables = [variable.value for layer in saved for variable in layer.variables]
    values = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def _modules_as_they_were(layers):
    """Put back what modules of torch keep past Keras: buffers, as moving averages, and whether they are in training."""
    modules = list(dict.fromkeys(module for layer in layers for module in layer.modules()))
    in_training = [(module, module.training) for module in modules]
    buffers = [(module, *named) for module in modules for named in module.named_buffers(recurse=False)]
    try:
        # A backward pass refuses tensors that have changed since the forward pass, so copies are changed and left.
        for module, name, buffer in buffers:
            setattr(module, name, buffer.clone())
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
        for module, training in in_training:
            module.training = training


def gradients(function, variables: list, layers: list, *arguments) -> list[np.ndarray]:
    """Return the derivatives of `function(*arguments)` with respect to `variables`, and leave no trace in any state.

    Args:
        function: A function that gives a scalar tensor.
        variables: Variables of Keras.
        layers: The layers that `function` calls.
        *arguments: Arrays, or lists and dicts of them.

    Returns:
        A list with an array, in float32, for each variable; zeros for those that play no part.
    """
    if not variables:
        return []
    if _BACKEND == "jax":
        import jax

        def value(values, arguments):
            with keras.StatelessScope(zip(variables, values, strict=True), collect_losses=True):
                return function(*arguments)

        # Compiling it as a whole takes less time than each operation by itself.
        found = jax.jit(jax.grad(value))([variable.value for variable in variables], arguments)
    elif _BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape, leaving_no_trace(layers, gradients=True):
            result = function(*arguments)
        sources = [variable.value for variable in variables]
        found = tape.gradient(result, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        found = [tf.convert_to_tensor(gradient) for gradient in found]  # an embedding's is not a tensor
    else:
        import torch

        with leaving_no_trace(layers, gradients=True):
            result = function(*arguments)
        found = [torch.zeros_like(variable.value) for variable in variables]
        # A module of torch may have been frozen past Keras, and torch refuses to derive where nothing is trained.
        trained = [index for index, variable in enumerate(variables) if variable.value.requires_grad]
        if trained and result.requires_grad:
            sources = [variables[index].value for index in trained]
            slopes = torch.autograd.grad(result, sources, allow_unused=True, materialize_grads=True)
            for index, slope in zip(trained, slopes, strict=True):
                found[index] = slope
    return [np.asarray(keras.ops.convert_to_numpy(gradient), "float32") for gradient in found]
