"""What the sheet takes for granted, because neither code nor template says it. Change it here, and nowhere else."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumed:
    """None of it is measured in AWS."""

    # How often a device falls silent for so long that its owner is told, and how long until it is back.
    silences_a_month: float = 1.0
    silence_runs: int = 12
    # How long a Lambda takes: for itself, and for each message or heartbeat.
    telemetry_s: float = 0.05
    telemetry_message_s: float = 0.02
    alerts_s: float = 0.03
    alerts_message_s: float = 0.35
    heartbeat_s: float = 0.4
    heartbeat_thing_s: float = 0.002
    cold_starts_a_day: float = 24.0
    # What a call of a Lambda leaves in its log: AWS's own three lines, and ours.
    log_bytes_of_call: int = 450
    log_bytes_of_line: int = 250
    # An incident as DynamoDB keeps it, and how many names of alerts a device ever raises.
    incident_bytes: int = 1500
    incidents_of_device: int = 4
    # One dashboard is looked at, and asks anew so often; AWS takes 30 s of 4 TCU for the least query.
    dashboard_hours_a_day: float = 1.0
    dashboard_asks_every_s: float = 60.0
    query_s: float = 30.0
    query_tcu: int = 4
    # How much of the magnetic store has been filled: after a year. It goes on to fill for five.
    months_kept: int = 12
    # Long polls of the least pollers that Lambda has at a queue: 20 s each.
    pollers: int = 5
    poll_s: float = 20.0


ASSUMED = Assumed()
