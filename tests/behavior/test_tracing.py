"""Initializers inside what Keras and its users wrap around them: traces, scopes, abstract tensors."""

import contextlib
import functools
import gc
import tracemalloc

import keras
import numpy as np
import pytest
from cases import DISTINCT_CASES, FIRST_CASES, for_each
from modes import BACKEND, MODES, STREAM_MODES, run, to_numpy

import keras_initx
from keras_initx import Orthogonal, RandomNormal, ReLUBias, Sparse
from keras_initx.backends._current import backend

# The others draw like the first of these.
THREE = [FIRST_CASES[cls] for cls in (RandomNormal, Sparse, Orthogonal)]
only = {
    name: pytest.mark.skipif(name != BACKEND, reason=f"a matter of {name}") for name in ("jax", "tensorflow", "torch")
}


# Kernels and biases of a gigabyte or more.
LARGE = ((1 << 20, 1 << 8), (1 << 10, 1 << 10, 1 << 4, 1 << 4), (3 << 28,), (2, 3 << 27))


def large(case):
    """Return an initializer and a shape of a gigabyte or more that it fills."""
    initializer = case.cls(seed=1) if case.random else case.cls()
    for shape in LARGE:
        with contextlib.suppress(ValueError):
            initializer.check_shape(shape)
            return initializer, shape
    raise ValueError(f"{initializer} fills none of {LARGE}")


@pytest.mark.parametrize("mode", STREAM_MODES[1:])
@pytest.mark.parametrize("case", [pytest.param(THREE[0], marks=pytest.mark.every_backend), *THREE[1:]], ids=str)
def test_a_generator_advances_in_a_trace_and_stays_usable(case, mode):
    shape = case.shapes[0]

    def two(generator):
        initializer = case.make(seed=generator)
        return keras.ops.stack([initializer(shape), initializer(shape)])

    generator = keras.random.SeedGenerator(5)
    traced = run(mode, lambda: two(generator))
    expected = to_numpy(two(keras.random.SeedGenerator(5)))
    np.testing.assert_allclose(traced, expected, rtol=0, atol=0 if case.exact else 1e-5)
    assert to_numpy(generator.state.value).tolist() == [5, 2]


def vmap(function, batch):
    if BACKEND == "torch":
        import torch

        return torch.func.vmap(function)(batch)
    import jax

    return jax.vmap(function)(batch)


def vectorized_map(function, batch):
    import tensorflow as tf

    return tf.vectorized_map(function, batch)


def vjp(function, batch):
    import torch

    def product(number, item):
        return number * function(item)

    one = torch.tensor(1.0)
    products = [functools.partial(product, item=item) for item in batch]
    return torch.stack([torch.func.vjp(call, one)[0] for call in products])


def functionalize(function, batch):
    import torch

    return torch.stack([torch.func.functionalize(function)(item) for item in batch])


# Ways of each backend to call a function for each state of a batch.
TRANSFORMATIONS = {
    "jax": [vmap],
    "tensorflow": [vectorized_map],
    "torch": [vmap, vjp, functionalize],
}.get(BACKEND, [])


class OfAState(keras.initializers.Initializer):
    """One of a user, of which nobody knows that its values depend on a generator."""

    def __init__(self, generator):
        self.generator = generator

    def __call__(self, shape, dtype=None):
        first = keras.ops.cast(self.generator.state.value[0], dtype)
        return keras.ops.broadcast_to(first, shape)


# Initializers that draw from a generator, alone and beside one that does not.
DRAWING = {
    "RandomUniform": lambda generator: keras_initx.RandomUniform(seed=generator),
    "Scaled": lambda generator: keras_initx.Scaled(keras_initx.RandomUniform(seed=generator), 0.5),
    "Concatenated": lambda generator: keras_initx.Concatenated(["ones", keras_initx.HeNormal(seed=generator)], axis=0),
    "Concatenated, user's": lambda generator: keras_initx.Concatenated(["ones", OfAState(generator)], axis=0),
}


def check_transformed(make, shape, transformation, atol):
    generator = keras.random.SeedGenerator(0)
    initializer = make(generator)

    def values(state):
        with keras.StatelessScope([(generator.state, state)]):
            return initializer(shape)

    states = keras.ops.convert_to_tensor(np.array([[5, 0], [6, 1]]), generator.state.dtype)
    expected = np.stack([to_numpy(values(state)) for state in states])
    found = to_numpy(transformation(values, states))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("name", "transformation"),
    [
        *(
            pytest.param("RandomUniform", transformation, marks=pytest.mark.release_backends)
            for transformation in TRANSFORMATIONS
        ),
        *((name, vmap) for name in DRAWING if name != "RandomUniform"),
    ],
)
def test_a_transformed_function_draws_from_the_state_that_it_is_given(name, transformation):
    check_transformed(DRAWING[name], (8, 4), transformation, 0)


@for_each(case for case in FIRST_CASES.values() if case.random)
def test_every_class_draws_for_a_batch_of_states(case):
    atol = 0 if case.exact else 1e-5
    check_transformed(lambda generator: case.make(seed=generator), case.shapes[0], TRANSFORMATIONS[0], atol)


@pytest.mark.every_backend
@only["jax"]
def test_no_tracer_is_left_behind():
    import jax

    seed = keras.random.SeedGenerator(5)
    made = [(case.make(seed=seed), case.shapes[0]) for case in DISTINCT_CASES if case.random]

    def tracers():
        gc.collect()
        return [value for value in gc.get_objects() if issubclass(type(value), jax.core.Tracer)]

    before = tracers()  # kept, so that no new one has the id of an old one
    jax.eval_shape(lambda: [initializer(shape) for initializer, shape in made])
    assert {id(tracer) for tracer in tracers()} <= {id(tracer) for tracer in before}


@pytest.mark.every_backend
@only["jax"]
def test_the_first_question_may_be_asked_in_a_trace(monkeypatch):
    import jax

    from keras_initx.backends import _jax

    monkeypatch.setattr(_jax, "trace_state", functools.cache(_jax.trace_state.__wrapped__))
    answers = []
    jax.jit(lambda: answers.append(backend.is_tracing()))()
    assert [*answers, backend.is_tracing()] == [True, False]


@pytest.mark.every_backend
@only["jax"]
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_tells_where_jax_records(monkeypatch, known):
    import jax

    if not known:  # a version of JAX that does not tell its traces apart
        monkeypatch.setattr("keras_initx.backends._jax.trace_state", lambda: (object, None))

    def told(transformation, argument=1.0, within=contextlib.nullcontext):
        answers = []

        def function(x):
            with within():
                answers.append(backend.is_tracing())
            return x

        transformation(function)(argument)
        return answers

    assert backend.is_tracing() is False
    assert told(jax.jit) == told(lambda function: jax.grad(jax.jit(function))) == [True]
    # These carry out what does not depend on their argument.
    assert told(jax.grad) == told(jax.vmap, np.ones(2)) == [False]
    assert told(jax.jit, within=jax.ensure_compile_time_eval) == [False]


@pytest.mark.release_backends
@only["jax"]
def test_a_trace_promotes_no_dtypes_and_ranks():
    import jax

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        abstract = jax.eval_shape(lambda: [case.make()(case.shapes[0], "bfloat16") for case in DISTINCT_CASES])
    found = [(value.shape, str(value.dtype)) for value in abstract]
    assert found == [(case.shapes[0], "bfloat16") for case in DISTINCT_CASES]


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow has no abstract tensors")
@pytest.mark.parametrize("case", [*THREE, FIRST_CASES[ReLUBias]], ids=str)
def test_abstract_tensors_take_no_memory(case):
    initializer, shape = large(case)
    if BACKEND == "jax":
        import jax

        # The draws of `Orthogonal` are one axis.
        is_long = (len(shape) < 3 and max(shape) > 1 << 20) or case.cls is Orthogonal
        if is_long and jax.make_jaxpr(lambda: jax.numpy.arange(0, 9, 1))().consts:
            pytest.skip(f"JAX {jax.__version__} writes out the numbers of an axis")
    tracemalloc.start()
    try:
        if BACKEND == "jax":
            abstract = jax.eval_shape(lambda: initializer(shape))
        else:
            with keras.device("meta"):
                abstract = initializer(shape)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tuple(abstract.shape) == shape
    # Tables of quantiles, at most.
    assert peak < 16 << 20


@pytest.mark.every_backend
@only["jax"]
def test_a_large_kernel_is_not_a_constant_of_the_program():
    import jax

    jaxpr = jax.make_jaxpr(lambda: keras_initx.Orthogonal(method="gaussian", seed=0)((1000, 1000)))()
    # The table of the normal draws is the largest.
    assert max(np.size(constant) for constant in jaxpr.consts) <= 1 << 16


@pytest.mark.every_backend
@only["jax"]
def test_a_frame_is_multiplied_out_in_full_precision():
    import jax

    program = str(jax.make_jaxpr(lambda: keras_initx.Orthogonal(seed=0)((10, 10)))())
    assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0


@pytest.mark.every_backend
@pytest.mark.parametrize("case", [*THREE, FIRST_CASES[ReLUBias]], ids=str)
def test_variables_made_in_a_stateless_scope(case):
    shape = case.shapes[0]
    with keras.StatelessScope():
        variable = keras.Variable(case.make(), shape=shape, dtype="float32")
        inside = to_numpy(variable.value)
    expected = to_numpy(case.make()(shape))
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(to_numpy(variable.value), expected)


@pytest.mark.every_backend
def test_a_generator_in_a_stateless_scope():
    generator = keras.random.SeedGenerator(5)
    initializer = keras_initx.Sparse(seed=generator)
    with keras.StatelessScope():
        variables = [keras.Variable(initializer, shape=(30, 4), dtype="float32") for _ in range(2)]
    again = keras_initx.Sparse(seed=keras.random.SeedGenerator(5))
    for variable in variables:
        np.testing.assert_array_equal(to_numpy(variable.value), to_numpy(again((30, 4))))
    assert to_numpy(generator.state.value).tolist() == [5, 2]


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_are_the_users_to_change(dtype):
    """Nothing is remembered, so nothing can be spoiled."""
    initializer = keras_initx.Sparse(seed=1)
    variable = keras.Variable(initializer, shape=(20, 3), dtype=dtype)
    variable.assign(keras.ops.zeros((20, 3), dtype))
    assert np.count_nonzero(to_numpy(initializer((20, 3), dtype)))


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", MODES)
def test_a_shape_without_axes_stays_one(mode):
    made, expected = run(mode, lambda: RandomNormal(seed=1)(())), to_numpy(RandomNormal(seed=1)(()))
    assert made.shape == ()
    assert made == expected
