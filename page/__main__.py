"""`python -m page --thing shed`: the live page, over the `timestream-query` endpoint of the environment.

The owner's overrides come from the thing's shadow in the environment's AWS account.
"""

import argparse
import sys

from contract.errors import SolarshedError
from owner.session import Account
from page.overrides import ShadowOverrides, reader
from page.server import ADDRESS, DEFAULT_PORT, serve
from page.timestream import ENDPOINT_VARIABLE, UnavailableError


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted. 0 done, 1 it could not start and said why."""
    asked = _parser().parse_args(arguments)
    try:
        overrides = ShadowOverrides(reader(Account(None, None), asked.thing))
        page = serve(asked.thing, port=asked.port, note=asked.note, overrides=overrides)
    except (SolarshedError, UnavailableError, ValueError) as error:
        print(f"page: {error}", file=sys.stderr)
        return 1
    with page:
        print(f"listening on {page.url}", flush=True)
        try:
            page.wait()
        except KeyboardInterrupt:
            return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m page",
        description=f"The live page on {ADDRESS}. It reads Timestream at ${ENDPOINT_VARIABLE}, or at AWS.",
    )
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}; 0 takes a free one")
    parser.add_argument("--thing", required=True, help="the thing's name, e.g. shed")
    parser.add_argument("--note", default="", help="a line of text to show on the page")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: take 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
