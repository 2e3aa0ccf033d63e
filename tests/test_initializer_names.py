"""A name from another library is answered with the one that is meant."""

import copy
import random
import re

import pytest

import keras_initx
from keras_initx.cli import _main as cli


def test_a_name_that_is_like_none_is_answered_with_none():
    with pytest.raises(AttributeError, match=r"no attribute 'optimizer_of_mine'$"):
        _ = keras_initx.optimizer_of_mine


@pytest.mark.parametrize(
    ("tried", "meant"),
    [
        ("initx.hee_normal", "'initx.he_normal'"),
        ("he_normall", "'initx.he_normal'"),
        ("kaiming_normal_", "'initx.he_normal'"),
        ("zeroes", "'zeros'"),
    ],
)
def test_an_initializer_of_an_unknown_name_is_refused_with_the_id_that_is_meant(tried, meant):
    with pytest.raises(ValueError, match=f"Received: initializer='{tried}'; did you mean {meant}"):
        keras_initx.Scaled(tried, 2.0)


def test_a_known_name_that_lacks_arguments_is_not_its_own_remedy():
    with pytest.raises(ValueError, match=r"Received: initializer='initx.pretrained'$"):
        keras_initx.Scaled("initx.pretrained", 2.0)


@pytest.mark.parametrize(
    ("cls", "received", "instead"),
    [
        (keras_initx.HeNormal, {"mode": "fan_out"}, keras_initx.VarianceScaling(2.0, "fan_out")),
        (keras_initx.LecunUniform, {"scale": 0.5}, keras_initx.VarianceScaling(0.5, "fan_in", "uniform")),
        (keras_initx.GlorotUniform, {"gain": 1.5}, keras_initx.VarianceScaling(1.0, "fan_avg", "uniform")),
    ],
)
def test_an_argument_that_a_named_class_fixes_is_refused_with_what_to_write_instead(cls, received, instead):
    state = random.getstate()
    with pytest.raises(TypeError, match=f"{cls.__name__}: got an unexpected keyword argument") as raised:
        cls(**received)
    assert random.getstate() == state
    (written,) = re.findall(r"`VarianceScaling\((.*?)\)`", str(raised.value))
    offered = eval(f"keras_initx.VarianceScaling({written}, seed=0)")
    assert offered.get_config() == {**instead.get_config(), "seed": 0}


def test_a_misspelled_argument_of_a_named_class_is_refused_without_a_class_that_would_not_take_it_either():
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'random_seed'; did you mean 'seed'\?$"):
        keras_initx.HeNormal(random_seed=0)


def test_a_misspelled_choice_names_the_one_that_is_meant():
    with pytest.raises(ValueError, match=r"Received: gain='rellu'; did you mean 'relu'\?"):
        keras_initx.Orthogonal(gain="rellu")


def test_a_subclass_may_have_arguments_of_its_own():
    class Mine(keras_initx.HeNormal):
        def __init__(self, mode):
            super().__init__(seed=1)
            self.mode_of_mine = mode

    assert copy.deepcopy(Mine(mode="fan_out")).mode_of_mine == "fan_out"


def test_the_command_line_without_arguments_prints_its_help(capsys):
    assert cli.main([]) == 0
    assert "record how weights are drawn" in " ".join(capsys.readouterr().out.split())
