import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

FRAMES = [json.loads(line) for line in (Path(__file__).parent / "data/mate_frames.jsonl").read_text().splitlines()]
GOOD = [frame["raw"] for frame in FRAMES if frame["checksum_ok"]]
GARBLED = [frame["raw"] for frame in FRAMES if not frame["checksum_ok"]]
CAPTURE = b"".join(b"\n" + raw.encode() + b"\r" for raw in [*GOOD, *GARBLED])

VERBS = [
    "control",
    "uplink",
    "csr",
    "replay",
    "decode",
    "provision",
    "override",
    "status",
    "pause",
    "resume",
    "page",
    "https",
    "dashboard",
    "demo",
]


def solarshed(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "solarshed", *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60)
    stdout, stderr = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in stderr
    return subprocess.CompletedProcess(command, done.returncode, stdout, stderr)


def test_help_names_every_command_on_stdout() -> None:
    done = solarshed("--help")

    assert done.returncode == 0
    assert done.stderr == ""
    for verb in VERBS:
        assert f"    {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_a_help_of_its_own(verb: str) -> None:
    done = solarshed(verb, "--help")

    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: solarshed {verb} ")


def test_version_is_the_distributions() -> None:
    done = solarshed("--version")

    assert (done.returncode, done.stdout) == (0, f"solarshed {version('solarshed')}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["contrl"],
        ["control", "--cofnig", "x"],
        ["control", "--config"],
        ["replay"],
        ["decode"],
        ["decode", "bms", "x"],
        ["decode", "mate", "one", "two"],
        ["demo", "--for", "long"],
        ["demo", "--for", "nan"],
        ["demo", "--for", "-5"],
        ["demo", "--port", "99999"],
        ["demo", "--port", "page"],
        ["provision"],
        ["provision", "shed/2"],
        ["provision", "shed", "--csr", "x", "--revoke"],
        ["provision", "shed", "--out", "x", "--revoke"],
        ["override", "shed"],
        ["override", "shed", "off"],
        ["override", "shed", "grid", "--for", "90"],
        ["override", "shed", "grid", "--for", "25h"],
        ["override", "shed", "grid", "--wait", "0"],
        ["override", "shed", "auto", "--for", "2h"],
        ["status"],
        ["status", "shed", "hut"],
        ["pause", "shed"],
        ["pause", "shed", "--for", "2"],
        ["pause", "shed", "--for", "8d"],
        ["pause", "--for", "2h"],
        ["resume"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_on_stderr_with_status_2(arguments: list[str]) -> None:
    done = solarshed(*arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: solarshed")


def test_decode_prints_an_object_for_each_valid_page_and_counts_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "capture.bin").write_bytes(CAPTURE)

    done = solarshed("decode", "mate", tmp_path / "capture.bin")

    pages = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len(pages) == len(GOOD)
    assert [page["device"] for page in pages] == [frame["kind"] for frame in FRAMES if frame["checksum_ok"]]
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{len(GOOD)} pages read, {len(GARBLED)} refused: ")
    counted = sum(int(part.split()[0]) for part in line.partition(": ")[2].split(", "))
    assert counted == len(GARBLED)


@pytest.mark.parametrize("arguments", [["-"], []], ids=["dash", "nothing"])
def test_decode_reads_standard_input(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "capture.bin").write_bytes(CAPTURE)

    from_input = solarshed("decode", "mate", *arguments, given=CAPTURE)
    from_file = solarshed("decode", "mate", tmp_path / "capture.bin")

    assert (from_input.returncode, from_input.stdout, from_input.stderr) == (0, from_file.stdout, from_file.stderr)


def test_decode_reads_the_last_page_though_its_end_is_missing() -> None:
    done = solarshed("decode", "mate", given=GOOD[0].encode())

    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == "1 pages read, 0 refused\n"


def test_decode_of_nothing_is_no_failure() -> None:
    done = solarshed("decode", "mate")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "0 pages read, 0 refused\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["decode", "mate", "{}/missing.bin"], "solarshed decode: {}/missing.bin: No such file or directory; name a"),
        (["decode", "mate", "{}"], "solarshed decode: {}: Is a directory; name a capture file"),
        (["replay", "{}/missing.csv"], "solarshed replay: {}/missing.csv: No such file or directory"),
        (["replay", "{}"], "solarshed replay: {}: Is a directory"),
        (
            ["replay", "x.csv", "--config", "{}/missing.toml"],
            "solarshed replay: settings file {}/missing.toml: No such",
        ),
        (["control", "--config", "{}/missing.toml"], "solarshed control: settings file {}/missing.toml: No such"),
        (["uplink", "--config", "{}/missing.toml"], "solarshed uplink: settings file {}/missing.toml: No such"),
        (["csr", "--config", "{}/missing.toml"], "solarshed csr: settings file {}/missing.toml: No such"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_a_file_that_is_not_there_is_told_in_one_line_with_status_1(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = solarshed(*(argument.format(tmp_path) for argument in arguments))

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(words.format(tmp_path))


def test_replay_prints_changes_and_a_summary_as_json_lines(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s,battery_voltage_v\n0,51.0\n310,49.5\n340,49.5\n420,49.5\n")

    done = solarshed("replay", trace)

    *changes, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert done.stderr == "no box temperature in this trace: over_temperature never applied\n"
    assert changes == [
        {"time_s": 0.0, "position": "battery", "reason": "hold"},
        {"time_s": 370.0, "position": "grid", "reason": "battery_low"},
    ]
    assert last["summary"]["transfers"] == 1


def test_replay_takes_the_limits_of_a_settings_file(tmp_path: Path) -> None:
    trace, config = tmp_path / "trace.csv", tmp_path / "config.toml"
    trace.write_text("time_s,battery_voltage_v\n0,51.0\n310,49.5\n420,49.5\n")
    config.write_text("[battery]\nlow_voltage_v = 49.4\n")

    done = solarshed("replay", trace, "--config", config)

    assert [json.loads(line).get("position") for line in done.stdout.splitlines()] == ["battery", None]


def test_replay_of_a_bad_trace_says_where_and_why_in_one_line(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s,battery_voltage_v\n0,51.0\n60,NaN\n")

    done = solarshed("replay", trace)

    assert done.returncode == 1
    assert json.loads(done.stdout) == {"time_s": 0.0, "position": "battery", "reason": "hold"}
    (line,) = done.stderr.splitlines()
    assert line == (
        "solarshed replay: line 3: battery_voltage_v is 'NaN', not a number; leave the cell empty for no reading"
    )


def test_a_reader_that_has_had_enough_is_no_error_to_report(tmp_path: Path) -> None:
    capture = tmp_path / "capture.bin"
    capture.write_bytes(CAPTURE * 500)

    done = subprocess.run(  # noqa: S602 - a pipe is what this is about
        f"{sys.executable} -m solarshed decode mate {capture} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_capture_without_one_valid_page_is_a_failure_with_a_hint() -> None:
    done = solarshed("decode", "mate", given=bytes(range(256)) * 20)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "19200 baud" in done.stderr
    assert "0 pages read" in done.stderr


@pytest.mark.parametrize("verb", [["doctor"], ["config"], ["config", "check"]], ids=" ".join)
def test_doctor_and_config_check_are_named_in_the_help_and_have_one_of_their_own(verb: list[str]) -> None:
    done = solarshed(*verb, "--help")

    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: solarshed {' '.join(verb)} ")
    assert f"    {verb[0]} " in solarshed("--help").stdout


@pytest.mark.parametrize("arguments", [["config"], ["config", "chekc"], ["doctor", "now"]], ids=" ".join)
def test_wrong_usage_of_doctor_and_config_is_told_with_status_2(arguments: list[str]) -> None:
    done = solarshed(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: solarshed")


def test_config_check_shows_what_matters_and_what_is_not_the_default(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('thing = "hut-2"\n[battery]\nlow_voltage_v = 48.5\n[relays]\npins = [22, 23]\n')

    done = solarshed("config", "check", "--config", config)

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == f"settings ok: {config}"
    for shown in ("hut-2", "28-000000000000", "GPIO 22 and 23", "48.5 V", "52 V", "35.0 C (95.0 F)", "30.0 C (86.0 F)"):
        assert shown in done.stdout
    assert lines[lines.index("not the defaults:") + 1 :] == [
        "  thing = hut-2 (default shed)",
        "  battery.low_voltage_v = 48.5 (default 49.9)",
        "  relays.pins = [22, 23] (default [17, 27])",
    ]


def test_config_check_shows_what_a_depth_of_discharge_comes_to(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[battery]\nchemistry = "lead_acid"\nlow_dod_percent = 50\nrecover_dod_percent = 20\n')

    done = solarshed("config", "check", "--config", config)

    low, recover = (line for line in done.stdout.splitlines() if "% charged" in line)
    assert re.fullmatch(r"grid when low +50 % charged or less \(4[0-9.]+ V while no monitor tells .* for 60 s", low)
    assert re.fullmatch(r"solar when back +80 % charged or more \([0-9.]+ V while no monitor .* for 300 s", recover)
    assert "  battery.low_dod_percent = 50 (default not set)" in done.stdout.splitlines()


def test_config_check_of_an_empty_file_says_that_everything_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()

    done = solarshed("config", "check", "--config", tmp_path / "config.toml")

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "everything has its default"


def test_R17_config_check_of_a_bad_file_says_why_in_one_line_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[battery]\nlow_voltage_v = 53.0\n")

    done = solarshed("config", "check", "--config", tmp_path / "config.toml")

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"solarshed config: settings file {tmp_path / 'config.toml'}: battery.recover_voltage_v")


def test_doctor_prints_its_findings_on_stdout_and_nothing_else_with_status_1(tmp_path: Path) -> None:
    done = solarshed("doctor", "--config", tmp_path / "missing.toml")

    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FAIL  settings         settings file ")
    assert lines[1].endswith("-> write one, or name one with --config")
    assert " checks: " in lines[-1]


def test_an_override_of_more_than_a_day_is_refused_with_the_reason() -> None:
    done = solarshed("override", "shed", "grid", "--for", "25h")

    assert "'25h' is too long: the device ends every override after 24 h; write 24h at most" in done.stderr


def test_a_pause_of_more_than_a_week_is_refused_with_the_reason() -> None:
    done = solarshed("pause", "shed", "--for", "169h")

    assert "'169h' is too long: a pause that is forgotten must end by itself; write 7d at most" in done.stderr


def test_csr_prints_a_request_and_says_on_stderr_what_comes_next(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'thing = "hut-2"\n[uplink]\nprivate_key = "{tmp_path / "private.key"}"\n')

    done = solarshed("csr", "--config", tmp_path / "config.toml")

    assert done.returncode == 0
    assert done.stdout.startswith("-----BEGIN CERTIFICATE REQUEST-----\n")
    assert done.stdout.endswith("-----END CERTIFICATE REQUEST-----\n")
    assert "solarshed provision hut-2 --csr FILE" in done.stderr


def test_csr_where_no_key_can_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[uplink]\nprivate_key = "{tmp_path / "missing" / "private.key"}"\n')

    done = solarshed("csr", "--config", tmp_path / "config.toml")

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"solarshed csr: the key {tmp_path}/missing/private.key cannot be made: No such file")


@pytest.mark.parametrize(
    "verb",
    [
        ["status", "shed"],
        ["override", "shed", "auto"],
        ["provision", "shed"],
        ["pause", "shed", "--for", "2h"],
        ["resume", "shed"],
    ],
    ids=" ".join,
)
def test_a_machine_without_the_owners_libraries_says_what_to_install(verb: list[str]) -> None:
    program = f"import sys; sys.modules['boto3'] = None; import solarshed; sys.exit(solarshed.main({verb!r}))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"solarshed {verb[0]}: boto3 is not installed here; run this on your laptop, after: pip install "
        "'solarshed[owner]'\n"
    )
