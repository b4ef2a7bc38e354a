"""An example of a test of your own: code of src/, tried with the image's packages."""

from example import moving_average


def test_a_moving_average_is_as_long_as_its_input() -> None:
    assert moving_average([1.0, 2.0, 6.0], window=2) == [1.0, 1.5, 4.0]
