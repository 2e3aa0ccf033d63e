"""Weights that differ in one way are one row of the table, and the rows have an order."""

import keras
import numpy as np
from audited import audit
from keras import layers
from results import rows_of

import keras_initx

RNG = np.random.default_rng(0)


def test_the_table_begins_with_what_is_no_matter_of_scale_and_then_with_the_worst(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    arrays = {
        "a": RNG.normal(0, 0.1, (50, 50)),
        "b": RNG.normal(0, 0.001, (50, 50)),
        "c": np.zeros((50, 50)),
        "d": RNG.normal(0, 0.02, (50, 50)),
        "e": RNG.normal(0, 1, 3).astype("int32"),
    }
    report = audit(arrays, {"e": None, "*": keras_initx.RandomNormal(stddev=0.02)})
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == ["c", "b", "a", "e"]
    assert lines[-1] == "3 of 5 weights are not as the rules say, 1 not compared."
    assert [row.path for row in report.rows] == list("abcde")


def test_weights_that_differ_in_one_way_are_one_row_of_a_table_that_fits_a_page():
    rules = {"*output/kernel": keras_initx.RandomNormal(stddev=0.005), "*": keras_initx.RandomNormal(stddev=0.02)}
    rng = np.random.default_rng(0)
    arrays = {"tokens/embeddings": rng.normal(0, 0.06, (99, 40))}
    for number in range(12):
        for name in ("self_attention/attention_output", "feedforward_output"):
            arrays[f"transformer_layer_{number}/{name}/kernel"] = rng.normal(0, 0.02, (99, 40))
    report = audit(arrays, rules)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    names = [line.strip().split("  ")[0] for line in lines[2:-2]]
    assert names[-1] == "tokens/embeddings"
    of_projections = ["transformer_layer*/self_attention/attention_output/kernel"]
    of_projections += ["transformer_layer*/feedforward_output/kernel"]
    assert "".join(names[:-1]) == "".join(of_projections)
    assert lines[2].split()[1:3] == ["24", "0.02"]
    assert lines[-1] == "25 of 25 weights are not as the rules say."
    assert len(report.to_csv().splitlines()) == 26


def test_the_names_of_a_row_are_in_the_order_of_the_weights():
    rules = {"*output/kernel": keras_initx.RandomNormal(stddev=0.00528), "*": keras_initx.RandomNormal(stddev=0.02)}
    rng = np.random.default_rng(0)
    arrays = {"tokens/embeddings": rng.normal(0, 0.02, (99, 40))}
    for number in range(12):
        for name, stddev in (("attention_output", 0.0198), ("feedforward_output", 0.0202)):
            arrays[f"layer_{number}/{name}/kernel"] = rng.normal(0, stddev, (99, 40))
    (row,) = audit(arrays, rules)._rows()
    assert "feedforward" in row.worst.path
    assert row.names == ["layer*/attention_output/kernel", "layer*/feedforward_output/kernel"]


def test_a_table_has_one_row_for_weights_that_differ_in_numbers_only():
    model = keras.Sequential([keras.Input((9,)), *[layers.Dense(9, name=f"hidden_{number}") for number in range(3)]])
    found = keras_initx.contract(lambda: keras.models.clone_model(model), draws=1)
    kernels, biases = (row.split() for row in str(found).splitlines()[2:4])
    assert kernels[:2] == ["hidden*/kernel", "(3)"]
    assert biases == ["hidden*/bias", "(3)", "(9,)", "float32", "constant", "0"]
    assert "hidden*/<wbr>kernel" in found._repr_html_()
    least, greatest = map(float, kernels[-1].split("..."))
    assert 0.2 < least < greatest < 0.5
    assert len(rows_of(found)) == 6
