"""Find an initializer by what a hand will try: an id, a class, or a name in another library."""

from keras_initx._names import ELSEWHERE, close_ids, spelling
from keras_initx.initializers._base import CatalogEntry, catalog

# Keras' own that have no namesake here.
_OF_KERAS = ("constant", "identity", "ones", "zeros")


def entry_of(name: str) -> CatalogEntry | None:
    """Return the catalog entry that `name` means, or `None`.

    Args:
        name: An id, with or without `initx.`, a class, or a name in another library, in capital
            letters or with underscores: `kaiming_normal_` is `KaimingNormal`.
    """
    return _entries().get(spelling(name))


def ids_like(name: str) -> list[str]:
    """Return the other id of the initializer that `name` means, or the ids that are like it."""
    entry = entry_of(name)
    if entry is not None:
        return [string_id for string_id in entry.ids[:1] if string_id != name]
    ids = {spelled: entry.ids[0] for spelled, entry in _entries().items()}
    for string_id in _OF_KERAS:
        ids[string_id] = string_id
    return close_ids(name, ids)


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
            found[spelling(name)] = entry
    for name, string_id in ELSEWHERE.items():
        found[spelling(name)] = found[spelling(string_id)]
    return found
