from typing import Any

import pytest

from cloud.alerts.incidents import Damping, Incident, Raise
from cloud.alerts.store import IncidentTable, dynamodb
from contract.alerts import Severity
from tests.cloud.alerts.conftest import TABLE, Cloud
from tests.cloud.alerts.messages import Json

HOT = Raise("box is hot ☀", Severity.ERROR, 17, {"box_temperature_c": 61.25, "words": ["a", None]})
NEW = Incident("shed", "over_temperature")
DAMPING = Damping(most_pairs=1)


@pytest.fixture
def table(cloud: Cloud) -> IncidentTable:
    return IncidentTable(TABLE, dynamodb())


def flapping(thing: str) -> Incident:
    incident = Incident(thing, "over_temperature")
    for episode in range(3):
        incident = incident.raised(episode, episode, HOT, DAMPING).cleared(episode, episode)
    return incident


def test_what_is_not_kept_is_new(table: IncidentTable) -> None:
    assert table.load("shed", "over_temperature") == (NEW, 0)


@pytest.mark.parametrize(
    "incident",
    [NEW.raised(5, 6, HOT, DAMPING), NEW.raised(5, 6, HOT, DAMPING).cleared(5, 7), NEW.cleared(5, 7), flapping("shed")],
    ids=["open", "over", "cleared first", "flapping"],
)
def test_an_incident_is_kept_as_it_is(table: IncidentTable, incident: Incident) -> None:
    assert table.save(incident, 0) is True

    assert table.load("shed", "over_temperature") == (incident, 1)
    assert table.load("barn", "over_temperature")[1] == 0


def test_L1_of_two_who_saw_the_same_version_one_succeeds(table: IncidentTable) -> None:
    first, second = NEW.cleared(1, 1), NEW.cleared(2, 2)

    assert [table.save(first, 0), table.save(second, 0)] == [True, False]
    assert table.load("shed", "over_temperature") == (first, 1)

    assert [table.save(second, 1), table.save(first, 1)] == [True, False]
    assert table.load("shed", "over_temperature") == (second, 2)


def test_L1_what_was_just_kept_is_seen(table: IncidentTable, monkeypatch: pytest.MonkeyPatch) -> None:
    # moto always shows it; DynamoDB only to who asks for it.
    proper = dynamodb().get_item
    asked: list[Json] = []

    def get_item(**request: Any) -> object:  # noqa: ANN401 - handed on
        asked.append(request)
        return proper(**request)

    monkeypatch.setattr(dynamodb(), "get_item", get_item)

    table.load("shed", "over_temperature")

    assert [request["ConsistentRead"] for request in asked] == [True]


def test_L11_only_what_flaps_is_in_the_index(cloud: Cloud, table: IncidentTable) -> None:
    table.save(NEW.raised(1, 1, HOT, DAMPING), 0)
    table.save(flapping("barn"), 0)
    table.save(flapping("attic"), 0)
    assert sorted(table.flapping()) == [("attic", "over_temperature"), ("barn", "over_temperature")]

    table.save(flapping("barn").settled(10**9, DAMPING), 1)
    assert list(table.flapping()) == [("attic", "over_temperature")]


def test_an_index_of_many_pages_is_read_to_its_end(table: IncidentTable) -> None:
    # DynamoDB ends a page after 1 MB.
    large = {"words": "x" * 300_000}
    for number in range(7):
        incident = flapping(f"shed-{number}")
        table.save(incident.raised(9, 9, Raise("hot", Severity.ERROR, 9, large), DAMPING), 0)

    assert len(list(table.flapping())) == 7


def test_what_is_over_is_forgotten_400_days_after_its_last_change(cloud: Cloud, table: IncidentTable) -> None:
    open_ = NEW.raised(1, 5_000, HOT, DAMPING)
    table.save(open_, 0)
    assert "forget_at" not in (cloud.item("shed/over_temperature") or {})

    table.save(open_.cleared(1, 7_999), 1)
    assert (cloud.item("shed/over_temperature") or {})["forget_at"] == {"N": str(7 + 400 * 86_400)}

    table.save(flapping("barn"), 0)
    assert "forget_at" not in (cloud.item("barn/over_temperature") or {})
