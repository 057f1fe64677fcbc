import pytest

from contract.words import duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3.0, "0 s"),
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90.0, "2 min"),
        (3569.0, "59 min"),
        (3599.0, "1 h"),
        (5400.0, "1 h 30 min"),
        (7200.0, "2 h"),
        (90000.0, "25 h"),
        (259200.0, "3 days"),
    ],
)
def test_a_duration_is_shown_as_far_as_it_matters(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
