"""PagerDuty as one of Grafana's contact points."""

import re
from typing import Any

from contract.errors import SolarshedError
from dashboard.data_source import fingerprint

UID = "solarshed-pagerduty"
NAME = "Solarshed PagerDuty"

_INTEGRATION_KEY = re.compile(r"[0-9A-Za-z]{32}")


class ContactPointError(SolarshedError, ValueError):
    """A contact point that PagerDuty would refuse."""


def pagerduty(integration_key: str) -> dict[str, Any]:
    """Its JSON. Severities are those of the alerts' label, which have PagerDuty's names.

    Grafana never tells the key again; its fingerprint among the details tells a new key from the old one.

    Raises:
        ContactPointError: this is no integration key.
    """
    if not _INTEGRATION_KEY.fullmatch(integration_key):
        raise ContactPointError(
            "SOLARSHED_PAGERDUTY_KEY holds no integration key: it has 32 letters and digits; in PagerDuty, add the "
            'integration "Events API V2" to a service and copy its key'
        )
    return {
        "uid": UID,
        "name": NAME,
        "type": "pagerduty",
        "settings": {
            "integrationKey": integration_key,
            "severity": "{{ if .CommonLabels.severity }}{{ .CommonLabels.severity }}{{ else }}critical{{ end }}",
            "class": "solarshed",
            "details": {"integration_key_fingerprint": fingerprint({"key": integration_key})},
        },
        "disableResolveMessage": False,
    }
