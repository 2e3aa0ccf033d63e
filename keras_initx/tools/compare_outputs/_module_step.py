"""Take the first step of a module of torch, record it, and put everything back.

The record has arrays under the names of the `state_dict()`:

    RecordedArray("0.weight", "trained", (3, 2), "float32", gradient)

`_mapped_step.py` knows which weights of a model they are. Gradients come from `loss.backward()`.
The optimizer takes no part: torch and Keras compute its steps differently.
"""

import contextlib
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from keras_initx._checks import EPSILONS
from keras_initx._received import show
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._hooks import HOOKS
from keras_initx.inspection._watch import call_observed_module
from keras_initx.tools.compare_outputs._draws import dropout_off, name_drawing_calls, read_rates
from keras_initx.tools.compare_outputs._module_losses import watch_losses
from keras_initx.tools.compare_outputs._reading import (
    Settings,
    label_members,
    name_modules,
    read_values,
)
from keras_initx.tools.compare_outputs._recorded import RecordedCall, Recorder, record_tensor
from keras_initx.tools.compare_outputs._recorded_step import (
    RUNS,
    ArrayChange,
    Kind,
    RecordedArray,
    RecordedStep,
    perturb_by_rounding,
    record_targets,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor, own_order, sample_values

# Gradients of a module with at most so many values are kept as a whole: 48 MiB in a file.
_MOST_WHOLE = 2**22
_SHORT = ("float16", "bfloat16")
# A module whose generators advance is called so often, each time with other random numbers.
_CALLS = 4

# Gets the outputs of a module and the targets, and returns a number.
ModuleLoss: TypeAlias = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class _Run:
    """The results of a step.

    Attributes:
        outputs: Dict from the labels of the outputs in training to tensors.
        loss: The loss.
        gradients: The gradients of the tensors, by their names, 0 without a gradient.
        updates: The changes of buffers by the call, by their names.
    """

    outputs: Mapping[str, RecordedTensor]
    loss: float
    gradients: Mapping[str, Array]
    updates: Mapping[str, Array]


class ModuleStep:
    """The first step of a module of torch on a batch.

    Args:
        module: The module.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        y: The targets, as tensors.
        loss: The loss.
    """

    def __init__(
        self,
        module: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        y: Any,
        loss: ModuleLoss,
    ) -> None:
        self._module = module
        self._args = args
        self._kwargs = kwargs
        self._y = y
        self._loss = loss
        self._has_drawn = False
        self._loss_settings: list[Settings] = []
        self._tensors: dict[str, Any] = {}
        for name, tensor in module.state_dict(keep_vars=True).items():
            if _has_floats(tensor):
                self._tensors[name] = tensor

    def record(self) -> RecordedStep:
        """Take the step and record it, or why it is not known. The module does not change.

        The rounding of gradients is measured in more runs, in the same way as in a Keras model.
        """
        obstacle = self._find_obstacle()
        if obstacle:
            return RecordedStep(obstacle)
        run = self._take()
        repeats = []
        without_gradients = self._find_gradient_obstacle()
        if not without_gradients:
            repeats = [self._take(np.random.default_rng(seed)) for seed in range(RUNS)]
        is_whole = sum(math.prod(tensor.shape) for tensor in self._tensors.values()) <= _MOST_WHOLE
        losses = [repeat.loss for repeat in (run, *repeats) if not math.isnan(repeat.loss)]
        return RecordedStep(
            targets=record_targets(self._y),
            outputs=run.outputs,
            loss=run.loss,
            loss_rounding=float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0,
            rates=read_rates(name_modules(self._module)),
            has_drawn=self._has_drawn,
            without_gradients=without_gradients,
            # Nobody knows what a loss makes of several.
            settings=self._loss_settings[0] if len(self._loss_settings) == 1 else {},
            arrays=self._record_arrays(run, repeats, is_whole=is_whole),
            is_whole=is_whole,
        )

    def _record_arrays(
        self, run: _Run, repeats: Sequence[_Run], *, is_whole: bool
    ) -> list[RecordedArray]:
        arrays = []
        first: dict[int, str] = {}
        for name, tensor in self._tensors.items():
            tied_to = first.setdefault(id(tensor), name)
            gradient = update = None
            if name in run.gradients:
                runs = [repeat.gradients[name] for repeat in repeats]
                gradient = _record_array_change(run.gradients[name], runs, is_whole=is_whole)
            if name in run.updates:
                update = _record_array_change(run.updates[name], [], is_whole=is_whole)
            array = RecordedArray(
                name=name,
                kind=_classify(tensor),
                shape=tuple(tensor.shape),
                dtype=_dtype_name(tensor),
                gradient=gradient,
                update=update,
                tied_to="" if tied_to == name else tied_to,
            )
            arrays.append(array)
        return arrays

    def _find_gradient_obstacle(self) -> str:
        short = {_dtype_name(tensor) for tensor in self._tensors.values()}.intersection(_SHORT)
        return f"computed in {min(short)}: compare in float32" if short else ""

    def _find_obstacle(self) -> str:
        """Say why the module has no step, or a different step at each call."""
        if not any(_classify(tensor) == "trained" for tensor in self._tensors.values()):
            return "no parameter is trained"
        results: list[dict[str, Array]] = []
        while len(results) < (_CALLS if self._has_drawn else 2):
            with self._preserve_without_dropout(), _seed_generators(len(results)):
                states = _read_generator_states()
                outputs, loss = self._call_in_training()
                self._has_drawn |= states != _read_generator_states()
                values = {label: tensor.own_values for label, tensor in outputs.items()}
                results.append({**values, "loss": _copy_to_host(loss)})
        first, *others = results
        if all(_are_close(first, other) for other in others):
            return ""
        names = name_drawing_calls(self._record_calls(0), self._record_calls(1))
        return f"the module draws random numbers{names}"

    @contextlib.contextmanager
    def _preserve_without_dropout(self) -> Iterator[None]:
        """Turn dropout off in the module for a block, at whose end all is as before.

        Also while gradients are computed, because a module may call its parts again then.
        """
        with preserve_modules(self._module, self._loss), dropout_off([*self._module.modules()]):
            yield

    def _record_calls(self, seed: int) -> list[RecordedCall]:
        """Record the calls of a pass in training, with the random numbers of a seed."""
        names = name_modules(self._module)
        recorder = Recorder(self._module, names, names)
        args, kwargs = _copy_tensors([self._args, self._kwargs])
        with self._preserve_without_dropout(), _seed_generators(seed):
            call_observed_module(self._module, args, kwargs, recorder, training=True)
        return recorder.calls

    def _call_in_training(self) -> tuple[dict[str, RecordedTensor], Any]:
        """Call the module in training, and compute the loss."""
        torch = sys.modules["torch"]
        if not self._module.training:  # a module in training may have frozen modules inside
            self._module.train()
        args, kwargs, y = _copy_tensors([self._args, self._kwargs, self._y])
        outputs = self._module(*args, **kwargs)
        recorded_outputs = {}
        for label, value in label_members(outputs):
            values = read_values(value)
            if values is not None:
                recorded_outputs[label] = record_tensor(values)
        self._loss_settings = []
        with watch_losses(self._loss_settings.append):
            loss = self._loss(outputs, y)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise ValueError(
                "`loss` must return a tensor with a single number, from the outputs and `y`. "
                f"Received: loss={show(self._loss)}, which returns {shape}"
            )
        if not loss.requires_grad:
            raise ValueError(
                "`loss` must return a tensor computed from the parameters, with a gradient. "
                f"Received: loss={show(self._loss)}, which returns a tensor without a gradient"
            )
        return recorded_outputs, loss

    def _take(self, rng: np.random.Generator | None = None) -> _Run:
        """Take the step.

        Args:
            rng: Generator of random numbers. With it, parameters and buffers are first changed by
                no more than rounding, and no update is computed.
        """
        with self._preserve_without_dropout():
            if rng is not None:
                for tensor in self._tensors.values():
                    values = perturb_by_rounding(
                        rng, _copy_to_host(tensor), EPSILONS[_dtype_name(tensor)]
                    )
                    tensor.data.copy_(_convert_to_tensor(values))
            before = {name: _copy_to_host(tensor) for name, tensor in self._tensors.items()}
            outputs, loss = self._call_in_training()
            loss.backward()
            gradients = {}
            updates = {}
            for name, tensor in self._tensors.items():
                if _classify(tensor) == "trained":
                    missing = np.zeros(before[name].shape, before[name].dtype)
                    gradients[name] = missing if tensor.grad is None else _copy_to_host(tensor.grad)
            if rng is None:
                for name, tensor in self._module.state_dict(keep_vars=True).items():
                    # A buffer may be another tensor by now.
                    if name in before and _classify(self._tensors[name]) == "state":
                        updates[name] = _copy_to_host(tensor) - before[name]
            return _Run(outputs, float(_copy_to_host(loss).item()), gradients, updates)


@contextlib.contextmanager
def preserve_modules(*owners: Any) -> Iterator[None]:
    """Restore all state of modules and random generators at the end of the block.

    In the block, parameters and buffers have copies of their values, and no gradients. So their
    memory is not touched, and a graph that a user has still computes its gradients.

    Args:
        owners: Modules of torch, and other objects, which are ignored.
    """
    torch = sys.modules["torch"]
    modules = []
    for owner in owners:
        if isinstance(owner, torch.nn.Module):
            modules += list(owner.modules())
    with contextlib.ExitStack() as stack:
        stack.enter_context(HOOKS)
        stack.enter_context(backend.full_precision())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_seed_generators(None))
        tensors: dict[int, Any] = {}
        for module in modules:
            # Its attributes, and the dicts among them, which hold its parameters and buffers.
            dicts = [
                attributes for attributes in vars(module).values() if isinstance(attributes, dict)
            ]
            for attributes in (vars(module), *dicts):
                stack.callback(_restore_dict, attributes, dict(attributes))
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensors.setdefault(id(tensor), tensor)
        for tensor in tensors.values():
            stack.callback(_restore_tensor, tensor, tensor.data, tensor.grad)
        for tensor in tensors.values():
            tensor.data = tensor.data.clone()
            tensor.grad = None
        yield


def _restore_dict(attributes: dict[str, Any], former: Mapping[str, Any]) -> None:
    attributes.clear()
    attributes.update(former)


def _restore_tensor(tensor: Any, data: Any, gradient: Any) -> None:
    tensor.data = data
    tensor.grad = gradient


@contextlib.contextmanager
def _seed_generators(seed: int | None) -> Iterator[None]:
    """Put back the states of random generators at the end of the block.

    Args:
        seed: The seed that they get at the start of the block, `None` to leave them.
    """
    torch = sys.modules["torch"]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002, which a module may use
    try:
        with torch.random.fork_rng(devices):
            if seed is not None:
                torch.manual_seed(seed)
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _read_generator_states() -> list[Any]:
    """Read the states of random generators, which differ if one has drawn."""
    torch = sys.modules["torch"]
    states = [torch.random.get_rng_state()]
    if torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    return [
        *(state.numpy().tobytes() for state in states),
        random.getstate(),
        (numpy_state[1].tobytes(), numpy_state[2]),
    ]


def _has_floats(tensor: Any) -> bool:
    return getattr(tensor, "dtype", None) is not None and _dtype_name(tensor) in EPSILONS


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _classify(tensor: Any) -> Kind:
    if not isinstance(tensor, sys.modules["torch"].nn.Parameter):
        return "state"
    return "trained" if tensor.requires_grad else "frozen"


def _copy_to_host(tensor: Any) -> Array:
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if _dtype_name(tensor) in _SHORT:
        tensor = tensor.float()
    return np.array(tensor.cpu().numpy())


def _convert_to_tensor(values: Array) -> Any:
    return sys.modules["torch"].from_numpy(np.ascontiguousarray(values))


def _copy_tensors(nested: Any) -> Any:
    """Copy the tensors in nested lists and dicts, because a module may change them."""
    torch = sys.modules["torch"]
    if isinstance(nested, Mapping):
        return {key: _copy_tensors(value) for key, value in nested.items()}
    if type(nested) in (list, tuple):
        return type(nested)(map(_copy_tensors, nested))
    return nested.detach().clone() if isinstance(nested, torch.Tensor) else nested


def _record_array_change(values: Array, repeats: Sequence[Array], *, is_whole: bool) -> ArrayChange:
    """Record a gradient or an update, and its rounding from repeated runs."""
    order = own_order(values.shape)
    runs = []
    for run_values in (values, *repeats):
        kept = run_values.reshape(-1) if is_whole else sample_values(run_values, order)
        runs.append(kept.astype("float32"))
    deviations = np.zeros(0, "float32")
    if repeats:
        with np.errstate(invalid="ignore", over="ignore"):
            deviations = np.std(np.stack(runs).astype("float64"), axis=0, ddof=1).astype("float32")
    norm = float(np.linalg.norm(values.astype("float64").reshape(-1)))
    return ArrayChange(norm, runs[0], deviations)


def _are_close(first: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Say whether two computations have the same result, up to rounding."""
    if first.keys() != other.keys():
        return False
    for label, values in first.items():
        again = other[label]
        if values.shape != again.shape:
            return False
        size = np.abs(values).max(initial=0)
        if not np.allclose(values, again, rtol=0, atol=1e-5 * size, equal_nan=True):
            return False
    return True
