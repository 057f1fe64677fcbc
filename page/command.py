"""`solarshed page`: the live page until it is interrupted, of the outbox of this Pi or of the store in AWS."""

from pathlib import Path

from dashboard.look import Look
from page.server import Page, serve

_OUTBOX_NOTE = (
    "From this Pi's outbox: what has not been delivered yet, and what has gone out since this page was started."
)


def of_outbox(config: Path, look: Look, port: int) -> None:
    """Show what control has written on this Pi. Needs no network.

    Raises:
        ConfigError: the settings cannot be used.
        PortInUseError: something else listens on `port`.
    """
    from device import settings
    from page.outbox import OutboxSource

    chosen = settings.load(config)
    source = OutboxSource(chosen.thing, chosen.state_directory, chosen.runtime_directory, look)
    _wait(serve(chosen.thing, source, look=look, port=port, note=_OUTBOX_NOTE))


def of_store(thing: str, site: str, profile: str | None, region: str | None, look: Look, port: int) -> None:
    """Show what is stored of `thing` in the owner's AWS account, and its overrides.

    Raises:
        AwsError: the account cannot be used.
        PortInUseError: something else listens on `port`.
    """
    # Not on a Pi, which has none of this installed.
    from owner.session import Account
    from page.overrides import ShadowOverrides, reader
    from page.timestream import TimestreamSource, make_client

    account = Account(profile, region)
    with account.plainly():
        client = make_client(profile, region)
    overrides = ShadowOverrides(reader(account, thing))
    source = TimestreamSource(client, thing, site, look)
    _wait(serve(thing, source, look=look, port=port, overrides=overrides))


def _wait(page: Page) -> None:
    with page:
        print(f"the page: {page.url}    (Ctrl-C ends it)", flush=True)
        page.wait()
