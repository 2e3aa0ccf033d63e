"""The PyTorch backend: the meta device, modules with state that Keras does not track, gradients."""

import contextlib
import functools
import importlib.util
import inspect
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import keras
import torch
from torch.overrides import TorchFunctionMode

from keras_initx._keras import has_layout
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._backend import (
    Backend,
    ChangeInPlace,
    Function,
    apply_present,
    kept_on,
)
from keras_initx.backends._moments import Moments
from keras_initx.backends._process import SharedByThreads

# Dtypes that torch does not exchange with NumPy: their bits are passed as integers.
_BEYOND_NUMPY = ("bfloat16", "float8")
# The kinds of devices for which Triton compiles.
_GPUS = {"cuda", "xpu"}


class Implementation(Backend):
    """Implementation for PyTorch, which is never traced: `untransformed` is never compiled."""

    # Nothing is compiled for a shape: an H100 takes half a millisecond, the host two. Smaller
    # arrays are left to the host, because compiling the kernel takes seconds on a new machine.
    worth_a_device = 1 << 19
    has_views = True
    householder_product = staticmethod(torch.linalg.householder_product)

    def is_abstract(self) -> bool:
        return bool(_device().type == "meta")

    def is_concrete(self, tensor: Tensor) -> bool:
        # Tensors within `torch.func.grad` and its kind have no memory, or none that NumPy may read.
        try:
            if _is_distributed(tensor):
                tensor = tensor.to_local()
            storage = tensor.untyped_storage()
            # Of a fake tensor too, whose memory must not be asked.
            if storage.device.type == "meta":
                return False
            return not tensor.numel() or bool(storage.data_ptr())
        except RuntimeError:
            return False

    def to_tensor(self, array: Array) -> Tensor:
        name = array.dtype.name
        if name.startswith(_BEYOND_NUMPY):
            bits = torch.from_numpy(array.view(f"int{8 * array.itemsize}"))
            tensor = bits.view(getattr(torch, name))
        else:
            tensor = torch.from_numpy(array)
        if _has_gpu() and (device := _device()).type in _GPUS:
            # Keras would wait for all that the device still computes.
            return tensor.to(device, non_blocking=True)
        # Keras would copy an array, but only moves a tensor to the current device.
        return keras.ops.convert_to_tensor(tensor)

    def obstacles(
        self, layer: keras.Layer, variables: Sequence[keras.Variable]
    ) -> Iterator[tuple[keras.Variable, str]]:
        used = {id(parameter) for parameter in layer.parameters()}
        replaced = used - {id(own.value) for own in layer.variables}
        for variable in variables:
            if variable.value.device.type == "meta":
                yield variable, "is on the meta device, without values: build the model on another"
            elif _is_distributed(variable.value) and not has_layout(variable):
                yield (
                    variable,
                    "is a `DTensor` of torch without a layout of Keras, which cannot assign to it",
                )
            elif replaced and id(variable.value) not in used:
                yield (
                    variable,
                    "is no parameter of its layer any more: torch has replaced it, for example in "
                    "`to_empty`, `fully_shard` or `load_state_dict(assign=True)`",
                )

    def snapshot(self, value: Tensor) -> Tensor:
        return value.detach().clone()

    def changes_in_place(
        self, observe: Callable[[ChangeInPlace, Callable[[], Any]], Any]
    ) -> contextlib.AbstractContextManager[Any]:
        return _ChangesInPlace(observe)

    def memory_address(self, tensor: Tensor) -> int:
        if not hasattr(tensor, "untyped_storage") or not self.is_concrete(tensor):
            return 0
        if _is_distributed(tensor):
            tensor = tensor.to_local()
        return int(tensor.untyped_storage().data_ptr())

    def is_part_of(self, tensor: Tensor, whole: Tensor) -> bool:
        address = self.memory_address(tensor)
        if not address or address != self.memory_address(whole):
            return False
        # Some weights lie side by side in one memory, such as those of a recurrent layer on a GPU.
        distance = tensor.storage_offset() - whole.storage_offset()
        return bool(0 <= distance < max(whole.numel(), 1))

    def host_view(self, value: Any) -> Array:
        if not isinstance(value, torch.Tensor):
            return super().host_view(value)
        tensor = value.detach()
        if _is_distributed(tensor):
            tensor = tensor.full_tensor()
        tensor = tensor.cpu()  # Keras would copy
        # Buffers of a module may have these two forms.
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        name = str(tensor.dtype).removeprefix("torch.")
        if name.startswith(_BEYOND_NUMPY):
            return _view_bits(tensor).view(name)
        try:
            array: Array = tensor.numpy()
        except TypeError:  # a dtype that NumPy lacks, such as half precision complex numbers
            array = _view_bits(tensor)
        return array

    def on_accelerator(self) -> bool:
        return _device().type not in {"cpu", "meta", "mps"}  # the last has no float64

    def constant(self, array: Array) -> Tensor:
        return kept_on(_device(), array)

    def lasting(self, array: Array, like: Tensor) -> Tensor:
        # A new thread is in no mode of inference, and inside no transformation.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(torch.tensor, array, device=like.device).result()

    def triton_device(self) -> str | None:
        device = _device()
        # Its interpreter accepts tensors on any device.
        has_kernels = device.type in _GPUS or os.environ.get("TRITON_INTERPRET") == "1"
        if not has_kernels or not _has_triton():
            return None
        return str(device)

    def device_of(self, tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
        device = tensor.device
        if device.type not in _GPUS:
            return contextlib.nullcontext()
        module = getattr(torch, device.type)
        return cast(contextlib.AbstractContextManager[Any], module.device(device))

    def joined(
        self, block: Callable[[int], Tensor], length: int, shape: Shape, dtype: DType
    ) -> Tensor:
        tensor = keras.ops.empty(shape, dtype)
        if tensor.numel() == 0:
            return tensor
        for number, piece in enumerate(tensor.view(-1).split(length)):
            piece.copy_(block(number * length)[: piece.numel()])
        return tensor

    def scatter(self, places: Tensor, values: Tensor, shape: Shape) -> Tensor:
        # That of Keras is a loop over the values.
        tensor = torch.zeros(shape, dtype=values.dtype, device=values.device)
        tensor[places.long().unbind(-1)] = values
        return tensor

    def contiguous(self, tensor: Tensor) -> Tensor:
        return tensor.contiguous()

    def guarded(self) -> contextlib.AbstractContextManager[Any]:
        return cast(contextlib.AbstractContextManager[Any], keras.device("cpu"))

    def full_precision(self) -> contextlib.AbstractContextManager[None]:
        return _full_precision

    def untransformed(self, function: Function) -> Function:
        return cast(Function, torch.compiler.disable(function))

    @contextlib.contextmanager
    def preserve_state(
        self,
        layers: Sequence[keras.Layer],
        *,
        gradients: Sequence[keras.Variable] | None = None,
    ) -> Iterator[keras.StatelessScope]:
        # The backward pass calls rematerialized layers again, on a GPU from a thread of its own,
        # which would not be in the scope.
        with (
            super().preserve_state(layers, gradients=gradients) as scope,
            torch.set_grad_enabled(gradients is not None),
            torch.autograd.set_multithreading_enabled(False),
        ):
            yield scope

    def device_names(self, value: Tensor) -> list[str]:
        return [str(value.device)]

    def kept_generators(self) -> Callable[[], None]:
        others = super().kept_generators()
        # Keras' dropout draws from torch's own generators.
        of_host = torch.random.get_rng_state()
        of_device = None
        if torch.cuda.is_available():
            of_device = torch.cuda.get_rng_state()

        def put_back() -> None:
            others()
            torch.random.set_rng_state(of_host)
            if of_device is not None:
                torch.cuda.set_rng_state(of_device)

        return put_back

    def advance_generators(self) -> None:
        super().advance_generators()
        torch.rand(1)
        if _has_gpu():
            torch.rand(1, device=_device())

    def buffers(self, layers: Sequence[keras.Layer]) -> list[Any]:
        buffers: dict[torch.Tensor, _Buffer] = {}
        for layer in layers:
            for name, buffer in layer.named_buffers():
                buffers.setdefault(buffer, _find_buffer(layer, name))
        return list(buffers.values())

    def saved_buffers(self, layer: keras.Layer) -> dict[str, Any]:
        # A layer of Keras is a module too, with those in it as its modules.
        is_wrapper = isinstance(layer, keras.layers.TorchModuleWrapper)
        module = layer.module if is_wrapper else layer
        names = [name for name, _ in module.named_buffers(recurse=is_wrapper)]
        saved = module.state_dict() if names else {}
        return {name: _find_buffer(module, name) for name in names if name in saved}

    @contextlib.contextmanager
    def preserve_foreign_state(
        self, layers: Sequence[keras.Layer], trained: Sequence[keras.Variable] = ()
    ) -> Iterator[None]:
        # Buffers and the training mode of torch modules, and parameters that they write by
        # themselves: an ActNorm sets them at its first call, `self.loc.data.copy_(-mean)`, of which
        # neither Keras nor the version of the tensor tells.
        modules: dict[torch.nn.Module, None] = {}
        parameters: dict[torch.nn.Parameter, torch.Tensor] = {}
        trained_ids = {id(variable.value) for variable in trained}
        for layer in layers:
            modules |= dict.fromkeys(layer.modules())
            if isinstance(layer, keras.layers.TorchModuleWrapper):
                for parameter in layer.module.parameters():
                    if id(parameter) not in trained_ids:
                        parameters[parameter] = parameter.detach().clone()
        in_training = []
        buffers = []
        for module in modules:
            in_training.append((module, module.training))
            for name, buffer in module.named_buffers(recurse=False):
                buffers.append((module, name, buffer))
        try:
            # A backward pass fails if tensors have changed since the forward pass, so the modules
            # change copies.
            for module, name, buffer in buffers:
                setattr(module, name, buffer.clone())
            yield
        finally:
            for module, name, buffer in buffers:
                setattr(module, name, buffer)
            for parameter, value in parameters.items():
                parameter.data.copy_(value)
            for module, training in in_training:
                module.training = training

    def trains(self, variable: keras.Variable) -> bool:
        return bool(variable.value.requires_grad)

    def values_behind(self, tensor: Tensor) -> list[Tensor] | None:
        if tensor.grad_fn is None:
            return [tensor] if tensor.requires_grad else []
        leaves = []
        visited = {tensor.grad_fn}
        waiting = [tensor.grad_fn]
        while waiting:
            step = waiting.pop()
            if hasattr(step, "variable"):  # the end of the graph
                leaves.append(step.variable)
            for before, _ in step.next_functions:
                if before is not None and before not in visited:
                    visited.add(before)
                    waiting.append(before)
        return leaves

    def gradient_norms(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
    ) -> Callable[..., list[float]]:
        def norms(*arguments: Any) -> list[float]:
            sources = [variable.value for variable in variables]
            recorders = [_NormRecorder(self) for _ in sources]
            # In inference mode all gradients would be 0.
            with torch.inference_mode(False), contextlib.ExitStack() as stack:
                # The backward pass calls rematerialized layers again.
                stack.enter_context(self.preserve_state(layers, gradients=variables))
                result = function(*keras.tree.map_structure(_leave_inference, arguments))
                for source, recorder in zip(sources, recorders, strict=True):
                    stack.enter_context(source.register_hook(recorder))
                if result.requires_grad:
                    torch.autograd.grad(result, sources, allow_unused=True)
            return [recorder.norm for recorder in recorders]

        return norms

    def gradient_values(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        arguments: Sequence[Any],
    ) -> list[Array | None]:
        sources = [variable.value for variable in variables]
        inputs = keras.tree.map_structure(_leave_inference, tuple(arguments))
        with torch.inference_mode(False), self.preserve_state(layers, gradients=variables):
            result = function(*inputs)
            if not result.requires_grad:
                return [None] * len(sources)
            gradients = torch.autograd.grad(result, sources, allow_unused=True)
        return [None if gradient is None else self.host_view(gradient) for gradient in gradients]

    def descend(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
        optimizer: keras.optimizers.Optimizer,
        arguments: Sequence[Any],
        steps: int,
    ) -> Generator[float, None, None]:
        sources = [variable.value for variable in variables]
        inputs = keras.tree.map_structure(_leave_inference, tuple(arguments))
        with self.carry_state(layers, variables) as carried:
            for _ in range(steps):
                with (
                    torch.inference_mode(False),
                    torch.enable_grad(),
                    torch.autograd.set_multithreading_enabled(False),
                    carried(),
                ):
                    value = function(*inputs)
                    gradients: Sequence[Tensor | None] = [None] * len(sources)
                    if value.requires_grad:
                        scaled = optimizer.scale_loss(value)
                        gradients = torch.autograd.grad(scaled, sources, allow_unused=True)
                yield float(value.detach())
                with torch.no_grad():
                    apply_present(optimizer, gradients, variables)


_DRAWS_IN_PLACE = (
    "bernoulli_",
    "cauchy_",
    "exponential_",
    "geometric_",
    "log_normal_",
    "normal_",
    "random_",
    "uniform_",
)
_FILLS_IN_PLACE = ("fill_", "zero_")


class _ChangesInPlace(TorchFunctionMode):
    """Passes each operation that changes a tensor in place to `observe`."""

    def __init__(self, observe: Callable[[ChangeInPlace, Callable[[], Any]], Any]) -> None:
        super().__init__()
        self._observe = observe

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        name = getattr(func, "__name__", "")
        tensor = args[0] if args else options.get("tensor")
        is_in_place = name.endswith("_") and not name.endswith("__")
        if not isinstance(tensor, torch.Tensor) or not (is_in_place or name == "__setitem__"):
            return func(*args, **options)
        # Some functions of `torch.nn.init` arrive as themselves, and of others each operation.
        frame = inspect.currentframe()
        caller = frame.f_back.f_globals.get("__name__") if frame and frame.f_back else ""
        modules = {getattr(func, "__module__", ""), caller}
        is_draw = name in _DRAWS_IN_PLACE + _FILLS_IN_PLACE or torch.nn.init.__name__ in modules
        is_load = name in ("copy_", "set_")
        if name == "__setitem__":
            is_load = isinstance(args[-1], torch.Tensor)
        change = ChangeInPlace(tensor, name if is_draw else "", is_load and not is_draw)
        return self._observe(change, lambda: func(*args, **options))


class _NormRecorder:
    """A hook of a tensor, which keeps the norm of its gradient, and not the gradient.

    Attributes:
        norm: The norm, 0 before there is a gradient.
    """

    norm: float = 0.0

    def __init__(self, backend: Implementation) -> None:
        self._backend = backend

    def __call__(self, gradient: Tensor) -> Tensor:
        self.norm = Moments(self._backend.host_view(gradient)).norm
        # A single number in the place of the gradient, which is dropped before the next one is
        # computed.
        return gradient.new_zeros(()).expand_as(gradient)


class _Buffer(NamedTuple):
    """A buffer of a torch module, assigned as a variable of Keras.

    Attributes:
        module: The module that has it.
        attribute: Its name there.
        name: Its name in the module or the layer whose buffers were listed.
    """

    module: torch.nn.Module
    attribute: str
    name: str

    @property
    def trainable(self) -> bool:
        """Whether training changes it, as the attribute of a variable."""
        return False

    @property
    def value(self) -> Tensor:
        """The tensor that the module has now, which may be a new tensor."""
        return getattr(self.module, self.attribute)

    @property
    def path(self) -> str:
        return self.name

    @property
    def shape(self) -> Shape:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> DType:
        """The name of its dtype, after `meta` or `sparse` if its values cannot be assigned."""
        value = self.value
        name = str(value.dtype).removeprefix("torch.")
        if value.device.type == "meta":
            return f"meta {name}"
        return name if value.layout == torch.strided else f"sparse {name}"

    def assign(self, value: Array | Tensor) -> None:
        tensor = torch.as_tensor(value)
        if self.value.shape == tensor.shape:
            self.value.copy_(tensor)
        else:
            setattr(self.module, self.attribute, tensor.to(self.value.device))


def _find_buffer(module: torch.nn.Module, name: str) -> _Buffer:
    module_name, _, attribute = name.rpartition(".")
    return _Buffer(module.get_submodule(module_name), attribute, name)


def _view_bits(tensor: torch.Tensor) -> Array:
    bits: Array = tensor.view(getattr(torch, f"int{8 * tensor.element_size()}")).numpy()
    return bits


def _is_distributed(tensor: Tensor) -> bool:
    """Return whether a tensor is a `DTensor`, whose parts lie in several processes."""
    return hasattr(tensor, "full_tensor")


def _leave_inference(value: Any) -> Any:
    """Return a tensor that a backward pass may use, which no tensor made in inference mode is."""
    if isinstance(value, torch.Tensor) and value.is_inference():
        return value.clone()
    return value


@functools.cache
def _has_gpu() -> bool:
    """Return whether there is a GPU. Keras' own function takes longer than making a small array."""
    return any(hasattr(torch, kind) and getattr(torch, kind).is_available() for kind in _GPUS)


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _device() -> torch.device:
    """Return the device on which Keras creates tensors."""
    return cast(torch.device, keras.ops.empty(()).device)


@SharedByThreads
@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    # There are two interfaces to this setting. If only the newer one was used, reading the older
    # one raises an error. What is in full precision already is left alone: setting the older one
    # changes more than it says.
    matmul = torch.backends.cuda.matmul
    newer = getattr(matmul, "fp32_precision", "ieee")  # from torch 2.9 on
    newer_is_reduced = newer not in {"ieee", "none"}
    if newer_is_reduced and _is_inherited(matmul):
        newer = "none"
    older = None
    with contextlib.suppress(RuntimeError):
        older = torch.get_float32_matmul_precision()
    older_is_reduced = older not in {None, "highest"}
    try:
        if older_is_reduced:
            torch.set_float32_matmul_precision("highest")
        if newer_is_reduced:
            matmul.fp32_precision = "ieee"
        yield
    finally:
        if older_is_reduced:
            torch.set_float32_matmul_precision(older)
        if newer_is_reduced:
            matmul.fp32_precision = newer


def _is_inherited(matmul: Any) -> bool:
    """Return whether the precision of CUDA's products comes from a general setting.

    Reading it gives the precision in effect.
    """
    every = torch.backends
    cuda = torch.backends.cudnn
    if _follows(matmul, every):
        return True
    # One that is inherited itself must not be set, not even to what it is.
    return not _follows(cuda, every) and _follows(matmul, cuda)


def _follows(setting: Any, parent: Any) -> bool:
    """Return whether the precision of `setting` changes with that of `parent`."""
    original = parent.fp32_precision
    readings = set()
    for value in ("ieee", "tf32"):
        parent.fp32_precision = value
        readings.add(setting.fp32_precision)
    parent.fp32_precision = original
    return len(readings) > 1
