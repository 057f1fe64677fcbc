"""`python -m demo.timestream --port N [--path FILE]`: the endpoint as a process, until SIGTERM or SIGINT."""

import argparse
import signal
from pathlib import Path

from device.stopping import StopRequest

from .server import serve


def main() -> None:
    """Serves until it is told to end; says on stdout where, once it is ready."""
    parser = argparse.ArgumentParser(prog="python -m demo.timestream", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 (the default) takes a free one")
    parser.add_argument("--path", type=Path, help="keeps the data in this file; without it, in memory only")
    arguments = parser.parse_args()

    stopping = StopRequest(signal.SIGTERM, signal.SIGINT)
    with serve(arguments.port, arguments.path) as endpoint:
        print(f"listening on {endpoint.url}", flush=True)
        while not stopping.wait(3600):
            pass


if __name__ == "__main__":
    main()
