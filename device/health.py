"""The Pi's own health, from files of the kernel: heat, supply voltage, load, memory, disk, uptime, Wi-Fi.

Sources: Raspberry Pi documentation, "vcgencmd", get_throttled (the bits), and "Power supply" (4.63 V); proc(5). What a
machine does not have, or says in a way that makes no sense, is absent (None), never zero.

The kernel asks the firmware every two seconds and clears the firmware's memory by that (raspberrypi-hwmon.c), so its
"has occurred" bits last two seconds, not since boot. `HealthMonitor` looks every second and remembers.
"""

import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# From here on something has to be done.
MOST_CPU_TEMPERATURE_C = 80.0
LEAST_DISK_FREE_PERCENT = 5.0
LEAST_MEMORY_AVAILABLE_PERCENT = 5.0
UNDER_VOLTAGE_V = 4.63

_UNDER_VOLTAGE_NOW = 1 << 0
_THROTTLED_NOW = 1 << 2
_UNDER_VOLTAGE_OCCURRED = 1 << 16
_THROTTLED_OCCURRED = 1 << 18

_TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"
# Up to the Pi 4, and where a Pi 5 would have it. Of a Pi 5 without it the kernel's voltage alarm remains.
_THROTTLED = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
)
_HWMON = "sys/class/hwmon"
_HWMON_NAME = "rpi_volt"
_HWMON_ALARM = "in0_lcrit_alarm"

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?")
_HEX_WORD = re.compile(r"(0x)?[0-9a-fA-F]{1,8}")
_MOST_BYTES = 65536
# The kernel's own alarm tells of its last two seconds.
_FLAGS_PERIOD_S = 2.0
# A refresh that is so many periods late hangs, and what it last said is no longer so.
_STALE_PERIODS = 3


@dataclass(frozen=True, slots=True)
class Health:
    """One look at the Pi. None = not known here. `since_boot` is as far back as this software has looked."""

    cpu_temperature_c: float | None = None
    under_voltage_now: bool | None = None
    under_voltage_since_boot: bool | None = None
    throttled_now: bool | None = None
    throttled_since_boot: bool | None = None
    load_1min: float | None = None
    memory_available_percent: float | None = None
    disk_free_percent: float | None = None
    disk_free_bytes: float | None = None
    uptime_s: float | None = None
    wifi_signal_dbm: float | None = None

    def as_measures(self) -> dict[str, float | bool]:
        """What is known, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def pi_health(state_directory: Path, root: Path = Path("/")) -> Health:
    """Look at everything once. Never raises; may hang where the disk of `state_directory` does."""
    flags = _Flags.of(root)
    percent, free_bytes = _disk_free(state_directory)
    return flags.put_into(
        Health(
            cpu_temperature_c=_cpu_temperature_c(root),
            load_1min=_within(_first_number(_text(root / "proc/loadavg")), 0.0, 1e6),
            memory_available_percent=_memory_available_percent(root),
            disk_free_percent=percent,
            disk_free_bytes=free_bytes,
            uptime_s=_within(_first_number(_text(root / "proc/uptime")), 0.0, 1e10),
            wifi_signal_dbm=_wifi_signal_dbm(root),
        )
    )


def trouble(health: Health) -> list[str]:
    """What calls for the alert `pi_health`, a sentence each with the value and its bound; [] for nothing."""
    sentences = []
    if health.under_voltage_now:
        sentences.append(f"under-voltage: the Pi gets less than {UNDER_VOLTAGE_V} V")
    if health.throttled_now:
        sentences.append("throttled: the Pi runs slower, for heat or for want of voltage")
    if health.cpu_temperature_c is not None and health.cpu_temperature_c >= MOST_CPU_TEMPERATURE_C:
        sentences.append(f"CPU at {health.cpu_temperature_c:.1f} C, {MOST_CPU_TEMPERATURE_C:g} C or more is too hot")
    if health.disk_free_percent is not None and health.disk_free_percent < LEAST_DISK_FREE_PERCENT:
        sentences.append(f"disk {health.disk_free_percent:.2f} % free, below {LEAST_DISK_FREE_PERCENT:g} %")
    memory = health.memory_available_percent
    if memory is not None and memory < LEAST_MEMORY_AVAILABLE_PERCENT:
        sentences.append(f"memory {memory:.2f} % available, below {LEAST_MEMORY_AVAILABLE_PERCENT:g} %")
    return sentences


class HealthMonitor:
    """Looks at the Pi in a thread of its own, so that a disk that hangs delays no decision."""

    def __init__(
        self,
        state_directory: Path,
        period_s: float = 60.0,
        root: Path = Path("/"),
        look_also: Callable[[], None] = lambda: None,
    ) -> None:
        """`look_also` is called every two seconds, in this thread. It must not raise."""
        self._state_directory = state_directory
        self._period_s = period_s
        self._root = root
        self._look_also = look_also
        self._newest: tuple[float, Health] | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    @property
    def newest(self) -> Health | None:
        """The last look; None before the first and when looking hangs. `now` means: at any time in its period."""
        newest = self._newest
        if newest is None or time.monotonic() - newest[0] > _STALE_PERIODS * self._period_s:
            return None
        return newest[1]

    def close(self) -> None:
        """Stop looking. A look that hangs in the kernel is left behind: the thread is a daemon."""
        self._closing.set()

    def _run(self) -> None:
        ever = in_period = _Flags()
        due_s = time.monotonic()
        while True:
            seen = _Flags.of(self._root)
            ever, in_period = ever.with_(seen), in_period.with_(seen)
            if time.monotonic() >= due_s:
                health = in_period.put_into(pi_health(self._state_directory, self._root))
                occurred = ever.put_into(health)
                self._newest = (
                    time.monotonic(),
                    replace(
                        health,
                        under_voltage_since_boot=occurred.under_voltage_since_boot,
                        throttled_since_boot=occurred.throttled_since_boot,
                    ),
                )
                in_period = _Flags()
                due_s = time.monotonic() + self._period_s
            self._look_also()
            if self._closing.wait(min(_FLAGS_PERIOD_S, self._period_s)):
                return


@dataclass(frozen=True, slots=True)
class _Flags:
    """Bits of the firmware's word, and which of them are known."""

    bits: int = 0
    known: int = 0

    @classmethod
    def of(cls, root: Path) -> "_Flags":
        """What the kernel shows now."""
        for path in _THROTTLED:
            text = (_text(root / path) or "").strip()
            if _HEX_WORD.fullmatch(text):
                return cls(int(text, 16), known=0xFFFFFFFF)
        alarm = _voltage_alarm(root)
        voltage_bits = _UNDER_VOLTAGE_NOW | _UNDER_VOLTAGE_OCCURRED
        return cls() if alarm is None else cls(voltage_bits * alarm, voltage_bits)

    def with_(self, other: "_Flags") -> "_Flags":
        """Set where either is."""
        return _Flags(self.bits | other.bits, self.known | other.known)

    def put_into(self, health: Health) -> Health:
        """`health` with these flags."""
        return replace(
            health,
            under_voltage_now=self._any(_UNDER_VOLTAGE_NOW),
            under_voltage_since_boot=self._any(_UNDER_VOLTAGE_NOW | _UNDER_VOLTAGE_OCCURRED),
            throttled_now=self._any(_THROTTLED_NOW),
            throttled_since_boot=self._any(_THROTTLED_NOW | _THROTTLED_OCCURRED),
        )

    def _any(self, mask: int) -> bool | None:
        return bool(self.bits & mask) if self.known & mask else None


def _voltage_alarm(root: Path) -> bool | None:
    """The kernel's under-voltage alarm of the last two seconds."""
    for directory in _entries(root / _HWMON):
        if (_text(directory / "name") or "").strip() == _HWMON_NAME:
            return {"0": False, "1": True}.get((_text(directory / _HWMON_ALARM) or "").strip())
    return None


def _cpu_temperature_c(root: Path) -> float | None:
    millidegrees = _first_number(_text(root / _TEMPERATURE))
    return None if millidegrees is None else _within(millidegrees / 1000.0, -55.0, 150.0)


def _memory_available_percent(root: Path) -> float | None:
    amounts = dict(_meminfo(_text(root / "proc/meminfo") or ""))
    available, total = amounts.get("MemAvailable"), amounts.get("MemTotal")
    return None if available is None or not total else _within(100.0 * available / total, 0.0, 100.0)


def _meminfo(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        name, _, amount = line.partition(":")
        kilobytes = _first_number(amount)
        if kilobytes is not None:
            yield name, kilobytes


def _disk_free(directory: Path) -> tuple[float, float] | tuple[None, None]:
    """Percent and bytes that are left to this user."""
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return None, None
    return (100.0 * usage.free / usage.total, float(usage.free)) if usage.total > 0 else (None, None)


def _wifi_signal_dbm(root: Path) -> float | None:
    """Of the first wireless interface that has one: `wlan0: status link level noise ...`, level in dBm."""
    for line in (_text(root / "proc/net/wireless") or "").splitlines():
        interface, colon, values = line.partition(":")
        columns = values.split()
        if colon and interface.strip() and len(columns) >= 3:
            level = _within(_first_number(columns[2]), -120.0, -1.0)
            if level is not None:
                return level
    return None


def _within(value: float | None, low: float, high: float) -> float | None:
    return value if value is not None and low <= value <= high else None


def _first_number(text: str | None) -> float | None:
    words = (text or "").split(maxsplit=1)
    if not words or not _NUMBER.fullmatch(words[0]):
        return None
    number = float(words[0])
    return number if math.isfinite(number) else None


def _text(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _MOST_BYTES).decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    finally:
        os.close(descriptor)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
