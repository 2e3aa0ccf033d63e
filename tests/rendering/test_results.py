"""All results have one form: text, CSV, JSON, data frames and figures, by the same names and arguments."""

import csv
import importlib
import inspect
import io
import itertools
import json
import math
import pathlib
import pkgutil
import re
import sys
from typing import Any, NamedTuple

import keras
import matplotlib.figure
import numpy as np
import pandas
import pytest
from keras import layers

import keras_initx
from keras_initx import scaling
from keras_initx.rendering import Points, Result, as_png, plot_in_order
from keras_initx.studies import RateStudy, RestartStudy, Study

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
SETTINGS = {"epochs": 1, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none"}


def network(width=8):
    hidden = [layers.Dense(width, "relu", name=name) for name in ("first", "second")]
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(3, name="last")])
    model.compile("sgd", "mse")
    return model


def epochs(*values):
    """Return the records of the epochs of a trial, one of which has no number for its loss."""
    before, *after = values
    trained = [{"epoch": i, "loss": math.nan, "val_loss": value, "seconds": 0.5} for i, value in enumerate(after, 1)]
    return [{"epoch": 0, "val_loss": before}, *trained]


def study():
    trials = {}
    for (place, name), repeat in itertools.product(enumerate(["he_normal", "zeros"]), (1, 2)):
        trials[name, repeat] = {"status": "finished", "epochs": epochs(1.0, 0.5 + place + 0.01 * repeat)}
    settings = {**SETTINGS, "initializers": {"he_normal": None, "zeros": None}, "repeats": 2}
    return Study("made up", settings, trials, "val_loss", "min", 0.6)


def restart_study():
    draws = []
    for number, value in ((2, 0.25), (1, 0.5)):
        draws.append({"draw": number, "seed": 7 * number, "status": "finished", "epochs": epochs(1.0, value)})
    return RestartStudy("made up", {**SETTINGS, "n": 2}, draws, [(0.3, 0.4), (0.2, 0.4)], "val_loss", "min", None)


def rate_study():
    settings = {**SETTINGS, "repeats": 1, "builds": ["muP"], "widths": [8, 16], "rates": [0.1, 0.2, 0.4]}
    trials = {}
    for width, rate in itertools.product(settings["widths"], settings["rates"]):
        trials["muP", width, rate, 1] = {"status": "finished", "epochs": epochs(1.0, abs(rate - 0.2) + 1 / width)}
    return RateStudy("made up", settings, trials, "val_loss", "min")


def loaded():
    return keras_initx.load_pretrained(network(), {"first/kernel": np.ones((6, 8))}, layout="keras")


# What a public function returns, by its name.
EXAMPLES = {
    "diagnose": lambda: keras_initx.diagnose(network(), X, X[:, :3]),
    "compare_initializers": study,
    "random_restarts": restart_study,
    "compare_rates": rate_study,
    "initialize": lambda: keras_initx.initialize(network(), seed=0),
    "initialize, dry run": lambda: keras_initx.initialize(network(), {"first/*": None}, seed=0, dry_run=True),
    "load_pretrained": loaded,
    "lsuv": lambda: keras_initx.lsuv(network(), X, seed=0),
    "mup": lambda: scaling.mup(network(32), network(8)),
    "audit": lambda: keras_initx.audit(network(), {"first/kernel": "ones"}),
    "contract": lambda: keras_initx.contract(network()),
    "coordinate_check": lambda: scaling.coordinate_check(network, [4, 8], X, X[:, :3], steps=1),
}
# The first columns of the CSV, by the name of the class.
COLUMNS = {
    "AuditReport": "path,shape,dtype,initializer,expected_std,std,ratio,verdict,evidence,cause,reason",
    "Contract": "path,shape,dtype,kind,reason,value,digest,mean,std",
    "CoordinateCheck": "step,layer,exponent,size_4,size_8",
    "Changes": "path,status,how,shape,dtype,size,changed,sources,source_shape,before,after",
    "InitializationPlan": "path,shape,dtype,initializer,reason,fan_in,fan_out,expected_std,seed,std",
    "MupTable": "path,shape,base_shape,inputs,units,role,std,adam,sgd,adafactor,muon,tied",
    "RateStudy": "build,width,rate,repeat,status,epoch,val_loss",
    "Report": "name,path,level,kind,activation,shape,before_size",
    "RestartStudy": "place,draw,seed,status,epoch,val_loss",
    "Study": "initializer,repeat,status,epoch,val_loss",
}


@pytest.fixture(scope="module", params=EXAMPLES)
def result(request):
    keras.utils.set_random_seed(0)
    return EXAMPLES[request.param]()


def rows_of(result):
    return list(csv.DictReader(io.StringIO(result.to_csv())))


def exported_classes():
    for room in pkgutil.iter_modules(keras_initx.__path__, "keras_initx."):
        if room.name != "keras_initx.__main__":
            module = importlib.import_module(room.name)
            names = [getattr(module, name) for name in dir(module)]
            yield from filter(inspect.isclass, names)


def test_every_result_of_the_package_is_tested_here():
    shown = set()
    for found in exported_classes():
        is_own = found.__module__.startswith("keras_initx.")
        if is_own and hasattr(found, "_repr_html_") and not inspect.isabstract(found):
            shown.add(found.__name__)
    assert shown == COLUMNS.keys()
    assert {type(make()).__name__ for make in EXAMPLES.values()} == shown


def test_methods_are_those_of_the_base_class():
    for cls in exported_classes():
        for name in ("__repr__", "to_csv", "to_json", "to_html", "to_pandas", "plot"):
            assert cls.__name__ not in COLUMNS or getattr(cls, name) is getattr(Result, name), (cls, name)


def test_a_result_is_a_text_a_line_and_a_table(result):
    assert len(str(result).splitlines()) >= 3
    assert repr(result).startswith(f"<{type(result).__name__}")
    assert repr(result).endswith(">")
    assert "\n" not in repr(result)
    assert result._repr_html_().count("<table>") == 1


def test_records_are_rows_of_a_csv_and_of_a_data_frame_and_in_json(result):
    assert result.to_csv().startswith(COLUMNS[type(result).__name__])
    rows = rows_of(result)
    assert len(rows) > 1

    def refuse(name):
        raise AssertionError(name)

    # JSON has null for what is no number.
    assert len(json.loads(result.to_json(), parse_constant=refuse)) > 1
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(rows[0])
    for record, row in zip(frame.to_dict("records"), rows, strict=True):
        for name, value in record.items():
            if isinstance(value, str):
                assert row[name] == value
            elif pandas.isna(value):
                assert row[name] in ("", "nan")
            elif not isinstance(value, bool):
                assert float(row[name]) == value


@pytest.mark.parametrize(("method", "kind"), [("to_csv", str), ("to_json", pathlib.Path)])
def test_the_text_is_written_as_it_is_returned(method, kind, tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    shown = study()
    text = getattr(shown, method)(kind(path))
    assert text == getattr(shown, method)()
    assert text.endswith("\n")
    assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_figure_is_returned(result):
    figure = result.plot()
    assert isinstance(figure, matplotlib.figure.Figure)
    assert any(axis.has_data() for axis in figure.axes)


def test_a_page_has_a_title_the_table_and_the_plot(tmp_path):
    page = EXAMPLES["diagnose"]().to_html(tmp_path / "page.html", title="a & b")
    assert "<title>a &amp; b</title>" in page
    assert page.count("<table>") == 1
    assert page.count('src="data:image/png;base64,') == 1
    assert (tmp_path / "page.html").read_text() == page


# With a title of its own, and with one from what it is.
@pytest.mark.parametrize("name", ["compare_initializers", "diagnose"])
def test_a_page_has_no_plots_without_matplotlib(name, monkeypatch):
    for module in [module for module in sys.modules if module.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    shown = EXAMPLES[name]()
    page = shown.to_html()
    assert "<img" not in page
    assert page.count("<table>") == 1


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("diagnose", "Diagnosis of 3 layers: no problem found"),
        ("initialize", "Initialization plan: 6 of 6 weights drawn; seed 0"),
        ("mup", "Factors of muP of 6 weights"),
        ("compare_initializers", "made up"),
    ],
)
def test_a_page_has_a_title_of_words_once(name, title):
    page = EXAMPLES[name]().to_html()
    headings = re.findall("<h.>(.*)</h.>", page)
    assert headings == [title, "Plot"]


def test_a_figure_is_written(tmp_path):
    shown = loaded()
    for name in ("figure.png", "figure.SVG"):
        assert isinstance(shown.plot(tmp_path / name), matplotlib.figure.Figure)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(ValueError, match="nonsense"):
        shown.plot(tmp_path / "figure.nonsense")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("method", ["to_csv", "to_json", "to_html", "plot"])
def test_a_url_is_refused(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"`path` must be a path on this machine.* Received: path='s3://bucket/a\.svg'"
    ):
        getattr(loaded(), method)("s3://bucket/a.svg")
    assert not list(tmp_path.iterdir())


class Missing(NamedTuple):
    """A method of a result, the module that it needs, and the extra that brings it."""

    make: Any
    method: str
    module: str
    extra: str


@pytest.mark.parametrize(
    Missing._fields,
    [
        Missing(make=loaded, method="to_pandas", module="pandas", extra="pandas"),
        Missing(make=loaded, method="plot", module="matplotlib", extra="plot"),
        Missing(make=study, method="plot", module="matplotlib", extra="studies"),
        Missing(make=restart_study, method="plot", module="matplotlib", extra="studies"),
        Missing(make=rate_study, method="plot", module="matplotlib", extra="studies"),
    ],
)
def test_the_error_about_a_missing_module_names_the_extra(make, method, module, extra, monkeypatch):
    result = make()
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{module} not found; install with .* with its extra `{extra}`"):
        getattr(result, method)()


def test_numbers_are_not_rounded():
    found = keras_initx.lsuv(network(), X, seed=0)
    assert [float(row["after"]) for row in rows_of(found)] == [row.after for row in found.rows]
    assert [row["after"] for row in json.loads(found.to_json())["rows"]] == [row.after for row in found.rows]
    assert list(found.to_pandas()["after"]) == [row.after for row in found.rows]


def test_shapes_and_names_are_texts_in_a_csv():
    first, *_, last = rows_of(keras_initx.initialize(network(), seed=0))
    assert (first["shape"], last["shape"]) == ("6x8", "3")
    assert [row["sources"] for row in rows_of(loaded())][:2] == ["first/kernel", ""]


def points(figure):
    """Return the points of a figure as `(place, value)` by their labels."""
    axis = figure.axes[0]
    lines = [line for line in axis.lines if not line.get_label().startswith("_")]
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in lines}


def test_a_plan_shows_the_standard_deviations_in_the_order_of_the_model():
    plan = keras_initx.initialize(network(), {"second/kernel": "initx.he_normal"}, seed=0)
    first, _, second, _, last, _ = (weight.std for weight in plan.weights)
    shown = points(plan.plot())
    assert shown["GlorotUniform"] == [(1, first), (5, last)]
    assert shown["HeNormal"] == [(3, second)]
    assert shown["Zeros"] == [(2, 0), (4, 0), (6, 0)]


def ticks(axis):
    """Return the texts of an axis of values in its range."""
    axis.figure.canvas.draw()
    low, high = axis.get_ylim()
    return [tick.get_text() for tick in axis.get_yticklabels() if low <= tick.get_position()[1] <= high]


def test_zeros_have_a_mark_of_their_own_on_a_logarithmic_axis():
    axis = keras_initx.initialize(network(), seed=0).plot().axes[0]
    least = min(value for line in axis.lines for value in line.get_ydata() if value)
    assert ticks(axis)[0] == "$\\mathdefault{0}$"
    # They are as far from the least other value as a decade of its own or more would be.
    zero, other = axis.transData.transform([(0, 0), (0, least)])[:, 1]
    assert other - zero > 0.05 * axis.bbox.height


def test_the_plan_of_a_dry_run_shows_what_is_expected():
    plan = keras_initx.initialize(network(), {"first/*": None}, seed=0, dry_run=True)
    shown = points(plan.plot())
    assert shown == {"GlorotUniform": [(3, plan.weights[2].expected_std), (5, plan.weights[4].expected_std)]}
    assert plan.plot().axes[0].get_ylabel() == "expected standard deviation"


def labels_of(names):
    """Return the labels of a figure of weights, by their places."""
    (axis,) = plot_in_order(names, {"": {}}, of="weight").axes
    return {
        int(place): label.get_text() for place, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    }


def test_few_weights_have_a_label_each():
    assert labels_of(["first/kernel", "first/bias"]) == {1: "first/kernel", 2: "first/bias"}


def test_names_with_dollars_are_no_formulas():
    as_png(plot_in_order(["layer$y^{-$"], {"": {}}, of="weight"))


def test_of_many_weights_the_first_of_each_block_has_a_label():
    parts = ["attention/query/kernel", "attention/value/kernel", "output/kernel"]
    blocks = [f"transformer_layer_{block}_{part}" for block in range(12) for part in parts]
    labels = labels_of(["embedding", *blocks])
    assert labels == {2 + 3 * block: f"{2 + 3 * block} transformer_layer_{block}" for block in range(12)}


def test_labels_of_very_many_groups_do_not_overlap():
    labels = labels_of([f"hidden_{number}/{name}" for number in range(60) for name in ("kernel", "bias")])
    assert 12 <= len(labels) <= 24
    assert labels[1] == "1 hidden_0"


def test_labels_are_cut_at_the_end_that_they_share():
    names = [f"encoder/block_{block}/self_attention/query/kernel" for block in range(3)]
    assert list(labels_of(names).values()) == [f"encoder/block_{block}/self_…" for block in range(3)]


def test_a_loading_plan_shows_what_is_done_to_each_weight():
    state = {"a.weight": np.ones((8, 6)), "a.bias": np.ones(8), "b.weight": np.ones((2, 2)), "b.bias": np.ones(8)}
    rules = {"first": "a", "second": "b"}
    plan = keras_initx.load_pretrained(network(), state, rules, layout="torch", dry_run=True)
    assert points(plan.plot()) == {
        "all": [(1, 48), (2, 8), (3, 64), (4, 8), (5, 24), (6, 3)],
        "changed": [(1, 48), (2, 8), (3, 0), (4, 8), (5, 0), (6, 0)],
    }


def test_lsuv_shows_the_variances_before_and_after():
    found = keras_initx.lsuv(network(), X, seed=0)
    shown = points(found.plot())
    assert shown["before"] == [(place, row.before) for place, row in enumerate(found.rows, 1)]
    assert shown["after"] == [(place, row.after) for place, row in enumerate(found.rows, 1)]


def test_mup_shows_a_panel_for_each_factor():
    figure = scaling.mup(network(32), network(8)).plot()
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "factor on the std",
        "on the rate of Adam",
        "on the rate of SGD",
        "of Adafactor",
        "of Muon",
    ]
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[1].lines[:-1]}
    assert lines == {"input": [1], "vector": [1, 1], "hidden": [0.25], "output": [0.25], "fixed": [1]}
    assert ticks(figure.axes[1]) == ["0.25", "0.5", "1", "2"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.9, 1.3], ["0.5", "0.7", "1", "1.4", "2"]),
        ([0.9, 30], ["0.5", "1", "2", "4", "8", "16", "32"]),
        ([1e-4, 2], ["0.0001", "0.001", "0.01", "0.1", "1", "10"]),
        ([0, 0.9], ["0", "0.5", "0.7", "1", "1.4", "2"]),
        ([math.nan], ["0.5", "0.7", "1", "1.4", "2"]),
    ],
)
def test_an_axis_of_ratios_has_one_inside(values, shown):
    points = Points(dict(enumerate(values)), "red")
    (axis,) = plot_in_order(["a", "b"], {"": {"": points}}, of="weight", are_ratios=True).axes
    assert ticks(axis) == shown
    low, high = axis.get_ylim()
    assert low < 1 < high


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
