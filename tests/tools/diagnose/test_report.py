"""A report as text, as data and as a picture."""

import csv
import io
import json
import re

import keras
import numpy as np
import pytest
from keras import layers
from leveled import INPUTS, layer_named
from reported import X, report_of

import keras_initx
from keras_initx.tools.diagnose import _report
from keras_initx.types import DiagnosisReport, Remedy, Verdict


def test_text_of_a_healthy_network(healthy):
    text = str(healthy)
    assert text.endswith("\n\nNo problem found.")
    header, _, *rows = text.splitlines()
    assert header.split()[:3] == ["layer", "activation", "before"]
    assert [row.split()[0] for row in rows[:3]] == ["tanh", "relu", "lstm"]
    assert repr(healthy) == "<DiagnosisReport of 3 layers: no problem found>"


def test_a_layer_is_shown_in_a_line(healthy):
    assert repr(healthy.rows[0]).startswith("<LayerReport of tanh, Dense: output <Signal of 384 values: mean ")
    assert "\n" not in repr(healthy.rows)


class Attention(layers.Layer):
    """Attention of a user: layers in a layer, all with automatic names."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = layers.Dense(4), layers.Dense(4), layers.Dense(4)
        self.positive = layers.ReLU()

    def call(self, x):
        scores = keras.ops.matmul(self.query(x), keras.ops.transpose(self.key(x), (0, 2, 1)))
        return keras.ops.matmul(keras.ops.softmax(scores / 2), self.positive(self.value(x)))


def attention(**last):
    """Return a model of two layers of attention, a report of it, and the plan of its weights."""
    model = keras.Sequential([keras.Input((5, 4)), Attention(), Attention(), layers.Dense(2, **last)])
    plan = keras_initx.initialize(model, seed=0)
    return model, keras_initx.diagnose(model, np.random.default_rng(0).normal(size=(16, 5, 4))), plan


def test_layers_have_the_paths_of_the_plan_in_each_build():
    (_, first, plan), (_, again, _) = attention(), attention()
    paths = [f"attention{i}/{name}" for i in ("", "_1") for name in ("dense", "dense_1", "dense_2", "re_lu")]
    assert [layer.path for layer in first.rows] == [layer.path for layer in again.rows] == [*paths, "dense"]
    with_weights = [layer.path for layer in first.rows if layer.weights]
    assert list(dict.fromkeys(weight.path.rpartition("/")[0] for weight in plan.rows)) == with_weights
    table, others = (str(report).replace("-", "") for report in (first, again))
    table, others = (re.sub(r" \(\S+\)", "", text) for text in (table, others))
    assert re.sub(" +", " ", table) == re.sub(" +", " ", others)


def test_names_of_keras_stand_in_parentheses_where_a_path_ends_otherwise(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    layers.Dense(1)  # takes the name `dense`
    model, report, _ = attention()
    name = model.layers[-1].name
    row = str(report).splitlines()[-3]
    assert row.startswith(f"  dense ({name})  ")
    assert f"dense ({name})" in report._repr_html_().replace("<wbr>", "")
    data = json.loads(report.to_json())["rows"][-1]
    assert (data["name"], data["path"]) == (name, "dense")
    assert report.rows[2].title.startswith("attention/dense_2 (dense_")
    assert attention(name="last")[1].rows[-1].title == "last"


def test_a_narrow_table_keeps_the_paths():
    model = keras.Sequential([keras.Input((8,))])
    for number in range(2):
        model.add(layers.Dense(4, "relu", name=f"a_layer_with_a_long_name_{number}"))
        model.add(layers.BatchNormalization())
    layers.BatchNormalization()
    again = keras.models.clone_model(model, clone_function=lambda layer: type(layer).from_config(layer.get_config()))
    assert "\n  batch_normalization  " in str(report_of(again))


def test_verdicts_name_layers_as_the_model_does():
    layers.Dense(1)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, kernel_initializer="zeros"), layers.Dense(3)])
    (problem,) = report_of(model).problems
    (name,) = problem.layers
    assert model.get_layer(name) is model.layers[0]


def test_a_model_with_weights_of_its_own_has_its_name():
    class Shifted(keras.Model):
        def build(self, shape):
            self.shift = self.add_weight(shape=(8,), initializer="ones", name="shift")

        def call(self, x):
            return x + self.shift

    model = Shifted(name="shifted")
    (layer,) = report_of(model).rows
    assert (layer.name, layer.path, layer.title) == ("shifted", "shifted", "shifted")


def test_text_of_a_faulty_network(faulty):
    text = str(faulty)
    assert "\n! a_layer_with…of_some_length_  " in text
    assert "activation" in text.splitlines()[0]
    assert max(map(len, text.splitlines())) <= 80
    assert "\n1 problem found.\n\nequal units (error): " in text
    assert "\nRemedy: " in text
    assert repr(faulty) == "<DiagnosisReport of 2 layers: 1 problem found>"


def test_a_problem_prints_as_in_the_report(faulty):
    (problem,) = faulty.problems
    assert str(faulty).endswith(f"\n\n{problem}")
    assert str(problem).startswith("equal units (error): ")


@pytest.mark.parametrize("width", [50, 200])
def test_text_fits_a_terminal(healthy, faulty, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for report in (healthy, faulty):
        assert max(map(len, str(report).splitlines())) <= min(width, 120)


def test_a_wide_terminal_shows_everything(healthy, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    header = str(healthy).splitlines()[0]
    assert header.split() == [
        *("layer", "activation", "before", "mean", "std", "zeros", "sat.", "dead", "gain"),
        *("gradient", "ratio"),
    ]


def test_columns_without_anything_are_left_out(faulty, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    header = str(faulty).splitlines()[0]
    assert "dead" in header
    assert "sat." not in header
    assert "gradient" not in header


@pytest.mark.parametrize(("share", "text"), [(0.0, "0%"), (0.001, "<1%"), (0.999, ">99%"), (1.0, "100%")])
def test_shares_say_none_and_all_only_where_it_is_so(share, text):
    assert _report._format_share(share) == text


def test_a_notebook_shows_a_table(faulty):
    page = faulty._repr_html_()
    assert page.count("<tr>") == 3
    assert "<b>1 problem found.</b>" in page
    assert "<summary>equal units (error)</summary>" in page


def test_a_notebook_folds_the_table_alone_without_verdicts():
    page = report_of(keras.Sequential([keras.Input((8,)), layers.Dense(3)]))._repr_html_()
    assert "<b>No problem found.</b>" in page
    assert page.count("<summary>") == 1
    assert "<details open><summary>1 layer</summary>" in page


def test_names_are_escaped_in_a_notebook():
    report = report_of(keras.Sequential([keras.Input((8,)), layers.Dense(3, name="<b>&")]))
    assert "&lt;b&gt;&amp;" in report._repr_html_()


def test_json_has_everything(healthy):
    data = json.loads(healthy.to_json())
    assert data["ok"] is True
    tanh, *_ = data["rows"]
    assert (tanh["name"], tanh["activation"], tanh["shape"]) == ("tanh", "tanh", [64, 6])
    assert sum(tanh["after"]["histogram"]["counts"]) == tanh["after"]["size"] == 64 * 6
    assert len(tanh["after"]["histogram"]["edges"]) == len(tanh["after"]["histogram"]["counts"]) + 1
    assert tanh["weights"][0]["fan_in"] == 8
    assert tanh["gradient"]["norm"] > 0


def test_json_has_no_number_for_what_is_not_finite_and_csv_says_what_it_is():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    report = keras_initx.diagnose(model, X * np.nan, np.ones((64, 3)), loss="mse")
    assert json.loads(report.to_json())["rows"][0]["gradient"]["norm"] is None
    (row,) = csv.DictReader(io.StringIO(report.to_csv()))
    assert row["gradient_norm"] == "nan"


def test_csv_has_a_row_for_each_layer(healthy):
    rows = list(csv.DictReader(io.StringIO(healthy.to_csv())))
    assert [row["name"] for row in rows] == ["tanh", "relu", "lstm"]
    assert rows[0]["shape"] == "64x6"
    assert float(rows[0]["after_std"]) == healthy.rows[0].after.std
    assert rows[2]["before_mean"] == ""


def test_csv_has_all_that_json_has_but_histograms_and_weights(healthy):
    row, *_ = csv.DictReader(io.StringIO(healthy.to_csv()))
    for layer in json.loads(healthy.to_json())["rows"]:
        for name in layer.keys() - {"weights"}:
            parts = layer[name] if isinstance(layer[name], dict) else {}
            columns = {f"{name}_{part}" for part in parts.keys() - {"histogram"}} or {name}
            assert columns <= row.keys() or layer[name] is None


def test_a_model_without_weights_has_an_empty_report():
    report = report_of(keras.Sequential([keras.Input((8,)), layers.Flatten()]))
    assert report.rows == []
    assert str(report).endswith("No problem found.")
    assert json.loads(report.to_json())["rows"] == []
    assert report.to_csv() == "\n"
    assert report.plot().axes


def reported(*levels):
    return DiagnosisReport([], None, [Verdict("problem", (), "evidence", Remedy("remedy"), level) for level in levels])


@pytest.mark.parametrize(
    ("levels", "fails"),
    [
        ((), ()),
        (("note",), ("note",)),
        (("warning", "note"), ("note", "warning")),
        (("error",), ("note", "warning", "error")),
    ],
    ids=str,
)
def test_a_report_fails_on_a_level_or_a_more_serious_one(levels, fails):
    report = reported(*levels)
    assert {level for level in ("error", "warning", "note") if report.fails_on(level)} == set(fails)
    assert report.ok == ("warning" not in fails)


def test_a_level_is_one_of_three():
    with pytest.raises(ValueError, match=r"`level` must be one of \('error', 'warning', 'note'\). Received: level='n"):
        reported().fails_on("notes")


@pytest.fixture(scope="module")
def noted():
    """Return the report of a healthy model with a note."""
    keras.utils.set_random_seed(0)
    return keras_initx.diagnose(
        keras.Sequential([keras.Input((16,)), layer_named("hidden", activation="relu"), layer_named("out", "zeros")]),
        INPUTS,
    )


def test_notes_are_no_problems_in_text(noted):
    lines = str(noted).splitlines()
    assert not any(line.startswith("!") for line in lines)
    assert lines[lines.index("No problem found.") + 2].startswith("equal units (note): all weights of out/kernel")
    assert repr(noted) == "<DiagnosisReport of 2 layers: no problem found>"
    assert "<b>No problem found.</b>" in noted._repr_html_()
    assert "<summary>equal units (note)</summary>" in noted._repr_html_()


def test_a_note_is_no_red_histogram(noted, tmp_path):
    noted.plot(tmp_path / "plot.svg")
    assert "#c0392b" not in (tmp_path / "plot.svg").read_text()


def test_data_has_the_levels(noted):
    data = json.loads(noted.to_json())
    assert data["ok"] is True
    assert data["verdicts"][0]["level"] == "note"
    rows = list(csv.DictReader(io.StringIO(noted.to_csv())))
    assert [(row["status"], row["detail"]) for row in rows] == [("ok", ""), ("note", "equal units")]


def test_a_problem_has_the_path_of_its_row():
    """Keras counts layers on, and rows begin anew: the path is that of the row."""
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Dense(16, "relu", bias_initializer=keras.initializers.Constant(-50.0)), keras.layers.Dense(4)]
    report = keras_initx.diagnose(keras.Sequential([keras.Input((16,)), *stack]), INPUTS)
    (problem,) = report.problems
    row = report[problem.path]
    assert (row.status, row.detail, row.has_problem) == ("error", problem.problem, True)
    assert row.name in problem.layers
