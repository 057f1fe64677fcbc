"""Whole runs in a world in memory, whose clock the test turns. Heartbeats have arrived at BEGIN where nothing else is
said; silence and blindness begin 900 s later."""

import json
import logging
import threading

import pytest

from cloud.heartbeat.beats import MAX_BYTES
from cloud.heartbeat.watch import THREADS
from contract.heartbeat import COUNTS_KEY
from contract.status import State, Status
from tests.cloud.heartbeat.world import AGES_S, BEGIN_MS, LIMIT_MS, Json, World, beat, refused

SILENT, BLIND = "device_silent", "device_blind"
RAISED_MS = BEGIN_MS + LIMIT_MS
MARKER = "open/device_silent/shed.json"
BLIND_MARKER = "open/device_blind/shed.json"
OLD = {**AGES_S, "battery_voltage": 1200.0}


@pytest.fixture
def world() -> World:
    return World()


# Silence


@pytest.mark.parametrize(("age_s", "is_silent"), [(899, False), (900, False), (901, True)])
def test_L9_a_thing_is_silent_beyond_the_limit_and_not_at_it(age_s: int, is_silent: bool, world: World) -> None:
    world.beats()
    world.advance(age_s)

    for _ in "thrice":
        world.run()

    assert world.heard() == ([("raise", SILENT, RAISED_MS)] if is_silent else [])


def test_an_alert_says_what_is_known(world: World) -> None:
    world.beats()
    world.put(Status("shed", 100, State.ONLINE).key)
    world.advance(300)
    world.put(Status("shed", 100, State.OFFLINE).key)
    world.put("status/shed/notes.txt")
    world.advance(700)

    world.run()

    (message,) = world.published
    assert message == {
        "schema": 1,
        "alert": SILENT,
        "action": "raise",
        "raised_ms": RAISED_MS,
        "time_ms": RAISED_MS,
        "boot_id": "4f1d",
        "clock_synchronised": True,
        "severity": "critical",
        "summary": "shed has been silent for 17 min: last heartbeat 14:00 UTC, then on grid (battery_low); "
        "its connection broke at 14:05 UTC",
        "details": {
            "last_beat": {name: value for name, value in beat(1, time_ms=BEGIN_MS).items() if name != "schema"},
            "last_beat_ms": BEGIN_MS,
            "age_s": 1000,
            "connection": {"state": "offline", "at_ms": BEGIN_MS + 300_000},
        },
        "thing": "shed",
        "received_ms": world.now_ms,
    }
    assert json.loads(world.objects[MARKER][0]) == {
        "raised_ms": RAISED_MS,
        "last_beat_ms": BEGIN_MS,
        "published": True,
        "summary": message["summary"],
    }


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.ONLINE, "; it is still connected, but control says nothing"),
        (State.OFFLINE, "; its connection broke at 14:00 UTC"),
        (State.STOPPING, "; it said at 14:00 UTC that it was being stopped"),
    ],
)
def test_an_alert_says_what_the_connection_last_said(state: State, words: str, world: World) -> None:
    world.beats()
    world.put(Status("shed", 100, State.ONLINE).key)
    world.put(Status("shed", 100, state).key)
    world.advance(901)

    world.run()

    assert world.summaries()[0].endswith(f"then on grid (battery_low){words}")


@pytest.mark.parametrize(("state", "is_said"), [(State.ONLINE, True), (State.OFFLINE, False), (State.STOPPING, False)])
def test_a_connection_that_ended_before_the_last_heartbeat_explains_nothing(
    state: State, is_said: bool, world: World
) -> None:
    world.put(Status("shed", 100, state).key)
    world.advance(10)
    world.beats()
    world.advance(901)

    world.run()

    assert ("; it" in world.summaries()[0]) == is_said


def test_more_statuses_than_a_run_can_read_explain_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.heartbeat.bucket._MAX_STATUSES", 3)
    world.page_size = 2
    world.beats()
    for session in range(4):
        world.put(Status("shed", session, State.OFFLINE).key)
    world.advance(901)

    world.run()

    assert world.summaries()[0].endswith("then on grid (battery_low)")


@pytest.mark.parametrize("what", ["get", "list"])
def test_L13_what_cannot_be_looked_up_about_it_does_not_hold_the_alert_up(what: str, world: World) -> None:
    def on(operation: str, about: str) -> None:
        if operation == what and about in ("heartbeat/shed.json", "status/shed/"):
            raise refused("SlowDown")

    world.beats()
    world.advance(901)
    world.on = on

    report = world.run()

    assert world.heard() == [("raise", SILENT, RAISED_MS)]
    assert world.summaries()[0].startswith("shed has been silent for 15 min: last heartbeat 14:00 UTC")
    assert report.counts["failures"] == 0


@pytest.mark.parametrize(("every_s", "runs"), [(300, 288), (60, 1440)])
def test_L10_a_day_of_silence_is_one_alert(every_s: int, runs: int, world: World) -> None:
    world.beats()

    for _ in range(runs):
        world.advance(every_s)
        world.run()

    assert world.now_ms == BEGIN_MS + 24 * 3600 * 1000
    assert world.heard() == [("raise", SILENT, RAISED_MS)]
    assert world.called("describe").count("shed") == runs - LIMIT_MS // 1000 // every_s


def test_L11_recovery_is_one_clear_with_how_long_it_was(world: World) -> None:
    world.beats()
    world.advance(3600)
    world.run()
    world.advance(4200)
    world.beats()
    came_ms = world.now_ms
    world.advance(60)

    for _ in "thrice":
        world.run()

    assert world.heard() == [("raise", SILENT, RAISED_MS), ("clear", SILENT, RAISED_MS)]
    assert world.published[1]["time_ms"] == came_ms
    assert world.summaries()[1] == "shed is back after 2 h 10 min of silence"
    assert world.markers() == []


def test_L11_flapping_ten_times_an_hour_is_no_alert(world: World) -> None:
    for _ in range(30):
        world.beats()
        for _ in range(6):
            world.advance(60)
            world.run()

    assert world.heard() == []


def test_L11_one_that_flaps_as_slowly_as_it_is_noticed_has_an_episode_each_time(world: World) -> None:
    for _ in range(3):
        world.beats()
        world.run()
        world.advance(1200)
        world.run()

    names_ms = [RAISED_MS + number * 1_200_000 for number in range(3)]
    assert world.heard() == [
        ("raise", SILENT, names_ms[0]),
        ("clear", SILENT, names_ms[0]),
        ("raise", SILENT, names_ms[1]),
        ("clear", SILENT, names_ms[1]),
        ("raise", SILENT, names_ms[2]),
    ]


def test_L14_a_recovery_that_no_run_has_seen_is_two_episodes_all_the_same(world: World) -> None:
    world.beats()
    world.advance(1000)
    world.run()
    world.advance(1000)
    world.beats()
    world.advance(1000)

    for _ in "twice":
        world.run()

    assert world.heard() == [
        ("raise", SILENT, RAISED_MS),
        ("clear", SILENT, RAISED_MS),
        ("raise", SILENT, RAISED_MS + 2_000_000),
    ]
    assert world.published[1]["time_ms"] == BEGIN_MS + 2_000_000


def test_L2_an_old_heartbeat_after_a_new_one_reopens_nothing(world: World) -> None:
    old = beat(1, reading_ages_s=OLD)
    world.beats(content=old)
    world.run()
    world.advance(300)
    world.beats(content=beat(400))
    world.run()
    world.advance(10)
    world.beats(content=old)

    for _ in "thrice":
        world.run()

    assert [action for action, _, _ in world.heard()] == ["raise", "clear"]


def test_L14_a_run_does_not_clear_what_another_has_just_raised(world: World) -> None:
    """The other one begins a second later, when the limit is past, and overtakes it."""
    listings = 0

    def on(operation: str, about: str) -> None:
        nonlocal listings
        if operation == "list" and (listings := listings + 1) == 2:
            world.advance(1)
            world.run()

    world.beats()
    world.advance(900)
    world.on = on
    world.run()

    assert set(world.heard()) == {("raise", SILENT, RAISED_MS)}
    assert world.markers() == [MARKER]


# Who is watched


def test_L12_a_thing_that_was_never_heard_is_not_missed(world: World) -> None:
    world.things["new"] = {}
    world.advance(7200)

    world.run()

    assert world.heard() == []
    assert world.called("describe") == []


def test_L12_a_new_thing_comes_up_silently(world: World) -> None:
    world.run()
    world.beats()
    world.run()

    assert world.heard() == []


def test_L12_a_paused_thing_raises_nothing_until_then(world: World) -> None:
    world.beats()
    until_ms = BEGIN_MS + 7_200_000
    world.things["shed"]["paused_until"] = str(until_ms // 1000)
    world.advance(7199)

    assert world.run().counts["paused"] == 1
    assert world.heard() == []
    world.advance(1)
    world.run()
    assert world.heard() == [("raise", SILENT, until_ms)]


@pytest.mark.parametrize("alert", [SILENT, BLIND])
def test_L12_a_pause_clears_what_is_open_and_what_is_still_wrong_after_it_is_a_new_episode(
    alert: str, world: World
) -> None:
    if alert == SILENT:
        world.beats()
        world.advance(1000)
    else:
        world.beats(reading_ages_s=OLD)
    world.run()
    (first,) = world.heard()
    until_ms = world.now_ms + 600_000
    world.things["shed"]["paused_until"] = str(until_ms // 1000)

    for _ in "twice":
        world.run()
    assert world.heard() == [first, ("clear", alert, first[2])]
    assert world.summaries()[1].startswith("shed is paused by its owner until 14:")
    world.advance(700)
    world.run()
    world.run()

    assert world.heard()[2:] == [("raise", alert, until_ms)]


def test_L12_a_pause_that_no_run_has_seen_is_two_episodes_all_the_same(world: World) -> None:
    world.beats()
    world.advance(1000)
    world.run()
    world.advance(200)
    world.things["shed"]["paused_until"] = str(world.now_ms // 1000 - 60)

    for _ in "twice":
        world.run()

    until_ms = world.now_ms - 60_000
    assert world.heard() == [("raise", SILENT, RAISED_MS), ("clear", SILENT, RAISED_MS), ("raise", SILENT, until_ms)]


@pytest.mark.parametrize("until", ["", "soon", "-1", "1795460000000", "1e12", "٣"])
def test_L12_an_attribute_that_is_no_time_does_not_pause(
    until: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.beats()
    world.things["shed"]["paused_until"] = until
    world.advance(901)

    world.run()

    assert world.heard() == [("raise", SILENT, RAISED_MS)]
    assert "shed is not paused" in caplog.text


def test_L12_a_thing_that_was_decommissioned_is_not_watched_and_its_alerts_are_cleared(world: World) -> None:
    world.beats(reading_ages_s=OLD)
    world.run()
    world.advance(1000)
    world.run()
    del world.things["shed"]
    world.beats("other")

    for _ in "twice":
        assert world.run().counts["unregistered"] == 1

    assert [name[:2] for name in world.heard()] == [
        ("raise", BLIND),
        ("raise", SILENT),
        ("clear", SILENT),
        ("clear", BLIND),
    ]
    assert set(world.summaries()[2:]) == {"shed is no longer registered in AWS IoT: it is not watched any more"}


def test_a_thing_whose_heartbeat_was_deleted_is_cleared(world: World) -> None:
    world.beats()
    world.advance(1000)
    world.run()
    del world.objects["heartbeat/shed.json"]

    for _ in "twice":
        world.run()

    assert world.heard() == [("raise", SILENT, RAISED_MS), ("clear", SILENT, RAISED_MS)]
    assert world.summaries()[1].startswith("no heartbeat of shed is kept any more")


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_a_registry_that_cannot_be_asked_holds_no_alert_up(code: str, world: World) -> None:
    def on(operation: str, about: str) -> None:
        if operation == "describe":
            raise refused(code)

    world.beats()
    world.advance(901)
    world.on = on

    reports = [world.run(), world.run()]

    assert world.heard() == [("raise", SILENT, RAISED_MS)]
    assert [report.counts["registry_failures"] for report in reports] == [1, 1]
    assert [report.counts["failures"] for report in reports] == [0, 0]


def test_an_episode_that_was_named_without_the_registry_gets_its_right_name_later(world: World) -> None:
    def on(operation: str, about: str) -> None:
        if operation == "describe":
            raise refused("ThrottlingException")

    world.beats()
    world.things["shed"]["paused_until"] = str(BEGIN_MS // 1000 + 2000)
    world.advance(2001)
    world.on = on
    world.run()
    world.on = lambda _operation, _about: None

    for _ in "twice":
        world.run()

    assert world.heard() == [
        ("raise", SILENT, RAISED_MS),
        ("clear", SILENT, RAISED_MS),
        ("raise", SILENT, BEGIN_MS + 2_000_000),
    ]


def test_the_registry_is_asked_only_about_what_is_wrong(world: World) -> None:
    world.beats("good")
    world.run()

    assert world.called("describe") == []


# Blindness


def test_a_reading_that_is_too_old_is_one_alert_until_the_thing_sees_again(world: World) -> None:
    world.beats(reading_ages_s=OLD)
    for _ in range(3):
        world.run()
        world.advance(300)
        world.beats(reading_ages_s=OLD)
    world.run()
    world.advance(300)
    world.beats()
    for _ in "thrice":
        world.run()

    raised_ms = BEGIN_MS - 1_200_000 + LIMIT_MS
    assert world.heard() == [("raise", BLIND, raised_ms), ("clear", BLIND, raised_ms)]
    assert world.summaries() == [
        "shed sends heartbeats, but is blind: the battery voltage has not been read for 20 min; it is on grid "
        "(battery_low)",
        "shed sees again after 40 min of blindness",
    ]
    assert world.published[0]["details"]["blind_since_ms"] == {"battery_voltage": BEGIN_MS - 1_200_000}
    assert world.published[0]["boot_id"] == "4f1d"


def test_an_absent_reading_is_blindness_after_the_limit(world: World) -> None:
    for _ in range(6):
        world.beats(reading_ages_s={"battery_voltage": 0.4})
        world.run()
        world.advance(300)

    assert world.heard() == [("raise", BLIND, RAISED_MS)]
    assert "the temperature of the relay box has not been read for 20 min" in world.summaries()[0]


def test_two_troubles_are_one_alert_since_the_first_of_them(world: World) -> None:
    world.beats(reading_ages_s={"battery_voltage": 1000.0, "box_temperature": 1200.0})

    world.run()

    assert world.heard() == [("raise", BLIND, BEGIN_MS - 1_200_000 + LIMIT_MS)]
    assert "not been read for 17 min; the temperature of the relay box has not been read for 20" in world.summaries()[0]


def test_a_decision_count_that_stands_still_is_blindness_after_the_limit(world: World) -> None:
    for _ in range(6):
        world.beats(content=beat(7))
        world.run()
        world.advance(300)

    assert world.heard() == [("raise", BLIND, RAISED_MS)]
    assert "its decision count has not grown for 20 min: control hangs" in world.summaries()[0]


def test_a_thing_that_falls_silent_while_blind_is_both_until_it_sees(world: World) -> None:
    world.beats(reading_ages_s=OLD)
    world.run()
    world.advance(1000)
    world.run()
    world.beats(reading_ages_s=OLD)
    world.run()
    world.advance(300)
    world.beats()
    world.run()

    assert [name[:2] for name in world.heard()] == [
        ("raise", BLIND),
        ("raise", SILENT),
        ("clear", SILENT),
        ("clear", BLIND),
    ]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b'{"schema": 2}', b" " * (MAX_BYTES + 1)])
def test_L13_a_corrupt_heartbeat_stands_in_no_others_way_and_tells_nothing(
    content: bytes, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.beats("blind", reading_ages_s=OLD)
    world.run()
    world.advance(300)
    world.beats("blind", content=content)
    world.beats("corrupt", content=content)
    world.beats("other", reading_ages_s=OLD)

    report = world.run()

    assert [(m["thing"], m["action"]) for m in world.published] == [("blind", "raise"), ("other", "raise")]
    assert (report.counts["unreadable"], report.counts["failures"]) == (2, 0)
    assert "the heartbeat of corrupt cannot be read" in caplog.text


def test_L13_a_heartbeat_that_is_too_big_is_not_even_fetched(world: World) -> None:
    world.beats(content=b" " * (MAX_BYTES + 1))
    world.run()

    assert "heartbeat/shed.json" not in world.called("get")


def test_L13_a_heartbeat_that_has_grown_since_it_was_listed_is_not_read_to_its_end(world: World) -> None:
    world.beats(content=b" " * (10 * MAX_BYTES))

    assert len(world.ports().bucket.beat("shed")) == MAX_BYTES + 1


def test_L20_heartbeats_of_a_newer_schema_are_blindness_in_the_long_run(world: World) -> None:
    for _ in range(6):
        world.beats(schema=2)
        world.run()
        world.advance(300)

    assert world.heard() == [("raise", BLIND, RAISED_MS)]
    assert world.summaries()[0] == (
        "shed sends heartbeats, but is blind: no heartbeat could be read for 20 min (schema is '2': this code knows 1)"
    )


def test_L12_an_unreadable_heartbeat_of_a_paused_thing_clears_what_was_open(world: World) -> None:
    world.beats(reading_ages_s=OLD)
    world.run()
    world.things["shed"]["paused_until"] = str(BEGIN_MS // 1000 + 3600)
    world.advance(10)
    world.beats(content=b"?")

    for _ in "twice":
        world.run()

    assert [action for action, _, _ in world.heard()] == ["raise", "clear"]


# The device's clock


@pytest.mark.parametrize("off_ms", [86_400_000, -86_400_000])
def test_C6_a_clock_that_is_a_day_off_is_told_and_changes_nothing_else(
    off_ms: int, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.beats(time_ms=BEGIN_MS + off_ms)
    world.beats("right", time_ms=BEGIN_MS + 60_000)
    world.beats("unset", time_ms=1000, clock_synchronised=False)

    report = world.run()

    assert report.skew_ms == 86_400_000
    assert world.heard() == []
    (line,) = [record.message for record in caplog.records if "differs" in record.message]
    assert line == f"the clock of shed differs from AWS's by {off_ms / 1000:.0f} s"
    world.advance(901)
    world.run()
    assert {(m["thing"], m["raised_ms"]) for m in world.published} == {
        ("shed", RAISED_MS),
        ("right", RAISED_MS),
        ("unset", RAISED_MS),
    }


# What goes wrong


def test_L13_what_fails_for_one_thing_fails_for_no_other(world: World) -> None:
    def on(operation: str, about: str) -> None:
        if operation == "publish" and about == "b":
            raise refused("InternalError")

    for thing in "abc":
        world.beats(thing)
    world.advance(901)
    world.on = on

    report = world.run()

    assert {message["thing"] for message in world.published} == {"a", "c"}
    assert report.counts["failures"] == 1
    world.on = lambda _operation, _about: None
    assert world.run().counts["failures"] == 0
    assert [message["thing"] for message in world.published[2:]] == ["b"]


@pytest.mark.parametrize("operation", ["get", "describe", "publish", "put", "delete"])
def test_L13_whatever_fails_the_next_run_makes_it_good(operation: str, world: World) -> None:
    def on(called: str, about: str) -> None:
        if called == operation:
            raise refused("InternalError")

    world.beats("silent")
    world.beats("back")
    world.beats("blind", reading_ages_s=OLD)
    world.advance(901)
    world.run()
    world.beats("back")
    world.beats("other", reading_ages_s=OLD)
    world.on = on
    world.run()
    world.on = lambda _operation, _about: None
    world.run()

    def last(thing: str, alert: str) -> list[str]:
        return [m["action"] for m in world.published if (m["thing"], m["alert"]) == (thing, alert)][-1:]

    assert last("silent", SILENT) == ["raise"]
    assert last("back", SILENT) == ["clear"]
    assert last("blind", BLIND) == []
    assert last("other", BLIND) == ["raise"]
    assert len(world.markers()) == 3


@pytest.mark.parametrize("prefix", ["heartbeat/", "open/"])
def test_L19_a_listing_that_fails_fails_the_run(prefix: str, world: World) -> None:
    def on(operation: str, about: str) -> None:
        if (operation, about) == ("list", prefix):
            raise refused("InternalError")

    world.on = on

    with pytest.raises(Exception, match="InternalError"):
        world.run()


def test_a_marker_that_cannot_be_put_holds_no_alert_up(world: World) -> None:
    def on(operation: str, about: str) -> None:
        if operation == "put":
            raise refused("AccessDenied")

    world.beats()
    world.advance(901)
    world.on = on

    assert world.run().counts["failures"] == 2
    assert world.heard() == [("raise", SILENT, RAISED_MS)]


def test_L14_a_run_that_dies_before_it_has_told_is_made_good_by_the_next_with_the_same_name(world: World) -> None:
    def on(operation: str, about: str) -> None:
        if operation == "publish":
            raise refused("InternalError")

    world.beats(reading_ages_s=OLD)
    world.on = on
    world.run()
    world.on = lambda _operation, _about: None
    world.advance(300)
    world.beats(reading_ages_s={**OLD, "battery_voltage": 1501.5})

    for _ in "twice":
        world.run()

    assert world.heard() == [("raise", BLIND, BEGIN_MS - 1_200_000 + LIMIT_MS)]


def test_L14_a_run_that_dies_when_it_has_told_is_still_cleared_when_the_thing_is_back_before_the_next(
    world: World,
) -> None:
    puts = iter([None, refused("InternalError")])

    def on(operation: str, about: str) -> None:
        if (operation, about) == ("put", MARKER) and (error := next(puts)):
            raise error

    world.beats()
    world.advance(901)
    world.on = on
    assert world.run().counts["failures"] == 1
    world.on = lambda _operation, _about: None
    world.advance(10)
    world.beats()
    world.run()

    assert world.heard() == [("raise", SILENT, RAISED_MS), ("clear", SILENT, RAISED_MS)]


MARKERS: dict[str, bytes | Json] = {
    "nothing": b"",
    "no JSON": b"{",
    "deep": b"[" * 60_000,
    "no object": b"[]",
    "no name": {"last_beat_ms": 1, "published": True},
    "a name in words": {"raised_ms": "now", "last_beat_ms": 1, "published": True},
}


@pytest.mark.parametrize("content", MARKERS.values(), ids=MARKERS)
def test_L13_a_marker_that_cannot_be_read_is_cleared_without_a_name(content: bytes | Json, world: World) -> None:
    world.beats()
    world.advance(901)
    world.put(MARKER, content)

    world.run()
    assert world.heard() == []
    world.beats()
    for _ in "twice":
        world.run()

    assert world.heard() == [("clear", SILENT, None)]
    assert "raised_ms" not in world.published[0]
    assert world.summaries() == ["shed is back"]


@pytest.mark.parametrize("state", ["silent", "back", "blind", "sees", "gone"])
def test_L14_a_marker_that_another_run_removes_in_that_moment_is_none(state: str, world: World) -> None:
    def on(operation: str, about: str) -> None:
        if operation == "get" and about.startswith("open/"):
            world.objects.pop(about, None)

    alert = BLIND if state in ("blind", "sees") else SILENT
    world.beats(reading_ages_s=OLD if state == "blind" else AGES_S)
    if state == "silent":
        world.advance(901)
    world.put(f"open/{alert}/shed.json")
    if state == "gone":
        del world.objects["heartbeat/shed.json"]
    world.on = on

    report = world.run()

    assert [action for action, _, _ in world.heard()] == (["raise"] if state in ("silent", "blind") else [])
    assert report.counts["failures"] == 0


def test_what_has_no_name_of_ours_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.beats()
    for key in ("heartbeat/", "heartbeat/a/b.json", "heartbeat/shed.json.bak", "open/", "open/moon/shed.json"):
        world.put(key)

    report = world.run()

    assert (report.counts["things"], report.counts["failures"]) == (1, 0)
    assert "3 objects under the heartbeats have no thing's name" in caplog.text
    assert world.heard() == []


def test_more_than_a_thousand_things_are_all_looked_at(world: World) -> None:
    for number in range(1500):
        world.beats(f"shed-{number:04}", reading_ages_s=OLD if number % 100 == 0 else AGES_S)
    world.advance(300)
    for number in range(100):
        world.objects[f"heartbeat/shed-{15 * number:04}.json"] = (b"", BEGIN_MS - 901_000)

    report = world.run()

    assert (report.counts["things"], report.counts["silent"]) == (1500, 100)
    assert len({message["thing"] for message in world.published if message["alert"] == SILENT}) == 100
    assert len({message["thing"] for message in world.published if message["alert"] == BLIND}) == 10


def test_when_time_runs_short_silence_is_told_and_the_rest_waits(world: World) -> None:
    world.beats("silent")
    world.advance(901)
    world.beats("a", reading_ages_s=OLD)
    world.beats("b", reading_ages_s=OLD)

    report = world.run(remaining_ms=19_999)

    assert [message["thing"] for message in world.published] == ["silent"]
    assert (report.counts["left"], report.counts["failures"]) == (2, 1)
    assert world.run(remaining_ms=20_000).counts["failures"] == 0
    assert len(world.published) == 3


# What the runs remember


def test_what_is_remembered_is_written_once_a_run_and_only_if_it_changed(world: World) -> None:
    world.beats("a")
    world.beats("b")
    for _ in range(3):
        world.run()
    assert world.called("put") == [COUNTS_KEY]
    world.advance(300)
    world.beats("a")
    world.run()

    assert world.called("put") == [COUNTS_KEY] * 2
    assert json.loads(world.objects[COUNTS_KEY][0]).keys() == {"a", "b"}


def test_things_that_are_gone_are_forgotten_and_silent_ones_are_not(world: World) -> None:
    world.beats("gone")
    world.beats("silent")
    world.run()
    del world.objects["heartbeat/gone.json"]
    world.advance(901)
    world.run()

    assert json.loads(world.objects[COUNTS_KEY][0]).keys() == {"silent"}


def test_a_memory_that_is_corrupt_begins_anew(world: World, caplog: pytest.LogCaptureFixture) -> None:
    lost = 0
    for number in range(8):
        if number == 2:
            world.put(COUNTS_KEY, b'{"shed": 1}')
        world.beats(reading_ages_s={})
        lost += world.run().counts["memory_lost"]
        world.advance(300)

    assert lost == 1
    assert "what the runs before have noted cannot be read" in caplog.text
    assert world.heard() == [("raise", BLIND, RAISED_MS + 600_000)]


@pytest.mark.parametrize("operation", ["get", "put"])
def test_a_memory_that_cannot_be_reached_is_a_failure_and_is_not_lost(operation: str, world: World) -> None:
    def on(called: str, about: str) -> None:
        if (called, about) == (operation, COUNTS_KEY):
            raise refused("InternalError")

    world.beats(reading_ages_s={})
    world.run()
    for _ in range(4):
        world.advance(300)
        world.beats(reading_ages_s={})
        world.on = on
        assert world.run().counts["failures"] == 1
    world.on = lambda _operation, _about: None
    world.beats(reading_ages_s={})
    kept = json.loads(world.objects[COUNTS_KEY][0])["shed"]

    assert kept[0] == BEGIN_MS
    assert kept[4]["battery_voltage"] == BEGIN_MS


# Now


def test_now_is_when_s3_says_that_it_is(world: World) -> None:
    world.beats()
    world.advance(901)

    world.run()

    assert world.published[0]["received_ms"] == world.now_ms


@pytest.mark.parametrize("headers", [{}, {"date": "tomorrow"}])
def test_where_s3_says_nothing_now_is_the_lambdas_own_clock(
    headers: dict[str, str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: (BEGIN_MS + 901_000) * 10**6)
    world.beats()
    world.page = {"ResponseMetadata": {"HTTPHeaders": headers}}

    world.run()

    assert world.published[0]["received_ms"] == BEGIN_MS + 901_000


def test_each_alert_is_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.beats()
    world.advance(901)
    with caplog.at_level(logging.INFO):
        world.run()

    assert "device_silent of shed: raise, shed has been silent for 15 min" in caplog.text


def test_a_heartbeat_whose_read_hangs_holds_up_no_other(world: World) -> None:
    things = [f"shed-{number:02}" for number in range(3 * THREADS)]
    for thing in things:
        world.beats(thing)
    others_are_read, held_up = threading.Event(), []

    def hang(operation: str, about: str) -> None:
        if (operation, about) == ("get", f"heartbeat/{things[0]}.json"):
            held_up.append(not others_are_read.wait(10.0))
        elif len(world.called("get")) > len(things):
            others_are_read.set()

    world.on = hang
    world.run()

    assert held_up == [False]
