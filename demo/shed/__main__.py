"""`python -m demo.shed --directory DIR`: a simulated shed behind DIR/mate, DIR/w1 and DIR/pins."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from demo.shed.runner import RunSettings, run
from demo.shed.scenario import SCENARIOS


def main() -> int:
    """Run a shed as the command line says. 0 when it was stopped, 1 when its reader went away."""
    parser = _parser()
    try:
        settings = _settings(parser.parse_args())
    except ValueError as error:
        parser.error(str(error))
    try:
        run(settings, _say)
    except BrokenPipeError:
        # Python flushes stdout once more on its way out, and would complain about the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.shed", description="Simulates the shed in real bytes.")
    parser.add_argument("--directory", type=Path, required=True, help="where mate, w1 and pins appear")
    parser.add_argument("--speed", type=float, default=720.0, help="simulated seconds in a real one (%(default)s)")
    parser.add_argument("--burst-interval", type=float, default=0.25, help="real seconds between bursts (%(default)s)")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="default")
    parser.add_argument("--start-hour", type=float, help="hour of the first day, 0 to 24, instead of the scenario's")
    parser.add_argument("--seed", type=int, default=1, help="chooses weather and load (%(default)s)")
    parser.add_argument("--relay-pins", type=int, nargs="+", default=[17, 27], help="GPIO numbers (%(default)s)")
    parser.add_argument("--state-file", type=Path, help="where the true state is written as JSON")
    parser.add_argument("--weather-file", type=Path, help="where the cloud cover is written, as control reads it")
    return parser


def _settings(arguments: argparse.Namespace) -> RunSettings:
    scenario = SCENARIOS[arguments.scenario]
    if arguments.start_hour is not None:
        if not 0.0 <= arguments.start_hour < 24.0:
            raise ValueError(f"--start-hour {arguments.start_hour} is not an hour of the day: take 0 to 23.99")
        scenario = dataclasses.replace(scenario, start_hour=arguments.start_hour)
    return RunSettings(
        directory=arguments.directory,
        scenario=scenario,
        speed=arguments.speed,
        burst_interval_s=arguments.burst_interval,
        relay_pins=tuple(arguments.relay_pins),
        seed=arguments.seed,
        state_file=arguments.state_file,
        weather_file=arguments.weather_file,
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
