"""The verbs `dashboard render` and `dashboard push`: from the command line and the environment to what they do."""

import argparse
import json
import os
import sys

from contract.errors import SolarshedError
from dashboard import files
from dashboard.alert_rules import INTERVAL_S
from dashboard.data_source import Auth, InfluxDb, Timestream, auth_for, region_of
from dashboard.grafana import render
from dashboard.look import Engine, Look

TOKEN = "GRAFANA_TOKEN"  # noqa: S105 - the variable's name
PAGERDUTY_KEY = "SOLARSHED_PAGERDUTY_KEY"
INFLUX_TOKEN = "SOLARSHED_INFLUX_TOKEN"  # noqa: S105 - the variable's name
ACCESS_KEY = "SOLARSHED_TIMESTREAM_ACCESS_KEY"
SECRET_KEY = "SOLARSHED_TIMESTREAM_SECRET_KEY"  # noqa: S105 - the variable's name


class UsageError(SolarshedError, ValueError):
    """Something is missing that only the owner can give."""


def run_render(args: argparse.Namespace) -> int:
    """Write the dashboards' files, or print them as one JSON object by uid."""
    dashboards = render(_look(args))
    if args.output is None:
        json.dump(dashboards, sys.stdout, indent=2, ensure_ascii=False)
        print()
        return 0
    for path in files.write(dashboards, args.output):
        print(path)
    return 0


def run_push(args: argparse.Namespace) -> int:
    """Bring everything into a Grafana."""
    from dashboard.connection import Connection
    from dashboard.push import Wanted, push

    look = _look(args)
    source = _timestream(args) if look.engine is Engine.TIMESTREAM else _influxdb(args)
    token = _given(TOKEN)
    if token is None:
        raise UsageError(
            f"{TOKEN} is not set; in Grafana make a service account with the role Admin (Administration, Service "
            f"accounts), add a token, and set {TOKEN} to it"
        )
    interval_s = args.alert_interval_min * 60 if args.alert_interval_min is not None else INTERVAL_S[look.engine]
    wanted = Wanted(look, render(look), source, interval_s, _given(PAGERDUTY_KEY), args.replace_data_source)
    with Connection(args.url, token) as connection:
        print(push(connection, wanted, print))
    return 0


def _look(args: argparse.Namespace) -> Look:
    return Look(Engine(args.engine), args.fahrenheit, args.utc_offset)


def _timestream(args: argparse.Namespace) -> Timestream:
    if args.influx_url is not None:
        raise UsageError("--influx-url is for --engine influxdb; leave it away, or give both")
    region = args.region or region_of(args.url)
    if region is None:
        raise UsageError("in which region is the table? give the stack's, such as --region us-east-1")
    auth = Auth(args.auth) if args.auth else auth_for(args.url)
    return Timestream(region, auth, args.assume_role, args.external_id, _given(ACCESS_KEY), _given(SECRET_KEY))


def _influxdb(args: argparse.Namespace) -> InfluxDb:
    for option in ("region", "assume_role", "external_id", "auth"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')} is for --engine timestream; leave it away")
    if args.influx_url is None:
        raise UsageError(
            "where is InfluxDB? give its address as Grafana reaches it, such as --influx-url https://HOST:8086"
        )
    return InfluxDb(args.influx_url, _given(INFLUX_TOKEN))


def _given(variable: str) -> str | None:
    """A variable of the environment; empty is as good as not set."""
    return os.environ.get(variable, "").strip() or None
