"""The lines of the file of a contract."""

import json

import numpy as np
import pytest
from audited import off_with_causes, today

import keras_initx
from keras_initx.testing import assert_initialized
from keras_initx.types import Contract


def test_a_file_and_its_errors(yesterday, tmp_path):
    path = tmp_path / "weights.json"
    yesterday.save(path)
    again = Contract.load(path)
    assert str(again) == str(yesterday)
    assert again.rows == yesterday.rows
    assert keras_initx.audit(today(1), like=str(path)).ok
    assert keras_initx.audit(str(path), like=yesterday).ok
    assert_initialized(today(1), like=path)
    with pytest.raises(AssertionError, match="3 of 12 weights are not as in the contract"):
        assert_initialized(today(1, kernel="zeros"), like=path)


@pytest.mark.parametrize("version", [1, 3, None])
def test_a_file_of_another_version_is_to_be_recorded_anew(yesterday, tmp_path, version):
    yesterday.save(tmp_path / "other.json")
    content = json.loads((tmp_path / "other.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**content, "version": version}))
    with pytest.raises(ValueError, match=f"has version {version}, and this package reads 2: record it again"):
        Contract.load(tmp_path / "other.json")


def test_a_line_of_a_file_is_read_by_people(tmp_path):
    half = np.random.default_rng(0).uniform(-1, 1, (32, 32)).astype("float32")
    arrays = {"empty": np.zeros((0, 3), "float32"), "bias": np.zeros(9, "float32"), "copied": np.tile(half, 2)}
    keras_initx.contract(lambda: arrays, draws=1).save(tmp_path / "a.json")
    empty, bias, copied = (tmp_path / "a.json").read_text().splitlines()[7:10]
    assert empty == '  {"path": "empty", "shape": [0, 3], "dtype": "float32", "values": "(empty)"},'
    assert bias == '  {"path": "bias", "shape": [9], "dtype": "float32", "values": "constant", "value": 0.0},'
    assert '"values": "uniform", "mean": 0.02915, "std": 0.5716, "digest": ' in copied
    assert '"repeated": ["copies", "2 equal parts along axis 1"]' in copied


def test_all_kinds_of_weights_are_the_same_once_read(tmp_path):
    rng = np.random.default_rng(0)
    table = np.random.default_rng(1).normal(size=(40, 8))
    frame = np.linalg.qr(rng.normal(size=(32, 32)))[0]
    row = np.where(np.arange(64)[:, None] == 3, 1, rng.normal(size=(64, 64)))

    def build():
        mask = np.where(rng.random((32, 32)) < 0.1, rng.normal(size=(32, 32)), 0)
        arrays = {"fixed": table, "normal": rng.normal(3, 2, (3, 3, 8, 16)), "sparse": mask, "frame": frame}
        arrays |= {"row": row, "few": rng.normal(size=5), "scale": rng.normal(size=99) * rng.normal() * 9}
        return {**arrays, "ids": np.arange(9), "mask": np.triu(np.full((8, 8), -np.inf), 1), "one": np.ones(3)}

    for draws in (1, 3):
        contract = keras_initx.contract(build, draws=draws)
        contract.save(tmp_path / "a.json")
        again = Contract.load(tmp_path / "a.json")
        assert again.rows == contract.rows
        again.save(tmp_path / "b.json")
        assert (tmp_path / "b.json").read_text() == (tmp_path / "a.json").read_text()


def edited(contract, path, number, **changes):
    """Return a contract of which a person changed a line; `None` takes a word out."""
    contract.save(path)
    content = json.loads(path.read_text())
    line = {**content["weights"][number], **changes}
    content["weights"][number] = {name: value for name, value in line.items() if value is not None}
    path.write_text(json.dumps(content))
    return Contract.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": 0.25}, "'std' is 0.25, which does not follow from its numbers"),
        ({"mean": 0.3}, "'mean' is 0.3, which does not follow"),
        ({"std": None}, "'std' is None, which does not follow"),
        ({"zeros": 0.25}, "'zeros' is 0.25, which does not follow"),
        ({"values": "normal"}, "'values' is 'normal', which does not follow"),
        ({"values": "fixed"}, "KeyError: 'digest'"),
        ({"values": "constant", "value": 1}, "'mean' is .* which does not follow"),
        ({"stdev": 0.2}, "'stdev' is 0.2, which does not follow"),
        ({"values": "constant"}, "KeyError: 'value'"),
        ({"values": None}, "KeyError: 'values'"),
    ],
)
def test_an_edited_line_is_refused(yesterday, tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"at weight 3, 'hidden_1/kernel': .*{message}"):
        edited(yesterday, tmp_path / "a.json", 2, **changes)


def test_another_constant_shape_or_dtype_in_a_line_counts(yesterday, tmp_path):
    model, path = today(1), tmp_path / "a.json"
    for number, changes, expected in (
        (3, {"value": 0.5}, "values"),
        (2, {"shape": [64, 40]}, "reshaped"),
        (2, {"dtype": "float16"}, "dtype"),
    ):
        contract = edited(yesterday, path, number, **changes)
        changed = contract.rows[number].path
        assert off_with_causes(keras_initx.audit(model, like=contract)).keys() == {changed}, changes
        assert keras_initx.audit(model, like=contract)[changed].status == expected


def test_a_line_without_numbers_and_numbers_without_a_line_are_refused(yesterday, tmp_path):
    yesterday.save(tmp_path / "cut.json")
    content = json.loads((tmp_path / "cut.json").read_text())
    (first, numbers), *others = content["numbers"].items()
    for changed, message in (
        ({"numbers": dict(others)}, f"at weight 1, '{first}'"),
        ({"numbers": {**content["numbers"], first: numbers[:-1]}}, "numbers are too few or too many"),
        ({"numbers": {**content["numbers"], "gone": numbers}}, "has 'numbers' of 'gone', and no line of such a weight"),
    ):
        (tmp_path / "cut.json").write_text(json.dumps({**content, **changed}))
        with pytest.raises(ValueError, match=message):
            Contract.load(tmp_path / "cut.json")
    del content["numbers"]
    (tmp_path / "cut.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"must have the keys .* 'numbers'"):
        Contract.load(tmp_path / "cut.json")


def test_a_file_of_148_weights_is_not_large(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for number in range(37):
        arrays |= {f"block_{number}/{name}": rng.normal(size=(64, 64)).astype("float32") for name in ("qkv", "out")}
        arrays |= {f"block_{number}/{name}": np.zeros(64, "float32") for name in ("beta", "bias")}
    keras_initx.contract(arrays).save(tmp_path / "a.json")
    assert len(arrays) == 148
    assert (tmp_path / "a.json").stat().st_size < 250_000


def alike_beside_zeros(mean=1.0):
    """Return an array that is 0, but for a quarter with one number, as the bias of an LSTM."""
    return np.where(np.arange(64) // 16 == 1, mean, 0).astype("float32")


@pytest.mark.parametrize("draws", [1, 3])
def test_a_weight_of_one_number_beside_zeros_is_read_again(draws, tmp_path):
    contract = keras_initx.contract(lambda: {"bias": alike_beside_zeros()}, draws=draws)
    contract.save(tmp_path / "a.json")
    again = Contract.load(tmp_path / "a.json")
    assert again.rows == contract.rows
    assert keras_initx.audit({"bias": alike_beside_zeros()}, like=again).ok
    with pytest.raises(ValueError, match=r"'std' is 0\.5, which does not follow from its numbers"):
        edited(contract, tmp_path / "a.json", 0, std=0.5)
