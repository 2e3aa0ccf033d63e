"""The examples of each page, run one after another, print what the page shows."""

import doctest
import os
import pathlib
import re
import textwrap
import unittest.mock

import keras
import pytest
from modes import BACKEND, needs_keras

from keras_initx.initializers import _initializer

DOCS = pathlib.Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^ *```\{(doctest|test\w+)\}\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
PARSER = doctest.DocTestParser()


def examples_of(page):
    """Return what a page runs, in its order: each line of a doctest, and each other block as one statement."""
    examples, text = [], page.read_text()
    for found in BLOCK.finditer(text):
        kind, block = found[1], textwrap.dedent(found[2])
        if kind == "testoutput":
            examples[-1].want = block
            continue
        added = PARSER.get_examples(block) if kind == "doctest" else [doctest.Example(f"exec({block!r})", "")]
        for example in added:
            example.lineno += text.count("\n", 0, found.start(2))
        examples += added
    return examples


# A page with a program in JAX runs under JAX, all others under torch, which compiles nothing.
IN_JAX = ("coming_from",)
# Before a release: these train for seconds.
LONG = ("compare_initializers", "random_restarts", "symptoms")
PAGES = [page for page in sorted(DOCS.glob("*.md")) if examples_of(page)]


def with_marks(page):
    """Return a page as a parameter, with the marks of its backend."""
    backend = "jax" if page.stem in IN_JAX else "torch"
    marks = [pytest.mark.skipif(backend != BACKEND, reason=f"prints what {backend} gives")]
    if page.stem in IN_JAX:
        marks.append(pytest.mark.every_backend)
    if page.stem in LONG:
        marks.append(pytest.mark.rare)
    return pytest.param(page, marks=marks, id=page.stem)


@needs_keras("3.15", "prints what the pages show")
@pytest.mark.filterwarnings("ignore")  # those of Keras, at which a reader stops no program
@pytest.mark.parametrize("page", [with_marks(page) for page in PAGES])
def test_a_page_prints_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    keras.utils.clear_session(free_memory=False)  # names of layers are counted from the start
    program = doctest.DocTest(examples_of(page), {}, page.stem, str(page), 0, None)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    wrong = []
    # Some pages set another width of the terminal, and one adds classes to those of Keras and of the catalog.
    monkeypatch.setattr(_initializer, "_ENTRIES", [*_initializer._ENTRIES])
    classes = keras.saving.get_custom_objects()
    with unittest.mock.patch.dict(os.environ), unittest.mock.patch.dict(classes):
        runner.run(program, out=wrong.append)
    assert "".join(wrong) == ""
