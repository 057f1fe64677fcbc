from itertools import permutations

import pytest

from contract.status import State, Status, newest, status_of


def test_N13_a_last_will_that_arrives_after_the_next_connection_changes_nothing() -> None:
    first = [Status("shed", 1000, State.ONLINE), Status("shed", 1000, State.OFFLINE)]
    second = Status("shed", 2000, State.ONLINE)

    for order in permutations([*first, second, first[1]]):
        assert newest(order) == second


def test_N14_an_orderly_stop_outweighs_the_last_will_in_both_orders() -> None:
    told = [Status("shed", 1, State.ONLINE), Status("shed", 1, State.STOPPING), Status("shed", 1, State.OFFLINE)]

    for order in permutations(told):
        assert newest(order) == told[1]


def test_sessions_are_compared_as_numbers() -> None:
    assert newest([Status("shed", 999, State.OFFLINE), Status("shed", 1000, State.ONLINE)]) == Status(
        "shed", 1000, State.ONLINE
    )


def test_of_nothing_nothing_is_newest() -> None:
    assert newest([]) is None


@pytest.mark.parametrize("state", State)
def test_a_key_tells_the_status_that_made_it(state: State) -> None:
    status = Status("shed-1_b", 1795452801234, state)

    assert status.key == f"status/shed-1_b/1795452801234-{state}.json"
    assert status_of(status.key) == status


@pytest.mark.parametrize(
    "key",
    [
        "heartbeat/shed.json",
        "status/shed/12-dead.json",
        "status/shed/-online.json",
        "status/shed/1-online.json.bak",
        "status/a/b/1-online.json",
        "status/shed/12345678901234567-online.json",
    ],
)
def test_another_key_tells_none(key: str) -> None:
    assert status_of(key) is None
