"""Open a checkpoint: a file of arrays, or several that hold the arrays of one model.

An index lists the file of each array. Hugging Face writes one for `.safetensors` files. Keras
writes one for HDF5 files, and there a group of arrays may be in several files:

    model.safetensors.index.json  {"weight_map": {"h.0.weight": "model-00001-of-2.safetensors"}}
    model.weights.json            {"weight_map": {"/layers/dense/vars": ["model_00000.weights.h5"]}}
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from keras_initx._received import show
from keras_initx.files._formats import FORMATS, Contents, check_file, open_arrays, suffix
from keras_initx.files._keras_files import FORMATS_OF_KERAS, is_optimizer_or_seed
from keras_initx.files._local import check_local, parse_json

# A file, a folder, an index, or a list of files.
Checkpoint: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

# Arrays of a `.npy` file have no names.
_FORMATS = tuple(name for name in FORMATS if name != ".npy")
# Hugging Face's, and that of weights which Keras saved in several files.
_INDEXES = (".safetensors.index.json", ".weights.json")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def checkpoint_paths(value: object) -> list[str] | None:
    """Turn the path or paths of a checkpoint into a list of strings; `None` for anything else."""
    values = [value]
    if isinstance(value, list | tuple) and value:
        values = list(value)
    paths = []
    for item in values:
        path = os.fspath(item) if isinstance(item, str | os.PathLike) else None
        if not isinstance(path, str):
            return None
        paths.append(path)
    return paths


def is_weights_path(path: str) -> bool:
    """Return whether a path leads to weights, by its name, or to a folder."""
    return os.path.isdir(path) or path.endswith(_INDEXES) or suffix(path) in (*FORMATS, *_PICKLES)


@contextlib.contextmanager
def open_checkpoint(argument: str, paths: Sequence[str]) -> Iterator[Contents]:
    """Open a checkpoint for the duration of the block and yield its arrays by name, not yet read.

    Variables of the optimizer, which Keras saves with weights, do not count.

    Args:
        argument: Name of the argument in error messages.
        paths: Paths of files of arrays; of an index of several files, which Hugging Face writes for
            `.safetensors` files and Keras for HDF5 files; or of a folder with an index, or with
            `.safetensors` files.

    Raises:
        ValueError: If a file cannot be read, now or later, when an array is read; if a file lacks
            an array that an index promises; or if two files have arrays of one name.
    """
    contents = Contents()
    files: dict[str, str] = {}  # by the name of an array
    with contextlib.ExitStack() as stack:
        for path, promised in _list_files(argument, paths).items():
            arrays = stack.enter_context(open_arrays(argument, path))
            groups = {str(name).rpartition("/")[0] for name in arrays}
            for name in promised:
                if name not in arrays and name.removeprefix("/") not in groups:
                    raise _duplicate_error(
                        argument, paths, f"{path!r} lacks {name!r}, which the index has"
                    )
            if suffix(path) in FORMATS_OF_KERAS:
                for name in filter(is_optimizer_or_seed, list(arrays)):
                    del arrays[name]
            for name in arrays:
                if name in contents:
                    both = f"{files[name]!r} and {path!r}"
                    raise _duplicate_error(argument, paths, f"{both} have {name!r}")
                files[name] = path
            contents.update(arrays)
            contents.metadata.update(arrays.metadata)
            contents.layers.update(arrays.layers)
            contents.are_in_order = arrays.are_in_order
        yield contents


def _duplicate_error(argument: str, paths: Sequence[str], problem: str) -> ValueError:
    return ValueError(
        f"`{argument}` must have each array once, in the file that its index names. "
        f"Received: {', '.join(paths)}; {problem}"
    )


def _list_files(argument: str, paths: Sequence[str]) -> dict[str, list[str]]:
    """List the files of a checkpoint, each with the names that the index lists for it."""
    names_by_file: dict[str, list[str]] = {}
    for path in paths:
        check_local(argument, path)
        if os.path.isdir(path):
            files = _list_files_in_folder(argument, path)
        elif path.endswith(_INDEXES):
            files = _list_files_in_index(argument, path)
        else:
            files = {path: []}
        for file, promised in files.items():
            _check_format(argument, file)
            names_by_file.setdefault(file, []).extend(promised)
    return names_by_file


def _check_format(argument: str, path: str) -> None:
    if suffix(path) in _PICKLES:
        raise ValueError(
            f"`{argument}` must not be a pickle, which can run arbitrary code: pass "
            f"`torch.load({path!r}, weights_only=True)`. Received: {argument}={show(path)}"
        )
    if suffix(path) not in _FORMATS:
        raise ValueError(
            f"`{argument}` must be a file that ends in one of {_FORMATS}, an index that ends in "
            f"one of {_INDEXES}, or a folder. Received: {argument}={show(path)}"
        )
    check_file(argument, path)


def _list_files_in_folder(argument: str, folder: str) -> dict[str, list[str]]:
    """List the files that the index in a folder names, or else all `.safetensors` files."""
    indexes = sorted(str(path) for path in Path(folder).glob("*.safetensors.index.json"))
    if len(indexes) > 1:
        raise ValueError(
            f"`{argument}` must be a folder with one index: pass the path of one of {indexes}. "
            f"Received: {argument}={show(folder)}"
        )
    if indexes:
        return _list_files_in_index(argument, indexes[0])
    files = sorted(str(path) for path in Path(folder).glob("*.safetensors"))
    if not files:
        raise ValueError(
            f"`{argument}` must be a folder with `.safetensors` files, or a file. "
            f"Received: {argument}={show(folder)}, a folder without such files"
        )
    return {file: [] for file in files}


def _list_files_in_index(argument: str, path: str) -> dict[str, list[str]]:
    """List the files that an index names, each with the names of its arrays or of groups."""
    check_file(argument, path)
    required = (
        f"`{argument}` must be an index of files next to it: a JSON object whose `weight_map` has "
        "a file for each array"
    )
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{required}; this one {error}. Received: {argument}={show(path)}"
        ) from None
    try:
        names_by_file: dict[str, list[str]] = {}
        for name, files in content["weight_map"].items():
            # Keras lists the files of a group of which some arrays are in another.
            for file in files if isinstance(files, list) else [files]:
                names_by_file.setdefault(file, []).append(name)
        # It must not lead to a file elsewhere, which its author chose.
        is_index = bool(names_by_file) and all(
            file == os.path.basename(file) for file in names_by_file
        )
    except (AttributeError, KeyError, TypeError):
        is_index = False
    if not is_index:
        raise ValueError(f"{required}. Received: {argument}={show(path)}")
    return {
        os.path.join(os.path.dirname(path), file): names_by_file[file]
        for file in sorted(names_by_file)
    }
