from collections.abc import Iterator

import pytest

from tests.faults.deciding import Control
from tests.faults.invariants import INVARIANTS, check_invariants
from tests.faults.rig import Rig


@pytest.fixture(autouse=True)
def _the_invariants_hold_for_every_control_that_a_test_made() -> Iterator[None]:
    """All but I1: these tests bring their own times."""
    Control.made.clear()
    yield
    for control in Control.made:
        for name in INVARIANTS.keys() - {"I1"}:
            INVARIANTS[name](control.history, control.limits)
        control.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Production's limits on a virtual clock; what must hold after every fault is looked at when the test is over."""
    rig = Rig()
    yield rig
    try:
        check_invariants(rig.history, rig.limits)
    finally:
        rig.close()
