"""The calls in a forward pass of a module of torch, whatever the backend of Keras is."""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_initx.backends._current import backend
from keras_initx.outputs._keras_calls import arguments_of, labeled
from keras_initx.outputs._recorded import CallKey, CallListener, Settings, Values, simple_attributes
from keras_initx.structure._hooks import HOOKS

# The words of Keras for what modules of torch are made with.
_OTHER_WORDS = {
    "eps": "epsilon",
    "stride": "strides",
    "dilation": "dilation_rate",
}


def is_torch_module(value: Any) -> bool:
    """Return whether `value` is a module of torch, and no layer of Keras."""
    torch = sys.modules.get("torch")  # imported already if there is a module of it
    if torch is None or isinstance(value, keras.Layer):
        return False
    return isinstance(value, torch.nn.Module)


class TorchModel:
    """A module of torch whose calls can be listened to.

    Args:
        module: The module.

    Attributes:
        paths: Dict from each module in it to its name, that of the class for the module itself.
        settings: Dict from the same to what it was made with.
    """

    def __init__(self, module: Any) -> None:
        self.model: Any = module
        self.paths: dict[Any, str] = {}
        for name, part in module.named_modules():
            self.paths[part] = name or type(module).__name__
        self.settings: dict[Any, Settings] = {part: _settings_of(part) for part in self.paths}

    def run(self, x: Any, listener: CallListener) -> None:
        """Make one forward pass in inference, after which the module is as it was.

        Args:
            x: What the module is called with: an array or a tensor, a tuple or list of these by
                position, or a dict by the names of arguments.
            listener: Is told of the calls.
        """
        torch = sys.modules["torch"]
        parameter = next(self.model.parameters(), None)
        device = None if parameter is None else parameter.device

        def as_tensor(value: Any) -> Any:
            if keras.ops.is_tensor(value) and not isinstance(value, torch.Tensor):
                value = keras.ops.convert_to_numpy(value)
            if isinstance(value, np.ndarray | torch.Tensor):
                return torch.as_tensor(value, device=device)
            return value

        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(x, Mapping):
            kwargs = {name: as_tensor(value) for name, value in x.items()}
        elif isinstance(x, list | tuple):
            args = tuple(map(as_tensor, x))
        else:
            args = (as_tensor(x),)
        with (
            HOOKS,
            _without_fused_layers(torch),
            _in_inference(self.model),
            torch.no_grad(),
            self._listened_to(listener),
        ):
            self.model(*args, **kwargs)

    @contextlib.contextmanager
    def _listened_to(self, listener: CallListener) -> Iterator[None]:
        """Tell a listener of all calls for the duration of the block, by hooks."""
        counts: Counter[str] = Counter()
        keys: dict[Any, list[CallKey]] = {}

        def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            name = self.paths[module]
            counts[name] += 1
            key = CallKey(name, counts[name])
            keys.setdefault(module, []).append(key)
            arguments = dict(arguments_of(module.forward, args, kwargs))
            listener.begin(key, {**arguments, **_values_of(arguments.items())})

        def after(module: Any, args: Any, outputs: Any) -> None:
            listener.end(keys[module].pop(), module, _values_of(labeled(outputs)))

        with contextlib.ExitStack() as stack:
            for module in self.paths:
                handle = module.register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(handle.remove)
                stack.callback(module.register_forward_hook(after).remove)
            yield


@contextlib.contextmanager
def _without_fused_layers(torch: Any) -> Iterator[None]:
    """Let encoders call their layers: fused, they pass nested tensors on."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def _in_inference(module: Any) -> Iterator[None]:
    """Put a module into inference mode for the duration of the block."""
    in_training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in in_training.items():
            part.training = mode


def _settings_of(module: Any) -> Settings:
    """Return what a module was made with, as far as its attributes say so, in words of Keras."""
    found = {}
    for name, value in simple_attributes(module).items():
        found[_OTHER_WORDS.get(name, name)] = value
    parameters = {name for name, value in module.named_parameters(recurse=False)}
    if "weight" in parameters:
        found["use_bias"] = "bias" in parameters
    return found


def _values_of(members: Any) -> dict[str, Values]:
    """Return the values of the tensors of numbers among some members, by their places.

    They are to be read at once: what is called next may change them in place.
    """
    torch = sys.modules["torch"]
    found = {}
    for place, tensor in members:
        if isinstance(tensor, torch.Tensor) and not tensor.is_complex():
            found[place] = _values(tensor)
    return found


def _values(tensor: Any) -> Values:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype == "bfloat16":  # which NumPy does not have
        tensor = tensor.float()
    return Values(tensor.detach().cpu().numpy(), dtype)


def as_values(value: Any) -> Values | None:
    """Return the values of an array or a tensor of any framework, `None` if it has no numbers."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _values(value)
    if keras.ops.is_tensor(value):
        return Values(backend.host_view(value), keras.backend.standardize_dtype(value.dtype))
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        return None
    return Values(array, array.dtype.name)
