"""A shed to count by: what three MATE devices, the box and the Pi say at each moment of a regular course of days.

Plausible, not physical: it has to make messages of the real size, and changes as often as a real winter month makes
them. Every third day is dull; the night after it the battery gets low, and the grid helps out until the next noon.
"""

import math
from datetime import UTC, datetime

from contract.positions import Position
from device.battery_monitor import TimedPage, ac_reading, state_of_charge, voltage_samples
from device.health import Health
from device.loop import Seen
from device.mate import FndcPage, FxPage, MxPage
from device.outbox import Dropped
from device.readings import AcMode, Reading, Readings, best_voltage
from device.relays import Levels

CYCLE_DAYS = 3
DAY_S = 86_400
START_MS = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)
BOOT_ID = "3f0b6f0e-6d0f-4b7e-9c55-0a1f5d1c9e42"

_LOAD_W = 420.0
_PV_PEAK_W = 2600.0
# An FX waits so long before it takes the grid.
_AC_DELAY_S = 20.0
_EXTRAS = ("shunt_a_ah", "shunt_b_ah", "days_since_full", "todays_minimum_soc_percent", "todays_net_input_ah")
_COUNTS = {
    "pages_refused": 0,
    "thermometer_errors": 0,
    "connections": 1,
    "messages_refused": 0,
    "samples_dropped": 0,
    **{what.value: 0 for what in Dropped},
}


class VirtualClock:
    """A Pi's clocks, turned by hand; monotonic time begins with the first midnight."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def monotonic_s(self) -> float:
        """Seconds since the first midnight."""
        return self.now_s

    def time_ms(self) -> int:
        """Epoch milliseconds."""
        return START_MS + round(self.now_s * 1000)

    def synchronised(self) -> bool:
        """The Pi has a network."""
        return True


class Shed:
    """Sensors and switch of a `device.loop.Loop`."""

    def __init__(self, band_v: float) -> None:
        self._band_v = band_v
        self._position = Position.BATTERY
        self._moved_at_s = -math.inf
        self._now_s = 0.0

    def write(self, position: Position) -> Levels:
        """Move the relays, which obey."""
        if position is not self._position:
            self._position, self._moved_at_s = position, self._now_s
        is_closed = position is Position.GRID
        return is_closed, is_closed

    def seen(self, now_s: float) -> Seen:
        """What control would have read at `now_s`. Each device has sent its page within the last second."""
        self._now_s = now_s
        pages = (
            TimedPage(self._fx(now_s), now_s - 0.71),
            TimedPage(self._mx(now_s), now_s - 0.48),
            TimedPage(self._fndc(now_s), now_s - 0.26),
        )
        return Seen(
            Readings(
                battery_voltage_v=best_voltage(voltage_samples(pages), self._band_v),
                box_temperature_c=Reading(_box_temperature_c(now_s), now_s - 0.55, "28-00000a1b2c3d"),
                soc_percent=state_of_charge(pages),
                ac=ac_reading(pages),
            ),
            pages=pages,
            health=_health(now_s),
            counts=_COUNTS,
        )

    def _ac_mode(self, now_s: float) -> AcMode:
        if self._position is Position.BATTERY:
            return AcMode.NO_AC
        return AcMode.AC_DROP if now_s < self._moved_at_s + _AC_DELAY_S else AcMode.AC_USE

    def _fx(self, now_s: float) -> FxPage:
        mode = self._ac_mode(now_s)
        is_on_grid = mode is AcMode.AC_USE
        load_a = float(round(_load_w(now_s) / 120))
        return FxPage(
            port=1,
            battery_voltage_v=round(round(voltage_v(now_s) / 0.4) * 0.4, 1),
            inverter_current_a=0.0 if is_on_grid else load_a,
            charger_current_a=6.0 if is_on_grid else 0.0,
            buy_current_a=load_a + 6.0 if is_on_grid else 0.0,
            sell_current_a=0.0,
            ac_input_voltage_v=0.0 if mode is AcMode.NO_AC else 121.0,
            ac_output_voltage_v=120.0,
            operating_mode="pass_through" if is_on_grid else "inverter_on",
            ac_mode=mode.value,
            errors=(),
            warnings=(),
            aux_on=False,
        )

    def _mx(self, now_s: float) -> MxPage:
        pv_w = _PV_PEAK_W * _weather(now_s) * _sun(now_s)
        return MxPage(
            port=2,
            battery_voltage_v=voltage_v(now_s),
            charger_current_a=round(pv_w / voltage_v(now_s), 1),
            pv_current_a=float(round(pv_w / 96)),
            pv_voltage_v=96.0 if pv_w > 0 else 14.0,
            daily_kwh=round(8.4 * _weather(now_s) * (_hour(now_s) / 24), 1),
            daily_ah=float(round(160 * _weather(now_s) * (_hour(now_s) / 24))),
            charger_mode="bulk" if pv_w > 0 else "silent",
            aux_mode="manual",
            aux_on=False,
            errors=(),
        )

    def _fndc(self, now_s: float) -> FndcPage:
        number = int(now_s) % len(_EXTRAS)
        pv_w = _PV_PEAK_W * _weather(now_s) * _sun(now_s)
        return FndcPage(
            port=3,
            battery_voltage_v=voltage_v(now_s),
            shunt_a_current_a=-round(_load_w(now_s) / voltage_v(now_s), 1),
            shunt_b_current_a=round(pv_w / voltage_v(now_s), 1),
            shunt_c_current_a=None,
            soc_percent=float(round(max(20.0, min(100.0, (voltage_v(now_s) - 48.0) * 16)))),
            battery_temperature_c=16.0,
            charge_parameters_met=False,
            relay_bit_2=False,
            relay_bit_4=False,
            extra=_EXTRAS[number],
            extra_value=float(20 + number),
        )


def voltage_v(now_s: float) -> float:
    """The battery's, in the steps of 0.1 V that a FLEXnet DC has."""
    hour, sunset_v = _hour(now_s), 51.2
    sunrise_v = sunset_v - _night_drop_v(now_s - 18 * 3600)
    if hour < 6:
        volts = sunset_v + (sunrise_v - sunset_v) * (hour + 6) / 12
    elif hour < 18:
        volts = sunrise_v + (sunset_v - sunrise_v) * (hour - 6) / 12 + 4.3 * _weather(now_s) * _sun(now_s)
    else:
        volts = sunset_v - _night_drop_v(now_s) * (hour - 18) / 12
    return round(volts, 1)


def _hour(now_s: float) -> float:
    return now_s % DAY_S / 3600


def _is_dull(now_s: float) -> bool:
    return int(now_s // DAY_S) % CYCLE_DAYS == 1


def _weather(now_s: float) -> float:
    return 0.45 if _is_dull(now_s) else 1.0


def _night_drop_v(evening_s: float) -> float:
    """By how much the voltage falls in the night that begins on the day of `evening_s`."""
    return 1.8 if _is_dull(evening_s) else 1.0


def _sun(now_s: float) -> float:
    return max(0.0, math.sin(math.pi * (_hour(now_s) - 6) / 12))


def _load_w(now_s: float) -> float:
    return _LOAD_W * (1 + 0.3 * math.sin(now_s / 900))


def _box_temperature_c(now_s: float) -> float:
    """In the steps of 1/16 C that a DS18B20 has."""
    return round((17.0 + 9.0 * _sun(now_s) + 0.5 * math.sin(now_s / 600)) * 16) / 16


def _health(now_s: float) -> Health:
    """Of a Pi that is well. It is looked at once a minute."""
    minute = now_s // 60
    return Health(
        cpu_temperature_c=round(48.3 + 3 * math.sin(minute / 50), 3),
        under_voltage_now=False,
        under_voltage_since_boot=False,
        throttled_now=False,
        throttled_since_boot=False,
        load_1min=round(0.12 + 0.05 * math.sin(minute / 7), 2),
        memory_available_percent=71 + math.sin(minute / 11),
        disk_free_percent=100 * (19.0e9 - 4096 * minute) / 31.2e9,
        disk_free_bytes=19.0e9 - 4096 * minute,
        uptime_s=round(now_s + 20.37, 2),
        wifi_signal_dbm=-60.0 - minute % 5,
    )
