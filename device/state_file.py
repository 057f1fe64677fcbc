"""What outlives the control process: one small JSON file, so that a restart goes on where it was.

Monotonic times mean something within one boot only; of another boot just the latches and a welded relay survive. The
file is the old one or the new one at any moment, whatever is killed or loses power: temporary file, fsync, rename,
fsync of the folder.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.alerts import Alert
from contract.messages import check_number
from contract.positions import Position, Reason
from contract.shadow import Mode, OverrideState, ShadowError, Wish, wish_of
from device.observe import RelayFault, State, initial_state
from device.override import Override
from device.wishes import MOST_REMEMBERED, NO_WISHES, Wishes, rebooted

log = logging.getLogger(__name__)

FILE_NAME = "state.json"
REFUSED_NAME = "state.json.refused"

_VERSION = 3
# A full one has about 4 KB.
_MOST_BYTES = 16384
_MOST_TRANSFERS = 100
_MOST_STARTS = 20
# As much of a wrong value as the log gets to see.
_MOST_WORDS = 100
_UNKNOWN_BOOT = "unknown"


class _GarbageError(ValueError):
    """The text is no state; says why."""


@dataclass(frozen=True)
class _Kept:
    """What the file says, checked. Times are monotonic seconds of the boot `boot_id`."""

    boot_id: str
    position: Position
    position_since_s: float
    transfers_at_s: tuple[float, ...]
    is_chattering: bool
    over_temperature_since_s: float | None
    battery_is_low: bool
    battery_is_critical: bool
    fault: RelayFault | None
    starts_at_s: tuple[float, ...]
    alerts: Mapping[Alert, int | None]
    wishes: Wishes


@dataclass(frozen=True)
class Resumed:
    """Where a new control process begins.

    `starts_at_s`: when its predecessors of this boot were started, monotonic. `alerts`: what was raised and not cleared
    yet, in whichever boot, and when (see `Journal.raised`). `wishes`: what the owner has asked for. `was_in`: where the
    relays were by the file, in whichever boot; None where nothing is known.
    """

    state: State
    starts_at_s: tuple[float, ...]
    alerts: Mapping[Alert, int | None] = field(default_factory=dict)
    wishes: Wishes = NO_WISHES
    was_in: Position | None = None


def text_of(
    state: State,
    reason: Reason,
    boot_id: str,
    starts_at_s: Sequence[float],
    alerts: Mapping[Alert, int | None] | None = None,
    wishes: Wishes = NO_WISHES,
) -> str:
    """The file's text. Equal states have equal texts; nothing is in it that changes at every tick."""
    return _encoded(
        {
            "version": _VERSION,
            "boot_id": boot_id,
            "position": state.position,
            "reason": reason,
            "position_since_s": state.position_since_s,
            "transfers_at_s": state.transfers_at_s[-_MOST_TRANSFERS:],
            "is_chattering": state.is_chattering,
            "over_temperature_since_s": state.over_temperature_since_s,
            "battery_is_low": state.battery_is_low,
            "battery_is_critical": state.battery_is_critical,
            "fault": state.fault,
            "starts_at_s": starts_at_s[-_MOST_STARTS:],
            "alerts": dict(sorted((alerts or {}).items())),
            "wishes": _wishes_as_json(wishes),
        }
    )


def resumed(text: str | None, boot_id: str, now_s: float) -> Resumed:
    """The state to begin with, at monotonic `now_s` of the boot `boot_id`.

    Of the same boot everything in the file goes on, but for a fault that a restart clears. Of another boot (or where
    the kernel does not tell) the relays are open since now, and the latches and a welded relay survive. Without a text,
    or with one that cannot be used, it starts afresh.
    """
    fresh = initial_state(now_s)
    if text is None:
        return Resumed(fresh, ())
    try:
        kept = _parsed(text)
        is_same_boot = kept.boot_id == boot_id != _UNKNOWN_BOOT
        if is_same_boot:
            _check_past(kept, now_s)
    except _GarbageError as e:
        log.warning("%s is not used: %s; control starts afresh", FILE_NAME, e)
        return Resumed(fresh, ())
    surviving = fresh._replace(
        battery_is_low=kept.battery_is_low,
        battery_is_critical=kept.battery_is_critical,
        # The relays may obey the next process; what is welded stays welded until somebody has looked.
        fault=kept.fault if kept.fault is RelayFault.STUCK_CLOSED else None,
    )
    if not is_same_boot:
        return Resumed(surviving, (), kept.alerts, rebooted(kept.wishes), kept.position)
    state = surviving._replace(
        position=kept.position,
        position_since_s=kept.position_since_s,
        transfers_at_s=kept.transfers_at_s,
        is_chattering=kept.is_chattering,
        over_temperature_since_s=kept.over_temperature_since_s,
    )
    return Resumed(state, kept.starts_at_s, kept.alerts, kept.wishes, kept.position)


def _check_past(kept: _Kept, now_s: float) -> None:
    times_s = [kept.position_since_s, kept.over_temperature_since_s, *kept.transfers_at_s, *kept.starts_at_s]
    if kept.wishes.active is not None:
        times_s.append(kept.wishes.active.since_s)
    if any(time_s is not None and time_s > now_s for time_s in times_s):
        raise _GarbageError("it has times that are yet to come")


# On the disk


def read(directory: Path) -> str | None:
    """The text of the file in `directory`; None where there is none.

    One that cannot be used is moved aside, where that is possible, and the log says so. Whatever is wrong with it,
    control starts.
    """
    path = directory / FILE_NAME
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1).decode("ascii")
        _parsed(text)
    except FileNotFoundError:
        return None
    except OSError as e:
        _refuse(path, e.strerror or str(e))
    except UnicodeDecodeError:
        _refuse(path, "it is not ASCII text")
    except _GarbageError as e:
        _refuse(path, str(e))
    else:
        return text
    return None


def write(directory: Path, text: str) -> None:
    """Put `text` in place of what is there, in one step and for good.

    Raises:
        OSError: the disk is full, read-only or failing. What was there still is, unless only the last sync failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f"{FILE_NAME}.{os.getpid()}.tmp"
    _remove_leftovers(directory)
    try:
        _write_through(temporary, text.encode("ascii"))
        temporary.replace(directory / FILE_NAME)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(directory)


def clear_fault(directory: Path) -> bool:
    """Take a latched fault out of the file, while control does not run; say whether there was one.

    Raises:
        OSError: the file cannot be written.
    """
    text = read(directory)
    if text is None:
        return False
    kept: dict[str, Any] = json.loads(text)
    if kept["fault"] is None:
        return False
    write(directory, _encoded(kept | {"fault": None}))
    return True


def _refuse(path: Path, why: str) -> None:
    try:
        path.replace(path.with_name(REFUSED_NAME))
    except OSError as e:
        aside = f"it cannot be moved aside ({e.strerror})"
    else:
        aside = f"moved to {REFUSED_NAME}"
    log.warning("%s is not used: %s; %s; control starts afresh", path, why, aside)


def _remove_leftovers(directory: Path) -> None:
    """A process that was killed while it wrote leaves its temporary file."""
    for leftover in directory.glob(f"{FILE_NAME}.*.tmp"):
        with suppress(OSError):
            leftover.unlink()


def _write_through(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    """Without this a power cut may take back the rename."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# The text


def _encoded(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _parsed(text: str) -> _Kept:
    """What the text says.

    Raises:
        _GarbageError: it is not exactly what `text_of` writes.
    """
    if len(text) > _MOST_BYTES:
        raise _GarbageError(f"it has more than {_MOST_BYTES} bytes")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise _GarbageError("it is not JSON") from None
    if isinstance(fields, dict):
        fields = _of_this_version(fields)
    if not isinstance(fields, dict) or type(fields.get("version")) is not int:
        raise _GarbageError("it is not a state")
    if fields["version"] != _VERSION:
        raise _GarbageError(f"it has version {str(fields['version'])[:_MOST_WORDS]}, this software knows {_VERSION}")
    try:
        Reason(_text(fields.pop("reason")))
        kept = _Kept(
            boot_id=_text(fields.pop("boot_id")),
            position=Position(_text(fields.pop("position"))),
            position_since_s=_seconds(fields.pop("position_since_s")),
            transfers_at_s=_times(fields.pop("transfers_at_s"), _MOST_TRANSFERS),
            is_chattering=_flag(fields.pop("is_chattering")),
            over_temperature_since_s=_seconds_or_none(fields.pop("over_temperature_since_s")),
            battery_is_low=_flag(fields.pop("battery_is_low")),
            battery_is_critical=_flag(fields.pop("battery_is_critical")),
            fault=_fault(fields.pop("fault")),
            starts_at_s=_times(fields.pop("starts_at_s"), _MOST_STARTS),
            alerts=_alerts(fields.pop("alerts")),
            wishes=_wishes(fields.pop("wishes")),
        )
    except KeyError as e:
        raise _GarbageError(f"it has no {e.args[0]}") from None
    except ValueError as e:
        raise _GarbageError(f"it has a wrong value: {str(e)[:_MOST_WORDS]}") from None
    if fields.keys() != {"version"}:
        raise _GarbageError("it has more in it than a state")
    return kept


def _of_this_version(fields: dict[str, Any]) -> dict[str, Any]:
    """The same, if it is older, as this version has it."""
    if fields.get("version") == 1 and "wishes" not in fields:
        fields = fields | {"version": 2, "wishes": _wishes_as_json(NO_WISHES)}  # from before there were any
    alerts = fields.get("alerts")
    if fields.get("version") == 2 and isinstance(alerts, list) and all(isinstance(name, str) for name in alerts):
        fields = fields | {"version": 3, "alerts": dict.fromkeys(alerts)}
    return fields


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 - the caller asks for one kind of error
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004 - as above
    return value


def _fault(value: object) -> RelayFault | None:
    return None if value is None else RelayFault(_text(value))


def _alerts(value: object) -> dict[Alert, int | None]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no alerts")  # noqa: TRY004 - as above
    return {Alert(name): None if at_ms is None else _whole(at_ms) for name, at_ms in value.items()}


def _wishes_as_json(wishes: Wishes) -> dict[str, Any]:
    active = wishes.active
    return {
        "newest": None if wishes.newest is None else wishes.newest.as_json(),
        "state": wishes.state,
        "because": wishes.because,
        "active": None
        if active is None
        else {
            "position": active.position,
            "until_ms": active.until_ms,
            "since_s": active.since_s,
            "ends_at_s": active.ends_at_s,
            "is_timed": active.is_timed,
        },
        "ends_at_ms": wishes.ends_at_ms,
        "over": [wish.as_json() for wish in wishes.over],
    }


def _wishes(value: object) -> Wishes:
    if not isinstance(value, dict):
        raise ValueError("wishes is no object")  # noqa: TRY004 - as above
    over = value["over"]
    if not isinstance(over, list) or len(over) > MOST_REMEMBERED:
        raise ValueError(f"at most {MOST_REMEMBERED} wishes were expected")
    wishes = Wishes(
        newest=_wish(value["newest"]),
        state=None if value["state"] is None else OverrideState(_text(value["state"])),
        because=_text(value["because"])[:_MOST_WORDS],
        active=_override(value["active"]),
        ends_at_ms=None if value["ends_at_ms"] is None else _whole(value["ends_at_ms"]),
        over=tuple(wish for wish in (_wish(each) for each in over) if wish is not None),
    )
    is_active, is_waiting = wishes.state is OverrideState.ACTIVE, wishes.state is OverrideState.WAITING
    has_override = wishes.newest is not None and wishes.newest.mode is not Mode.AUTO
    if is_active != (wishes.active is not None) or (wishes.state is not None and wishes.newest is None):
        raise ValueError("wishes contradicts itself")
    if (is_active or is_waiting) and not has_override:
        raise ValueError("wishes contradicts itself")
    return wishes


def _wish(value: object) -> Wish | None:
    try:
        return wish_of({"override": value})
    except ShadowError as e:
        raise ValueError(str(e)) from None


def _override(value: object) -> Override | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError("an override is no object")  # noqa: TRY004 - as above
    return Override(
        Position(_text(value["position"])),
        _whole(value["until_ms"]),
        _seconds(value["since_s"]),
        _seconds(value["ends_at_s"]),
        is_timed=_flag(value["is_timed"]),
    )


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _seconds(value: object) -> float:
    return check_number("a time", value)


def _seconds_or_none(value: object) -> float | None:
    return None if value is None else _seconds(value)


def _times(value: object, most: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"at most {most} times were expected")
    return tuple(_seconds(time) for time in value)
