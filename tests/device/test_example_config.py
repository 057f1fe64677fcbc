import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path

from device.settings import Settings, parse

EXAMPLE = (Path(__file__).parents[2] / "device/install/config.toml").read_text()
COMMENTED_DEFAULT = re.compile(r"^# (?=[a-z][a-z0-9_]* = )", re.MULTILINE)
EXAMPLE_VALUE = re.compile(r"^# Example: (?=[a-z][a-z0-9_]* = )", re.MULTILINE)
SETTING = re.compile(r"(# (?:Example: )?)?([a-z][a-z0-9_]*) = ")
PLACEHOLDERS = {"thing", "monitor.serial_port", "thermometer.sensor_id", "uplink.endpoint"}


def every_setting(settings: Settings) -> Iterator[tuple[str, object]]:
    for part in fields(settings):
        value = getattr(settings, part.name)
        if is_dataclass(value):
            yield from ((f"{part.name}.{f.name}", getattr(value, f.name)) for f in fields(value))
        else:
            yield part.name, value


def settings_named_in(text: str) -> list[str]:
    section, named = "", []
    for line in text.splitlines():
        if header := re.fullmatch(r"\[([a-z]+)\]", line):
            section = f"{header[1]}."
        elif setting := SETTING.match(line):
            named.append(f"{section}{setting[2]}")
    return named


def test_the_example_can_be_used_as_it_is() -> None:
    settings = parse(EXAMPLE)

    defaults = parse("")
    differing = {
        name
        for (name, value), (_, default) in zip(every_setting(settings), every_setting(defaults), strict=True)
        if value != default
    }
    assert differing <= PLACEHOLDERS


def test_what_is_commented_out_are_the_defaults() -> None:
    uncommented, count = COMMENTED_DEFAULT.subn("", EXAMPLE)

    settings, defaults = parse(uncommented), parse("")

    without_default = [name for name, value in every_setting(defaults) if value is None]
    assert count == len(settings_named_in(EXAMPLE)) - len(PLACEHOLDERS) - len(without_default)
    assert replace(settings.uplink, endpoint="") == defaults.uplink
    assert replace(settings, uplink=defaults.uplink) == defaults


def test_what_has_no_default_has_an_example_that_can_be_used() -> None:
    uncommented, count = EXAMPLE_VALUE.subn("", EXAMPLE)
    uncommented = uncommented.replace('# chemistry = "none"', 'chemistry = "lead_acid"')

    settings, defaults = dict(every_setting(parse(uncommented))), dict(every_setting(parse("")))

    without_default = [name for name, value in defaults.items() if value is None]
    assert count == len(without_default)
    assert None not in [settings[name] for name in without_default]


def test_the_example_names_every_setting_once() -> None:
    named = settings_named_in(EXAMPLE)

    assert sorted(named) == sorted(name for name, _ in every_setting(parse("")))


def test_only_what_a_person_must_set_is_not_commented_out() -> None:
    set_lines = [line for line in EXAMPLE.splitlines() if re.match("[a-z]", line)]

    assert set(settings_named_in(EXAMPLE)) >= PLACEHOLDERS
    assert [line.partition(" ")[0] for line in set_lines] == [
        name.rpartition(".")[2] for name in sorted(PLACEHOLDERS, key=settings_named_in(EXAMPLE).index)
    ]


def test_every_setting_has_a_line_that_says_what_it_means() -> None:
    lines = EXAMPLE.splitlines()

    for before, line in pairwise(lines):
        if SETTING.match(line):
            assert re.match(r"# [A-Z].*\.$", before), line
