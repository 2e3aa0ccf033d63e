"""What all audits share."""

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def _few_objects_to_collect():
    """Keep the modules out of the collections of garbage, of which a contract makes one for each draw."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
