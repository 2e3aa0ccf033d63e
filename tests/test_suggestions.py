"""A name with a letter too many is answered with the one that is meant."""

import pytest

import keras_initx


@pytest.mark.parametrize(
    ("tried", "meant"),
    [
        ("KaimingNormal", "HeNormal"),
        ("trunc_normal_", "TruncatedNormal"),
        ("HeNorml", "HeNormal"),
        ("compare_initialisers", "compare_initializers"),
    ],
)
def test_an_attribute_that_is_missing_names_the_one_that_is_meant(tried, meant):
    with pytest.raises(AttributeError, match=f"no attribute '{tried}'; did you mean {meant}"):
        getattr(keras_initx, tried)


def test_a_recipe_that_is_missing_names_the_one_that_is_meant():
    with pytest.raises(AttributeError, match=r"'keras_initx\.recipes' has no attribute 'gtp2'; did you mean gpt2\?"):
        _ = keras_initx.recipes.gtp2
