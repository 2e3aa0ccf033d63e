"""The PyTorch backend: the meta device, modules with state that Keras does not track, gradients."""

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import keras
import torch

from keras_initx._process import SharedByThreads
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._base import Backend, Function, Memory, extent
from keras_initx.backends._moments import Moments


class Implementation(Backend):
    """Implementation for PyTorch, which is never traced: `untransformed` is excluded from compilation."""

    def is_abstract(self) -> bool:
        return bool(_device().type == "meta")

    def is_concrete(self, tensor: Tensor) -> bool:
        # Tensors within `torch.func.grad` and its kind have no memory, or none that NumPy may read.
        try:
            storage = tensor.untyped_storage()
            if (
                storage.device.type == "meta"
            ):  # of a fake tensor too, whose memory must not be asked
                return False
            return not tensor.numel() or bool(storage.data_ptr())
        except RuntimeError:
            return False

    def to_tensor(self, array: Array) -> Tensor:
        # torch cannot read bfloat16 from NumPy, so its bits are passed as integers.
        bfloat16 = array.dtype.name == "bfloat16"
        tensor = torch.from_numpy(array.view("int16") if bfloat16 else array)
        # Keras would copy an array, but only moves a tensor to the current device.
        return keras.ops.convert_to_tensor(tensor.view(torch.bfloat16) if bfloat16 else tensor)

    def obstacle(self, layer: keras.Layer, variable: keras.Variable) -> str:
        if variable.value.device.type == "meta":
            return "is on the meta device, without values: build the model on another"
        used = {id(parameter) for parameter in layer.parameters()}
        replaced = used - {id(own.value) for own in layer.variables}
        if replaced and id(variable.value) not in used:
            return "is no parameter of its layer any more: torch has replaced it, for example in `to_empty`"
        return ""

    def snapshot(self, value: Tensor) -> Tensor:
        return value.detach().clone()

    def memory(self, value: Any) -> list[Memory]:
        if not isinstance(value, torch.Tensor):
            return super().memory(value)
        size = value.element_size()
        try:
            strides = [stride * size for stride in value.stride()]
            return [extent(str(value.device), value.data_ptr(), value.shape, strides, size)]
        except RuntimeError:  # of a sparse tensor
            return []

    def host_view(self, tensor: Tensor) -> Array:
        tensor = tensor.detach().cpu()  # Keras would copy
        # torch cannot convert bfloat16 to NumPy, so its bits are passed as integers.
        bfloat16 = tensor.dtype == torch.bfloat16
        return cast(
            Array, tensor.view(torch.int16).numpy().view("bfloat16") if bfloat16 else tensor.numpy()
        )

    def on_accelerator(self) -> bool:
        return _device().type not in {"cpu", "meta", "mps"}  # the last has no float64

    def constant(self, array: Array) -> Tensor:
        return (
            keras.ops.convert_to_tensor(array)
            if array.flags.writeable
            else _kept(_Constant(array), _device())
        )

    def triton_device(self) -> str | None:
        device = _device()
        # Its interpreter accepts tensors on any device.
        compiles = device.type in {"cuda", "xpu"} or os.environ.get("TRITON_INTERPRET") == "1"
        return str(device) if compiles and importlib.util.find_spec("triton") is not None else None

    def device_of(self, tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
        is_gpu = tensor.device.type in {"cuda", "xpu"}
        return (
            getattr(torch, tensor.device.type).device(tensor.device)
            if is_gpu
            else contextlib.nullcontext()
        )

    def joined(
        self, block: Callable[[int], Tensor], length: int, shape: Shape, dtype: DType
    ) -> Tensor:
        tensor = keras.ops.empty(shape, dtype)
        for first, part in enumerate(tensor.view(-1).split(length) if tensor.numel() else ()):
            part.copy_(block(first * length)[: part.numel()])
        return tensor

    def scatter(self, places: Tensor, values: Tensor, shape: Shape) -> Tensor:
        # That of Keras is a loop over the values.
        tensor = torch.zeros(shape, dtype=values.dtype, device=values.device)
        tensor[places.long().unbind(-1)] = values
        return tensor

    def contiguous(self, tensor: Tensor) -> Tensor:
        return tensor.contiguous()

    def full_precision(self) -> contextlib.AbstractContextManager[None]:
        return _full_precision

    def untransformed(self, function: Function) -> Function:
        return cast(Function, torch.compiler.disable(function))

    @contextlib.contextmanager
    def preserve_state(
        self, layers: Sequence[keras.Layer], *, gradients: bool = False
    ) -> Iterator[None]:
        with super().preserve_state(layers), torch.set_grad_enabled(gradients):
            yield

    def kept_generators(self) -> Callable[[], None]:
        others = super().kept_generators()
        # Keras' dropout draws from torch's own generators.
        of_host = torch.random.get_rng_state()
        of_device = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

        def put_back() -> None:
            others()
            torch.random.set_rng_state(of_host)
            if of_device is not None:
                torch.cuda.set_rng_state(of_device)

        return put_back

    def buffers(self, layers: Sequence[keras.Layer]) -> list[Any]:
        found = dict.fromkeys(buffer for layer in layers for buffer in layer.buffers())
        return list(map(_Buffer, found))

    @contextlib.contextmanager
    def preserve_foreign_state(self, layers: Sequence[keras.Layer]) -> Iterator[None]:
        # Buffers and the training mode of torch modules.
        modules = list(dict.fromkeys(module for layer in layers for module in layer.modules()))
        in_training = [(module, module.training) for module in modules]
        buffers = [
            (module, *named) for module in modules for named in module.named_buffers(recurse=False)
        ]
        try:
            # A backward pass fails if tensors have changed since the forward pass, so the modules
            # change copies.
            for module, name, buffer in buffers:
                setattr(module, name, buffer.clone())
            yield
        finally:
            for module, name, buffer in buffers:
                setattr(module, name, buffer)
            for module, training in in_training:
                module.training = training

    def trains(self, variable: keras.Variable) -> bool:
        return bool(variable.value.requires_grad)

    def gradient_norms(
        self,
        function: Callable[..., Any],
        variables: Sequence[keras.Variable],
        layers: Sequence[keras.Layer],
    ) -> Callable[..., list[float]]:
        def norms(*arguments: Any) -> list[float]:
            found = [0.0] * len(variables)

            def reduce(gradient: Tensor, index: int) -> Tensor:
                found[index] = Moments(self.host_view(gradient)).norm
                # A single number in the place of the gradient, which is dropped before the next one
                # is computed.
                return gradient.new_zeros(()).expand_as(gradient)

            sources = [variable.value for variable in variables]
            # In inference mode all gradients would be 0.
            with torch.inference_mode(False), contextlib.ExitStack() as stack:
                # The backward pass calls rematerialized layers again.
                stack.enter_context(self.preserve_state(layers, gradients=True))
                result = function(*keras.tree.map_structure(_outside_inference, arguments))
                for index, source in enumerate(sources):
                    stack.enter_context(
                        source.register_hook(functools.partial(reduce, index=index))
                    )
                if result.requires_grad:
                    torch.autograd.grad(result, sources, allow_unused=True)
            return found

        return norms


class _Buffer(NamedTuple):
    """A buffer of a torch module, assigned as a variable of Keras."""

    value: Tensor

    def assign(self, value: Array) -> None:
        self.value.copy_(torch.from_numpy(value))


def _outside_inference(value: Any) -> Any:
    """Return a tensor that a backward pass may use: not one that was made in inference mode."""
    return value.clone() if isinstance(value, torch.Tensor) and value.is_inference() else value


def _device() -> torch.device:
    """Return the device on which Keras creates tensors."""
    return cast(torch.device, keras.ops.empty(()).device)


class _Constant:
    """An array as the key of a cache, equal to others that begin in the same memory, which it keeps from reuse."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __hash__(self) -> int:
        return int(self.array.ctypes.data)

    def __eq__(self, other: object) -> bool:
        return hash(self) == hash(other)


@functools.lru_cache(maxsize=16)
def _kept(constant: _Constant, device: torch.device) -> Tensor:
    return keras.ops.convert_to_tensor(constant.array)


@SharedByThreads
@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    # There are two interfaces to this setting. If only the newer one was used, reading the older
    # one raises an error. What is in full precision already is left alone: setting the older one
    # changes more than it says.
    matmul, legacy = torch.backends.cuda.matmul, None
    precision = getattr(matmul, "fp32_precision", "ieee")  # from torch 2.9 on
    reduced = precision not in {"ieee", "none"}
    own = "none" if reduced and _inherits(matmul) else precision
    with contextlib.suppress(RuntimeError):
        legacy = torch.get_float32_matmul_precision()
    try:
        if legacy not in {None, "highest"}:
            torch.set_float32_matmul_precision("highest")
        if reduced:
            matmul.fp32_precision = "ieee"
        yield
    finally:
        if legacy not in {None, "highest"}:
            torch.set_float32_matmul_precision(legacy)
        if reduced:
            matmul.fp32_precision = own


def _inherits(matmul: Any) -> bool:
    """Return whether the precision of CUDA's products is none of their own. Reading it gives the one in effect."""

    def follows(setting: Any, parent: Any) -> bool:
        before, found = parent.fp32_precision, set()
        for value in ("ieee", "tf32"):
            parent.fp32_precision = value
            found.add(setting.fp32_precision)
        parent.fp32_precision = before
        return len(found) > 1

    every, cuda = torch.backends, torch.backends.cudnn
    # One that is inherited itself must not be set, not even to what it is.
    return follows(matmul, every) or (not follows(cuda, every) and follows(matmul, cuda))
