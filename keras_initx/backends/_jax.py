"""The JAX backend: tracing, transfers without compilation, compiled gradients."""

import contextlib
import functools
import hashlib
import math
import warnings
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import jax
import jax.extend.core  # not later: two threads at once would find half of it
import keras
import numpy as np
from jax.experimental import multihost_utils

from keras_initx._keras import preserve_losses
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._attributes import preserve_attributes
from keras_initx.backends._backend import Backend, Computation, Function, Region, kept_on
from keras_initx.backends._process import SharedByThreads

# Keras builds a sharded weight in its shards from this size on, in bytes, counted as if each device
# held it in float32.
_SHARDED_FROM = 250 << 20
# The host makes fewer values in less time than a program for them is compiled.
_COMPILED_FROM = 1 << 20
# So many blocks may be joined in one program, which takes their memory twice: an update for each
# block would be three programs for each shape.
_TOGETHER = 8
# Bytes of a tensor from which on its memory is worth waiting for.
_WAITED_FOR_FROM = 1 << 20
# Compiled programs by what they compute, most recently used last. They refer to no model. A trial
# takes five: of steps and evaluations for two sizes of batches each, and of gradients.
_PROGRAMS: dict[Hashable, Callable[..., Any]] = {}
_PROGRAMS_AT_MOST = 16
# What the text of a program names, but does not contain: functions of Python, and constants that
# JAX passes as arguments, which it does with `jax_use_simplified_jaxpr_constants`.
_NOT_IN_TEXT = ("callback", "jax.const", "stablehlo.send")


class Implementation(Backend):
    """Implementation for JAX."""

    compiles_shapes = True
    # Smaller arrays are cut from a block, by a small program for each shape. An H100 took 30 ms to
    # compile it, as long as the host for a dozen arrays of half a block.
    block = 1 << 20
    worth_a_device = 1 << 19
    householder_product = staticmethod(jax.lax.linalg.householder_product)
    _processes_agree = False  # on the seeds that they draw

    def is_tracing(self) -> bool:
        state, outside = trace_state()
        # Negation is the fastest operation, but outside of traces it would be compiled first.
        return state() != outside and isinstance(jax.lax.neg(1.0), jax.core.Tracer)

    def is_concrete(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, jax.core.Tracer)

    def available_dtype(self, dtype: DType) -> DType:
        if dtype != "float64":
            return dtype
        # Without x64, JAX returns float32.
        return str(jax.dtypes.canonicalize_dtype(dtype))

    def to_tensor(self, array: Array) -> Tensor:
        # Unlike jax.numpy.asarray, this does not compile a program per shape. It takes over aligned
        # arrays.
        return jax.device_put(array)

    def snapshot(self, value: Tensor) -> Tensor:
        return value  # arrays are immutable

    def wait(self, tensor: Tensor) -> None:
        if self.is_concrete(tensor) and tensor.nbytes >= _WAITED_FOR_FROM:
            tensor.block_until_ready()
            # JAX lets go of the memory of NumPy's arrays only at its next call, and then of that of
            # which they are views.
            for _ in range(2):
                jax.device_put(np.float32(0))

    def distributed(self, computation: Computation, shape: Shape, layout: Any) -> Tensor:
        sharding = getattr(layout, "backend_layout", layout)
        if isinstance(getattr(sharding, "mesh", None), jax.sharding.AbstractMesh):
            # Keras passes such a layout, within its mesh, in which operations on plain arrays would
            # fail.
            sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), sharding.spec)
            with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
                return self.distributed(computation, shape, sharding)
        if computation.drawn_seed is not None and not sharding.is_fully_addressable:
            self._check_drawn_seed(computation.drawn_seed)
        size = math.prod(shape)
        is_large = size >= _COMPILED_FROM and 4 * size * sharding.num_devices >= _SHARDED_FROM
        # To compile a sharded factorization, which is not exact, takes minutes.
        if is_large and computation.is_exact:
            return _make_in_shards(computation, sharding)
        value = computation.function()
        if not self.is_concrete(value):
            return jax.device_put(value, sharding)
        # `device_put` would compare the values of all processes, and on the host take twice the
        # memory.
        if sharding.is_fully_addressable:
            if self.on_accelerator():
                return jax.device_put(value, sharding)
        elif not computation.is_exact:
            value = multihost_utils.broadcast_one_to_all(value)
        return self.placed(np.asarray(value).__getitem__, shape, sharding)

    def _check_drawn_seed(self, seed: int) -> None:
        """Raise `ValueError` if processes draw different seeds.

        They are checked once, because processes that agree go on to agree.
        """
        if self._processes_agree:
            return
        seeds = multihost_utils.process_allgather(np.uint32(seed)).tolist()
        if len(set(seeds)) > 1:
            raise ValueError(
                "All processes must draw the same seeds: call `keras.distribution.initialize`, or "
                "`keras.utils.set_random_seed` with the same number in each. "
                f"Received: the seeds {seeds}"
            )
        self._processes_agree = True

    def placed(self, read: Callable[[Any], Array], shape: Shape, layout: Any) -> Tensor:
        return jax.make_array_from_callback(shape, layout, read)

    def changed_in_parts(
        self, tensor: Tensor, change: Callable[[Region | None, Array], Array]
    ) -> Tensor:
        if self.layout_of(tensor) is None:
            return super().changed_in_parts(tensor, change)
        parts = []
        for shard in tensor.addressable_shards:
            parts.append(
                jax.device_put(change(shard.index, _read_on_host(shard.data)), shard.device)
            )
        return jax.make_array_from_single_device_arrays(tensor.shape, tensor.sharding, parts)

    def layout_of(self, value: Tensor) -> Any:
        if len(value.sharding.device_set) == 1:
            return None
        return value.sharding

    def device_names(self, value: Tensor) -> list[str]:
        return sorted(f"{device.platform}:{device.id}" for device in value.sharding.device_set)

    def host_view(self, value: Any) -> Array:
        if not isinstance(value, jax.Array):
            return super().host_view(value)
        if self.is_shared(value):
            raise ValueError(
                "The tensor must be in this process, which reads it as a whole. "
                f"Received: a tensor of shape {tuple(value.shape)} with parts in other processes"
            )
        parts_here = list(self.parts(value))
        region, values = parts_here[0]
        if region is None:
            return values
        whole = np.empty(value.shape, values.dtype)
        for region, values in parts_here:
            whole[region] = values
        return whole

    def is_shared(self, tensor: Tensor) -> bool:
        if not isinstance(tensor, jax.Array):
            return False
        return not (tensor.is_fully_addressable or tensor.is_fully_replicated)

    def parts(
        self, tensor: Tensor, *, counted_once: bool = False
    ) -> Iterator[tuple[Region | None, Array]]:
        if not isinstance(tensor, jax.Array):
            yield from super().parts(tensor)
            return
        if tensor.is_fully_replicated:
            yield None, _read_on_host(tensor)
            return
        yielded_bounds = set()
        for shard in tensor.addressable_shards:
            bounds = str(shard.index)  # slices have no hash before Python 3.12
            if counted_once:
                is_copy = shard.replica_id > 0  # they are numbered over all processes
            else:
                is_copy = bounds in yielded_bounds
            yielded_bounds.add(bounds)
            if not is_copy:
                yield shard.index, _read_on_host(shard.data)

    def is_finite_here(self, tensor: Tensor) -> bool:
        # Shard by shard: the largest number of several devices need not be NaN where one has NaN.
        return all(bool(_is_finite(shard.data)) for shard in tensor.addressable_shards)

    def from_processes(self, array: Array, tensor: Tensor) -> Array:
        if tensor.is_fully_addressable:
            return super().from_processes(array, tensor)
        # Without x64, JAX would drop half of wider numbers.
        words = np.ascontiguousarray(array).view("uint32")
        gathered = np.asarray(multihost_utils.process_allgather(words))
        return gathered.reshape(-1, *words.shape).view(array.dtype)

    def std(self, tensor: Tensor) -> float:
        if len(tensor.sharding.device_set) == 1:
            return super().std(tensor)
        return float(_std(tensor))

    def on_accelerator(self) -> bool:
        device = jax.config.jax_default_device or jax.devices()[0]
        # Newer versions may give the name of a platform. A TPU may look up a table more slowly than
        # the host.
        return str(getattr(device, "platform", device)) not in {"cpu", "tpu"}

    def constant(self, array: Array) -> Tensor:
        return kept_on(jax.config.jax_default_device or jax.devices()[0], array)

    def program(self, function: Function) -> Function:
        return cast(Function, jax.jit(function))

    def joined(
        self, block: Callable[[int], Tensor], length: int, shape: Shape, dtype: DType
    ) -> Tensor:
        size = math.prod(shape)
        if size == 0:
            return jax.numpy.zeros(shape, dtype)
        if size <= _TOGETHER * length:
            return _beginning([block(first) for first in range(0, size, length)], shape)
        flat = jax.numpy.empty((size,), dtype)
        for first in range(0, size, length):
            first = min(first, size - length)  # an update beyond the end would be shifted
            flat = _updated(flat, block(first), np.uint32(first))
        with _suppress_warning:
            return _reshaped(flat, shape)

    def scatter(self, places: Tensor, values: Tensor, shape: Shape) -> Tensor:
        return _scattered(places, values, shape)

    def full_precision(self) -> contextlib.AbstractContextManager[Any]:
        return cast(contextlib.AbstractContextManager[Any], jax.default_matmul_precision("highest"))

    def optimization_barrier(self, tensor: Tensor) -> Tensor:
        # JAX duplicates computations that depend only on constants, so that each use has its own
        # copy. If the sharding of a copy is not determined by that of the result, each device would
        # compute all of it.
        return jax.lax.optimization_barrier(tensor)

    def next_seed(self, generator: keras.random.SeedGenerator) -> Tensor:
        if self.is_tracing() and self.is_concrete(generator.state.value):
            # This state is not part of the trace, so a tracer would leak into it.
            with jax.ensure_compile_time_eval():
                return super().next_seed(generator)
        return super().next_seed(generator)

    def gradient_norms(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
    ) -> Callable[..., list[float]]:
        others = _list_other_variables(variables, layers)

        def value(
            values: Sequence[Tensor], other_values: Sequence[Tensor], arguments: Sequence[Any]
        ) -> Tensor:
            return _call_with_values(
                function, arguments, (variables, values), (others, other_values)
            )

        # Compiling the whole takes less time than compiling each operation, and each gradient is
        # dropped once its norm is known.
        def scales_and_norms(*arguments: Any) -> list[Any]:
            gradients = jax.grad(value)(*arguments)
            return [_scale_and_norm(gradient) for gradient in gradients]

        def norms(*arguments: Any) -> list[float]:
            inputs = (_read_values(variables), _read_values(others), arguments)
            with self._traced_state_preserved(layers):
                pairs = _compile_once(scales_and_norms, inputs)(*inputs)
            return [float(scale) * float(norm) for scale, norm in jax.device_get(pairs)]

        return norms

    def gradient_values(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        arguments: Sequence[Any],
    ) -> list[Array | None]:
        others = _list_other_variables(variables, layers)
        of_others = (others, _read_values(others))

        def value(values: Sequence[Tensor]) -> Tensor:
            return _call_with_values(function, arguments, (variables, values), of_others)

        values = _read_values(variables)
        with self._traced_state_preserved(layers):
            program = jax.make_jaxpr(value)(values).jaxpr
            gradients = jax.jit(jax.grad(value))(values)
        needed = {id(variable) for variable in program.outvars}
        for step in reversed(program.eqns):
            if any(id(variable) in needed for variable in step.outvars):
                needed.update(id(variable) for variable in step.invars)
        gradient_arrays: list[Array | None] = []
        for variable, gradient in zip(program.invars, gradients, strict=True):
            gradient_arrays.append(self.host_view(gradient) if id(variable) in needed else None)
        return gradient_arrays

    def descend(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        optimizer: keras.optimizers.Optimizer,
        arguments: Sequence[Any],
        steps: int,
    ) -> Generator[float, None, None]:
        others = _list_other_variables(variables, layers)
        # The indices of those that `function` assigns, which a trace of it tells.
        assigned: list[int] = []

        def scaled(
            values: Sequence[Tensor],
            other_values: Sequence[Tensor],
            state: Sequence[Tensor],
            arguments: Sequence[Any],
        ) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
            of_optimizer = zip(optimizer.variables, state, strict=True)
            known = [*zip(variables, values, strict=True), *zip(others, other_values, strict=True)]
            with keras.StatelessScope(known, collect_losses=True) as scope:
                before = dict(scope.state_mapping)
                value = function(*arguments)
            after = scope.state_mapping
            assigned.clear()
            for index, variable in enumerate(others):
                if after[id(variable)] is not before[id(variable)]:
                    assigned.append(index)
            carried = [after[id(others[index])] for index in assigned]
            with keras.StatelessScope(list(of_optimizer)):
                return optimizer.scale_loss(value), (value, carried)

        def step(*inputs: Any) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
            gradients, (value, carried) = jax.grad(scaled, has_aux=True)(*inputs)
            values, _, state, _ = inputs
            return value, carried, *optimizer.stateless_apply(state, gradients, values)

        program = None
        other_values = _read_values(others)
        for _ in range(steps):
            state = _read_values(optimizer.variables)
            inputs = (_read_values(variables), other_values, state, tuple(arguments))
            if program is None:
                with self._traced_state_preserved(layers):
                    program = _compile_once(step, inputs)
            value, carried, values, state = program(*inputs)
            for index, new in zip(assigned, carried, strict=True):
                other_values[index] = new
            yield float(value)
            for variable, new in zip(variables, values, strict=True):
                variable.assign(new)
            for variable, new in zip(optimizer.variables, state, strict=True):
                variable.assign(new)

    @contextlib.contextmanager
    def _traced_state_preserved(self, layers: Sequence[keras.Layer]) -> Iterator[None]:
        """Restore the state that a trace changes. Variables are restored elsewhere."""
        with self.generators_preserved(), preserve_losses(layers[0]), preserve_attributes(layers):
            yield

    def compiled_once(self, step: Function) -> Function | None:
        # By the arguments, as `jit` tells them apart.
        programs: dict[Hashable, Callable[..., Any]] = {}

        def compiled(state: Any, data: Any) -> Any:
            if self.is_tracing():  # A user may compile steps in a way of their own.
                return step(state, data)
            leaves, structure = jax.tree.flatten((state, data))
            kinds = []
            for leaf in leaves:
                dtype = getattr(leaf, "dtype", type(leaf))
                kinds.append((np.shape(leaf), dtype, getattr(leaf, "weak_type", False)))
            key = structure, tuple(kinds)
            if key not in programs:
                programs[key] = _compile_step(step, state, data)
            return programs[key](state, data)

        return cast(Function, compiled)


def _list_other_variables(
    variables: Sequence[keras.Variable], layers: Sequence[keras.Layer]
) -> list[keras.Variable]:
    """Return the variables of `layers` that are not in `variables`.

    They become arguments of a program. As constants, frozen weights and seeds would not be updated.
    """
    others: dict[int, keras.Variable] = {}
    for layer in layers:
        others.update((id(variable), variable) for variable in layer.variables)
    for variable in variables:
        others.pop(id(variable), None)
    return list(others.values())


def _call_with_values(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    *known: tuple[Sequence[keras.Variable], Sequence[Tensor]],
) -> Tensor:
    """Call a function while variables have other values."""
    pairs: list[tuple[keras.Variable, Tensor]] = []
    for variables, values in known:
        pairs += zip(variables, values, strict=True)
    with keras.StatelessScope(pairs, collect_losses=True):
        return function(*arguments)


def _compile_step(step: Callable[..., Any], state: Any, data: Any) -> Callable[..., Any]:
    """Compile a step that may overwrite the state.

    Its program has no names, because names, for example of metrics, differ between equal models.
    """
    structure = None

    def leaves_of_step(state: Any, data: Any) -> list[Tensor]:
        nonlocal structure
        leaves, structure = jax.tree.flatten(step(state, data))
        return cast(list[Tensor], leaves)

    program = _compile_once(leaves_of_step, (state, data), donate_argnums=0)

    def run_step(state: Any, data: Any) -> Any:
        leaves = program(state, data)
        return jax.tree.unflatten(structure, leaves)

    return run_step


def _compile_once(
    function: Callable[..., Any], arguments: tuple[Any, ...], donate_argnums: Any = ()
) -> Any:
    """Compile a function, or return one that was compiled before if it computes the same.

    The function may depend on anything that a user can change, such as an attribute of a layer. So
    each call traces it, which takes a tenth of the time of compiling, and compares the traces.
    """
    # Without those that are not used, the text would not tell which of equal shape are.
    program = jax.jit(function, keep_unused=True, donate_argnums=donate_argnums)
    if jax.config.jax_disable_jit:
        return program  # calls the function itself, and cannot be lowered
    lowered = program.lower(*arguments)
    text = lowered.as_text()
    # To find what makes a NaN, JAX calls the function itself.
    finds_nan = jax.config.jax_debug_nans or jax.config.jax_debug_infs
    if finds_nan or any(word in text for word in _NOT_IN_TEXT):
        return program
    leaves, structure = jax.tree.flatten(arguments)
    shardings = tuple(getattr(leaf, "sharding", None) for leaf in leaves)
    digest = hashlib.sha256(text.encode()).digest()
    key = (digest, structure, shardings, jax.config.jax_default_device)
    compiled = _PROGRAMS.pop(key, None)
    if compiled is None:
        compiled = lowered.compile()
    _PROGRAMS[key] = compiled
    for least_recently_used in list(_PROGRAMS)[:-_PROGRAMS_AT_MOST]:
        _PROGRAMS.pop(least_recently_used, None)  # Another thread may have dropped it.
    return compiled


def _read_on_host(tensor: Tensor) -> Array:
    """Read the values of a tensor on one device, or on each of several.

    JAX keeps a copy on the host in the array that was read, as long as this array lives. So this
    function reads another array with the same memory on the device.
    """
    shard = tensor.addressable_data(0)
    once = jax.make_array_from_single_device_arrays(shard.shape, shard.sharding, [shard])
    return np.asarray(once)


def _make_in_shards(computation: Computation, sharding: Any) -> Tensor:
    """Compute values by a compiled program, so that each device makes its shard."""
    if computation.seeded_call is None:
        return jax.jit(computation.function, out_shardings=sharding)()
    call, seed = computation.seeded_call
    return _compile_sharded(call, sharding)(seed)


@functools.lru_cache(maxsize=64)
def _compile_sharded(call: Callable[[Tensor], Tensor], sharding: Any) -> Callable[[Tensor], Tensor]:
    """Compile a call as a function of its seed, one program for all seeds."""
    return cast(Callable[[Tensor], Tensor], jax.jit(call, out_shardings=sharding))


# Programs that depend on a shape. The last two reuse the memory of their first argument.


@functools.partial(jax.jit, static_argnums=1)
def _beginning(blocks: list[Tensor], shape: Shape) -> Tensor:
    return jax.numpy.concatenate(blocks)[: math.prod(shape)].reshape(shape)


@functools.partial(jax.jit, static_argnums=2)
def _scattered(places: Tensor, values: Tensor, shape: Shape) -> Tensor:
    zeros = jax.numpy.zeros(shape, values.dtype)
    return zeros.at[places[:, 0], places[:, 1]].set(values, unique_indices=True)


@functools.partial(jax.jit, donate_argnums=0)
def _updated(flat: Tensor, block: Tensor, first: Tensor) -> Tensor:
    return jax.lax.dynamic_update_slice(flat, block, (first,))


@functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
def _reshaped(flat: Tensor, shape: Shape) -> Tensor:
    return flat.reshape(shape)


@SharedByThreads
@contextlib.contextmanager
def _suppress_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        # Older versions of JAX copy if the shape differs, and warn.
        warnings.filterwarnings("ignore", "Some donated buffers were not usable")
        yield


_std = jax.jit(lambda tensor: jax.numpy.std(tensor.astype("float32")))


def _has_finite_extremes(tensor: Tensor) -> Tensor:
    # An infinity is the largest or the smallest number, and NaN is both. The truth values of all
    # numbers would be an array.
    highest = jax.numpy.max(tensor, initial=0)
    lowest = jax.numpy.min(tensor, initial=0)
    return jax.numpy.isfinite(highest) & jax.numpy.isfinite(lowest)


_is_finite = jax.jit(_has_finite_extremes)


def _scaled_norm(gradient: Tensor) -> Any:
    """Return a scale and the norm of `gradient` divided by it."""
    values = gradient.astype(jax.numpy.promote_types(gradient.dtype, "float32"))
    highest = jax.numpy.max(values, initial=0)
    lowest = jax.numpy.min(values, initial=0)
    largest = jax.numpy.maximum(highest, -lowest)
    unit = jax.numpy.ones_like(largest)
    scale = jax.numpy.where((largest > 0) & jax.numpy.isfinite(largest), largest, unit)

    def unscaled() -> tuple[Tensor, Tensor]:
        return unit, _norm(values)

    def scaled() -> tuple[Tensor, Tensor]:
        return scale, _norm(values / scale)

    # float32 has no squares of 1e-30 or 1e30. Only for them a copy is worth its memory.
    is_usual = (largest > 1e-10) & (largest < 1e10)
    return jax.lax.cond(is_usual, unscaled, scaled)


_scale_and_norm = jax.jit(_scaled_norm)  # in a trace too: gradients of one shape are traced once


def _norm(values: Tensor) -> Tensor:
    return jax.numpy.sqrt(jax.numpy.sum(jax.numpy.square(values)))


def _read_values(variables: Iterable[keras.Variable]) -> list[Tensor]:
    return [variable.value for variable in variables]


@functools.cache
def trace_state() -> tuple[Callable[[], object], object]:
    """Return a function that identifies the current trace, and its value outside of any trace.

    The function in JAX is not stable API. If it is missing, all states count as different.
    """
    name = "get_opaque_trace_state"  # in `jax.core` before JAX 0.10
    module = jax.extend.core if hasattr(jax.extend.core, name) else jax.core
    identify = getattr(module, name, lambda convention: object())
    state = functools.partial(identify, convention="keras_initx")
    # A new thread is outside of any trace. This thread may be inside one, e.g. if `fit` builds a
    # model.
    with ThreadPoolExecutor(1) as executor:
        return state, executor.submit(state).result()
