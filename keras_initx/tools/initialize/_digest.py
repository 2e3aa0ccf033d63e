"""Tell weights apart: by a seed for each path, and by a digest of all values.

`weights_digest` adds up a hash of each value with its index. So each process can hash its own
shards, and the sums of all processes make the digest. No weight is gathered. `array_digest`
computes the digest of one whole array, which a plan stores.
"""

import hashlib
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_root, check_type
from keras_initx._received import show
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.initializers._seeds import derived_seed
from keras_initx.inspection._inventory import checked_inventory
from keras_initx.inspection._weights import has_memory


def weight_seed(path: str, root: int) -> int:
    """Derive the seed of the weight with this path.

    `initialize(model, seed=root)` uses these seeds. Use this function if you define a model and
    want the same seeds from the start. A seed depends only on the path and the root.

    Args:
        path: The names of the layers around a weight and its own name, joined by `/`, without the
            name of the model.
        root: An integer in `[0, 2**32)`.

    Raises:
        TypeError: If `path` is not a text, or `root` is not an integer.
        ValueError: If `root` is out of range.

    Example:
        >>> from keras_initx import HeNormal, initialize
        >>> kernel = HeNormal(seed=weight_seed("hidden/kernel", 0))
        >>> hidden = keras.layers.Dense(8, kernel_initializer=kernel, name="hidden")
        >>> model = keras.Sequential([keras.Input((4,)), hidden])
        >>> before = keras.ops.convert_to_numpy(hidden.kernel)
        >>> plan = initialize(model, seed=0)
        >>> bool((before == keras.ops.convert_to_numpy(hidden.kernel)).all())
        True

    See Also:
        `initialize` draws whole models. The page "Whole models: initialize by rules and one seed"
        has examples.
    """
    check_type("path", path, str, "the path of a weight")
    return derived_seed(check_root("root", root), path)


def weights_digest(model: keras.Model | Mapping[str, Any]) -> str:
    """Return a digest of all weights of `model`. Models with equal weights have equal digests.

    Use it to compare the weights of two models without sending them. The digest covers the paths,
    dtypes, shapes and bits of all weights, sorted by path. The buffers that torch modules save
    count as weights. It does not depend on the backend, the
    machine, the number of devices or processes, the sharding, or other objects in your process. If
    processes share a model, call this in all of them. They send each other eight bytes for each
    sharded weight.

    Args:
        model: A built model; or a dict from paths to arrays, for example weights of another
            framework under their names in Keras.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: If `model` is neither.
        ValueError: If the model is not built, two of its weights have the same path, or a buffer of
            torch is on the meta device, without values.

    Note:
        The digest is BLAKE2b with 16 bytes. Its input has three parts for each weight: a line such
        as `dense/kernel float32 (4, 2)`, a line feed, and eight bytes, little-endian. These bytes
        are the sum, modulo 2**64, over all values of `m(g (i + 1) xor b)`. Here `i` is the index of
        a value in row-major order, `b` its bits, `g` the constant 0x9e3779b97f4a7c15, and `m` the
        function that ends a step of SplitMix64. The digest distinguishes weights that differ by
        accident. It does not protect you against weights that somebody made to have a given digest.

    Reference:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. The
        sum over indices is an incremental hash as by Bellare and Micciancio, EUROCRYPT 1997.

    Example:
        >>> from keras_initx import initialize
        >>> from keras_initx import weights_digest
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> plan = initialize(model, seed=0)
        >>> weights_digest(model)
        '335c22d073f20fbe766f07c446ed6b66'
        >>> weights_digest({path: plan.draw(path) for path in ("dense/kernel", "dense/bias")})
        '335c22d073f20fbe766f07c446ed6b66'

    See Also:
        `audit` tells you which weights differ. The page "Whole models: initialize by rules and one
        seed" has examples.
    """
    values: dict[str, Any] = {}
    dtypes: dict[str, str] = {}  # of those that NumPy lacks
    if isinstance(model, Mapping):
        values.update(model)
    else:
        required = "a Keras model, or a dict from paths to arrays"
        if isinstance(model, str | os.PathLike):
            # Most files have numbers for names: "layers/dense/vars/0".
            required += ", and not a file: load it, `keras.saving.load_model(path)`"
        check_type("model", model, keras.Model, required)
        inventory = checked_inventory("model", model)
        for weight in inventory.weights:
            values[weight.path] = weight.variable.value
        for buffer in inventory.buffers:
            if not has_memory(buffer):
                raise ValueError(
                    "`model` must have values in all its buffers. "
                    f"Received: {show(model.name)}, whose {show(buffer.path)} is on the meta device"
                )
            values[buffer.path] = backend.host_view(buffer.variable.value)
            dtypes[buffer.path] = buffer.dtype
    heads = []
    sums = []
    shared: dict[int, Tensor] = {}  # what processes share, by its index in the sums
    for index, path in enumerate(sorted(values)):
        value = values[path]
        if not keras.ops.is_tensor(value):
            value = np.asarray(value)
        dtype = dtypes.get(path) or keras.backend.standardize_dtype(value.dtype)
        heads.append(f"{path} {dtype} {tuple(value.shape)}\n")
        sums.append(_sum_hashes(value))
        if backend.is_shared(value):
            shared[index] = value
    digest = hashlib.blake2b(digest_size=16)
    totals = np.array(sums, "uint64")
    if shared:
        indices = list(shared)
        totals_by_process = backend.from_processes(totals[indices], shared[indices[0]])
        totals[indices] = totals_by_process.sum(axis=0)
    for head, total in zip(heads, totals, strict=True):
        digest.update(head.encode())
        digest.update(int(total).to_bytes(8, "little"))
    return digest.hexdigest()


def _sum_hashes(value: Any) -> int:
    """Sum the hashes of all values, or of the values that this process has to count."""
    if not keras.ops.is_tensor(value):
        return _sum_hashes_of_region(value, None, value.shape)
    total = 0
    for region, values in backend.parts(value, counted_once=True):
        total += _sum_hashes_of_region(values, region, tuple(value.shape))
    return total % (1 << 64)


# The bytes of the largest integer of NumPy.
_WORD = 8
# Values that are hashed at a time: their hashes stay in the cache.
_CHUNK = 1 << 15


def _sum_hashes_of_region(values: Array, region: Region | None, shape: Shape) -> int:
    """Sum, modulo 2**64, a hash of each value with its index in an array.

    The value with bits `b` at the row-major index `i` has the hash `mix(g * (i + 1) xor b)`. The
    sums of regions add up to the sum of the whole.

    Args:
        values: A region of the array, or all of it.
        region: Its slices, or `None` for the whole.
        shape: The shape of the array.
    """
    values = np.atleast_1d(values)
    shape = shape or (1,)
    starts = [0] * len(shape)
    last_cut = 0  # the last axis along which the region is not whole
    if region is not None:
        for axis, axis_slice in enumerate(region):
            starts[axis] = axis_slice.start or 0
            if values.shape[axis] != shape[axis]:
                last_cut = axis
    # A run are values that lie one after another in the array.
    run = math.prod(values.shape[last_cut:])
    if not values.size:
        return 0
    if values.itemsize > _WORD:  # complex128
        values = np.ascontiguousarray(values)[..., None].view("uint64")
        region = None if region is None else (*region, slice(None))
        return _sum_hashes_of_region(values, region, (*shape, values.shape[-1]))
    bits = np.ascontiguousarray(values).view(f"uint{8 * values.itemsize}").reshape(-1, run)
    rows = max(1, _CHUNK // run)
    total = 0
    for first in range(0, len(bits), rows):
        run_numbers = np.arange(first, min(first + rows, len(bits)))
        index = [np.zeros_like(run_numbers)]
        if last_cut:
            index = [*np.unravel_index(run_numbers, values.shape[:last_cut]), *index]
        index = [in_region + start for in_region, start in zip(index, starts, strict=False)]
        run_starts = np.ravel_multi_index(index, shape[: last_cut + 1])
        run_starts *= math.prod(shape[last_cut + 1 :])
        for begin in range(0, run, _CHUNK):
            end = min(begin + _CHUNK, run)
            words = (run_starts[:, None] + np.arange(begin + 1, end + 1)).astype("uint64")
            words *= np.uint64(0x9E3779B97F4A7C15)
            words ^= bits[first : first + rows, begin:end]
            total += int(_mix(words).sum())
    return total % (1 << 64)


def _mix(words: Array) -> Array:
    """Mix words in place as SplitMix64 does, so that each bit depends on all bits of its word."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def array_digest(array: Array) -> str:
    """Compute the digest of one weight, see `InitializationPlan.save`."""
    shape = "x".join(map(str, array.shape))
    digest = hashlib.blake2b(f"{array.dtype.name} {shape}\n".encode(), digest_size=16)
    if sys.byteorder == "big":
        array = array.byteswap()
    # As integers: NumPy gives no access to the memory of 16-bit floats of other packages.
    digest.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return digest.hexdigest()
