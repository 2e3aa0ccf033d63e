"""Without any one of the optional modules: what needs it says what to install, and all else works."""

import re
import sys

import keras
import numpy as np
import pytest
import runs

import keras_initx
from keras_initx import compare_initializers

DISTRIBUTIONS = {
    "joblib": "joblib",
    "matplotlib": "matplotlib",
    "pandas": "pandas",
}
DRAWS = np.random.default_rng(0)
X, Y = DRAWS.normal(size=(40, 6)).astype("float32"), DRAWS.integers(0, 3, 40)
DATA = (X[:20], Y[:20]), (X[20:], Y[20:])


def build(initializer="he_normal"):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax", kernel_initializer=initializer)])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def study(folder):
    """Return a study that is run the first time."""
    return compare_initializers(build, ["he_normal", "zeros"], DATA, repeats=2, epochs=1, out=folder / "study")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the features read."""
    folder = tmp_path_factory.mktemp("made")
    study(folder)
    return folder


@pytest.fixture
def hide(monkeypatch):
    """Return a function after which a module is as if it were not installed."""

    def hide(name):
        for loaded in [name, *(module for module in sys.modules if module.startswith(f"{name}."))]:
            monkeypatch.setitem(sys.modules, loaded, None)

    return hide


# What a feature needs, and the feature.
FEATURES = {
    "the picture of a report": (
        {"matplotlib"},
        lambda folder, out: keras_initx.diagnose(build(), X).plot(out / "a.png"),
    ),
    "the plot of a study": ({"matplotlib"}, lambda folder, out: study(folder).plot(out / "study.png")),
    "the table of a study": (set(), lambda folder, out: str(study(folder))),
    "a data frame": ({"pandas"}, lambda folder, out: study(folder).to_pandas()),
    "several processes": (
        {"joblib"},
        # A worker imports what it builds from a module that it finds.
        lambda folder, out: compare_initializers(runs.build, ["he_normal"], runs.data(), repeats=2, epochs=1, n_jobs=2),
    ),
    "initializers": (set(), lambda folder, out: [build(id_) for id_ in ("initx.sparse", "initx.orthogonal")]),
    "diagnose": (set(), lambda folder, out: str(keras_initx.diagnose(build(), X, Y))),
    "compare_initializers": (
        set(),
        lambda folder, out: compare_initializers(build, ["he_normal"], DATA, repeats=2, epochs=1),
    ),
    "random_restarts": (
        set(),
        lambda folder, out: keras_initx.random_restarts(build, DATA, draws=2, epochs=1, checks=0),
    ),
}


def with_needs():
    """Return each feature with each module that it needs."""
    return [(name, module) for name, (needs, _) in FEATURES.items() for module in sorted(needs)]


@pytest.mark.parametrize(("name", "hidden"), with_needs())
def test_a_feature_says_what_to_install(name, hidden, folder, hide, tmp_path):
    hide(hidden)
    install = re.escape(f"`pip install {DISTRIBUTIONS[hidden]}`")
    with pytest.raises(ImportError, match=f"{hidden} not found; install with {install}"):
        FEATURES[name][1](folder, tmp_path)


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_works_without_all_that_it_does_not_need(name, folder, hide, tmp_path):
    needs, feature = FEATURES[name]
    for module in DISTRIBUTIONS.keys() - needs:
        hide(module)
    feature(folder, tmp_path)
