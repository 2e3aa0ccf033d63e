"""Scripts of the documentation that train for minutes, even at the smallest sizes that they take."""

import pytest
from scripts import script

digits = script("_digits")
figures = script("_figures")


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
            "rate_transfer",
            ["mlp", "--sizes", "64", "96", "--repeats", "1", "--epochs", "1"],
            "muP: from width 64 to 96 the best rate moves by",
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
