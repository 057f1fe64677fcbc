"""A Grafana and the right to change it, through grafana-client; what goes wrong becomes a sentence with its remedy."""

import re
from collections.abc import Callable
from typing import Self, TypeVar
from urllib.parse import urlsplit

import requests
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from contract.errors import SolarshedError

# What is used has been there since: the dashboards' schema, and alerts that name their contact point.
OLDEST = (10, 4)

_TIMEOUT_S = 30.0
_TOKEN = re.compile(r"[!-~]+")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_VERSION = re.compile(r"(\d+)\.(\d+)")

T = TypeVar("T")


class GrafanaError(SolarshedError, RuntimeError):
    """Grafana cannot be asked, or refuses; the text says why and what to do. `status` is its HTTP status, if any."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Connection:
    """One Grafana, for a `with`. `url` has no slash at its end."""

    def __init__(self, url: str, token: str) -> None:
        """Nothing is sent yet.

        Raises:
            GrafanaError: no token may be sent to this address, or the token is none.
        """
        if not _TOKEN.fullmatch(token):
            raise GrafanaError("GRAFANA_TOKEN holds no token: copy it again, without spaces or line breaks")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
            raise GrafanaError(f"{url!r} is no address of a Grafana; give one such as https://NAME.grafana.net")
        if parts.scheme == "http" and host not in _LOOPBACK:
            raise GrafanaError(f"{url} would get the token unencrypted; give an https:// address")
        self.url = url.rstrip("/")
        path = parts.path.strip("/")
        self.api = GrafanaApi(
            token,
            host=f"[{host}]" if ":" in host else host,
            port=port,
            url_path_prefix=f"{path}/" if path else "",
            protocol=parts.scheme,
            timeout=_TIMEOUT_S,
        )
        # The token must not follow a redirect, and a POST that does becomes a GET.
        self.api.client.s.max_redirects = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.client.s.close()

    def check(self) -> str:
        """Its version, once it is known to be a Grafana that is new enough.

        Raises:
            GrafanaError: it is not, or cannot be asked.
        """
        health = self.ask("its health", self.api.health.check)
        if not isinstance(health, dict) or "database" not in health:
            raise GrafanaError(f"{self.url} is no Grafana; give the address that the browser shows, without /d/...")
        version = str(health.get("version", ""))
        found = _VERSION.match(version)
        if found and (int(found[1]), int(found[2])) < OLDEST:
            raise GrafanaError(
                f"{self.url} is Grafana {version}, and the dashboards are for 10.4 and later; update it "
                "(Amazon Managed Grafana: in the console, at the workspace)"
            )
        return version or "of a version that it does not tell"

    def ask(self, what: str, call: Callable[[], T]) -> T:
        """What `call` returns; `what` names it in an error.

        Raises:
            GrafanaError: nothing usable came back.
        """
        try:
            return call()
        except GrafanaException as e:
            raise self._refused(what, e) from None
        except requests.exceptions.TooManyRedirects as e:
            where = e.response.headers.get("Location", "elsewhere") if e.response is not None else "elsewhere"
            raise GrafanaError(f"{self.url} sends us on to {where}; give the address of Grafana itself") from None
        except requests.exceptions.SSLError as e:
            raise GrafanaError(
                f"{self.url}: its certificate is not trusted ({_root(e)}); if it is your own, name the file of it: "
                "REQUESTS_CA_BUNDLE=certificate.pem solarshed dashboard push ..."
            ) from None
        except requests.exceptions.Timeout:
            raise GrafanaError(f"{self.url} did not answer within {_TIMEOUT_S:g} s; run this again") from None
        except requests.exceptions.ConnectionError as e:
            raise GrafanaError(
                f"{self.url} cannot be reached ({_root(e)}); is the address right, and the network up?"
            ) from None
        except (requests.exceptions.RequestException, ValueError) as e:
            raise GrafanaError(
                f"{self.url} answered what no Grafana answers, for {what} ({_root(e)}); is the address right?"
            ) from None

    def find(self, what: str, call: Callable[[], T]) -> T | None:
        """The same, but None where Grafana says that there is no such thing."""
        try:
            return self.ask(what, call)
        except GrafanaError as e:
            if e.status == 404:
                return None
            raise

    def _refused(self, what: str, e: GrafanaException) -> GrafanaError:
        status, said = int(e.status_code), _message(e)
        if status == 401:
            text = "does not know the token; make one of a service account with the role Admin, and set GRAFANA_TOKEN"
        elif status == 403:
            text = f"does not let the token's account at {what}; give the service account the role Admin"
        elif status == 429:
            text = f"has been asked too often, at {what}; wait a minute and run this again"
        elif status >= 500:
            text = f"has trouble of its own, at {what} ({status}: {said}); run this again later"
        elif isinstance(e, GrafanaClientError):
            text = f"refuses {what} ({status}: {said})"
        else:
            text = f"answered {status} for {what}: {said}"
        return GrafanaError(f"{self.url} {text}", status)


def _message(e: GrafanaException) -> str:
    """What Grafana said, on one line and not without end; a proxy's page in HTML says nothing."""
    said = e.response.get("message", "") if isinstance(e.response, dict) else str(e.response)
    if "<html" in said.lower() or not said.strip():
        return "no reason given"
    return "".join(c if c.isprintable() else " " for c in said)[:300].strip()


def _root(e: BaseException) -> str:
    """The last cause, without the layers that libraries put around it."""
    reason: object = e.args[0] if e.args else e
    while isinstance(inner := getattr(reason, "reason", None), BaseException):
        reason = inner
    text = str(reason)
    # urllib3 begins with the connection object's repr.
    return re.sub(r"^<[^>]*>: |^[A-Za-z]+Connection\([^)]*\): ", "", text)[:200]
