"""Seeds that follow from a root and a name, the same on every machine and for ever."""

import hashlib


def derived_seed(root: int, *path: str | int) -> int:
    """Return a seed, an integer in `[0, 2**31)`, for the purpose that `path` names.

    Args:
        root: An integer.
        *path: Strings and integers.
    """
    text = "/".join(map(str, (root, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
