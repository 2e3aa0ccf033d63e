"""Scripts of the documentation that take long, even at the smallest sizes that they take."""

import pathlib
import re

import keras
import numpy as np
import pytest
from scripts import script

digits = script("_digits")
figures = script("_figures")

DOCS = pathlib.Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("widths", ["--widths", "64", "96"], "Figure: widths.png"),
        (
            "thirty_layers",
            ["--layers", "3", "--epochs", "1", "--seeds", "1"],
            "3 relu layers trained by adam, test",
        ),
        (
            "long_memory",
            ["recall", "--layer", "gru", "--epochs", "1", "--repeats", "1"],
            "Recall, GRU: 100 steps",
        ),
    ],
)
def test_scripts_print_a_table(name, options, found, tmp_path, monkeypatch, capsys):
    pairs = [(images[::8], labels[::8]) for images, labels in digits.load()]
    monkeypatch.setattr(digits, "load", lambda: pairs)
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)  # where one keeps records
    script(name).main(options)
    assert found in capsys.readouterr().out


def last_digit(number):
    """Return the unit of the last digit that is written."""
    mantissa, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def paragraphs(text):
    # Keras draws the masks of dropout, which differ between backends.
    lines = (line for line in text.splitlines() if not line.startswith(("dropout", "Figure:")))
    return [part.strip("\n") for part in "\n".join(lines).split("\n\n") if part.strip()]


def test_the_page_shows_what_the_script_of_restarts_prints(capsys):
    script("restarts").main([])
    printed = paragraphs(capsys.readouterr().out)
    blocks = re.findall(r"^```text\n(.*?)^```$", (DOCS / "random_restarts.md").read_text(), re.DOTALL | re.MULTILINE)
    shown = [part for block in blocks for part in paragraphs(block)]
    pairs = [(a, b) for a in shown for b in printed if a.splitlines()[0] == b.splitlines()[0]]
    assert pairs
    for a, b in pairs:
        assert NUMBER.sub("#", a).split() == NUMBER.sub("#", b).split()
        for there, here in zip(NUMBER.findall(a), NUMBER.findall(b), strict=True):
            assert float(there) == pytest.approx(float(here), abs=1.01 * last_digit(there)), a


def test_each_family_has_a_figure_on_its_page(tmp_path, capsys):
    script("families").main(["--out", str(tmp_path)])
    page = (DOCS / "initializers.md").read_text()
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(re.findall(r"figures/(family-\w+\.png)", page)) == drawn


def colors():
    """Return a few images in the form in which Keras loads CIFAR-10."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (40, 32, 32, 3)).astype("uint8")
    labels = draws.integers(0, 10, (40, 1)).astype("uint8")
    return (images[:20], labels[:20]), (images[20:], labels[20:])


def offline():
    raise OSError("no route to host")


def test_the_image_study_takes_the_images_that_keras_loads(monkeypatch):
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", colors)
    name, ((images, labels), _) = script("image_study").load()
    assert name == "cifar10"
    assert (images.shape, labels.shape) == ((20, 32, 32, 3), (20,))
    assert images.max() == 1


def test_the_image_study_says_that_it_took_the_digits(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", offline)
    script("image_study").main(["--epochs", "1", "--repeats", "1", "--out", str(tmp_path)])
    assert "image_study on digits\n1 repeat of 1 epoch, batches of 512" in capsys.readouterr().out
    assert {"curves.png", "distributions.png"} <= {path.name for path in (tmp_path / "plots").iterdir()}
