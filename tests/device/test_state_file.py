import errno
import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.alerts import Alert
from contract.positions import Position, Reason
from contract.shadow import Mode, OverrideState, Wish
from device import state_file
from device.observe import Heard, RelayFault, State, Streak, initial_state
from device.override import Override
from device.state_file import FILE_NAME, REFUSED_NAME, Resumed, clear_fault, read, resumed, text_of, write
from device.wishes import Wishes

BOOT = "6e0f9e4c-6f39-4d9b-b4f3-60e3e3a9d6a1"
OTHER_BOOT = "11111111-6f39-4d9b-b4f3-60e3e3a9d6a1"
NOW_S = 5000.5

STATE = initial_state(10.25)._replace(
    position=Position.GRID,
    position_since_s=4000.125,
    transfers_at_s=(1000.5, 4000.125),
    is_chattering=True,
    over_temperature_since_s=4900.0,
    battery_is_low=True,
    battery_is_critical=True,
    fault=RelayFault.STUCK_CLOSED,
)
STARTS_S = (5.0, 10.25)


def text(state: State = STATE, reason: Reason = Reason.HOLD) -> str:
    return text_of(state, reason, BOOT, STARTS_S)


def changed(**values: object) -> str:
    """The text of STATE with some members changed; an Ellipsis takes a member away."""
    content: dict[str, Any] = json.loads(text()) | values
    return json.dumps({name: value for name, value in content.items() if value is not ...})


WISH = Wish(Mode.GRID, 1_795_460_000.0)
WISHES = Wishes(
    newest=WISH,
    state=OverrideState.ACTIVE,
    active=Override(Position.GRID, 1_795_460_000_000, since_s=4000.5, ends_at_s=6000.5, is_timed=True),
    ends_at_ms=1_795_460_000_000,
    over=(Wish(Mode.BATTERY, 1_795_000_000.5),),
)
ACTIVE: dict[str, Any] = json.loads(text_of(STATE, Reason.HOLD, BOOT, STARTS_S, None, WISHES))["wishes"]["active"]


def changed_wishes(**values: object) -> str:
    """A text with WISHES, some members of which are changed; an Ellipsis takes one away."""
    content = json.loads(text_of(STATE, Reason.HOLD, BOOT, STARTS_S, None, WISHES))
    wishes = content["wishes"] | values
    return json.dumps(content | {"wishes": {name: value for name, value in wishes.items() if value is not ...}})


def changed_override(**values: object) -> str:
    return changed_wishes(active={name: value for name, value in (ACTIVE | values).items() if value is not ...})


# The text


def test_the_text_is_one_line_of_compact_json_with_everything_in_it() -> None:
    assert text() == (
        '{"version":3,"boot_id":"6e0f9e4c-6f39-4d9b-b4f3-60e3e3a9d6a1","position":"grid","reason":"hold",'
        '"position_since_s":4000.125,"transfers_at_s":[1000.5,4000.125],"is_chattering":true,'
        '"over_temperature_since_s":4900.0,"battery_is_low":true,"battery_is_critical":true,"fault":"stuck_closed",'
        '"starts_at_s":[5.0,10.25],"alerts":{},"wishes":{"newest":null,"state":null,"because":"","active":null,'
        '"ends_at_ms":null,"over":[]}}'
    )


def test_what_changes_at_every_tick_is_not_in_it() -> None:
    ticked = STATE._replace(
        thermometer=Heard(4999.0),
        monitor=Heard(4999.0, after_silence=True),
        last_voltage_v=51.3,
        readings_complete=True,
        low=Streak(1.0, agrees=True),
        recovered=Streak(1.0, agrees=True),
        critical=Streak(1.0, agrees=True),
        hot=Streak(1.0, agrees=True),
        cool=Streak(1.0, agrees=True),
        ac=Streak(1.0, agrees=True),
        ac_came_through=True,
    )

    assert text(ticked) == text()


def test_only_the_newest_transfers_and_starts_are_in_it_and_it_can_be_read_again() -> None:
    many = tuple(float(number) for number in range(150))

    kept = resumed(text_of(STATE._replace(transfers_at_s=many), Reason.HOLD, BOOT, many), BOOT, NOW_S)

    assert kept.state.transfers_at_s == many[-100:]
    assert kept.starts_at_s == many[-20:]


# Resuming


def test_C5_in_the_same_boot_everything_that_is_kept_goes_on() -> None:
    assert resumed(text(), BOOT, NOW_S) == Resumed(
        STATE._replace(**fresh_parts(NOW_S)), STARTS_S, was_in=STATE.position
    )


def test_C5_an_override_goes_on_over_a_restart_to_the_end_that_it_had() -> None:
    kept = resumed(text_of(STATE, Reason.HOLD, BOOT, STARTS_S, None, WISHES), BOOT, NOW_S)

    assert kept.wishes == WISHES


def test_C5_over_a_reboot_it_waits_for_the_time_of_day() -> None:
    kept = resumed(text_of(STATE, Reason.HOLD, BOOT, STARTS_S, None, WISHES), OTHER_BOOT, 3.0)

    assert kept.wishes == replace(WISHES, state=OverrideState.WAITING, active=None)


def test_P3_a_file_from_before_there_were_overrides_goes_on() -> None:
    older = changed(version=1, alerts=["battery_low"], wishes=...)

    assert resumed(older, BOOT, NOW_S) == resumed(changed(alerts={"battery_low": None}), BOOT, NOW_S)


def test_P3_a_file_from_before_alerts_had_their_times_goes_on() -> None:
    older = changed(version=2, alerts=["battery_low", "over_temperature"])

    assert resumed(older, BOOT, NOW_S).alerts == {Alert.BATTERY_LOW: None, Alert.OVER_TEMPERATURE: None}


def test_C5_an_override_of_the_future_is_garbage(caplog: pytest.LogCaptureFixture) -> None:
    kept = resumed(changed_override(since_s=NOW_S + 1), BOOT, NOW_S)

    assert kept == Resumed(initial_state(NOW_S), ())
    assert "times that are yet to come" in caplog.text


def test_H8_what_is_over_is_remembered_over_a_reboot() -> None:
    over = replace(WISHES, state=OverrideState.ENDED, because="its time is over", active=None, ends_at_ms=None)

    assert resumed(text_of(STATE, Reason.HOLD, BOOT, STARTS_S, None, over), OTHER_BOOT, 3.0).wishes == over


def fresh_parts(now_s: float) -> dict[str, Any]:
    """What a new process knows nothing about yet."""
    kept = {
        "position",
        "position_since_s",
        "transfers_at_s",
        "is_chattering",
        "over_temperature_since_s",
        "battery_is_low",
        "battery_is_critical",
        "fault",
    }
    fresh = initial_state(now_s)
    return {name: value for name, value in fresh._asdict().items() if name not in kept}


@pytest.mark.parametrize(("then", "now"), [(BOOT, OTHER_BOOT), ("unknown", "unknown"), (BOOT, "unknown")])
def test_C5_of_another_boot_no_time_survives_but_the_latches_and_a_welded_relay_do(then: str, now: str) -> None:
    of_then = text_of(STATE, Reason.HOLD, then, STARTS_S)

    assert resumed(of_then, now, 3.0) == Resumed(
        initial_state(3.0)._replace(battery_is_low=True, battery_is_critical=True, fault=RelayFault.STUCK_CLOSED),
        (),
        was_in=STATE.position,
    )


@pytest.mark.parametrize("boot", [BOOT, OTHER_BOOT])
def test_R13_a_fault_that_may_clear_does_so_by_a_restart_and_a_welded_relay_does_not(boot: str) -> None:
    not_obeying = text(STATE._replace(fault=RelayFault.NOT_OBEYING))

    assert resumed(not_obeying, boot, NOW_S).state.fault is None
    assert resumed(text(), boot, NOW_S).state.fault is RelayFault.STUCK_CLOSED


def test_without_a_text_it_starts_afresh(caplog: pytest.LogCaptureFixture) -> None:
    assert resumed(None, BOOT, NOW_S) == Resumed(initial_state(NOW_S), ())
    assert caplog.records == []


@pytest.mark.parametrize(
    "values",
    [
        {"position_since_s": 5000.6},
        {"transfers_at_s": [1.0, 5000.6]},
        {"over_temperature_since_s": 5000.6},
        {"starts_at_s": [5000.6]},
    ],
)
def test_times_that_are_yet_to_come_are_garbage_in_the_same_boot_and_nothing_in_another(
    values: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    garbage = changed(**values)

    assert resumed(garbage, BOOT, NOW_S) == Resumed(initial_state(NOW_S), ())
    assert [record.message for record in caplog.records] == [
        "state.json is not used: it has times that are yet to come; control starts afresh"
    ]
    assert resumed(garbage, OTHER_BOOT, NOW_S).state.battery_is_low


def test_a_time_that_is_now_is_none_to_come() -> None:
    assert resumed(changed(position_since_s=NOW_S), BOOT, NOW_S).state.position_since_s == NOW_S


GARBAGE = {
    "empty": "",
    "no JSON": "{",
    "half": text()[: len(text()) // 2],
    "two": text() * 2,
    "a list": "[]",
    "a text": '"state"',
    "deep": "[" * 16000,
    "long": " " * 16384 + "{}",
    "a long number": changed(position_since_s=10**400),
    "a number of more digits than Python reads": changed().replace("4000.125", "1" * 5000, 1),
    "NaN": changed(position_since_s=math.nan),
    "infinity": changed(transfers_at_s=[math.inf]),
    "no version": changed(version=...),
    "version true": changed(version=True),
    "version 1.0": changed(version=1.0),
    "older": changed(version=0),
    "older, but with wishes": changed(version=1),
    "newer": changed(version=4),
    "version 2, but with times of its alerts": changed(version=2),
    "unknown member": changed(more=1),
    "unknown position": changed(position="on"),
    "unknown reason": changed(reason="because"),
    "unknown fault": changed(fault="welded"),
    "fault false": changed(fault=False),
    "boot id none": changed(boot_id=None),
    "time true": changed(position_since_s=True),
    "time text": changed(position_since_s="1"),
    "time none": changed(position_since_s=None),
    "over temperature text": changed(over_temperature_since_s="no"),
    "transfers none": changed(transfers_at_s=None),
    "transfer none": changed(transfers_at_s=[None]),
    "101 transfers": changed(transfers_at_s=[1.0] * 101),
    "21 starts": changed(starts_at_s=[1.0] * 21),
    "alerts none": changed(alerts=None),
    "alerts a list": changed(alerts=["battery_low"]),
    "unknown alert": changed(alerts={"boredom": 1}),
    "unknown alert of version 2": changed(version=2, alerts=["boredom"]),
    "alert 1 of version 2": changed(version=2, alerts=[1]),
    "alert raised at a half": changed(alerts={"battery_low": 1.5}),
    "flag 1": changed(is_chattering=1),
    "flag none": changed(battery_is_low=None),
    "flag text": changed(battery_is_critical="false"),
    **{f"no {name}": changed(**{name: ...}) for name in json.loads(text())},
    "wishes none": changed(wishes=None),
    "wishes empty": changed(wishes={}),
    **{f"wishes without {name}": changed_wishes(**{name: ...}) for name in json.loads(text())["wishes"]},
    "wish without an end": changed_wishes(newest={"mode": "grid"}),
    "wish of another mode": changed_wishes(newest={"mode": "on", "until": 1}),
    "unknown wish state": changed_wishes(state="asleep"),
    "override of another position": changed_override(position="auto"),
    **{f"override without {name}": changed_override(**{name: ...}) for name in ACTIVE},
    "override since true": changed_override(since_s=True),
    "override until a fraction": changed_override(until_ms=1.5),
    "override timed 1": changed_override(is_timed=1),
    "override 1": changed_wishes(active=1),
    "active without an override": changed_wishes(active=None),
    "ended with an override": changed_wishes(state="ended"),
    "a state of no wish": changed_wishes(newest=None),
    "an override by auto": changed_wishes(newest={"mode": "auto"}),
    "auto that waits": changed_wishes(newest={"mode": "auto"}, state="waiting", active=None),
    "end a fraction": changed_wishes(ends_at_ms=0.5),
    "nine wishes that are over": changed_wishes(over=[{"mode": "grid", "until": 1}] * 9),
    "over 1": changed_wishes(over=1),
    "over of no wish": changed_wishes(over=["grid"]),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_P3_garbage_starts_afresh_with_one_warning(garbage: str, caplog: pytest.LogCaptureFixture) -> None:
    assert resumed(garbage, BOOT, NOW_S) == Resumed(initial_state(NOW_S), ())

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert len(record.message) < 250


times_s = st.floats(0.0, NOW_S)


@given(
    st.builds(
        initial_state(NOW_S)._replace,
        position=st.sampled_from(Position),
        position_since_s=times_s,
        transfers_at_s=st.lists(times_s, max_size=100).map(tuple),
        is_chattering=st.booleans(),
        over_temperature_since_s=st.none() | times_s,
        battery_is_low=st.booleans(),
        battery_is_critical=st.booleans(),
        fault=st.sampled_from([None, RelayFault.STUCK_CLOSED]),
    ),
    st.sampled_from(Reason),
    st.lists(times_s, max_size=20).map(tuple),
)
def test_what_is_kept_comes_back_as_it_was(state: State, reason: Reason, starts_s: tuple[float, ...]) -> None:
    assert resumed(text_of(state, reason, BOOT, starts_s), BOOT, NOW_S) == Resumed(
        state, starts_s, was_in=state.position
    )


# The file


def test_what_was_written_is_read_and_nothing_else_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "made" / "here"

    write(directory, text())
    write(directory, text(reason=Reason.NO_DATA))

    assert read(directory) == text(reason=Reason.NO_DATA)
    assert [path.name for path in directory.iterdir()] == [FILE_NAME]
    assert caplog.records == []


def test_P3_a_file_that_is_not_there_is_nothing_to_speak_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(tmp_path) is None
    assert read(tmp_path / "nor" / "this") is None
    assert caplog.records == []


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_P3_garbage_is_moved_aside_with_one_warning_that_names_it(
    garbage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text(garbage)
    (tmp_path / REFUSED_NAME).write_text("of an earlier one")

    assert read(tmp_path) is None

    assert (tmp_path / REFUSED_NAME).read_text() == garbage
    assert not (tmp_path / FILE_NAME).exists()
    (record,) = caplog.records
    assert record.message.startswith(f"{tmp_path / FILE_NAME} is not used: it ")
    assert record.message.endswith("; moved to state.json.refused; control starts afresh")


def test_P3_what_is_no_text_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\x00" * 500)

    assert read(tmp_path) is None

    assert (tmp_path / REFUSED_NAME).exists()
    assert "it is not ASCII text" in caplog.text


def test_P3_a_directory_in_its_place_is_moved_aside_and_a_second_one_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME / "file").mkdir(parents=True)
    assert read(tmp_path) is None
    (tmp_path / FILE_NAME / "file").mkdir(parents=True)
    assert read(tmp_path) is None

    first, second = [record.message for record in caplog.records]
    assert "Is a directory; moved to state.json.refused; control starts afresh" in first
    assert "Is a directory; it cannot be moved aside (Directory not empty); control starts afresh" in second


def test_P4_a_write_that_fails_raises_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, text())

    def no_space(_descriptor: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", no_space)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, text(reason=Reason.NO_DATA))

    assert read(tmp_path) == text()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_disk_that_takes_a_byte_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:1]))

    write(tmp_path, text())

    assert read(tmp_path) == text()


def test_what_a_killed_predecessor_left_is_cleared_as_far_as_possible(tmp_path: Path) -> None:
    (tmp_path / f"{FILE_NAME}.1.tmp").write_text("half")
    (tmp_path / f"{FILE_NAME}.2.tmp").mkdir()
    (tmp_path / f"{FILE_NAME}.other").write_text("somebody else's")

    write(tmp_path, text())

    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [FILE_NAME, f"{FILE_NAME}.2.tmp", f"{FILE_NAME}.other"]


def test_the_folder_is_synced_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
            done.append(name)
            return real(*args, **kwargs)

        return call

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))

    write(tmp_path, text())

    assert done == ["write", "fsync", "replace", "fsync"]


@pytest.mark.parametrize("fault", RelayFault)
def test_R13_a_fault_can_be_cleared_and_nothing_else_changes(fault: RelayFault, tmp_path: Path) -> None:
    write(tmp_path, text(STATE._replace(fault=fault)))

    assert clear_fault(tmp_path)
    assert read(tmp_path) == text(STATE._replace(fault=None))
    assert not clear_fault(tmp_path)


def test_R13_where_there_is_no_file_there_is_no_fault(tmp_path: Path) -> None:
    assert not clear_fault(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_full_text_fits_with_room_to_spare() -> None:
    longest = STATE._replace(transfers_at_s=(1234567.8901234567,) * 100)

    assert len(text_of(longest, Reason.BATTERY_MONITOR_LOST, BOOT, (1234567.8901234567,) * 20)) < (
        state_file._MOST_BYTES / 4
    )


def test_alerts_that_are_raised_outlive_restart_and_reboot() -> None:
    raised = {Alert.OVER_TEMPERATURE: 1_795_460_000_000, Alert.BATTERY_LOW: None}
    kept = text_of(STATE, Reason.HOLD, BOOT, STARTS_S, raised)

    assert '"alerts":{"battery_low":null,"over_temperature":1795460000000}' in kept
    assert resumed(kept, BOOT, NOW_S).alerts == raised
    assert resumed(kept, OTHER_BOOT, NOW_S).alerts == raised
