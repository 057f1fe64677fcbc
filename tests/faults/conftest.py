from collections.abc import Iterator

import pytest

from tests.faults.invariants import check_invariants
from tests.faults.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Production's limits on a virtual clock; what must hold after every fault is looked at when the test is over."""
    rig = Rig()
    yield rig
    try:
        check_invariants(rig.history, rig.limits)
    finally:
        rig.close()
