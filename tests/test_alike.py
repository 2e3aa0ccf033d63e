"""Names that differ in numbers only."""

from keras_initx._alike import alike, in_common, pattern_of, without_numbers


def test_the_first_of_layers_with_automatic_names_has_no_number():
    assert in_common(["dense/kernel", "dense_1/kernel"]) == "dense*/kernel (2)"
    assert without_numbers("dense_1/kernel") == "dense/kernel"


def test_a_single_name_keeps_its_number():
    assert pattern_of(["block_2/dense_1/kernel"]) == "block_2/dense_1/kernel"


def test_groups_are_of_one_pattern_and_of_equal_others():
    names = ["a_0/kernel", "b_0/kernel", "a_1/kernel", "a_12/kernel"]
    assert alike(names, str) == [["a_0/kernel", "a_1/kernel", "a_12/kernel"], ["b_0/kernel"]]
    assert alike(names, str, len) == [["a_0/kernel", "a_1/kernel"], ["b_0/kernel"], ["a_12/kernel"]]
