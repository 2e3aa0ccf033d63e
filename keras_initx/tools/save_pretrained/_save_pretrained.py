"""Save the weights of a model in the names, shapes, dtypes and layout of the file of another."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import keras

from keras_initx._checks import DTYPES, check_choice, check_flag, truncate
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Array, DType
from keras_initx.checkpoints._checkpoint import Checkpoint, is_weights_path
from keras_initx.checkpoints._sources import (
    LayoutName,
    TorchModule,
    find_ties,
    is_torch_module,
    open_source,
    read_module,
)
from keras_initx.files._formats import Contents
from keras_initx.files._local import check_local, replace_file
from keras_initx.files._safetensors import ArraySpec, write_safetensors
from keras_initx.inspection._inventory import Inventory, check_unshared, checked_inventory
from keras_initx.inspection._kernels import is_adapter
from keras_initx.inspection._weights import is_quantized
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.tools.load_pretrained._load_plan import plan_load
from keras_initx.tools.load_pretrained._parametrized import find_parametrized
from keras_initx.tools.save_pretrained._names_and_layout import (
    NamesAndLayout,
    NamesOrReport,
    resolve_names,
)
from keras_initx.tools.save_pretrained._new_arrays import NewArrays
from keras_initx.tools.save_pretrained._save_report import SaveReport
from keras_initx.tools.save_pretrained._way_back import (
    insert_stand_ins,
    insert_stand_ins_of_computed,
)

# Files, a module of torch, or a dict from names to arrays or tensors of any framework.
LikeFiles: TypeAlias = Checkpoint | TorchModule | Mapping[str, Any]
# transformers refuses files without it.
_METADATA = {"format": "pt"}
_SUFFIX = ".safetensors"
# The file of a folder, by its name at Hugging Face.
_FILE_NAME = f"model{_SUFFIX}"


@shorten_signature
@takes_verbose
def save_pretrained(
    model: keras.Model,
    path: str | os.PathLike[str],
    names: NamesOrReport | None = None,
    *,
    like: LikeFiles,
    layout: LayoutName | None = None,
    dtype: DType | None = None,
    dry_run: bool = False,
    verbose: Verbose = "auto",
) -> SaveReport:
    """Save the weights of a model in the names, shapes, dtypes and layout of a file of torch.

    Use it after `load_pretrained` and training, to give your model back to torch, transformers or
    vLLM. Pass the report of that load as `names`, and the file that you loaded as `like`. You can
    save each weight that `load_pretrained` reads.

    Weights that you did not change keep their bits from `like`. Arrays that your model does not
    have are copied. Before the file appears at `path`, `save_pretrained` loads it again and
    compares it with your model, bit for bit. Only weights are written, so copy `config.json` and
    the files of the tokenizer yourself.

    The page "Back to torch" explains tied weights, the two biases of an LSTM in torch, and the fix
    for each problem.

    Args:
        model: A built model.
        path: The path to save to. It may be the path of `like`. One of:

            - a file that ends in `.safetensors`,
            - a folder without other weights, for `model.safetensors`.
        names: The names of the load, `NamesOrReport`. To skip a weight that `like` does not have,
            give it the name `None`. A function that computes values needs its inverse. One of:

            - the report of `load_pretrained`, or the path of its JSON,
            - a dict from patterns to names, see `load_pretrained`.
        like: The names, shapes and dtypes to save in, `LikeFiles`. If the model has a new head,
            pass a module that has it too. One of:

            - files, see `load_pretrained`,
            - a module of torch,
            - a dict from names to arrays, such as its `state_dict()`.
        layout: The order of axes in `like`, `"torch"` or `"keras"`. Required unless you pass a
            report or a module of torch.
        dtype: The dtype of the saved floating-point weights, e.g. `"bfloat16"`. By default the
            dtype of each array in `like`.
        dry_run: If true, nothing is written. Weights that cannot be saved are then reported instead
            of raising an error.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `SaveReport` with a row for each weight, and the arrays that were copied. The summary says
        which weights were rounded.

    Raises:
        OSError: If a file cannot be written.
        TypeError: If an argument has the wrong type.
        ValueError: If a weight has no array in `like`, has another shape there, is computed there
            of several arrays, reads rows in an order that is not known, or has a number beyond the
            range of the dtype; if two weights with one array differ; if layers are quantized or
            have factors of LoRA; if a folder has other weights; or as in `load_pretrained`. Then
            nothing is written.

    Example:
        >>> import keras_initx
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> state = {"fc.weight": np.array([[1, 2, 3], [4, 5, 6.0]]), "fc.bias": np.zeros(2)}
        >>> names = {"dense": "fc"}
        >>> load = keras_initx.load_pretrained(model, state, names, layout="torch")
        >>> bias = model.layers[0].bias.assign([7.0, 8.0])
        >>> report = save_pretrained(model, "tuned.safetensors", load, like=state)
        >>> [(row.path, row.status) for row in report]
        [('dense/kernel', 'kept'), ('dense/bias', 'saved')]

    See Also:
        `load_pretrained`, and `compare_outputs` for the outputs of the model and of torch.
    """
    inventory = checked_inventory("model", model)
    checked_path = _check_path(path)
    file = _choose_file(checked_path)
    load = resolve_names(names, layout)
    if dtype is not None:
        check_choice("dtype", dtype, DTYPES)
    check_flag("dry_run", dry_run)
    _check_model(inventory)
    if is_torch_module(like):
        like, layout_of_module = read_module(like, load.layout)
        load = load._replace(layout=layout_of_module)
    with open_source(_check_like(like), "like") as (contents, own_layout):
        _check_contents(like, own_layout, contents)
        ties = find_ties(like) if isinstance(like, Mapping) else {}
        arrays, stand_ins = insert_stand_ins(contents)
        parametrized = insert_stand_ins_of_computed(find_parametrized(arrays), stand_ins)
        plan = plan_load(inventory, arrays, own_layout, load.names, load.layout, {}, parametrized)
        new = NewArrays(contents, stand_ins, plan, parametrized, ties, dtype)
        lines = {name: new.describe(name) for name in new.names}
        equal_copies = [] if isinstance(like, Mapping) else new.note_equal_copies()
        if dry_run:
            for name in new.names:
                new.make(name)
        else:
            _check_rows(new)
            if file != checked_path:
                checked_path.mkdir(parents=True, exist_ok=True)
            metadata = {**_METADATA, **contents.metadata}
            _write(file, lines, inventory, new, metadata, load._replace(layout=plan.layout))
        notes = [*new.list_notes(), *equal_copies, *inventory.note_unbuilt()]
    return SaveReport(list(new.rows.values()), str(path), dry_run, new.copied, notes)


def _write(
    file: Path,
    lines: Mapping[str, ArraySpec],
    inventory: Inventory,
    new: NewArrays,
    metadata: Mapping[str, str],
    load: NamesAndLayout,
) -> None:
    """Write the new arrays to a file, which replaces an older one only if it loads as it should.

    Args:
        file: The path of the file.
        lines: The head of the file: a line for each array.
        inventory: The layers and weights of the model.
        new: The arrays.
        metadata: The metadata of the file.
        load: The names and the layout by which the file is loaded again.

    Raises:
        ValueError: If a weight cannot be saved, or is another one after loading.
    """
    with replace_file(file) as partial:
        with show_progress("Saving weights", len(lines), "arrays") as advance:
            write_safetensors(partial, lines, _make_arrays(new, advance), metadata)
        _check_rows(new)
        _load_again(inventory, partial, new, load)
        _check_rows(new)


def _check_path(path: str | os.PathLike[str]) -> Path:
    """Check that the argument `path` is a `.safetensors` file or a folder, and make it a `Path`.

    Raises:
        TypeError: If it is no path.
        ValueError: If it is the path of a file of another format.
    """
    requirement = f"`path` must be a file that ends in {_SUFFIX!r}, or a folder"
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"{requirement}. Received: path={show(path)}")
    checked = check_local("path", Path(path))
    has_weights_suffix = not checked.is_dir() and is_weights_path(str(checked))
    if checked.is_file() or has_weights_suffix:
        if checked.suffix.lower() != _SUFFIX:
            raise ValueError(f"{requirement}. Received: path={show(str(path))}")
    elif checked.suffix.lower() == _SUFFIX and checked.is_dir():
        raise ValueError(
            f"{requirement}. Received: path={show(str(path))}, a folder with such a name"
        )
    return checked


def _choose_file(path: Path) -> Path:
    """Choose the file that a model is saved in: `path`, or a file in this folder.

    Raises:
        ValueError: If a folder has weights that would stay next to the new ones. An old index and
            its shards are such weights.
    """
    if path.suffix.lower() == _SUFFIX:
        return path
    file = path / _FILE_NAME
    for other in sorted((*path.glob(f"*{_SUFFIX}"), *path.glob(f"*{_SUFFIX}.index.json"))):
        if other != file:
            raise ValueError(
                "`path` must be a folder without other weights, which a program could read in "
                f"place of {_FILE_NAME!r}: pass a new folder. "
                f"Received: path={show(str(path))} with {show(other.name)}"
            )
    return file


def _check_model(inventory: Inventory) -> None:
    """Raise `ValueError` if a model also computes with other values than its weights."""
    check_unshared("model", inventory)
    name = inventory.model.name
    for weight in inventory.weights:
        if is_adapter(weight.name):
            raise ValueError(
                "`model` must not have factors of LoRA or DoRA: merge them first, by saving the "
                "model with Keras, and pass the model that it loads. "
                f"Received: model={show(name)} with {show(weight.path)}"
            )
        if is_quantized(weight.layer):
            raise ValueError(
                "`model` must not be quantized, because `like` has no arrays for its integers: "
                "pass the model before `quantize`. "
                f"Received: model={show(name)} with {show(weight.path)}"
            )


def _check_like(like: Any) -> Checkpoint | Mapping[str, Any]:
    """Check that the argument `like` is files or a dict of arrays."""
    if isinstance(like, keras.Model):
        raise TypeError(
            "`like` must be the path of a file, a module of torch, or a dict from names to arrays, "
            f"such as its `state_dict()`. Received: like={show(like)}"
        )
    checked: Checkpoint | Mapping[str, Any] = like
    return checked


def _check_contents(like: LikeFiles, own_layout: LayoutName | None, contents: Contents) -> None:
    """Raise `ValueError` if Keras wrote a file, because such files number the weights."""
    if own_layout == "keras" or contents.layers:
        raise ValueError(
            "`like` must not be a file that Keras wrote: save the model by `model.save_weights`. "
            f"Received: like={show(like)}"
        )


def _make_arrays(new: NewArrays, advance: Callable[[int], None]) -> Iterator[Array]:
    for name in new.names:
        yield new.make(name)
        advance(1)


def _check_rows(new: NewArrays) -> None:
    """Raise `ValueError` if a weight cannot be saved."""
    problems = [row.text for row in new.rows.values() if row.status == "error"]
    if problems:
        raise ValueError(
            "`like` must have an array that can hold each weight to be saved. Received: "
            f"{truncate(problems, '; ')}"
        )


def _load_again(
    inventory: Inventory,
    file: Path,
    new: NewArrays,
    load: NamesAndLayout,
) -> None:
    """Load the new file, as `load_pretrained` does, and note which weights differ."""
    with open_source(file, "path") as (contents, _):
        new.note_differences(plan_load(inventory, contents, None, load.names, load.layout, {}))
