import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from device.limits import Limits
from device.replay import TraceError, read_trace, replay, run
from device.settings import parse
from tests.device.limits import LIMITS


def replayed(csv: str, limits: Limits = LIMITS) -> tuple[list[tuple[float, str, str]], dict[str, Any]]:
    """The changes and the summary."""
    *changes, last = replay(read_trace(io.StringIO(csv)), limits)
    return [(change["time_s"], change["position"], change["reason"]) for change in changes], last["summary"]


def trace(*stretches: tuple[int, int, float | str]) -> str:
    """A CSV of voltages: from, to (exclusive), voltage; a row each minute."""
    rows = [f"{time_s},{voltage}" for start_s, end_s, voltage in stretches for time_s in range(start_s, end_s, 60)]
    return "\n".join(["time_s,battery_voltage_v", *rows, ""])


def refusal_of(csv: str) -> str:
    with pytest.raises(TraceError) as error:
        replayed(csv)
    return str(error.value)


def test_a_trace_without_a_thermometer_does_not_wait_for_one() -> None:
    changes, _ = replayed(trace((0, 600, 51.0)))

    assert changes == [(0.0, "battery", "hold")]


def test_a_trace_with_a_thermometer_waits_for_complete_readings() -> None:
    changes, _ = replayed("time_s,battery_voltage_v,box_temperature_c\n0,51.0,\n20,,20.0\n40,51.0,20.0\n")

    assert changes == [(0.0, "battery", "no_data"), (40.0, "battery", "hold")]


def test_the_boot_grace_ends_between_rows_at_its_second() -> None:
    changes, _ = replayed("time_s,battery_voltage_v,box_temperature_c\n0,51.0,\n45,51.0,\n120,51.0,\n")

    assert changes == [(0.0, "battery", "no_data"), (60.0, "battery", "hold")]


def test_a_hold_that_ends_between_rows_ends_at_its_second() -> None:
    changes, _ = replayed("time_s,battery_voltage_v\n0,51.0\n310,49.5\n340,49.5\n420,49.5\n")

    assert changes == [(0.0, "battery", "hold"), (370.0, "grid", "battery_low")]


def test_a_dwell_that_ends_between_rows_ends_at_its_second() -> None:
    changes, summary = replayed(trace((0, 310, 49.0), (310, 4000, 53.0)))

    assert changes == [
        (0.0, "battery", "hold"),
        (300.0, "grid", "battery_low"),
        (2100.0, "battery", "battery_recovered"),
    ]
    assert summary["transfers"] == 2


def test_the_recover_hold_on_battery_ends_at_its_second() -> None:
    changes, _ = replayed("time_s,battery_voltage_v\n0,51.0\n70,53.0\n330,53.0\n400,53.0\n")

    assert changes == [(0.0, "battery", "hold"), (370.0, "battery", "battery_recovered")]


def test_over_temperature_takes_the_load_off_the_grid() -> None:
    rows = [f"{time_s},49.0,20.0" for time_s in range(0, 360, 60)]
    rows += ["360,49.0,36.0", "420,49.0,36.0", "480,49.0,25.0", "840,49.0,25.0", "1080,49.0,25.0"]

    changes, _ = replayed("\n".join(["time_s,battery_voltage_v,box_temperature_c", *rows]))

    assert changes == [
        (0.0, "battery", "hold"),
        (300.0, "grid", "battery_low"),
        (420.0, "battery", "over_temperature"),
        (1020.0, "grid", "battery_low"),
    ]


@pytest.mark.parametrize("glitch", ["0.00", "", "5.0", "99.9"])
def test_S11_a_glitch_moves_nothing_and_does_not_break_the_low_hold(glitch: str) -> None:
    quiet, _ = replayed(trace((0, 600, 51.0), (600, 660, glitch), (660, 1200, 51.0)))
    during_a_hold, _ = replayed(
        f"time_s,battery_voltage_v\n0,51.0\n310,49.5\n340,{glitch}\n350,49.5\n405,49.5\n420,49.5\n"
    )

    assert quiet == [(0.0, "battery", "hold")]
    assert during_a_hold == [(0.0, "battery", "hold"), (370.0, "grid", "battery_low")]


def test_a_reading_is_unknown_300_s_after_its_row() -> None:
    patient = replace(LIMITS, low_hold_s=300.0, least_time_on_battery_s=0.0)

    within, _ = replayed("time_s,battery_voltage_v\n0,49.0\n300,49.0\n", patient)
    beyond, _ = replayed("time_s,battery_voltage_v\n0,49.0\n301,49.0\n600,49.0\n", patient)

    assert within == [(0.0, "battery", "hold"), (300.0, "grid", "battery_low")]
    assert beyond == [(0.0, "battery", "hold"), (301.0, "grid", "battery_low")]


def test_a_silent_logger_does_not_recover_the_battery() -> None:
    rows = trace((0, 360, 49.0)) + "3000,53.0\n9000,53.0\n9100,51.0\n"

    changes, _ = replayed(rows)

    # Recovered at 3000 s and at 9000 s, unknown in between: the hold of 300 s is over at neither. A row stands for
    # 300 s, and a grace of 120 s after that nobody knows the battery.
    assert changes == [
        (0.0, "battery", "hold"),
        (300.0, "grid", "battery_low"),
        (720.0, "grid", "battery_monitor_lost"),
        (9100.0, "grid", "battery_low"),
    ]


def test_the_summary_adds_up_to_the_length_of_the_trace() -> None:
    _, summary = replayed(trace((0, 36_000, 49.0), (36_000, 108_000, 53.0), (108_000, 144_001, 50.0)))

    assert summary["hours_on_grid"] + summary["hours_on_battery"] == pytest.approx(40.0, abs=0.02)
    assert sum(summary["hours_by_reason"].values()) == pytest.approx(40.0, abs=0.03)
    assert summary["hours_on_grid"] == summary["hours_by_reason"]["battery_low"] == 10.0
    assert summary["hours_by_reason"]["hold"] == 10.08
    assert summary["transfers"] == 2


def test_a_trace_of_one_row_has_a_change_and_a_summary() -> None:
    changes, summary = replayed("time_s,battery_voltage_v\n7,51.0\n")

    assert changes == [(7.0, "battery", "hold")]
    assert summary["transfers"] == 0
    assert summary["hours_on_grid"] == summary["hours_on_battery"] == 0.0


def test_time_may_start_anywhere() -> None:
    changes, _ = replayed("time_s,battery_voltage_v\n-100,49.0\n190,49.0\n260,49.0\n")

    assert changes == [(-100.0, "battery", "hold"), (200.0, "grid", "battery_low")]


def test_columns_may_stand_in_any_order_with_others_between_them() -> None:
    csv = "note,battery_voltage_v,ac_mode,time_s\nx,51.0,no_ac,0\n,49.5,ac_use,310\n,49.5,ac_use,340\ny,49.5,,420\n"

    assert replayed(csv)[0] == [(0.0, "battery", "hold"), (370.0, "grid", "battery_low")]


def test_a_line_that_ends_early_has_no_readings_there() -> None:
    changes, _ = replayed("time_s,battery_voltage_v,box_temperature_c\n0,51.0,20.0\n60\n120,51.0\n")

    assert changes == [(0.0, "battery", "hold")]


def test_a_studer_datalog_is_read_by_its_own_columns() -> None:
    rows = ["time_local,batt_v,acin_v,ac_transfer"]
    rows += [f"2025-12-31 23:{minute:02}:00,49.0,0,0" for minute in range(50, 60)]
    rows += ["2026-01-01 00:00:00,0.00,0,0", "2026-01-01 00:01:00,49.0,230,1"]

    changes, summary = replayed("\n".join(rows))

    assert changes == [(0.0, "battery", "hold"), (300.0, "grid", "battery_low")]
    assert summary["hours_on_battery"] + summary["hours_on_grid"] == pytest.approx(11 / 60, abs=0.01)


@pytest.mark.parametrize(
    ("csv", "words"),
    [
        ("", "the first line must name the columns time_s,battery_voltage_v"),
        ("time_s,volts\n0,51\n", "or be a Studer datalog's with time_local,batt_v"),
        ("battery_voltage_v\n51\n", "the first line must name the columns"),
        ("time_s,battery_voltage_v\n", "the trace has no rows"),
        ("time_local,batt_v,acin_v,ac_transfer\n", "the trace has no rows"),
        (
            "time_s,battery_voltage_v\n0,51\n60,NaN\n",
            "line 3: battery_voltage_v is 'NaN', not a number; leave the cell",
        ),
        ("time_s,battery_voltage_v\n0,inf\n", "line 2: battery_voltage_v is 'inf', not a number"),
        ("time_s,battery_voltage_v\n0,51 V\n", "line 2: battery_voltage_v is '51 V', not a number"),
        ("time_s,battery_voltage_v,box_temperature_c\n0,51,-\n", "line 2: box_temperature_c is '-', not a number"),
        ("time_s,battery_voltage_v\nnan,51\n", "line 2: time_s is 'nan', not a number"),
        ("time_s,battery_voltage_v\n,51\n", "line 2: time_s is empty"),
        ("time_s,battery_voltage_v\n0,51\n60,51\n60,51\n", "line 4: its time is not after the line before; sort"),
        ("time_s,battery_voltage_v\n60,51\n0,51\n", "line 3: its time is not after the line before"),
        ("time_s,battery_voltage_v,ac_mode\n0,51,on\n", "line 2: ac_mode is 'on'; write no_ac, ac_drop or ac_use"),
        ("time_local,batt_v\nyesterday,51\n", "line 2: time_local is 'yesterday', not a date and time"),
    ],
)
def test_a_trace_that_cannot_be_used_is_refused_by_line_and_cause(csv: str, words: str) -> None:
    assert words in refusal_of(csv)


def test_what_came_before_a_bad_line_has_been_replayed() -> None:
    lines = replay(read_trace(io.StringIO("time_s,battery_voltage_v\n0,51\n60,x\n")), LIMITS)

    assert next(lines)["reason"] == "hold"
    with pytest.raises(TraceError):
        next(lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file or directory"), (b"time_s,battery_voltage_v\n0,\xff\n", "is not a CSV file in UTF-8")],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TraceError) as error:
        run(path, LIMITS, io.StringIO())

    assert str(path) in str(error.value)
    assert words in str(error.value)


def test_a_file_saved_by_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time_s,battery_voltage_v\r\n0,51\r\n", encoding="utf-8-sig", newline="")
    out = io.StringIO()

    run(path, LIMITS, out)

    assert out.getvalue().splitlines()[0] == '{"time_s": 0.0, "position": "battery", "reason": "hold"}'


def test_a_real_winter_fortnight_is_believable() -> None:
    path = Path(__file__).parent.parent / "data/trace_48v_2016-01.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        *changes, last = replay(read_trace(file), parse("").limits())

    summary = last["summary"]
    reasons = {change["reason"] for change in changes}
    transfers_s = [b["time_s"] for a, b in pairwise(changes) if a["position"] != b["position"]]
    on_grid_s = [b - a for a, b in zip(transfers_s[::2], transfers_s[1::2], strict=False)]
    assert summary["hours_on_grid"] + summary["hours_on_battery"] == pytest.approx(16 * 24, abs=0.1)
    # The bank is nearly flat in this fortnight: grid for most of it, off whenever the sun has brought it back.
    assert summary["hours_on_grid"] > summary["hours_on_battery"]
    assert 4 <= summary["transfers"] <= 16
    assert min(on_grid_s) >= 1800
    assert reasons == {"hold", "battery_low", "battery_recovered"}


# What real recordings hold


def day(voltage_at: Callable[[int], float | str], minutes: int = 1440) -> str:
    return "\n".join(["time_s,battery_voltage_v", *(f"{m * 60},{voltage_at(m)}" for m in range(minutes)), ""])


@pytest.mark.parametrize("glitch", ["0.00", "0", "", "5.0", "99.9", "-3.1"])
def test_S11_glitches_of_an_instrument_move_nothing(glitch: str) -> None:
    changes, summary = replayed(day(lambda minute: glitch if minute % 7 == 3 else 51.0))

    assert changes == [(0.0, "battery", "hold")]
    assert summary["transfers"] == 0


@pytest.mark.parametrize("glitch_v", [40.0, 60.0])
def test_one_row_that_is_plausible_and_wrong_moves_nothing(glitch_v: float) -> None:
    changes, summary = replayed(day(lambda minute: glitch_v if minute % 97 == 3 else 51.0))

    assert summary["transfers"] == 0
    assert {reason for _, _, reason in changes} == {"hold"}


def test_a_missing_day_is_a_lost_monitor_and_what_follows_is_believed_again() -> None:
    rows = [f"{m * 60},{51.0}" for m in range(60)] + [f"{m * 60},{53.0}" for m in range(1500, 1700)]

    changes, summary = replayed("\n".join(["time_s,battery_voltage_v", *rows, ""]))

    assert [change[1:] for change in changes] == [
        ("battery", "hold"),
        ("grid", "battery_monitor_lost"),
        ("grid", "hold"),
        ("battery", "battery_recovered"),
    ]
    assert summary["alerts_raised"] == {"battery_monitor_lost": 1}


def test_T6_a_box_below_zero_is_a_box_that_is_not_hot() -> None:
    rows = [f"{m * 60},51.0,{-12.5 + m % 3}" for m in range(300)]

    changes, summary = replayed("\n".join(["time_s,battery_voltage_v,box_temperature_c", *rows, ""]))

    assert changes == [(0.0, "battery", "hold")]
    assert summary["alerts_raised"] == {}


@pytest.mark.parametrize("glitch_c", [85.0, 127.94, 130.0, -127.0, -55.1])
def test_T2_T4_T7_temperatures_that_no_working_sensor_means_move_nothing(glitch_c: float) -> None:
    rows = [f"{m * 60},49.0,{glitch_c if m % 20 in (10, 11, 12) else 20.0}" for m in range(300)]

    changes, summary = replayed("\n".join(["time_s,battery_voltage_v,box_temperature_c", *rows, ""]))

    assert [change[1:] for change in changes] == [("battery", "hold"), ("grid", "battery_low")]
    assert summary["transfers"] == 1


def test_a_generator_that_feeds_ac_while_our_relays_would_be_open_latches_nothing() -> None:
    def row(minute: int) -> str:
        running = 200 <= minute < 500
        return f"{minute * 60},{49.0 if minute < 200 else 54.0 if running else 49.5},{'ac_use' if running else 'no_ac'}"

    rows = [row(minute) for minute in range(900)]
    changes, summary = replayed("\n".join(["time_s,battery_voltage_v,ac_mode", *rows, ""]))

    assert [reason for _, _, reason in changes] == ["hold", "battery_low", "battery_recovered", "hold", "battery_low"]
    assert "relay_stuck_closed" not in summary["alerts_raised"]


def test_R4_a_battery_that_swings_all_day_moves_the_relays_twelve_times_at_most() -> None:
    _, summary = replayed(day(lambda minute: 49.0 if minute // 40 % 2 else 53.0, minutes=3 * 1440))

    assert summary["transfers"] <= 3 * 12
    assert summary["alerts_raised"]["relay_chatter"] >= 1


STUDER = "time_local,batt_v,batt_i,inv_batt_v,mppt_batt_v,acin_v,ac_transfer"


def test_a_studer_log_without_a_shunt_monitor_is_read_by_its_other_instruments() -> None:
    rows = [
        f"2016-01-03 {m // 60:02}:{m % 60:02}:00,0.00,0.00,{49.3 if m > 30 else 51.0},0.00,3.0,0" for m in range(90)
    ]

    changes, _ = replayed("\n".join([STUDER, *rows, ""]))

    assert [reason for _, _, reason in changes] == ["hold", "battery_low"]


def test_C7_local_times_that_go_back_an_hour_in_autumn_and_minutes_logged_twice_are_no_mistake() -> None:
    times = [f"2016-10-30 02:{m:02}:00" for m in range(60)] * 2 + ["2016-10-30 03:00:00", "2016-10-30 03:00:00"]
    rows = [f"{time},51.0,0,51.0,51.0,3.0,0" for time in times]

    changes, summary = replayed("\n".join([STUDER, *rows, ""]))

    assert changes == [(0.0, "battery", "hold")]
    assert summary["hours_on_battery"] == 2.0


def test_minutes_that_are_logged_twice_in_a_row_of_minutes_shift_nothing() -> None:
    minutes = [0, 1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 7]
    rows = [f"2016-05-30 12:{m:02}:00,51.0,0,51.0,51.0,3.0,0" for m in minutes]

    changes, summary = replayed("\n".join([STUDER, *rows, ""]))

    assert changes == [(0.0, "battery", "hold")]
    assert summary["hours_on_battery"] == 0.12


def test_a_row_that_ends_before_its_last_cell_has_no_reading_there() -> None:
    changes, _ = replayed("time_s,battery_voltage_v,ac_mode\n0,51.0,no_ac\n60,51.0\n120,51.0,no_ac\n")

    assert changes == [(0.0, "battery", "hold")]


def test_local_times_that_go_back_by_more_are_refused() -> None:
    rows = ["2016-10-30 12:00:00,51.0,0,51.0,51.0,3.0,0", "2016-10-30 10:59:00,51.0,0,51.0,51.0,3.0,0"]

    assert "its time is not after the line before" in refusal_of("\n".join([STUDER, *rows, ""]))
