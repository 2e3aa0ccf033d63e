"""All results have one form: text, CSV, JSON, data frames and figures, by the same names and arguments."""

import importlib
import inspect
import json
import pathlib
import pickle
import pkgutil
import re

import keras
import matplotlib.figure
import pandas
import pytest
from results import EXAMPLES, lsuv, network, rows_of, study

import keras_initx
from keras_initx.report._results import Judgement, Result
from keras_initx.tools.studies._result import StudyResult
from keras_initx.types import Contract, DiagnosisReport, InitializationPlan

# The first columns of the CSV, by the name of the class.
COLUMNS = {
    "AuditReport": "path,status,detail,cause,shape,dtype,initializer,expected_std,std,ratio",
    "Contract": "path,shape,dtype,kind,detail,value,digest,mean,std",
    "CoordinateCheck": "step,path,exponent,size_4,size_8",
    "InitializationPlan": "path,status,shape,dtype,initializer,detail,fan_in,fan_out,expected_std,seed,std",
    "LoadReport": "path,status,detail,shape,dtype,size,changed,sources,source_shape",
    "Loaded": "path,status,detail,shape,dtype,size,changed,sources,source_shape",
    "LsuvReport": "path,status,detail,before,after",
    "SaveReport": "path,status,detail,shape,dtype,size,saved,arrays,array_shape,array_dtype",
    "StepReport": "path,status,detail,kind,like,"
    "gradient,gradient_detail,gradient_norm,gradient_norm_there,gradient_difference,gradient_rounding,gradient_ratio,"
    "update,update_detail,update_norm,update_norm_there,update_difference,update_rounding,update_ratio",
    "OutputsReport": "path,call,kind,status,detail,like,inputs,outputs,tolerance,compared",
    "PortReport": "path,status,detail,evidence",
    "RecordedOutputs": "path,call,kind,shape,dtype,mean,std",
    "MupTable": "path,shape,base_shape,inputs,units,role,std,adam,sgd,muon,tied",
    "DiagnosisReport": "path,status,detail,name,kind,activation,shape,before_size",
    "RestartStudy": "place,draw,seed,status,epoch,val_loss",
    "Study": "arm,repeat,status,epoch,val_loss",
}

# Results of which no figure is drawn: their tables say all.
WITHOUT_PLOT = {
    "Contract",
    "InitializationPlan",
    "LoadReport",
    "Loaded",
    "SaveReport",
    "PortReport",
    "RecordedOutputs",
}


@pytest.fixture(scope="module", params=EXAMPLES)
def result(request):
    keras.utils.set_random_seed(0)
    return EXAMPLES[request.param]()


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
        for name in ("__repr__", "to_csv", "to_json", "to_html", "to_markdown", "to_pandas", "plot"):
            assert cls.__name__ not in COLUMNS or getattr(cls, name) is getattr(Result, name), (cls, name)


def test_a_result_is_a_text_a_line_and_a_table(result):
    assert len(str(result).splitlines()) >= 3
    assert repr(result).startswith(f"<{type(result).__name__}")
    assert repr(result).endswith(">")
    assert "\n" not in repr(result)
    assert result._repr_html_().count("<table>") == 1


def test_markdown_is_a_finding_a_table_and_what_made_it(result, monkeypatch):
    first, *_, last = result.to_markdown().splitlines()
    assert re.fullmatch(r"\*\*[^*]+\*\*", first)
    assert last.startswith("<sub>20")
    assert f"keras_initx {keras_initx.__version__}" in last
    lines = result.to_markdown().splitlines()
    assert any(re.fullmatch(r"(\| ---:? )+\|", line) for line in lines)
    # A code host breaks lines where the text has a break, so a narrow terminal must not decide it.
    monkeypatch.setenv("COLUMNS", "20")
    assert result.to_markdown().splitlines() == lines


def test_a_result_is_a_collection_of_rows_by_their_paths(result):
    assert len(result) == len(result.rows) > 0
    assert len(list(result)) == len(result)
    if isinstance(result, StudyResult):
        key = next(iter(result.trials)) if hasattr(result, "trials") else result.draws[0]["draw"]
        assert result[key]["status"] == "finished"
    else:
        key = result.rows[-1].path
        assert result[key].path == key
    assert key in result
    assert "nothing" not in result
    with pytest.raises(KeyError, match="nothing"):
        result["nothing"]


@pytest.mark.parametrize(("index", "shown"), [(0, "0"), (slice(1, None), "1:"), (slice(None, 4, 2), ":4:2")])
def test_the_place_of_a_row_is_for_rows(result, index, shown):
    if isinstance(result, StudyResult):
        pytest.skip("the keys of a study are those of its trials")
    with pytest.raises(TypeError, match=re.escape(f"use `result.rows[{shown}]`")):
        result[index]


def test_the_json_of_all_results_begins_alike(result):
    if isinstance(result, InitializationPlan | Contract):
        pytest.skip("its JSON is a file that is read again")
    content = json.loads(result.to_json())
    judged = ["ok", "problems"] if isinstance(result, Judgement) else []
    head = ["result", "keras_initx", "keras", "backend", *judged, "summary", "rows"]
    assert list(content)[: len(head)] == head
    assert content["result"] == type(result).__name__
    assert content["summary"] == result.summary
    if not isinstance(result, DiagnosisReport):  # its measurements have a column for each number
        assert content["rows"][0].keys() <= set(result.to_pandas().columns)
    if judged:
        assert content["ok"] == result.ok
        assert [problem["path"] for problem in content["problems"]] == [problem.path for problem in result.problems]


def test_results_with_equal_contents_are_equal(result):
    first, second = (pickle.loads(pickle.dumps(result)) for _ in range(2))
    assert first == second == result
    assert result != result.rows
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_a_row_with_a_status_says_it_in_a_sentence(result):
    if isinstance(result, StudyResult):
        pytest.skip("its rows are dicts of numbers")
    for row in result:
        if hasattr(row, "status"):
            assert isinstance(row.detail, str)
            assert row.text


def test_a_result_says_what_it_is_in_a_sentence(result):
    assert result.summary.endswith(".")
    assert "\n" not in result.summary


def test_only_a_result_that_judges_has_problems_and_it_is_neither_true_nor_false(result):
    judges = isinstance(result, Judgement)
    assert hasattr(result, "ok") == judges
    if not judges:
        assert result
        return
    assert result.ok == (len(result.problems) == 0)
    for problem in result.problems:
        assert isinstance(problem.path, str)
        assert problem.text
    with pytest.raises(TypeError, match=r"has no truth value: use `\.ok`"):
        assert result


def test_columns_are_names(result):
    assert [name for name in result.to_pandas().columns if not name.isidentifier()] == []


@pytest.mark.parametrize("name", ["initialize", "contract"])
def test_json_is_what_save_writes_and_is_read_again(name, tmp_path):
    result = EXAMPLES[name]()
    result.save(tmp_path / "saved.json")
    result.to_json(tmp_path / "exported.json")
    assert (tmp_path / "exported.json").read_text() == (tmp_path / "saved.json").read_text()
    assert len(type(result).load(tmp_path / "exported.json")) == len(result)


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


@pytest.mark.parametrize(("method", "kind"), [("to_csv", str), ("to_json", pathlib.Path), ("to_markdown", str)])
def test_the_text_is_written_as_it_is_returned(method, kind, tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    shown = study()
    text = getattr(shown, method)(kind(path))
    assert text == getattr(shown, method)()
    assert text.endswith("\n")
    assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_figure_is_returned_and_on_the_page_or_an_error_says_what_shows_the_result(result, tmp_path):
    name = type(result).__name__
    has_plot = name not in WITHOUT_PLOT
    assert ("<img" in result.to_html()) == has_plot
    if has_plot:
        figure = result.plot()
        assert isinstance(figure, matplotlib.figure.Figure)
        assert any(axis.has_data() for axis in figure.axes)
        return
    with pytest.raises(TypeError, match=rf"a `{name}` has no plot: `print` shows its table, .* `to_csv`"):
        result.plot(tmp_path / "figure.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_figure_is_written(tmp_path):
    shown = lsuv()
    for name in ("figure.png", "figure.SVG"):
        assert isinstance(shown.plot(tmp_path / name), matplotlib.figure.Figure)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(ValueError, match="nonsense"):
        shown.plot(tmp_path / "figure.nonsense")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("method", ["to_csv", "to_json", "to_html", "to_markdown", "plot"])
def test_a_url_is_refused(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"`path` must be a path on this machine.* Received: path='s3://bucket/a\.svg'"
    ):
        getattr(lsuv(), method)("s3://bucket/a.svg")
    assert not list(tmp_path.iterdir())


def test_a_plan_that_draws_nothing_has_no_table():
    plan = keras_initx.initialize(network(), {"*": None}, seed=0)
    assert str(plan).startswith("0 of 6 weights drawn")
    assert "<table" not in plan._repr_html_()
