"""The files that a model is saved in: one, or the shards of `like` with their index.

An index has the form of Hugging Face, `model.safetensors.index.json`:

    {"metadata": {"total_size": 96},
     "weight_map": {"fc.weight": "model-00001-of-00002.safetensors"}}
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_initx.checkpoints._checkpoint import is_weights_path
from keras_initx.files._formats import Contents
from keras_initx.files._local import check_local

_SUFFIX = ".safetensors"
_INDEX = f"{_SUFFIX}.index.json"
# The name of a file at Hugging Face.
_STEM = "model"


@dataclass(frozen=True)
class Target:
    """The files that a model is saved in.

    Attributes:
        files: The names of the arrays of each file.
        index: The file that maps arrays to files, `None` for a single file.
    """

    files: dict[Path, list[str]]
    index: Path | None = None

    def index_text(self, sizes: Mapping[str, int]) -> str:
        """Write the text of the index.

        Args:
            sizes: The number of bytes of each array.
        """
        weight_map = {}
        for path, names in self.files.items():
            weight_map.update(dict.fromkeys(names, path.name))
        content = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        return json.dumps(content, indent=2) + "\n"


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check that the argument `path` is a `.safetensors` file or a folder, and make it a `Path`.

    Raises:
        TypeError: If it is no path.
        ValueError: If it is the path of a file of another format.
    """
    requirement = "`path` must be a file that ends in '.safetensors', or a folder"
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"{requirement}. Received: path={path!r}")
    target_path = check_local("path", Path(path))
    has_weights_suffix = not target_path.is_dir() and is_weights_path(str(target_path))
    if target_path.is_file() or has_weights_suffix:
        if target_path.suffix.lower() != _SUFFIX:
            raise ValueError(f"{requirement}. Received: path={str(path)!r}")
    elif target_path.suffix.lower() == _SUFFIX and target_path.is_dir():
        raise ValueError(f"{requirement}. Received: path={str(path)!r}, a folder with such a name")
    return target_path


def choose_target(path: Path, contents: Contents, names: Sequence[str]) -> Target:
    """Choose the files that a model is saved in.

    Args:
        path: The argument `path`.
        contents: The arrays of `like`.
        names: The names of the arrays that are written.

    Raises:
        ValueError: If a folder has weights that would stay next to the new ones.
    """
    if path.suffix.lower() == _SUFFIX:
        return Target({path: list(names)})
    shards: dict[str, list[str]] = {}
    for name in names:
        shards.setdefault(contents.files.get(name, ""), []).append(name)
    files = {path / os.path.basename(shard): inside for shard, inside in shards.items()}
    are_shards = all(shard.lower().endswith(_SUFFIX) for shard in shards)
    if len(shards) > 1 and are_shards and len(files) == len(shards):
        # `model-00001-of-00002.safetensors` has the stem of its index.
        stems = {re.sub(r"-\d+-of-\d+$", "", file.stem) for file in files}
        stem = stems.pop() if len(stems) == 1 else _STEM
        target = Target(files, path / f"{stem}{_INDEX}")
    else:
        target = Target({path / f"{_STEM}{_SUFFIX}": list(names)})
    for other in sorted((*path.glob(f"*{_SUFFIX}"), *path.glob(f"*{_INDEX}"))):
        if other not in target.files and other != target.index:
            raise ValueError(
                "`path` must be a folder without other weights, which a program could read in "
                f"place of the new ones. Received: path={str(path)!r} with {other.name!r}"
            )
    return target
