"""Seeds derived from a root and a name, the same on every machine and in every release."""

import hashlib


def derived_seed(root: int, *path: str | int) -> int:
    """Return a seed in `[0, 2**31)` derived from `root` and `path`.

    Args:
        root: An integer.
        *path: Strings and integers.
    """
    text = "/".join(map(str, (root, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
