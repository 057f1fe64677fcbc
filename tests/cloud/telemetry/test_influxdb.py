"""The writer of the second engine, against a real InfluxDB server; and against answers that it gives seldom."""

import itertools
import json
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from threading import Thread
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from mypy_boto3_secretsmanager import SecretsManagerClient

from cloud.telemetry.influxdb import Influx, InfluxWriter, influx_from, line_of
from cloud.telemetry.influxdb_login import DESCRIPTION, SecretCredentials
from cloud.telemetry.points import Point, Value
from cloud.telemetry.writer import StoreError
from demo.emulator import free_port
from demo.http_server import HOST, LocalServer
from tests.influxdb import PASSWORD, USER, Influxd, influxd

Json = dict[str, Any]

DATABASE = "solarshed"
NOW_MS = 1_795_431_600_000
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


class Fixed:
    """Credentials that are always the same, and count how often they were refused."""

    where = "a test"

    def __init__(self, header: str = "Token none") -> None:
        self._header = header
        self.forgotten = 0

    def header(self, influx: Influx) -> str:
        return self._header

    def forget(self) -> None:
        self.forgotten += 1


def point(time_ms: int = NOW_MS, version: int = 1, source: str = "control", **values: Value) -> Point:
    return Point("shed", source, "decision", time_ms, version, values or {"battery_voltage_v": 54.0}, "hut")


def writer_to(url: str, credentials: Fixed | SecretCredentials | None = None) -> InfluxWriter:
    return InfluxWriter(Influx(url, DATABASE, credentials or Fixed()), lambda: NOW_MS)


@pytest.fixture(scope="module")
def server() -> Iterator[Influxd]:
    with influxd() as running:
        yield running


@pytest.fixture
def writer(server: Influxd) -> InfluxWriter:
    server.create_database(DATABASE)
    return writer_to(server.url)


def stored(server: Influxd, what: str = "*", measure: str = "decision") -> list[Json]:
    """Every stored line, oldest first, with its tags."""
    series = server.query(f'SELECT {what} FROM "{measure}" GROUP BY *', DATABASE)
    return [
        {**one["tags"], **{n: value for n, value in zip(one["columns"], values, strict=True) if value is not None}}
        for one in series
        for values in one["values"]
    ]


# What comes of it


def test_a_point_comes_back_with_its_tags_types_and_time(writer: InfluxWriter, server: Influxd) -> None:
    values: Json = {"battery_voltage_v": 54.0, "sequence": 17, "clock_synchronised": True, "position": "grid"}

    assert writer.write([point(**values)]) == []

    assert stored(server) == [{"time": NOW_MS, "site": "hut", "thing": "shed", "source": "control", **values}]
    (fields,) = server.query('SHOW FIELD KEYS FROM "decision"', DATABASE)
    assert dict(fields["values"]) == {
        "battery_voltage_v": "float",
        "clock_synchronised": "boolean",
        "position": "string",
        "sequence": "integer",
    }


def test_no_points_are_no_call() -> None:
    assert writer_to("http://127.0.0.1:9").write([]) == []


# What `points_of` lets in: names without anything that has to be escaped, any printable text, any finite number.
TEXTS = st.text(st.characters(exclude_categories=("C", "Zl", "Zp", "Zs"), include_characters=" "), min_size=1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(FLOATS, st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXTS)
NAMES = st.text("ab ,=_", min_size=1)


# Each example is another measure: a field keeps the type that it was first written with.
MEASURES = map("measure{}".format, itertools.count())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from("abcde"), VALUES, min_size=1), NAMES, NAMES)
def test_whatever_a_point_may_hold_comes_back_as_it_was(
    writer: InfluxWriter, server: Influxd, values: dict[str, Value], thing: str, field: str
) -> None:
    sent = Point(thing, "control", next(MEASURES), NOW_MS, 1, {**values, f"z{field}": 1.0})

    assert writer.write([sent]) == []

    (found,) = stored(server, measure=sent.measure)
    # JSON has one kind of number: which kind the server took it for is tested above.
    assert {name: type(value)(found[name]) for name, value in sent.values.items()} == sent.values
    assert found["thing"] == thing


@pytest.mark.parametrize("number", [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0625, 1e22])
def test_a_double_keeps_every_digit(writer: InfluxWriter, server: Influxd, number: float) -> None:
    assert writer.write([point(volts=number)]) == []

    assert stored(server)[0]["volts"] == number


def test_a_line_is_as_the_reference_has_it() -> None:
    line = line_of(point(17, sequence=3, volts=54.0, aux_on=False, text='say "\\"'))

    assert line == (
        'decision,site=hut,source=control,thing=shed sequence=3i,volts=54.0,aux_on=false,text="say \\"\\\\\\"" 17'
    )


# Rows of fault D


def test_D1_of_100_points_the_two_of_another_type_are_returned_and_98_are_stored(
    writer: InfluxWriter, server: Influxd
) -> None:
    writer.write([point(NOW_MS - 1)])
    points = [point(NOW_MS + i) for i in range(100)]
    points[7] = point(NOW_MS + 7, battery_voltage_v="54.0")
    points[99] = point(NOW_MS + 99, battery_voltage_v=54)

    rejected = writer.write(points)

    assert [r.point for r in rejected] == [points[7], points[99]]
    assert all("field type conflict" in r.reason and "battery_voltage_v" in r.reason for r in rejected)
    assert len(stored(server)) == 1 + 98


def test_D2_the_same_batch_again_is_no_error_and_nothing_doubles(writer: InfluxWriter, server: Influxd) -> None:
    points = [point(NOW_MS + i) for i in range(10)]
    writer.write(points)
    before = stored(server)

    assert writer.write(points) == []

    assert stored(server) == before
    assert len(before) == 10


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["older first", "newer first"])
def test_D3_of_one_call_the_highest_version_wins_in_whatever_order(
    writer: InfluxWriter, server: Influxd, order: tuple[int, ...]
) -> None:
    versions = {1: point(version=1, volts=50.0, gone=1.0), 2: point(version=2, volts=51.0)}

    assert writer.write([versions[number] for number in order]) == []

    (found,) = stored(server, "volts, gone")
    assert (found["volts"], found.get("gone")) == (51.0, None)


def test_D3_of_two_calls_the_last_one_wins_field_by_field(writer: InfluxWriter, server: Influxd) -> None:
    for sent in (point(version=2, volts=51.0), point(version=1, volts=50.0, amps=3.0)):
        assert writer.write([sent]) == []

    (found,) = stored(server)
    assert (found["volts"], found["amps"]) == (50.0, 3.0)


@pytest.mark.parametrize("age_ms", [3 * DAY_MS, 30 * DAY_MS, 4 * 365 * DAY_MS], ids=["3 d", "30 d", "4 years"])
def test_D4_a_backlog_of_days_or_years_is_stored(writer: InfluxWriter, server: Influxd, age_ms: int) -> None:
    assert writer.write([point(NOW_MS - age_ms)]) == []

    assert [found["time"] for found in stored(server)] == [NOW_MS - age_ms]


@pytest.mark.parametrize(("minutes", "taken"), [(15, True), (16, False)])
def test_D4_what_is_more_than_15_minutes_in_the_future_is_returned(
    writer: InfluxWriter, server: Influxd, minutes: int, taken: bool
) -> None:
    ahead, now = point(NOW_MS + minutes * MINUTE_MS), point()

    rejected = writer.write([ahead, now])

    assert [(r.point, r.reason) for r in rejected] == (
        [] if taken else [(ahead, "The time is more than 15 minutes in the future")]
    )
    assert len(stored(server)) == 1 + taken


def test_D4_what_is_older_than_the_database_keeps_is_returned(server: Influxd) -> None:
    server.create_database(DATABASE)
    server.query(f'ALTER RETENTION POLICY "autogen" ON "{DATABASE}" DURATION 30d', DATABASE)
    writer = InfluxWriter(Influx(server.url, DATABASE, Fixed()))
    old, now = point(1_000_000), point(1_000_001 + 10**12)

    rejected = writer.write([old, now])

    assert [r.point for r in rejected] == [old, now]
    assert all("retention policy" in r.reason for r in rejected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1 << 63], ids=["nan", "infinity", "65 bits"])
def test_D6_what_no_store_can_hold_is_returned_and_its_neighbours_are_stored(
    writer: InfluxWriter, server: Influxd, bad: Value
) -> None:
    poison = point(NOW_MS + 1, volts=bad)

    rejected = writer.write([point(), poison, point(NOW_MS + 2)])

    assert [r.point for r in rejected] == [poison]
    assert len(stored(server)) == 2


def test_D6_a_point_without_values_is_returned(writer: InfluxWriter, server: Influxd) -> None:
    empty = Point("shed", "control", "decision", NOW_MS, 1, {})

    assert [r.point for r in writer.write([empty, point()])] == [empty]


def test_D5_a_server_that_is_not_there_raises_with_the_remedy() -> None:
    with pytest.raises(StoreError, match=r"does not answer \(ConnectionRefusedError.*see that its instance runs"):
        writer_to(f"http://{HOST}:{free_port()}").write([point()])


def test_D5_a_database_that_is_not_there_raises(server: Influxd) -> None:
    with pytest.raises(StoreError, match="404 Not Found: database not found"):
        InfluxWriter(Influx(server.url, "another", Fixed())).write([point()])


# Answers that a healthy server does not give


class _Scripted(LocalServer):
    """Answers the paths in `answers` (the last answer of a path for ever), and keeps what it was asked."""

    def __init__(self, answers: dict[str, list[tuple[int, Json | None]]]) -> None:
        super().__init__(0, _Handler)
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[str] = []
        self.url = f"http://{HOST}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Scripted

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers.get("Authorization") or str(self.headers["Cookie"])))
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        answers = self.server.answers[path]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if path == "/api/v2/signin":
            self.send_header("Set-Cookie", "session=abc; Path=/api/; HttpOnly")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Say nothing."""


@contextmanager
def scripted(**answers: list[tuple[int, Json | None]]) -> Iterator[_Scripted]:
    """A server whose paths are the keywords: write, signin, buckets, authorizations."""
    paths = {("/write" if name == "write" else f"/api/v2/{name}"): each for name, each in answers.items()}
    with closing_server(_Scripted(paths)) as server:
        yield server


@contextmanager
def closing_server(server: _Scripted) -> Iterator[_Scripted]:
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.end_connections()
        server.server_close()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_D5_throttled_or_broken_raises_so_that_the_queue_delivers_again(status: int) -> None:
    with (
        scripted(write=[(status, {"error": "hinted handoff queue full"})]) as server,
        pytest.raises(StoreError, match=f"InfluxDB answers {status} .*: hinted handoff queue full; it is tried again"),
    ):
        writer_to(server.url).write([point(), point(NOW_MS + 1)])


def test_D1_version_2_says_422_and_the_one_point_is_found() -> None:
    refused: tuple[int, Json | None] = (422, {"code": "unprocessable entity", "message": "partial write"})
    answers: list[tuple[int, Json | None]] = [refused, (204, None), refused]
    with scripted(write=answers) as version_2:
        (rejected,) = writer_to(version_2.url).write([point(), point(NOW_MS + 1)])

    assert (rejected.point.time_ms, rejected.reason) == (NOW_MS + 1, "partial write")


def test_a_batch_that_is_too_large_goes_in_halves() -> None:
    with scripted(write=[(413, {"error": "too large"}), (204, None)]) as server:
        assert writer_to(server.url).write([point(), point(NOW_MS + 1)]) == []

        assert [len(body.splitlines()) for body in server.bodies] == [2, 1, 1]


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_are_fetched_once_more_and_then_told(status: int) -> None:
    credentials = Fixed()
    with (
        scripted(write=[(status, {"error": "unauthorized access"})]) as server,
        pytest.raises(StoreError, match=rf"does not let us write \({status} .*see that a test holds a token or user"),
    ):
        writer_to(server.url, credentials).write([point()])

    assert credentials.forgotten == 1
    assert len(server.asked) == 2


# Credentials


@pytest.fixture
def secrets() -> Iterator[SecretsManagerClient]:
    with mock_aws(), closing(boto3.client("secretsmanager")) as client:
        yield client


def secret(client: SecretsManagerClient, **held: str) -> SecretCredentials:
    name = f"influxdb-{len(client.list_secrets()['SecretList'])}"
    return SecretCredentials(client.create_secret(Name=name, SecretString=json.dumps(held))["ARN"], client)


def test_a_name_and_password_open_a_server_of_version_1(secrets: SecretsManagerClient) -> None:
    with influxd(auth=True) as server:
        server.create_database(DATABASE)

        assert writer_to(server.url, secret(secrets, username=USER, password=PASSWORD)).write([point()]) == []
        with pytest.raises(StoreError, match=r"does not let us write \(401 authorization failed\)"):
            writer_to(server.url, secret(secrets, username=USER, password="wrong")).write([point()])  # noqa: S106
        with pytest.raises(StoreError, match=r"does not let us write \(401"):
            writer_to(server.url, Fixed("")).write([point()])
        assert len(stored(server)) == 1


def test_a_token_is_sent_as_it_is(secrets: SecretsManagerClient) -> None:
    with scripted(write=[(204, None)]) as server:
        writer_to(server.url, secret(secrets, token="t-o-k")).write([point()])  # noqa: S106

        assert server.asked == [("/write", "Token t-o-k")]


def test_a_secret_that_was_exchanged_is_taken_up_at_the_first_refusal(secrets: SecretsManagerClient) -> None:
    credentials = secret(secrets, token="old")  # noqa: S106
    with scripted(write=[(204, None), (401, {"message": "unauthorized"}), (204, None)]) as server:
        writer = writer_to(server.url, credentials)
        writer.write([point()])
        secrets.put_secret_value(SecretId="influxdb-0", SecretString='{"token": "new"}')

        writer.write([point()])

        assert [header for _, header in server.asked] == ["Token old", "Token old", "Token new"]


ADMIN = {"username": "admin", "password": "p", "organization": "home", "bucket": DATABASE}
BUCKET = {"id": "b1", "orgID": "o1"}


def test_the_services_own_secret_is_exchanged_for_a_token_of_its_own_once(secrets: SecretsManagerClient) -> None:
    with scripted(
        signin=[(204, None)],
        buckets=[(200, {"buckets": [BUCKET]})],
        authorizations=[(200, {"authorizations": [{"description": "another", "token": "x"}]}), (201, {"token": "t1"})],
        write=[(204, None)],
    ) as server:
        writer = writer_to(server.url, secret(secrets, **ADMIN))
        writer.write([point()])
        writer.write([point()])

        asked = [(path.rpartition("/")[2], header) for path, header in server.asked]
        assert asked == [
            ("signin", "Basic YWRtaW46cA=="),
            ("buckets", "session=abc"),
            ("authorizations", "session=abc"),
            ("authorizations", "session=abc"),
            ("write", "Token t1"),
            ("write", "Token t1"),
        ]
        wish = json.loads(server.bodies[3])
        assert wish["description"] == DESCRIPTION
        assert [(p["action"], p["resource"]["id"]) for p in wish["permissions"]] == [("read", "b1"), ("write", "b1")]


def test_a_token_that_was_made_before_is_taken_again(secrets: SecretsManagerClient) -> None:
    made = {"description": DESCRIPTION, "status": "active", "token": "t1"}
    with scripted(
        signin=[(204, None)],
        buckets=[(200, {"buckets": [BUCKET]})],
        authorizations=[(200, {"authorizations": [{**made, "status": "inactive", "token": "t0"}, made]})],
        write=[(204, None)],
    ) as server:
        writer_to(server.url, secret(secrets, **ADMIN)).write([point()])

        assert server.asked[-1] == ("/write", "Token t1")


OUT: list[tuple[int, Json | None]] = [(401, {"message": "unauthorized access"})]
REFUSALS: dict[str, tuple[dict[str, list[tuple[int, Json | None]]], str]] = {
    "password": ({"signin": OUT}, r"does not let us sign in \(401 unauthorized access\)"),
    "list": ({"signin": [(204, None)], "buckets": OUT}, "does not let us list buckets"),
    "no bucket": ({"signin": [(204, None)], "buckets": [(404, None)]}, "InfluxDB has no bucket solarshed"),
    "no token": (
        {
            "signin": [(204, None)],
            "buckets": [(200, {"buckets": [BUCKET]})],
            "authorizations": [(200, {"authorizations": []}), (403, {"message": "forbidden"})],
        },
        r"does not let us make a token \(403 forbidden\)",
    ),
    "no JSON": ({"signin": [(204, None)], "buckets": [(200, None)]}, "answers what is not its API"),
}


@pytest.mark.parametrize(("answers", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_sign_in_that_fails_is_told_and_may_be_tried_again(
    secrets: SecretsManagerClient, answers: dict[str, list[tuple[int, Json | None]]], words: str
) -> None:
    with scripted(**answers) as server, pytest.raises(StoreError, match=words):
        writer_to(server.url, secret(secrets, **ADMIN)).write([point()])


@pytest.mark.parametrize("text", ["", "put-it-here", "[]", '{"user": "x"}'])
def test_a_secret_that_says_nothing_usable_is_told(secrets: SecretsManagerClient, text: str) -> None:
    arn = secrets.create_secret(Name="s", SecretString=text or " ")["ARN"]

    with pytest.raises(StoreError, match="says nothing that InfluxDB understands: put a JSON object there"):
        writer_to("http://127.0.0.1:9", SecretCredentials(arn, secrets)).write([point()])


def test_the_server_is_the_one_that_the_environment_names_and_its_certificate_is_checked() -> None:
    influx = influx_from(
        {
            "SOLARSHED_INFLUXDB_URL": f"https://{HOST}:{free_port()}",
            "SOLARSHED_DATABASE": DATABASE,
            "SOLARSHED_INFLUXDB_SECRET": "arn",
        }
    )

    connection = influx._connection()

    assert connection._context.verify_mode.name == "CERT_REQUIRED"  # type: ignore[attr-defined]
    assert connection._context.check_hostname  # type: ignore[attr-defined]
