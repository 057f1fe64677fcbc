"""`dashboard push` against a played Grafana: what it makes, that it makes it once, what it leaves if it cannot."""

import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard import contact_point
from dashboard.alert_rules import FOLDER_UID, GROUP, RULES
from dashboard.data_source import FINGERPRINT
from dashboard.look import DATA_SOURCE_UID, Look
from solarshed import main
from tests.peers.certificates import server_certificate
from tests.peers.grafana import EDITORS_TOKEN, TOKEN, Fault, Grafana

KEY = "0123456789abcdefABCDEF0123456789"
OTHER_KEY = KEY[::-1]
INFLUX_TOKEN = "a-token-of-influxdb"  # noqa: S105 - a peer's
ROLE = "arn:aws:iam::123456789012:role/SolarshedReader"
HTML = {"Content-Type": "text/html"}

TIMESTREAM = ("--region", "us-east-1", "--assume-role", ROLE)
INFLUXDB = ("--engine", "influxdb", "--influx-url", "https://influx.example:8086")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    monkeypatch.setenv("SOLARSHED_PAGERDUTY_KEY", KEY)
    monkeypatch.setenv("SOLARSHED_INFLUX_TOKEN", INFLUX_TOKEN)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with Grafana() as running:
        yield running


def push(grafana: Grafana, *options: str) -> int:
    return main(["dashboard", "push", "--url", grafana.url, *(options or TIMESTREAM)])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("solarshed dashboard: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("options", [TIMESTREAM, INFLUXDB], ids=["timestream", "influxdb"])
def test_it_makes_everything_and_a_second_time_changes_nothing(
    grafana: Grafana, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    assert push(grafana, *options) == 0

    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"{grafana.url}/d/solarshed-now"
    assert [line for line in said if line.endswith(": unchanged")] == []
    assert set(grafana.dashboards) == {"solarshed-now", "solarshed-history"}
    assert {kept["meta"]["folderUid"] for kept in grafana.dashboards.values()} == {FOLDER_UID}
    assert len(grafana.rules) == len(RULES)
    assert {rule["provenance"] for rule in grafana.rules.values()} == {""}
    assert grafana.points[contact_point.UID]["settings"]["integrationKey"] == KEY
    assert grafana.points[contact_point.UID]["provenance"] == ""
    names = {rule["notification_settings"]["receiver"] for rule in grafana.rules.values()}
    assert names == {contact_point.NAME}
    assert grafana.intervals_s[FOLDER_UID, GROUP] == (3600 if options is TIMESTREAM else 60)
    grafana.requests.clear()

    assert push(grafana, *options) == 0

    assert grafana.writes == []
    again = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[0] for line in said if line.endswith((": created", ": updated"))] == [
        line.rpartition(": ")[0] for line in again if line.endswith(": unchanged")
    ]
    assert again[-1] == said[-1]


def test_the_data_source_is_as_the_plugins_want_it(grafana: Grafana) -> None:
    push(grafana, *TIMESTREAM, "--external-id", "shed")
    source = grafana.sources.pop(DATA_SOURCE_UID)

    assert source["type"] == "grafana-timestream-datasource"
    assert source["jsonData"] == {
        "authType": "default",
        "defaultRegion": "us-east-1",
        "defaultDatabase": '"solarshed"',
        "defaultTable": '"telemetry"',
        "assumeRoleArn": ROLE,
        "externalId": "shed",
    }

    push(grafana, *INFLUXDB)
    source = grafana.sources[DATA_SOURCE_UID]

    assert (source["type"], source["url"], source["database"]) == (
        "influxdb",
        "https://influx.example:8086",
        "solarshed",
    )
    assert source["jsonData"]["httpHeaderName1"] == "Authorization"
    assert source["secureJsonData"] == {"httpHeaderValue1": f"Token {INFLUX_TOKEN}"}
    assert INFLUX_TOKEN not in str(source["jsonData"])


def test_without_a_key_of_pagerduty_no_contact_point_is_made_and_it_says_so(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SOLARSHED_PAGERDUTY_KEY")

    assert push(grafana) == 0

    assert grafana.points == {}
    assert all("notification_settings" not in rule for rule in grafana.rules.values())
    assert "SOLARSHED_PAGERDUTY_KEY is not set" in capsys.readouterr().out

    monkeypatch.setenv("SOLARSHED_PAGERDUTY_KEY", KEY)
    assert push(grafana) == 0
    assert all("notification_settings" in rule for rule in grafana.rules.values())

    monkeypatch.delenv("SOLARSHED_PAGERDUTY_KEY")
    grafana.requests.clear()
    assert push(grafana) == 0
    assert grafana.writes == []
    assert all("notification_settings" in rule for rule in grafana.rules.values())


def test_what_the_owner_changed_in_grafana_is_kept_where_it_is_his_to_say(grafana: Grafana) -> None:
    push(grafana)
    grafana.folders[FOLDER_UID]["title"] = "My shed"
    grafana.sources[DATA_SOURCE_UID].update(name="Mine", isDefault=True)
    grafana.points[contact_point.UID]["name"] = "Pager"
    for rule in grafana.rules.values():
        rule["notification_settings"]["receiver"] = "Pager"
    grafana.rules["solarshed-disk"]["isPaused"] = True
    grafana.rules["solarshed-disk"]["title"] = "something else"
    grafana.rules["solarshed-memory"]["isPaused"] = True
    grafana.rules["own"] = {**grafana.rules["solarshed-memory"], "uid": "own", "title": "own"}
    grafana.dashboards["solarshed-now"]["dashboard"]["panels"].pop()
    grafana.requests.clear()

    assert push(grafana, *TIMESTREAM, "--alert-interval", "15") == 0

    assert grafana.writes == [
        ("POST", "/api/dashboards/db"),
        ("PUT", "/api/v1/provisioning/alert-rules/solarshed-disk"),
        ("PUT", f"/api/v1/provisioning/folder/{FOLDER_UID}/rule-groups/{GROUP}"),
    ]
    assert grafana.rules["solarshed-disk"]["isPaused"] is True
    assert grafana.rules["solarshed-disk"]["title"] == "Disk of the Pi nearly full"
    assert "own" in grafana.rules
    assert grafana.intervals_s[FOLDER_UID, GROUP] == 900
    assert grafana.dashboards["solarshed-now"]["dashboard"]["version"] == 2
    assert grafana.sources[DATA_SOURCE_UID]["name"] == "Mine"


def test_a_new_key_of_pagerduty_is_noticed_though_grafana_never_shows_the_old_one(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(grafana)
    monkeypatch.setenv("SOLARSHED_PAGERDUTY_KEY", OTHER_KEY)
    grafana.requests.clear()

    assert push(grafana) == 0

    assert grafana.writes == [("PUT", f"/api/v1/provisioning/contact-points/{contact_point.UID}")]
    assert grafana.points[contact_point.UID]["settings"]["integrationKey"] == OTHER_KEY
    assert grafana.points[contact_point.UID]["provenance"] == ""


def test_a_data_source_with_other_settings_is_left_and_named_until_the_owner_says_replace(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push(grafana, *INFLUXDB)
    monkeypatch.setenv("SOLARSHED_INFLUX_TOKEN", "another-token")
    grafana.requests.clear()
    capsys.readouterr()

    assert push(grafana, "--engine", "influxdb", "--influx-url", "https://other.example:8086") == 1

    error = error_of(capsys)
    assert "url is https://influx.example:8086, not https://other.example:8086" in error
    assert "its secret is another" in error
    assert "--replace-data-source" in error
    assert grafana.writes == []

    changed = ("--engine", "influxdb", "--influx-url", "https://other.example:8086", "--replace-data-source")
    assert push(grafana, *changed) == 0

    source = grafana.sources[DATA_SOURCE_UID]
    assert (source["url"], source["secureJsonData"]["httpHeaderValue1"]) == (
        "https://other.example:8086",
        "Token another-token",
    )
    grafana.requests.clear()
    assert push(grafana, *changed) == 0
    assert grafana.writes == []


def test_a_grafana_that_drops_a_rules_contact_point_is_told_of_once_and_not_written_to_again(
    grafana: Grafana, capsys: pytest.CaptureFixture[str]
) -> None:
    grafana.knows_routes = False
    assert push(grafana) == 0
    assert "add one with the matcher solarshed_contact_point = solarshed-pagerduty" in capsys.readouterr().out
    grafana.requests.clear()

    assert push(grafana) == 0

    assert grafana.writes == []
    assert "add one with the matcher" in capsys.readouterr().out


@pytest.mark.parametrize("health", [{"status": "ERROR", "message": "AccessDenied: no role"}, None], ids=["bad", "403"])
def test_a_store_that_grafana_cannot_read_is_said(
    grafana: Grafana, capsys: pytest.CaptureFixture[str], health: dict[str, str] | None
) -> None:
    if health is None:
        grafana.faults.append(Fault("GET", "/health$", 200, '{"database": "ok", "version": "10.4.2"}'))
        grafana.faults.append(Fault("GET", "/solarshed/health$", 403))
    else:
        grafana.source_health = health

    assert push(grafana) == 0

    assert "Grafana cannot read the store yet: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        (Fault("GET", "/datasources$", 401), "does not know the token; make one"),
        (Fault("GET", "/datasources$", 403), "give the service account the role Admin"),
        (Fault("GET", "/health$", 200, "<html>hello</html>", HTML), "is no Grafana"),
        (Fault("GET", "/health$", 200, "[]"), "is no Grafana"),
        (Fault("GET", "/health$", 404, "<html>nothing</html>", HTML), "refuses its health (404: no reason given)"),
        (Fault("GET", "/health$", 200, "not json"), "answered what no Grafana answers"),
        (
            Fault("GET", "/health$", 302, "", {"Location": "https://login.example/"}),
            "sends us on to https://login.exam",
        ),
        (
            Fault("GET", "/contact-points$", 502, "<html>", HTML),
            "trouble of its own, at contact points (502: no reason",
        ),
        (
            Fault("GET", "/contact-points$", 404, '{"message": "Not found"}'),
            "has Grafana alerting turned off; turn it on",
        ),
        (Fault("GET", "/alert-rules/solarshed-disk$", 429), "asked too often"),
        (Fault("GET", "/plugins$", 200, '[{"id": "prometheus"}]'), "lacks the plugin grafana-timestream-datasource"),
        (Fault("GET", "/health$", 200, '{"database": "ok", "version": "9.4.7"}'), "is Grafana 9.4.7"),
        (Fault("GET", "/folders$", 200, '[{"uid": "x", "title": "Solarshed"}]'), 'folder "Solarshed" that is not ours'),
        (Fault("GET", "/datasources$", 200, '[{"uid": "x", "name": "Solarshed"}]'), 'source "Solarshed" that is not'),
        (
            Fault("GET", "/contact-points$", 200, '[{"uid": "x", "name": "Solarshed PagerDuty"}]'),
            "rename it there",
        ),
        (
            Fault("GET", "/alert-rules/solarshed-disk$", 200, '{"uid": "solarshed-disk", "provenance": "file"}'),
            "(provenance file), and lets only that change it",
        ),
        (
            Fault(
                "GET",
                "/dashboards/uid/solarshed-now$",
                200,
                '{"dashboard": {"title": "x"}, "meta": {"provisioned": true, "folderUid": "x"}}',
            ),
            "from a file on its server",
        ),
    ],
    ids=lambda value: None if isinstance(value, Fault) else "-".join(value.split()[:4]),
)
def test_what_stands_in_the_way_is_found_before_anything_is_written(
    grafana: Grafana, capsys: pytest.CaptureFixture[str], trouble: Fault, remedy: str
) -> None:
    grafana.faults.append(trouble)

    assert push(grafana) == 1

    assert remedy in error_of(capsys)
    assert grafana.writes == []


@pytest.mark.parametrize(
    ("token", "remedy"),
    [("wrong", "does not know the token"), (EDITORS_TOKEN, "at data sources; give the service account the role Admin")],
    ids=["unknown", "editor"],
)
def test_a_token_that_does_not_do_is_refused_before_anything_is_written(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str, remedy: str
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", token)

    assert push(grafana) == 1

    assert remedy in error_of(capsys)
    assert grafana.is_empty


@pytest.mark.parametrize("takes_effect", [False, True], ids=["not done", "done all the same"])
def test_if_any_write_fails_nothing_is_left_of_what_this_run_created(
    grafana: Grafana, capsys: pytest.CaptureFixture[str], takes_effect: bool
) -> None:
    push(grafana)
    creating = [(method, path) for method, path in grafana.writes if method == "POST"]
    # Folder, data source, two dashboards, contact point.
    assert len(creating) == 5 + len(RULES)
    for kept in (grafana.rules, grafana.points, grafana.dashboards, grafana.sources, grafana.folders):
        kept.clear()
    grafana.intervals_s.clear()

    for number in range(len(creating)):
        _fail_at(grafana, number, creating, takes_effect)
        capsys.readouterr()

        assert push(grafana) == 1

        assert "nothing that was created is left" in error_of(capsys)
        assert grafana.is_empty, creating[number]
        grafana.faults.clear()
        grafana.intervals_s.clear()


def _fail_at(grafana: Grafana, number: int, creating: list[tuple[str, str]], takes_effect: bool) -> None:
    """The `number`-th request that creates something fails: as many such before it are answered properly."""
    method, path = creating[number]
    before = sum(each == creating[number] for each in creating[:number])
    grafana.faults.append(Fault(method, f"{path}$", 500, takes_effect=takes_effect, after=before))


def test_what_cannot_be_removed_again_is_named_and_what_was_updated_too(
    grafana: Grafana, capsys: pytest.CaptureFixture[str]
) -> None:
    push(grafana)
    grafana.rules.clear()
    grafana.dashboards["solarshed-now"]["dashboard"]["title"] = "changed"
    grafana.faults.append(Fault("POST", "/alert-rules$", 400, after=1))
    grafana.faults.append(Fault("DELETE", "/alert-rules/", 500))
    capsys.readouterr()

    assert push(grafana) == 1

    error = error_of(capsys)
    assert 'remove in Grafana what is left: alert rule "Relay box over 95 °F"' in error
    assert 'updated before that: dashboard "Solarshed: now"' in error


def test_what_another_made_meanwhile_is_not_removed(grafana: Grafana, capsys: pytest.CaptureFixture[str]) -> None:
    grafana.faults.append(Fault("POST", "/datasources$", 409, '{"message": "exists"}', takes_effect=True))

    assert push(grafana) == 1

    assert "(409: exists)" in error_of(capsys)
    assert list(grafana.sources) == [DATA_SOURCE_UID]
    assert grafana.folders == {}


def test_an_interrupted_push_removes_what_it_created(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dashboard import push as pushing

    class Impatient(pushing.Step):
        """Of an owner who presses Ctrl-C while the second dashboard is written."""

        @property
        def outcome(self) -> str:
            if "history" in self.what:
                raise KeyboardInterrupt
            return super().outcome

    monkeypatch.setattr(pushing, "Step", Impatient)

    assert push(grafana) == 130

    assert "nothing that was created is left" in capsys.readouterr().out
    assert grafana.is_empty


def test_a_grafana_under_a_path_is_found_there(capsys: pytest.CaptureFixture[str]) -> None:
    with Grafana(prefix="/grafana") as grafana:
        assert main(["dashboard", "push", "--url", f"{grafana.url}/", *TIMESTREAM]) == 0

        assert capsys.readouterr().out.splitlines()[-1] == f"{grafana.url}/d/solarshed-now"
        annotations = grafana.rules["solarshed-disk"]["annotations"]
        assert annotations["dashboard_url"].startswith(f"{grafana.url}/d/solarshed-now?")


def test_over_tls_only_a_trusted_certificate_will_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.peers.certificates import authority_pem

    certificate = server_certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
        Path(file.name).write_bytes(certificate.private_key + certificate.pem)
        context.load_cert_chain(file.name)
    with Grafana(certificate=context) as grafana:
        assert push(grafana) == 1
        assert "its certificate is not trusted" in error_of(capsys)
        assert grafana.requests == []

        authority = tmp_path / "authority.pem"
        authority.write_bytes(authority_pem())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
        assert push(grafana) == 0


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("http://grafana.example", "would get the token unencrypted; give an https:// address"),
        ("https://127.0.0.1:1", "cannot be reached"),
        ("grafana.example", "is no address of a Grafana"),
        ("https://admin:secret@grafana.example", "is no address of a Grafana"),
        ("https://grafana.example:port", "is no address of a Grafana"),
    ],
    ids=["http", "nobody there", "no scheme", "password", "no port"],
)
def test_an_address_that_does_not_do_is_refused(url: str, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "push", "--url", url, *TIMESTREAM]) == 1

    assert remedy in error_of(capsys)


@pytest.mark.parametrize(
    ("variables", "options", "remedy"),
    [
        ({"GRAFANA_TOKEN": ""}, TIMESTREAM, "GRAFANA_TOKEN is not set"),
        ({"GRAFANA_TOKEN": "two\nlines"}, TIMESTREAM, "GRAFANA_TOKEN holds no token"),
        ({"SOLARSHED_PAGERDUTY_KEY": "short"}, TIMESTREAM, "holds no integration key"),
        ({}, ("--engine", "timestream"), "such as --region us-east-1"),
        ({}, ("--region", "Virginia"), "'Virginia' is no AWS region"),
        ({}, ("--region", "us-east-1", "--assume-role", "reader"), "is no role's ARN"),
        ({}, ("--region", "us-east-1", "--auth", "keys"), "SOLARSHED_TIMESTREAM_SECRET_KEY"),
        ({}, ("--region", "us-east-1", "--auth", "grafana_assume_role"), "--assume-role ARN"),
        ({}, (*TIMESTREAM, "--influx-url", "https://influx.example"), "--influx-url is for --engine influxdb"),
        ({}, ("--engine", "influxdb"), "where is InfluxDB?"),
        ({}, (*INFLUXDB, "--region", "us-east-1"), "--region is for --engine timestream"),
        ({}, ("--engine", "influxdb", "--influx-url", "http://influx.example"), "get its token unencrypted"),
        ({}, ("--engine", "influxdb", "--influx-url", "influx"), "is no address of an InfluxDB"),
    ],
    ids=lambda value: None if isinstance(value, (dict, tuple)) else "-".join(value.split()[:4]),
)
def test_what_only_the_owner_can_give_is_asked_for(
    grafana: Grafana,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    options: tuple[str, ...],
    remedy: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert push(grafana, *options) == 1

    assert remedy in error_of(capsys)
    assert grafana.writes == []


def test_no_secret_is_ever_printed(grafana: Grafana, capsys: pytest.CaptureFixture[str]) -> None:
    push(grafana, *INFLUXDB)
    grafana.faults.append(Fault("PUT", "/contact-points/", 400, f'{{"message": "bad {TOKEN}"}}'))
    push(grafana, *INFLUXDB)

    printed = "".join(capsys.readouterr())

    assert not any(secret in printed for secret in (TOKEN, KEY, INFLUX_TOKEN))
    assert len(str(grafana.sources[DATA_SOURCE_UID]["jsonData"][FINGERPRINT])) == 16


def test_keys_of_aws_go_into_what_grafana_keeps_secret(grafana: Grafana, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLARSHED_TIMESTREAM_ACCESS_KEY", "AKIA-example")
    monkeypatch.setenv("SOLARSHED_TIMESTREAM_SECRET_KEY", "very-secret")

    assert push(grafana, "--region", "us-east-1", "--auth", "keys") == 0

    source: dict[str, Any] = grafana.sources[DATA_SOURCE_UID]
    assert source["secureJsonData"] == {"accessKey": "AKIA-example", "secretKey": "very-secret"}
    assert "very-secret" not in str({name: value for name, value in source.items() if name != "secureJsonData"})


def test_each_kind_of_grafana_logs_in_to_aws_in_its_own_way() -> None:
    from dashboard.data_source import Auth, auth_for, region_of

    managed = "https://g-0a1b2c3d4e.grafana-workspace.eu-west-1.amazonaws.com/"
    assert (auth_for(managed), region_of(managed)) == (Auth.WORKSPACE, "eu-west-1")
    assert (auth_for("https://me.grafana.net"), region_of("https://me.grafana.net")) == (Auth.GRAFANA_CLOUD, None)
    assert auth_for("https://grafana.net.example") is Auth.DEFAULT
    assert auth_for("https://shed.local:30000/grafana") is Auth.DEFAULT


def test_a_choice_of_look_reaches_the_pushed_dashboards(grafana: Grafana) -> None:
    from dashboard.grafana import render

    push(grafana, *TIMESTREAM, "--fahrenheit", "--utc-offset", "-8")

    pushed = grafana.dashboards["solarshed-now"]["dashboard"]
    assert pushed["panels"] == render(Look(fahrenheit=True, utc_offset_h=-8.0))["solarshed-now"]["panels"]
