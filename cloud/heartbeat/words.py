"""What the alerts say, in the owner's words. Times are epoch milliseconds, shown in UTC."""

from collections.abc import Mapping
from datetime import UTC, datetime

from cloud.heartbeat.beats import Beat
from cloud.heartbeat.bucket import Connection
from cloud.heartbeat.verdict import DECISIONS, UNREADABLE
from contract.alerts import CloudAlert
from contract.status import State
from contract.words import duration

_TROUBLES = {
    "battery_voltage": "the battery voltage has not been read for {lasts}",
    "box_temperature": "the temperature of the relay box has not been read for {lasts}",
    DECISIONS: "its decision count has not grown for {lasts}: control hangs, or starts anew again and again",
    UNREADABLE: "no heartbeat could be read for {lasts} ({error})",
}
_LOST = {CloudAlert.DEVICE_SILENT: "silence", CloudAlert.DEVICE_BLIND: "blindness"}


def silent(thing: str, beat_ms: int, now_ms: int, beat: Beat | None, connection: Connection | None) -> str:
    """`beat` and `connection` are None where nothing is known of them."""
    then = "" if beat is None else f", then {_position(beat)}"
    last = f"last heartbeat {clock(beat_ms, now_ms)}{then}{_connection(connection, beat_ms, now_ms)}"
    return f"{thing} has been silent for {duration((now_ms - beat_ms) / 1000)}: {last}"


def blind(thing: str, since_ms: Mapping[str, int], beat_ms: int, beat: Beat | None, error: str) -> str:
    """`since_ms`: its troubles, at least one. `error`: why the heartbeat cannot be read, where it cannot."""
    shown = "".join(each if each.isprintable() else "?" for each in error)
    troubles = [
        _TROUBLES[name].format(lasts=duration((beat_ms - ms) / 1000), error=shown) for name, ms in since_ms.items()
    ]
    now = "" if beat is None else f"; it is {_position(beat)}"
    return f"{thing} sends heartbeats, but is blind: {'; '.join(troubles)}{now}"


def back(alert: CloudAlert, thing: str, lasted_ms: int | None) -> str:
    """That it is over; `lasted_ms` is None where nobody knows any more how long it was."""
    after = "" if lasted_ms is None else f" after {duration(lasted_ms / 1000)} of {_LOST[alert]}"
    return f"{thing} {'is back' if alert is CloudAlert.DEVICE_SILENT else 'sees again'}{after}"


def paused(thing: str, until_ms: int, now_ms: int) -> str:
    """That its owner wants to hear nothing of it for now."""
    return f"{thing} is paused by its owner until {clock(until_ms, now_ms)}"


def unregistered(thing: str) -> str:
    """That it has been decommissioned."""
    return f"{thing} is no longer registered in AWS IoT: it is not watched any more"


def forgotten(thing: str) -> str:
    """That its heartbeat was deleted."""
    return f"no heartbeat of {thing} is kept any more: it is watched again from its next one"


def clock(time_ms: int, now_ms: int) -> str:
    """The time of day, with the date where it is not today's."""
    time, now = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (time_ms, now_ms))
    return f"{time:%H:%M} UTC" if time.date() == now.date() else f"{time:%Y-%m-%d %H:%M} UTC"


def _position(beat: Beat) -> str:
    return f"on {beat.position} ({beat.reason})"


def _connection(connection: Connection | None, beat_ms: int, now_ms: int) -> str:
    # What it said before its last heartbeat is no news: what it said since has been lost.
    if connection is None or (connection.state is not State.ONLINE and connection.at_ms < beat_ms):
        return ""
    at = clock(connection.at_ms, now_ms)
    said = {
        State.ONLINE: "it is still connected, but control says nothing",
        State.OFFLINE: f"its connection broke at {at}",
        State.STOPPING: f"it said at {at} that it was being stopped",
    }
    return f"; {said[connection.state]}"
