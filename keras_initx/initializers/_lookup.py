"""Find an initializer by what a hand will try: an id, a class, or a name in another library."""

import difflib

from keras_initx.initializers._base import CatalogEntry, catalog

# What torch, JAX and Keras call those that have another name here.
_ELSEWHERE = {
    "kaiming_normal": "initx.he_normal",
    "kaiming_uniform": "initx.he_uniform",
    "normal": "initx.random_normal",
    "trunc_normal": "initx.truncated_normal",
    "uniform": "initx.random_uniform",
    "xavier_normal": "initx.glorot_normal",
    "xavier_uniform": "initx.glorot_uniform",
}
# Keras' own that have no namesake here.
_OF_KERAS = ("constant", "identity", "ones", "zeros")


def entry_of(name: str) -> CatalogEntry | None:
    """Return the catalog entry that `name` means, or `None`.

    Args:
        name: An id, with or without `initx.`, a class, or a name in another library, in capital
            letters or with underscores: `kaiming_normal_` is `KaimingNormal`.
    """
    return _entries().get(_spelling(name))


def ids_like(name: str) -> list[str]:
    """Return the other id of the initializer that `name` means, or the ids that are like it."""
    entry = entry_of(name)
    if entry is not None:
        return [string_id for string_id in entry.ids[:1] if string_id != name]
    ids = {spelled: entry.ids[0] for spelled, entry in _entries().items()}
    for string_id in _OF_KERAS:
        ids[string_id] = string_id
    close = difflib.get_close_matches(_spelling(name), ids, cutoff=0.8)
    return list(dict.fromkeys(ids[spelled] for spelled in close))


def classes_like(name: str) -> list[str]:
    """Return the names of the classes of this package that `ids_like` finds."""
    found = []
    for string_id in ids_like(name):
        entry = entry_of(string_id)
        if entry is not None:
            found.append(entry.cls.__name__)
    return found


def _entries() -> dict[str, CatalogEntry]:
    """Return the entry of each name, by its spelling."""
    found = {}
    for entry in catalog():
        for name in (*entry.ids, entry.cls.__name__):
            found[_spelling(name)] = entry
    for name, string_id in _ELSEWHERE.items():
        found[_spelling(name)] = found[_spelling(string_id)]
    return found


def _spelling(name: str) -> str:
    """Return what an id, a class and a name with other capital letters have in common."""
    return name.removeprefix("initx.").replace("_", "").lower()
