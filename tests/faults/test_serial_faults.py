"""Section S of the fault catalogue: a MATE's pages through a serial port (a pseudo-terminal), and the decision."""

import random
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.alerts import Alert
from contract.positions import Position, Reason
from demo.shed.mate import fndc_page, fx_page, mx_page
from demo.shed.serial_line import SerialLine
from device.battery_monitor import BatteryMonitor, MonitorError, missing, state_of_charge, voltage_samples
from device.decide import Decision
from device.mate import Page, PageError, PageReader, Refusal, decode_page
from device.observe import monitor_lost_at_s
from device.readings import Reading, Readings, Stuck, best_voltage
from device.settings import SettingsError, parse
from tests.device.limits import LIMITS
from tests.device.mate_line import AC_USE, STALE_AFTER_S, Mate, fndc, fx, mx, timed, until
from tests.faults.deciding import Control

TICK_S = 1.0


@pytest.fixture
def mate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mate]:
    monkeypatch.setattr("device.battery_monitor._READ_EVERY_S", 0.05)
    monkeypatch.setattr("device.battery_monitor._REOPEN_AFTER_S", (0.01, 0.02))
    mate = Mate(tmp_path / "mate")
    yield mate
    mate.close()


class VirtualTime:
    """The time at which pages arrive and are asked for. It stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Shed:
    """A shed whose pages come through the real port, and what is decided after each burst of them."""

    def __init__(self, mate: Mate, at: VirtualTime, position: Position) -> None:
        self.mate = mate
        self.at = at
        self.control = Control(position, at())

    def after(self, burst: bytes, *, seconds: float = TICK_S) -> Decision:
        self.at.now_s += seconds
        self.mate.say(burst)
        return self.decision()

    def decision(self) -> Decision:
        pages = list(self.mate.pages().values())
        readings = Readings(
            battery_voltage_v=best_voltage(voltage_samples(pages), LIMITS.band_v),
            box_temperature_c=Reading(22.0, self.at(), "box"),
        )
        return self.control.decide(readings, self.at())


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    at = VirtualTime()
    monkeypatch.setattr("device.battery_monitor.time", SimpleNamespace(monotonic=at))
    return at


@pytest.fixture
def virtual_mate(mate: Mate, at: VirtualTime) -> Mate:
    mate.now_s = at
    mate.start()
    return mate


def with_checksum(body: str) -> bytes:
    """A page with this body and the checksum that a MATE would send with it."""
    total = sum(ord(c) - 48 for c in body if c != ",")
    return f"\n{body},{total % 1000:03}\r".encode()


# S1


@st.composite
def any_page(draw: st.DrawFn) -> bytes:
    port = draw(st.integers(0, 10))
    amps = st.floats(0.0, 99.0)
    voltage_v = draw(st.integers(0, 999)) / 10
    kind = draw(st.sampled_from(["fx", "mx", "fndc"]))
    if kind == "fx":
        return fx_page(
            port=port,
            inverter_current_a=draw(amps),
            charger_current_a=draw(amps),
            buy_current_a=draw(amps),
            ac_input_voltage_v=draw(st.integers(0, 256)),
            ac_output_voltage_v=draw(st.integers(0, 256)),
            operating_mode=draw(st.sampled_from([0, 2, 10, 90])),
            ac_mode=draw(st.integers(0, 2)),
            battery_tenths_v=round(voltage_v * 10),
            errors=draw(st.integers(0, 255)),
            misc=draw(st.integers(0, 255)),
            warnings=draw(st.integers(0, 255)),
        )
    if kind == "mx":
        return mx_page(
            port=port,
            charger_current_a=draw(amps),
            panel_current_a=draw(amps),
            panel_voltage_v=draw(st.integers(0, 255)),
            daily_kwh=draw(amps),
            charger_mode=draw(st.integers(0, 4)),
            battery_voltage_v=voltage_v,
            daily_ah=draw(st.integers(0, 2000)),
        )
    return fndc_page(
        port=max(1, port),
        shunt_currents_a=(draw(st.floats(-999.0, 999.0)), draw(amps), draw(amps)),
        extra_id=draw(st.integers(0, 13)),
        extra_value=draw(st.integers(-65535, 65535)),
        battery_voltage_v=voltage_v,
        soc_percent=draw(st.integers(0, 100)),
        battery_temperature_c=draw(st.integers(-10, 60)),
    )


@given(st.lists(any_page(), min_size=1, max_size=6), st.lists(st.floats(0.0, 1.0), max_size=60))
def test_S1_any_pages_in_any_chunks_are_the_same_pages(bursts: list[bytes], cuts: list[float]) -> None:
    stream = b"".join(bursts)
    edges = [0, *sorted(int(cut * len(stream)) for cut in cuts), len(stream)]
    reader = PageReader()

    chunked = [page for start, end in pairwise(edges) for page in reader.feed(stream[start:end])]

    assert chunked == [decode_page(burst[1:-1]) for burst in bursts]
    assert reader.refused == {}


def test_S1_pages_that_come_one_byte_at_a_time_are_read(mate: Mate) -> None:
    monitor = mate.start()

    for byte in fx(50.0) + mx(50.1) + fndc(50.2):
        mate.send(bytes([byte]))
    mate.say(b"")

    assert mate.voltages() == {"fx1": 50.0, "mx2": 50.1, "fndc3": 50.2}
    assert monitor.refused == {}


# S2


def test_S2_several_pages_in_one_read_are_each_read_once_and_in_order() -> None:
    reader = PageReader()

    pages = reader.feed(mx(50.1) + mx(50.3) + mx(50.2))
    half = reader.feed(mx(50.4)[:30])
    rest = reader.feed(mx(50.4)[30:] + fx(50.0))

    assert [page.battery_voltage_v for page in pages] == [50.1, 50.3, 50.2]
    assert half == []
    assert [page.battery_voltage_v for page in rest] == [50.4, 50.0]
    assert reader.read == 5


def test_S2_of_several_pages_in_one_burst_the_last_of_each_device_stands(mate: Mate) -> None:
    mate.start()

    mate.say(mx(50.1) + fx(50.0) + mx(50.3) + mx(50.2))
    mate.send(mx(50.4)[:30])
    mate.say(mx(50.4)[30:] + fx(50.8))

    assert mate.voltages() == {"mx2": 50.4, "fx1": 50.8}


# S3


@pytest.mark.parametrize("burst", [fx(50.0), mx(50.1), fndc(50.2)], ids=["fx", "mx", "fndc"])
def test_S3_whoever_attaches_in_mid_page_sees_whole_pages_only(burst: bytes, mate: Mate) -> None:
    monitor = mate.start()

    for start in range(2, len(burst)):
        mate.say(burst[start:] + fx(48.0, port=7))

    assert mate.voltages() == {"fx7": 48.0}
    # The last one starts at the CR and leaves nothing to refuse.
    assert monitor.refused.total() == len(burst) - 3


def test_S3_garbage_between_pages_does_not_hide_them(mate: Mate) -> None:
    mate.start()
    noise = random.Random(3)

    for page in (fx(50.0), mx(50.1), fndc(50.2)):
        mate.say(noise.randbytes(300) + b"\n" + page + mx(66.6)[:20] + b"\r" + mx(66.6)[20:])

    assert mate.voltages() == {"fx1": 50.0, "mx2": 50.1, "fndc3": 50.2}


# S4. Captured pages and the guide's own, one of each kind, in their frames.

REAL_PAGES = {
    "fx": b"\n0,00,00,00,120,000,00,02,000,01,254,008,000,025\r",
    "mx": b"\nC,00,27,15,107,005,08,03,000,01,562,0009,00,081\r",
    "fndc": b"\nc,0583,0596,0000,05,00000,266,099,001,08,35,141\r",
}


def each_with_one_bit_flipped(burst: bytes) -> Iterator[bytes]:
    for bit in range(len(burst) * 8):
        damaged = bytearray(burst)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


@pytest.mark.parametrize("kind", REAL_PAGES)
def test_S4_no_flipped_bit_of_a_frame_is_undetected(kind: str) -> None:
    """The checksum is a digit sum, so one bit changes the sum, or the number that states it, or the shape.

    A bit in the LF or the CR only lengthens the line, which refuses it.
    """
    undetected: list[Page] = []
    refused: Counter[Refusal] = Counter()

    for damaged in each_with_one_bit_flipped(REAL_PAGES[kind]):
        reader = PageReader()
        undetected += reader.feed(fx(50.0, port=9) + damaged + b"\n")[1:]
        refused += reader.refused

    assert undetected == []
    assert refused.total() == 49 * 8
    assert refused[Refusal.RANGE] == 0  # nothing gets past the checksum


def test_S4_pages_with_a_flipped_bit_never_get_through_the_port(mate: Mate) -> None:
    monitor = mate.start()

    for burst in REAL_PAGES.values():
        mate.say(b"".join(damaged + b"\n" for damaged in each_with_one_bit_flipped(burst)))

    assert mate.pages() == {}
    assert monitor.refused.total() == 3 * 49 * 8


def test_S4_two_neighbouring_digits_that_change_places_are_what_the_digit_sum_misses() -> None:
    """This is why one sample moves nothing, whatever it says, and why the voltage has to be plausible besides."""
    passed: dict[str, list[float]] = {}

    for kind, burst in REAL_PAGES.items():
        page = burst[1:-1]
        voltage_v = decode_page(page).battery_voltage_v
        for i in range(len(page) - 1):
            swapped = page[:i] + page[i + 1 : i + 2] + page[i : i + 1] + page[i + 2 :]
            if swapped == page:
                continue
            try:
                read_v = decode_page(swapped).battery_voltage_v
            except PageError:
                continue
            if read_v != voltage_v:
                passed.setdefault(kind, []).append(read_v)

    assert passed == {"fx": [52.4, 24.5], "mx": [65.2, 52.6], "fndc": [62.6]}


# S5


def test_S5_a_wrong_baud_rate_raises_nothing_counts_every_line_and_is_a_lost_monitor_in_the_end(
    virtual_mate: Mate, at: VirtualTime
) -> None:
    shed = Shed(virtual_mate, at, Position.BATTERY)
    monitor = virtual_mate.monitor
    assert monitor is not None
    noise = random.Random(5)
    heard = shed.after(mx(50.5))
    lost_at_s = monitor_lost_at_s(shed.control.state, LIMITS)

    decisions = [shed.after(noise.randbytes(500))]
    while at() < lost_at_s:
        decisions.append(shed.after(noise.randbytes(500), seconds=min(5.0, lost_at_s - at())))

    assert heard.reason is Reason.HOLD
    assert {decision.reason for decision in decisions[:-1]} == {Reason.HOLD}
    assert (decisions[-1].position, decisions[-1].reason) == (Position.GRID, Reason.BATTERY_MONITOR_LOST)
    assert Alert.BATTERY_MONITOR_LOST in decisions[-1].alerts
    assert Alert.BATTERY_LOW not in decisions[-1].alerts
    assert virtual_mate.pages() == {}
    assert monitor.refused.total() > len(decisions)
    assert monitor._thread.is_alive()


def test_S5_a_line_without_valid_pages_is_told_once_and_so_is_its_return(
    mate: Mate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("device.battery_monitor._SILENT_AFTER_S", 0.1)
    caplog.set_level("INFO", logger="device.battery_monitor")
    mate.start()
    mate.say(mx(50.0) + b"noise\r")
    before = caplog.text

    until(lambda: "no valid page" in caplog.text)
    mate.say(mx(50.1))

    assert before == ""
    until(lambda: "valid pages come" in caplog.text)
    assert caplog.text.count("no valid page") == 1
    assert "1 refused (1 length)" in caplog.text


def test_S5_a_line_that_is_silent_altogether_is_told_too(
    mate: Mate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("device.battery_monitor._SILENT_AFTER_S", 0.1)
    mate.start()

    until(lambda: "no valid page" in caplog.text)

    assert "0 refused (none)" in caplog.text


# S6


def test_S6_an_endless_line_hides_no_page(mate: Mate) -> None:
    monitor = mate.start()

    mate.say(b"x" * 200_000 + fx(50.0))

    assert mate.voltages() == {"fx1": 50.0}
    assert monitor.refused == {Refusal.LENGTH: 1}


def test_S6_of_an_endless_line_the_oldest_bytes_are_dropped() -> None:
    reader = PageReader()

    for _ in range(100):
        reader.feed(b"x" * 1000)
        assert len(reader._pending) <= 4096

    assert reader.feed(mx(50.1)[1:])[-1:] == []
    assert len(reader.feed(mx(50.1))) == 1


# S7


def test_S7_a_port_that_is_unplugged_is_unknown_when_stale_and_opened_again(mate: Mate) -> None:
    monitor = mate.start()
    (before,) = mate.say(mx(50.1)).values()

    mate.unplug()
    while_unplugged = monitor.pages(before.at_s + STALE_AFTER_S)
    stale = [timed.source for timed in monitor.pages(time.monotonic() + STALE_AFTER_S + 0.1)]
    mate.plug_in()
    mate.say(fndc(50.2))

    assert before in while_unplugged
    assert stale == []
    assert mate.voltages() == {"mx2": 50.1, "fndc3": 50.2}


def test_S7_half_a_page_from_before_the_unplugging_is_not_joined_to_what_comes_after(mate: Mate) -> None:
    monitor = mate.start()
    mate.say(mx(50.1))
    mate.send(mx(66.6)[:30])
    until(lambda: monitor._serial is not None and monitor._serial.in_waiting == 0)

    mate.unplug()
    mate.plug_in()
    mate.say(mx(66.6)[30:] + fndc(50.2))

    assert mate.voltages() == {"mx2": 50.1, "fndc3": 50.2}


def test_S7_a_port_that_vanishes_while_it_is_being_opened_is_tried_again(
    mate: Mate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # An adapter can be pulled between two system calls of one open(), a pseudo-terminal cannot. termios.error is no
    # OSError.
    failures: list[int] = []
    flush = termios.tcflush

    def vanished(descriptor: int, queue: int) -> None:
        if not failures:
            failures.append(descriptor)
            raise termios.error(5, "Input/output error")
        flush(descriptor, queue)

    mate.start()
    mate.unplug()
    monkeypatch.setattr(termios, "tcflush", vanished)
    mate.plug_in()
    mate.say(mx(50.1))

    assert failures
    assert f"battery monitor lost: serial port {mate.link} cannot be opened: Input/output error; see" in caplog.text


def test_S7_an_adapter_that_comes_and_goes_leaves_no_file_open_and_no_thread_behind(mate: Mate) -> None:
    mate.start()
    mate.say(mx(50.0))
    files, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    for tenth in range(10):
        mate.unplug()
        mate.plug_in()
        mate.say(mx(50.0 + tenth / 10))

    assert mate.voltages() == {"mx2": 50.9}
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert threading.active_count() == threads


# S8


def test_S8_the_name_of_the_adapter_is_followed_and_not_its_number(mate: Mate, tmp_path: Path) -> None:
    by_id = tmp_path / "by-id"
    by_id.symlink_to("ttyUSB0")
    mate.link.unlink()
    mate.link = tmp_path / "ttyUSB0"
    mate.line = SerialLine(mate.link)
    mate.start(by_id)
    mate.say(mx(50.1))

    mate.unplug()
    other = SerialLine(tmp_path / "ttyUSB0")
    mate.link = tmp_path / "ttyUSB1"
    by_id.unlink()
    by_id.symlink_to("ttyUSB1")
    mate.plug_in()
    other.send(mx(66.6, port=7))
    mate.say(mx(50.2))

    assert mate.voltages() == {"mx2": 50.2}
    other.close()


def test_S8_what_another_device_on_the_port_says_is_never_taken_for_a_page(mate: Mate) -> None:
    monitor = mate.start()
    others = [
        b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n",  # a GPS receiver
        b"00,4,0000,0126,0000,02,00023,287,099,001,00,33,062\r\n",  # a MATE3
        b"PID\t0xA053\r\nV\t52500\r\nVPV\t75000\r\nChecksum\t\xd8",  # VE.Direct
        b"\x01\x03\x04\x02\x08\x02\x0d\xba\x4c",  # Modbus
    ]

    for other in others:
        mate.say(other * 20)

    assert mate.pages() == {}
    assert monitor.refused.total() >= 80


@pytest.mark.parametrize("port", ["/dev/ttyUSB0", "/dev/ttyUSB12", "/dev/ttyACM1"])
def test_S8_a_name_that_may_be_another_adapters_tomorrow_is_refused_by_the_settings(port: str) -> None:
    with pytest.raises(SettingsError, match="may be another adapter after the next start; write the name that"):
        parse(f'[monitor]\nserial_port = "{port}"\n')


# S9, S10. The checksum of each is right for what it says, so that the shape alone has to refuse it.

GOOD_BODY = "1,00,00,00,000,120,00,02,000,00,500,008,000"
MISSHAPEN = {
    "a field is missing": "1,00,00,00,000,120,00,02,000,00,500,008",
    "the voltage is missing": "1,00,00,00,000,120,00,02,000,00,,008,000",
    "a field more": f"{GOOD_BODY},000",
    "a field twice": "1,00,00,00,000,120,00,02,000,00,500,500,008,000",
    "two fields have changed places": "1,00,00,00,000,120,00,02,000,500,00,008,000",
    "an MX's fields in an FX's page": "1,00,27,15,107,005,08,03,000,01,562,0009,00",
    "an FNDC's fields in an FX's page": "1,0583,0596,0000,05,00000,266,099,001,08,35",
    "no value in the voltage": "1,00,00,00,000,120,00,02,000,00,---,008,000",
    "no value in a field that nobody needs": "1,00,00,00,000,120,00,02,000,00,500,008,---",
    "blanks for digits": "1,00,00,00,000,120,00,02,000,00,   ,008,000",
    "a sign": "1,00,00,00,000,120,00,02,000,00,-50,008,000",
    "a decimal point": "1,00,00,00,000,120,00,02,000,00,5.0,008,000",
    "a semicolon for a comma": "1,00,00,00,000,120,00,02,000,00;500,008,000",
}
ARABIC_THREE, SUPERSCRIPT_TWO, FULL_WIDTH_FIVE = "\u0663", "\u00b2", "\uff15"
NO_NUMBERS = ["nan", "inf", "1_0", "0x1", "1e2", "+50", " 50", "50 ", "", "0x10", "5" * 400]
NO_NUMBERS += [ARABIC_THREE, SUPERSCRIPT_TWO, FULL_WIDTH_FIVE, 3 * ARABIC_THREE, 3 * SUPERSCRIPT_TWO]


@pytest.mark.parametrize("body", MISSHAPEN.values(), ids=MISSHAPEN.keys())
def test_S9_a_page_with_other_fields_is_dropped_as_a_whole(body: str, mate: Mate) -> None:
    monitor = mate.start()

    mate.say(with_checksum(body))

    assert mate.pages() == {}
    assert monitor.refused.total() == 1
    assert monitor.refused.keys() <= {Refusal.LENGTH, Refusal.SHAPE}


def test_S9_an_unknown_device_is_ignored_and_the_others_are_read(mate: Mate) -> None:
    monitor = mate.start()

    mate.say(with_checksum(f"Z{GOOD_BODY[1:]}") + with_checksum(GOOD_BODY))

    assert mate.voltages() == {"fx1": 50.0}
    assert monitor.refused == {Refusal.UNKNOWN_DEVICE: 1}


@pytest.mark.parametrize("text", NO_NUMBERS, ids=lambda text: ascii(text)[1:9])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_S10_only_ascii_digits_are_numbers(text: str, encoding: str, mate: Mate) -> None:
    monitor = mate.start()
    field = text.encode(encoding)
    as_long_as_the_field = [field.rjust(3), field.rjust(3, b"0"), field[:3], field[-3:]]
    sent = {each for each in (field, *as_long_as_the_field) if len(each) != 3 or not each.isdigit()}

    for each in sent:
        body = b"1,00,00,00,000,120,00,02,000,00," + each + b",008,000"
        total = sum(byte - 48 for byte in body if byte != ord(","))
        mate.say(b"\n" + body + f",{total % 1000:03}\r".encode())

    assert mate.pages() == {}
    assert monitor.refused.total() == len(sent)
    assert monitor.refused.keys() <= {Refusal.LENGTH, Refusal.SHAPE}


@pytest.mark.parametrize("encoded", [b"\xd9\xa3\xd9", b"\xb2\xb2\xb2", b"\xef\xbc\x95"])
def test_S10_bytes_that_are_digits_in_another_script_are_refused_though_the_length_is_right(encoded: bytes) -> None:
    with pytest.raises(PageError) as error:
        decode_page(with_checksum(GOOD_BODY)[1:-1].replace(b"500", encoded))

    assert error.value.refusal is Refusal.SHAPE


# S11


@pytest.mark.parametrize("implausible_v", [0.0, 5.0, 29.9, 70.1, 99.9])
def test_S11_an_implausible_voltage_gives_way_to_the_next_instrument(implausible_v: float, mate: Mate) -> None:
    mate.start()
    pages = mate.say(fndc(implausible_v) + mx(implausible_v) + fx(50.0)).values()

    reading = best_voltage(voltage_samples(list(pages)), LIMITS.band_v)

    assert reading is not None
    assert (reading.source, reading.value) == ("fx1", 50.0)


@pytest.mark.parametrize("implausible_v", [0.0, 5.0, 29.9, 99.9])
def test_S11_implausible_voltages_only_are_no_reading_and_never_low(
    implausible_v: float, virtual_mate: Mate, at: VirtualTime
) -> None:
    shed = Shed(virtual_mate, at, Position.BATTERY)
    shed.after(mx(51.0))
    lost_at_s = monitor_lost_at_s(shed.control.state, LIMITS)
    decisions: list[Decision] = []

    while at() < lost_at_s:
        burst = fndc(implausible_v) + mx(implausible_v) + fx(implausible_v)
        decisions.append(shed.after(burst, seconds=min(9.0, lost_at_s - at())))

    assert {decision.reason for decision in decisions[:-1]} == {Reason.HOLD}
    assert decisions[-1].reason is Reason.BATTERY_MONITOR_LOST
    assert not {Alert.BATTERY_LOW, Alert.BATTERY_CRITICAL} & {alert for each in decisions for alert in each.alerts}


# S12. Pages that repeat are fresh, because they arrive: a bank at rest at night says the same for long. So they count
# as readings, and that they may come from a device that hangs is a warning.


def test_S12_pages_that_repeat_for_ten_minutes_warn_and_are_still_readings(virtual_mate: Mate, at: VirtualTime) -> None:
    shed = Shed(virtual_mate, at, Position.GRID)
    stuck = Stuck(600.0)
    burst = fx(50.4, ac_mode=AC_USE) + mx(50.5) + fndc(50.6)
    warned_after_s: list[float] = []
    decisions: list[Decision] = []

    for second in range(602):
        decisions.append(shed.after(burst))
        said = {source: timed.page for source, timed in virtual_mate.pages().items()}
        if stuck.watch(said, at()):
            warned_after_s.append(second)
    other = {source: timed.page for source, timed in virtual_mate.say(fndc(50.7)).items()}

    assert warned_after_s == [600.0, 601.0]
    assert {(decision.position, decision.reason) for decision in decisions} == {(Position.GRID, Reason.HOLD)}
    assert decisions[-1].alerts == frozenset()
    assert not stuck.watch(other, at())


# S13


@pytest.mark.parametrize(
    ("age_s", "is_known"),
    [
        (STALE_AFTER_S - TICK_S, True),
        (STALE_AFTER_S - 0.001, True),
        (STALE_AFTER_S, True),
        (STALE_AFTER_S + 0.001, False),
        (STALE_AFTER_S + TICK_S, False),
    ],
)
def test_S13_a_page_counts_until_it_is_older_than_the_limit(
    age_s: float, is_known: bool, virtual_mate: Mate, at: VirtualTime
) -> None:
    virtual_mate.say(mx(50.1))

    at.now_s += age_s
    pages = list(virtual_mate.pages().values())

    assert (best_voltage(voltage_samples(pages), LIMITS.band_v) is not None) == is_known


def test_S13_an_old_low_voltage_does_not_go_on_to_be_low(virtual_mate: Mate, at: VirtualTime) -> None:
    shed = Shed(virtual_mate, at, Position.BATTERY)
    for _ in range(3):
        shed.after(mx(49.0))

    decisions: list[Decision] = []
    for _ in range(90):
        at.now_s += TICK_S
        decisions.append(shed.decision())

    assert {decision.reason for decision in decisions} == {Reason.HOLD}


# S14


def test_S14_the_device_that_still_reports_is_believed_alone_and_the_other_is_missing(
    virtual_mate: Mate, at: VirtualTime
) -> None:
    expected = ("mx2", "fx1")
    virtual_mate.say(mx(52.0) + fx(50.0))
    both = missing(list(virtual_mate.pages().values()), expected)

    at.now_s += STALE_AFTER_S + TICK_S
    pages = list(virtual_mate.say(fx(50.0)).values())
    reading = best_voltage(voltage_samples(pages), LIMITS.band_v)

    assert both == []
    assert missing(pages, expected) == ["mx2"]
    assert reading == Reading(50.0, at(), "fx1")


@pytest.mark.parametrize(
    ("bursts", "source", "value"),
    [
        ([fx(50.0), mx(50.1), fndc(50.2)], "fndc3", 50.2),
        ([fndc(50.2), mx(50.1), fx(50.0)], "fndc3", 50.2),
        ([fx(50.0), mx(50.1)], "mx2", 50.1),
        ([fx(50.0)], "fx1", 50.0),
        ([fx(50.0, port=4), mx(50.1, port=5)], "mx5", 50.1),
        ([mx(0.0), fx(50.0)], "fx1", 50.0),
    ],
)
def test_S14_one_instrument_is_believed_and_nothing_is_averaged(bursts: list[bytes], source: str, value: float) -> None:
    assert best_voltage(voltage_samples(timed(*bursts)), LIMITS.band_v) == Reading(value, 7.0, source)


def test_S14_without_the_fine_instrument_a_coarse_one_is_not_believed_where_the_band_is_narrow() -> None:
    pages = timed(fx(50.0))

    assert best_voltage(voltage_samples(pages), 0.8) is not None
    assert best_voltage(voltage_samples(pages), 0.7) is None


def test_S14_without_the_fndc_there_is_no_state_of_charge_rather_than_a_stale_one(
    virtual_mate: Mate, at: VirtualTime
) -> None:
    before = state_of_charge(list(virtual_mate.say(fndc(50.2)).values()))

    at.now_s += STALE_AFTER_S + TICK_S
    after = state_of_charge(list(virtual_mate.say(mx(50.1)).values()))

    assert before is not None
    assert before.value == 83.0
    assert after is None


# S15


def test_S15_a_port_that_another_one_has_open_is_refused_and_the_other_one_is_not_disturbed(mate: Mate) -> None:
    mate.start()

    with pytest.raises(MonitorError, match=r"cannot be opened: .*no other program has it open"):
        BatteryMonitor(str(mate.link), STALE_AFTER_S)

    mate.say(mx(50.1))
    assert mate.voltages() == {"mx2": 50.1}


# S16


def test_S16_in_a_flood_of_pages_the_newest_wins_and_whoever_asks_never_waits(mate: Mate) -> None:
    monitor = mate.start()
    asked_s: list[float] = []
    busy_s, began_s = time.process_time(), time.monotonic()

    for page in range(100):
        mate.send(mx(40.0 + page / 10))
        before_s = time.monotonic()
        monitor.pages(before_s)
        asked_s.append(time.monotonic() - before_s)
        time.sleep(max(0.0, began_s + (page + 1) / 100 - time.monotonic()))
    busy_s = time.process_time() - busy_s
    mate.say(b"")

    assert mate.voltages() == {"mx2": 49.9}
    assert len(monitor._newest) == 2  # one for each device that has ever reported
    assert max(asked_s) < 0.5
    assert busy_s < 0.5  # of one second, and this end of the line counts too


# S17. A device that starts says zeros, then maybe one wild value. Zeros are implausible, and one sample moves nothing.


def test_S17_zeros_and_one_wild_page_of_a_monitor_that_starts_move_nothing(virtual_mate: Mate, at: VirtualTime) -> None:
    shed = Shed(virtual_mate, at, Position.BATTERY)
    shed.control.limits = replace(LIMITS, low_hold_s=0.0)
    before = shed.after(mx(51.0))

    during = [shed.after(burst) for burst in (mx(0.0), mx(0.0), mx(45.0), mx(51.0), mx(45.0), mx(0.0))]
    second_in_a_row = shed.after(mx(45.0))  # what is no voltage is no sample between the two

    assert {decision.position for decision in [before, *during]} == {Position.BATTERY}
    assert not any(Alert.BATTERY_LOW in decision.alerts for decision in during)
    assert (second_in_a_row.position, second_in_a_row.reason) == (Position.GRID, Reason.BATTERY_LOW)


def test_S17_one_page_that_is_read_at_many_ticks_is_still_one_sample(virtual_mate: Mate, at: VirtualTime) -> None:
    shed = Shed(virtual_mate, at, Position.BATTERY)
    shed.control.limits = replace(LIMITS, low_hold_s=0.0)
    shed.after(mx(51.0))

    decisions = [shed.after(mx(45.0))]
    for _ in range(8):
        at.now_s += TICK_S
        decisions.append(shed.decision())

    assert {decision.position for decision in decisions} == {Position.BATTERY}


def test_S17_one_high_page_of_a_monitor_that_starts_does_not_leave_the_grid(
    virtual_mate: Mate, at: VirtualTime
) -> None:
    shed = Shed(virtual_mate, at, Position.GRID)
    shed.control.limits = replace(LIMITS, recover_hold_s=0.0)

    during = [shed.after(burst) for burst in (mx(0.0), mx(58.0), mx(50.0), mx(58.0), mx(0.0), mx(58.0))]
    second_in_a_row = shed.after(mx(58.0))

    assert {decision.position for decision in during} == {Position.GRID}
    assert second_in_a_row.position is Position.BATTERY
