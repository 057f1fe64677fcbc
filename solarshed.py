"""The command `solarshed`. Each verb imports what it needs when it is called: control stays light on a Pi."""

import argparse
import importlib
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.errors import SolarshedError
from contract.shadow import Mode
from contract.store import DEFAULT_SITE, ENGINES, TIMESTREAM
from contract.topics import check_thing_name
from device.settings import DEFAULT_PATH

_EXAMPLES = """\
examples:
  solarshed demo                         the whole system on this machine
  solarshed decode mate capture.bin      what a MATE said
  solarshed replay winter.csv            what control would have done
  solarshed config check                 is the settings file right, and what does it come to
  solarshed doctor                       what is wrong with this Pi, and the remedy
  solarshed doctor --cloud               is your AWS account ready for a deployment (from your laptop)
  solarshed provision shed               its thing and certificate in AWS IoT (from your laptop)
  solarshed override shed grid --for 2h  closes the relays for two hours (from your laptop)
  solarshed status shed                  what it does, and why (from your laptop)
  solarshed pause shed --for 2h          work on it without an alert that it is silent (from your laptop)
  solarshed dashboard render --output .  the dashboards for Grafana, as files
  solarshed dashboard push --url URL     them, data source and alert rules into your Grafana (from your laptop)
  solarshed costs                        what AWS costs a device and month
  solarshed page                         the dashboards on a page of this Pi, without a network
  sudo solarshed https shed.local        Grafana behind HTTPS, by nginx (where Grafana runs)
"""

# Of `solarshed override`.
_DEFAULT_OVERRIDE_S = 2 * 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 failed (and stderr says why), 2 wrong usage."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s solarshed {args.verb}: %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        status: int = args.run(args)
    except SolarshedError as e:
        print(f"solarshed {args.verb}: {e}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output (head, say) has had enough. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


class _PrintVersion(argparse.Action):
    """Looks it up only when asked: what reads it would stay in the memory of control and uplink with 3 MB."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"solarshed {version('solarshed')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="solarshed",
        description="Runs an inverter on solar until the battery is low, then on grid, and says why.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_PrintVersion, help="show program's version number and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    control = verbs.add_parser("control", help="decide and switch the relays (on the Pi)")
    control.set_defaults(run=_control)
    uplink = verbs.add_parser("uplink", help="deliver the outbox to AWS IoT Core (on the Pi)")
    uplink.set_defaults(run=_uplink)
    replay = verbs.add_parser("replay", help="recorded readings through the real decision loop")
    replay.add_argument(
        "trace",
        type=Path,
        metavar="TRACE.csv",
        help="columns time_s,battery_voltage_v,box_temperature_c,ac_mode (or a Studer datalog)",
    )
    replay.set_defaults(run=_replay)
    doctor = verbs.add_parser("doctor", help="what is wrong with this Pi, and the remedy")
    doctor.add_argument(
        "--cloud", action="store_true", help="instead: is your AWS account ready for a deployment (on your laptop)"
    )
    doctor.add_argument("--store", choices=ENGINES, help="with --cloud: the engine to deploy (default timestream)")
    doctor.add_argument("--profile", help="with --cloud: of your AWS configuration")
    doctor.add_argument("--region", help="with --cloud: where to deploy, such as us-east-1 (default: the profile's)")
    doctor.set_defaults(run=_doctor, usage_error=doctor.error)
    config = verbs.add_parser("config", help="look at the settings file")
    check = config.add_subparsers(dest="what", metavar="WHAT", required=True).add_parser(
        "check", help="say whether it can be used, and what it comes to"
    )
    check.set_defaults(run=_config_check)
    clear = verbs.add_parser("clear-fault", help="after a look at the relays: let a latched relay fault go")
    clear.set_defaults(run=_clear_fault)
    csr = verbs.add_parser(
        "csr",
        help="make this Pi's private key, once, and print a certificate request",
        description="Makes the private key at uplink.private_key unless there is one, and prints a request for its "
        "certificate (PEM), for `solarshed provision --csr`. The key never leaves the Pi.",
    )
    csr.set_defaults(run=_csr)
    for verb in (control, uplink, doctor, check, clear, csr):
        verb.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"default {DEFAULT_PATH}")
    replay.add_argument("--config", type=Path, metavar="FILE", help="settings; without it, the defaults")

    decode = verbs.add_parser("decode", help="a raw capture in, one JSON object a valid page out")
    decode.add_argument("protocol", choices=["mate"], help="mate: OutBack MATE/MATE2 status pages")
    decode.add_argument("file", nargs="?", default="-", metavar="FILE", help="- or nothing: standard input")
    decode.set_defaults(run=_decode)

    _add_owners_verbs(verbs)
    _add_dashboard(verbs)

    costs = verbs.add_parser(
        "costs",
        help="what AWS costs a device and month",
        description="Counts what one device with default settings says in a simulated month and what that leads to in "
        "AWS, times list prices from a dated table. Needs no account and no network.",
    )
    costs.add_argument(
        "--devices", type=_device_count, nargs="+", metavar="N", help="how many there are (default 1 100 10000)"
    )
    costs.add_argument("--json", action="store_true", help="the sheet and all that it rests on as one JSON object")
    costs.set_defaults(run=_costs)

    _add_page(verbs)
    _add_https(verbs)

    demo = verbs.add_parser("demo", help="the whole system on this machine, without any account")
    demo.add_argument(
        "--for", type=_seconds, dest="seconds", metavar="SECONDS", help="end by itself so long after the page is up"
    )
    demo.add_argument("--report", type=Path, metavar="FILE", help="write what happened as JSON at the end")
    demo.add_argument("--port", type=_port, default=8080, help="of the page (default 8080)")
    demo.set_defaults(run=_demo)
    return parser


def _add_owners_verbs(verbs: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    provision = verbs.add_parser(
        "provision",
        help="make the thing and its certificate in AWS IoT (on your laptop)",
        description="Makes the thing, gives it a certificate with the deployed stack's policy, and writes certificate "
        "and settings for the Pi to a folder. Run again, it completes what is missing and makes nothing twice. Prints "
        "the certificate's ARN.",
    )
    _add_thing(provision)
    request = provision.add_mutually_exclusive_group()
    request.add_argument(
        "--csr", metavar="FILE", help="what `solarshed csr` printed on the Pi, - for standard input; else makes a key"
    )
    request.add_argument("--revoke", action="store_true", help="retire all its certificates instead, for ever")
    provision.add_argument("--out", type=Path, metavar="FOLDER", help="where its files go (default ./THING)")
    provision.set_defaults(run=_provision, usage_error=provision.error)

    override = verbs.add_parser(
        "override",
        help="ask a device for grid or battery for a while, or back to auto (on your laptop)",
        description="Asks the device and waits for its answer. Exit status 0: it is in force. 1: it is not; it was "
        "suppressed by a safety rule, refused, or the device has not answered yet and takes it up when it is back.",
    )
    _add_thing(override)
    override.add_argument("mode", choices=list(Mode), help="grid: relays closed; battery: open; auto: the rules decide")
    override.add_argument(
        "--for", type=_duration, dest="for_s", metavar="DURATION", help="90s, 45m, 2h (default), 1h30m"
    )
    override.add_argument("--wait", type=_seconds, default=30.0, metavar="SECONDS", help="for an answer (default 30)")
    override.set_defaults(run=_override, usage_error=override.error)

    status = verbs.add_parser(
        "status",
        help="what a device does, why, and what it reads (on your laptop)",
        description="What the device last reported. Exit status 0 also when that is long ago: it says OFFLINE then.",
    )
    _add_thing(status)
    status.add_argument("--json", action="store_true", help="thing, heard_s_ago, reported, desired as one JSON object")
    status.set_defaults(run=_status, usage_error=status.error)

    pause = verbs.add_parser(
        "pause",
        help="raise nothing about a device's silence for a while (on your laptop)",
        description="Until then neither silence nor blindness of the device is raised, and what of that is open is "
        "cleared within minutes. The device goes on as it does, and so do its own alerts.",
    )
    _add_thing(pause)
    pause.add_argument("--for", required=True, dest="duration", metavar="DURATION", help="45m, 2h, 1h30m, 7d at most")
    pause.set_defaults(run=_pause, usage_error=pause.error)

    resume = verbs.add_parser("resume", help="end a pause now (on your laptop)")
    _add_thing(resume)
    resume.set_defaults(run=_resume)


def _add_page(verbs: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    page = verbs.add_parser(
        "page",
        help="the dashboards on a page of this machine: of this Pi's outbox, or of your AWS account",
        description="Serves the page on 127.0.0.1 until Ctrl-C; `solarshed https --page` puts it behind HTTPS and a "
        "password. On the Pi it shows what has not been delivered, for when the network is down. With --thing it shows "
        "what is stored of that thing in AWS (on your laptop).",
    )
    page.add_argument("--thing", type=_thing, metavar="THING", help="the thing's name: reads Timestream in AWS")
    page.add_argument("--site", type=_thing, default=DEFAULT_SITE, help=f"the thing's site (default {DEFAULT_SITE})")
    page.add_argument("--profile", help="of your AWS configuration")
    page.add_argument("--region", help="of AWS, instead of the configured one")
    page.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"default {DEFAULT_PATH}")
    page.add_argument("--port", type=_port, default=8080, help="default 8080")
    _add_look(page)
    page.set_defaults(run=_page)


def _add_look(verb: argparse.ArgumentParser) -> None:
    """How temperatures and days are shown."""
    verb.add_argument("--fahrenheit", action="store_true", help="temperatures in °F (default °C)")
    verb.add_argument(
        "--utc-offset", type=float, default=0.0, metavar="HOURS", help="of the shed's clock, for its days: -8, 5.5"
    )


def _add_https(verbs: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    https = verbs.add_parser(
        "https",
        help="put Grafana, or the local page, behind HTTPS with nginx (where it runs)",
        description="Makes an nginx site for HTTPS, and a self-signed certificate unless one is named, tries both, and "
        "puts them in place. nginx is not reloaded: the command for it is printed. Run again, it replaces the site, "
        "and keeps the certificate unless names have changed or it expires within 30 days. The local page has no "
        "login: in front of it the site asks for a password, which is made and printed once.",
    )
    https.add_argument(
        "names", nargs="+", type=_host, metavar="NAME", help="what is typed into the browser: host names, IP addresses"
    )
    https.add_argument("--page", action="store_true", help="for the local page, with a password, instead of Grafana")
    https.add_argument(
        "--upstream",
        type=_upstream,
        metavar="URL",
        help="where that listens (default http://127.0.0.1:3000; with --page http://127.0.0.1:8080)",
    )
    https.add_argument("--port", type=_port, default=30000, help="for HTTPS (default 30000)")
    https.add_argument("--certificate", type=_nginx_path, metavar="FILE", help="yours, with its chain (PEM)")
    https.add_argument("--key", type=_nginx_path, metavar="FILE", help="the certificate's key (PEM)")
    https.add_argument("--new-password", action="store_true", help="with --page: another one instead of the former")
    https.add_argument(
        "--nginx", type=Path, default=Path("/etc/nginx"), metavar="FOLDER", help="nginx's own (default /etc/nginx)"
    )
    https.add_argument("--print", action="store_true", dest="prints", help="only print the site; changes nothing")
    https.set_defaults(run=_https, usage_error=https.error)


def _add_dashboard(verbs: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    dashboard = verbs.add_parser("dashboard", help="Grafana's dashboards (on your laptop)")
    whats = dashboard.add_subparsers(dest="what", metavar="WHAT", required=True)
    render = whats.add_parser(
        "render",
        help="the dashboards as JSON",
        description="The dashboards as Grafana imports them. Without --output, one JSON object of both by their uids.",
    )
    render.add_argument("--output", type=Path, metavar="FOLDER", help="write a file of each into this folder")
    render.set_defaults(run=_dashboard_render)
    push = whats.add_parser(
        "push",
        help="dashboards, data source, PagerDuty and alert rules into a Grafana",
        description="Creates what is missing in your Grafana and updates what differs; run again, it changes nothing. "
        "Amazon Managed Grafana, Grafana Cloud or your own, 10.4 or later. From the environment: GRAFANA_TOKEN, of a "
        "service account with the role Admin; SOLARSHED_PAGERDUTY_KEY, if the alerts go to PagerDuty; "
        "SOLARSHED_INFLUX_TOKEN; for --auth keys SOLARSHED_TIMESTREAM_ACCESS_KEY and SOLARSHED_TIMESTREAM_SECRET_KEY.",
    )
    push.add_argument("--url", required=True, help="your Grafana's address, such as https://NAME.grafana.net")
    push.add_argument("--region", help="of Timestream, such as us-east-1 (default: Amazon Managed Grafana's own)")
    push.add_argument("--assume-role", metavar="ARN", help="the role that reads Timestream, an output of the stack")
    push.add_argument("--external-id", metavar="ID", help="that the role asks for")
    push.add_argument(
        "--auth",
        choices=["default", "ec2_iam_role", "grafana_assume_role", "keys"],
        help="how Grafana logs in to AWS (default: by its address: ec2_iam_role for Amazon Managed Grafana, "
        "grafana_assume_role for Grafana Cloud, else default, the AWS SDK's)",
    )
    push.add_argument("--influx-url", metavar="URL", help="of InfluxDB, as Grafana reaches it")
    push.add_argument(
        "--alert-interval",
        type=_minutes,
        dest="alert_interval_min",
        metavar="MINUTES",
        help="how often the alert rules are evaluated (default 60 with Timestream, which costs each time, else 1)",
    )
    push.add_argument(
        "--replace-data-source", action="store_true", help="change our data source if it has other settings"
    )
    push.set_defaults(run=_dashboard_push)
    for verb in (render, push):
        verb.add_argument(
            "--engine", choices=["timestream", "influxdb"], default="timestream", help="the store (default timestream)"
        )
        _add_look(verb)


def _add_thing(verb: argparse.ArgumentParser) -> None:
    """Which thing, and in whose account."""
    verb.add_argument("thing", type=_thing, metavar="THING", help="the thing's name")
    verb.add_argument("--profile", help="of your AWS configuration")
    verb.add_argument("--region", help="the stack's, such as us-east-1 (default: the profile's)")


def _thing(text: str) -> str:
    """A thing's name, for argparse."""
    try:
        return check_thing_name(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _duration(text: str) -> int:
    """A duration with units, in seconds, for argparse."""
    from owner.words import duration_s

    try:
        return duration_s(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _host(text: str) -> str:
    """A host name or IP address, for argparse."""
    from proxy.site import check_name

    try:
        return check_name(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _upstream(text: str) -> str:
    """Where a web server near by listens, for argparse."""
    from proxy.site import check_upstream

    try:
        return check_upstream(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _nginx_path(text: str) -> Path:
    """A path that nginx can be told, for argparse."""
    from proxy.site import check_path

    try:
        return check_path(Path(text))
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _seconds(text: str) -> float:
    """A duration in seconds, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write seconds, such as 90")
    return seconds


def _device_count(text: str) -> int:
    """A number of devices, for argparse."""
    most = 100_000
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of devices; write a whole number from 1 to {most}")
    return int(text)


def _minutes(text: str) -> int:
    """A number of minutes, a day's at most, for argparse."""
    most = 1440
    if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes; write a whole number from 1 to {most}")
    return int(text)


def _port(text: str) -> int:
    """A TCP port, for argparse."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 1 to 65535")
    return int(text)


def _control(args: argparse.Namespace) -> int:
    from device import control, settings

    control.run(settings.load(args.config))
    return 0


def _clear_fault(args: argparse.Namespace) -> int:
    from device import control, settings

    was_latched = control.clear_fault(settings.load(args.config))
    print("the relay fault is cleared; start control again" if was_latched else "no relay fault is latched")
    return 0


def _uplink(args: argparse.Namespace) -> int:
    from device import settings
    from device.uplink import service

    service.run(settings.load(args.config))
    return 0


def _csr(args: argparse.Namespace) -> int:
    from device import identity, settings

    chosen = settings.load(args.config)
    key = Path(chosen.uplink.private_key)
    print(identity.make_key_and_request(chosen.thing, key), end="")
    print(
        f"the key is {key}, and stays here; uplink must be able to read it: sudo chgrp solarshed {key} && "
        f"sudo chmod 640 {key}\nnext, on your laptop: solarshed provision {chosen.thing} --csr FILE",
        file=sys.stderr,
    )
    return 0


def _page(args: argparse.Namespace) -> int:
    from dashboard.look import Look
    from page import command

    look = Look(fahrenheit=args.fahrenheit, utc_offset_h=args.utc_offset)
    if args.thing is None:
        command.of_outbox(args.config, look, args.port)
    else:
        _owners("session")
        command.of_store(args.thing, args.site, args.profile, args.region, look, args.port)
    return 0


def _provision(args: argparse.Namespace) -> int:
    if args.revoke and args.out:
        args.usage_error("--revoke writes no files: leave --out away")
    provision = _owners("provision")
    account = _owners("session").Account(args.profile, args.region)
    if args.revoke:
        status: int = provision.revoke(account, args.thing)
    else:
        status = provision.run(account, args.thing, args.csr, args.out or Path(args.thing))
    return status


def _override(args: argparse.Namespace) -> int:
    mode = Mode(args.mode)
    if mode is Mode.AUTO and args.for_s is not None:
        args.usage_error("auto has no end: leave --for away")
    account = _owners("session").Account(args.profile, args.region)
    status: int = _owners("override").run(account, args.thing, mode, args.for_s or _DEFAULT_OVERRIDE_S, args.wait)
    return status


def _status(args: argparse.Namespace) -> int:
    account = _owners("session").Account(args.profile, args.region)
    status: int = _owners("status").run(account, args.thing, as_json=args.json)
    return status


def _pause(args: argparse.Namespace) -> int:
    maintenance = _owners("maintenance")
    try:
        for_s = maintenance.pause_s(args.duration)
    except ValueError as e:
        args.usage_error(f"argument --for: {e}")
    status: int = maintenance.pause(_owners("session").Account(args.profile, args.region), args.thing, for_s)
    return status


def _resume(args: argparse.Namespace) -> int:
    account = _owners("session").Account(args.profile, args.region)
    status: int = _owners("maintenance").resume(account, args.thing)
    return status


def _owners(module: str) -> Any:  # noqa: ANN401 - one of owner's modules
    """A module of `owner`; says what to install where its libraries are missing, as on a Pi."""
    try:
        imported = importlib.import_module(f"owner.{module}")
    except ModuleNotFoundError as e:
        if e.name not in ("boto3", "botocore", "cryptography"):
            raise
        raise SolarshedError(
            f"{e.name} is not installed here; run this on your laptop, after: pip install 'solarshed[owner]'"
        ) from None
    # It would tell where it found the credentials.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    return imported


def _https(args: argparse.Namespace) -> int:
    if (args.certificate is None) != (args.key is None):
        args.usage_error("--certificate and --key go together")
    if args.new_password and not args.page:
        args.usage_error("--new-password is for --page: Grafana has a login of its own")
    try:
        from proxy import command, site
    except ModuleNotFoundError as e:
        if e.name != "cryptography":
            raise
        raise SolarshedError(f"{e.name} is not installed here: pip install 'solarshed[owner]'") from None
    wish = command.Wish(
        names=tuple(dict.fromkeys(args.names)),
        upstream=args.upstream or (site.PAGE if args.page else site.GRAFANA),
        is_page=args.page,
        port=args.port,
        given=None if args.certificate is None else (args.certificate, args.key),
        nginx_folder=args.nginx,
        wants_new_password=args.new_password,
    )
    return command.show(wish) if args.prints else command.run(wish, datetime.now(UTC))


def _dashboard_render(args: argparse.Namespace) -> int:
    status: int = _dashboards().run_render(args)
    return status


def _dashboard_push(args: argparse.Namespace) -> int:
    status: int = _dashboards().run_push(args)
    return status


def _dashboards() -> Any:  # noqa: ANN401 - a module
    """`dashboard.command`; says what to install where its libraries are missing, as on a Pi."""
    try:
        importlib.import_module("grafana_client")
        return importlib.import_module("dashboard.command")
    except ModuleNotFoundError as e:
        if e.name not in ("grafana_client", "grafana_foundation_sdk"):
            raise
        raise SolarshedError(
            f"{e.name} is not installed here; run this on your laptop, after: pip install 'solarshed[owner]'"
        ) from None


def _doctor(args: argparse.Namespace) -> int:
    if args.cloud:
        session, cloud_check = _owners("session"), _owners("cloud_check")
        status: int = cloud_check.run(
            lambda: session.Account(args.profile, args.region), args.store or TIMESTREAM, sys.stdout
        )
        return status
    if args.store or args.profile or args.region:
        args.usage_error("--store, --profile and --region are for --cloud")
    from device import doctor

    # It uses the classes that control uses, and says in its own words what they would log.
    logging.disable()
    return doctor.run(args.config, sys.stdout, doctor.Machine())


def _config_check(args: argparse.Namespace) -> int:
    from device import config_check, settings

    chosen = settings.load(args.config)
    print(f"settings ok: {args.config}\n")
    print(*config_check.lines_about(chosen), sep="\n")
    return 0


def _replay(args: argparse.Namespace) -> int:
    from device import replay, settings

    chosen = settings.parse("") if args.config is None else settings.load(args.config)
    replay.run(args.trace, chosen.limits(), sys.stdout)
    return 0


def _decode(args: argparse.Namespace) -> int:
    from device.mate import PageReader, as_json

    reader = PageReader()
    try:
        capture = sys.stdin.buffer if args.file == "-" else Path(args.file).open("rb")  # noqa: SIM115
    except OSError as e:
        raise SolarshedError(f"{args.file}: {e.strerror}; name a capture file, or - for standard input") from None
    with capture:
        while chunk := capture.read(65536):
            for page in reader.feed(chunk):
                print(json.dumps(as_json(page)))
    for page in reader.finish():
        print(json.dumps(as_json(page)))
    nothing_valid = bool(reader.refused) and not reader.read
    if nothing_valid:
        print("no valid page: is this what a MATE or MATE2 sends, read at 19200 baud?", file=sys.stderr)
    causes = f": {reader.causes}" if reader.causes else ""
    print(f"{reader.read} pages read, {reader.refused.total()} refused{causes}", file=sys.stderr)
    return 1 if nothing_valid else 0


def _costs(args: argparse.Namespace) -> int:
    try:
        from infra.costs import sheet
    except ModuleNotFoundError as e:
        if e.name != "serial":
            raise
        raise SolarshedError(
            "pyserial is not installed here, and a device's code needs it; run: pip install 'solarshed[device]'"
        ) from None
    # Its virtual device has nothing to tell.
    logging.getLogger("device").setLevel(logging.WARNING)
    sheet.run(args.devices or sheet.DEFAULT_DEVICES, as_json=args.json, out=sys.stdout)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from demo.run import main as run_demo

    return run_demo(seconds=args.seconds, report=args.report, port=args.port)


if __name__ == "__main__":
    sys.exit(main())
