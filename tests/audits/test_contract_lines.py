"""The lines of the file of a contract."""

import json

import numpy as np
import pytest
from audited import today

import keras_initx
from keras_initx.audits import Contract
from keras_initx.testing import assert_initialized


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
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 3}))
    with pytest.raises(ValueError, match="has version 3"):
        Contract.load(path)


def test_a_line_of_a_file_is_read_by_people(tmp_path):
    half = np.random.default_rng(0).uniform(-1, 1, (32, 32)).astype("float32")
    arrays = {"empty": np.zeros((0, 3), "float32"), "bias": np.zeros(9, "float32"), "copied": np.tile(half, 2)}
    keras_initx.contract(lambda: arrays, draws=1).save(tmp_path / "a.json")
    empty, bias, copied = (tmp_path / "a.json").read_text().splitlines()[6:9]
    assert empty == '  {"path": "empty", "shape": [0, 3], "dtype": "float32", "values": "(empty)"},'
    assert bias.startswith('  {"path": "bias", "shape": [9], "dtype": "float32", "values": "constant 0", "digest": ')
    assert '"values": "uniform", "mean": 0.02915, "std": 0.5716, "digest": ' in copied
    assert copied.endswith('"repeated": ["copies", "2 equal parts along axis 1"]}')


@pytest.mark.parametrize(
    ("name", "value"), [("values", "normal"), ("std", 0.2), ("shape", [64, 40]), ("dtype", "float16")]
)
def test_a_line_that_was_edited_is_refused(yesterday, tmp_path, name, value):
    yesterday.save(tmp_path / "edited.json")
    content = json.loads((tmp_path / "edited.json").read_text())
    content["weights"][2][name] = value
    (tmp_path / "edited.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"at weight 3, 'hidden_1/kernel': .*the line was changed"):
        Contract.load(tmp_path / "edited.json")


def test_a_line_without_numbers_and_numbers_without_a_line_are_refused(yesterday, tmp_path):
    yesterday.save(tmp_path / "cut.json")
    content = json.loads((tmp_path / "cut.json").read_text())
    (first, numbers), *others = content["numbers"].items()
    for changed, message in (
        ({"numbers": dict(others)}, f"at weight 1, '{first}'"),
        ({"numbers": {**content["numbers"], "gone": numbers}}, "has 'numbers' of 'gone', and no such line"),
    ):
        (tmp_path / "cut.json").write_text(json.dumps({**content, **changed}))
        with pytest.raises(ValueError, match=message):
            Contract.load(tmp_path / "cut.json")
    del content["numbers"]
    (tmp_path / "cut.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"must have the keys .* 'numbers'"):
        Contract.load(tmp_path / "cut.json")
