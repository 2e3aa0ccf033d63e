"""Names of initializers as a hand writes them. Does not import Keras."""

import difflib
from collections.abc import Mapping

# What torch, JAX and Keras call those that have another name here.
ELSEWHERE = {
    "kaiming_normal": "initx.he_normal",
    "kaiming_uniform": "initx.he_uniform",
    "normal": "initx.random_normal",
    "trunc_normal": "initx.truncated_normal",
    "uniform": "initx.random_uniform",
    "xavier_normal": "initx.glorot_normal",
    "xavier_uniform": "initx.glorot_uniform",
}


def spelling(name: str) -> str:
    """Return what an id, a class and a name with other capital letters have in common."""
    return name.removeprefix("initx.").replace("_", "").lower()


def close_ids(name: str, ids: Mapping[str, str]) -> list[str]:
    """Return the ids whose names are like `name`, by a dict from spellings to ids."""
    close = difflib.get_close_matches(spelling(name), ids, cutoff=0.8)
    return list(dict.fromkeys(ids[spelled] for spelled in close))
