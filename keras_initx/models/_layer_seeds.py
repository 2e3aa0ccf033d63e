"""A seed for each kernel of a model, from one root."""

import hashlib
import numbers
import random
from typing import Any


def root_seed(seed: Any) -> int:
    """Return `seed`, an integer in `[0, 2**32)`, or one drawn from Python's `random` for `None`."""
    if seed is None:
        return random.getrandbits(32)
    required = f"`seed` must be `None` or an integer in [0, 2**32). Received: {seed=!r}"
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(required)
    root = int(seed)
    if not 0 <= root < 1 << 32:
        raise ValueError(required)
    return root


def layer_seed(root: int, number: int) -> int:
    """Return the seed of the kernel that has this number in the order of execution."""
    digest = hashlib.blake2b(f"lsuv/{root}/{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
