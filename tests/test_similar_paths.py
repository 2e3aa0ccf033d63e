"""Names that differ in numbers only."""

from keras_initx._similar_paths import describe_paths, group_similar, merge_paths, strip_numbers


def test_the_first_of_layers_with_automatic_names_has_no_number():
    assert describe_paths(["dense/kernel", "dense_1/kernel"]) == "dense*/kernel (2)"
    assert strip_numbers("dense_1/kernel") == "dense/kernel"


def test_a_single_name_keeps_its_number():
    assert merge_paths(["block_2/dense_1/kernel"]) == "block_2/dense_1/kernel"


def test_groups_are_of_one_pattern_and_of_equal_others():
    names = ["a_0/kernel", "b_0/kernel", "a_1/kernel", "a_12/kernel"]
    assert group_similar(names, str) == [["a_0/kernel", "a_1/kernel", "a_12/kernel"], ["b_0/kernel"]]
    assert group_similar(names, str, len) == [["a_0/kernel", "a_1/kernel"], ["b_0/kernel"], ["a_12/kernel"]]
