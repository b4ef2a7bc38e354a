"""What a user waits for has not fallen behind the record: the quick rows of `nox -s bench`."""

from __future__ import annotations

import pytest
from clone import Lab
from measure import late, quick_rows, shown

pytestmark = pytest.mark.alone


def test_no_ratio_is_far_behind_the_record(up_lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """In turn with the same by hand, while nothing else runs."""
    found = list(quick_rows(up_lab))
    with capsys.disabled():
        print("", *map(shown, found), sep="\n")
    assert late(found) == []
