"""Brings folder, data source, dashboards, contact point and alert rules into a Grafana, and mends what differs.

First all is looked at: what cannot be done, or is not ours to change, ends it with nothing changed. Only then is
anything written, in an order in which each thing finds what it needs. If a write fails, what this run created is
removed again.

The owner's tree of notification policies is never touched, since Grafana takes it only as a whole: each rule names its
contact point itself. Everything is written so that it can be edited in Grafana (`X-Disable-Provenance`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dashboard import contact_point
from dashboard.alert_rules import CONTACT_POINT_LABEL, FOLDER_UID, GROUP, made_for
from dashboard.connection import Connection, GrafanaError
from dashboard.data_source import FINGERPRINT, InfluxDb, Timestream
from dashboard.difference import differences
from dashboard.look import DATA_SOURCE_UID, Engine, Look
from dashboard.panels import NOW

FOLDER_TITLE = "Solarshed"

_EDITABLE = {"X-Disable-Provenance": "true"}
_REPLACE = "--replace-data-source"
# Which no dashboard of ours decides.
_GRAFANAS_OWN = ("id", "version", "schemaVersion")

Json = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What Grafana is to have. `dashboards` by uid, as `dashboard.grafana.render` makes them.

    Without `pagerduty_key` no contact point is made, and one that is there stays. `interval_s` is how often the alert
    rules are evaluated. `replace_data_source`: one with other settings is ours to change.
    """

    look: Look
    dashboards: dict[str, Json]
    source: Timestream | InfluxDb
    interval_s: int
    pagerduty_key: str | None = None
    replace_data_source: bool = False


@dataclass(frozen=True)
class Step:
    """One thing to create or update (`write`), or to leave (None). `remove` undoes that it was created."""

    what: str
    write: Callable[[], object] | None = None
    remove: Callable[[], object] | None = None

    @property
    def outcome(self) -> str:
        """What became of it, in a word."""
        if self.write is None:
            return "unchanged"
        return "updated" if self.remove is None else "created"


def push(connection: Connection, wanted: Wanted, say: Callable[[str], None]) -> str:
    """Do it, say each step, and return the address of the dashboard "Now".

    Raises:
        GrafanaError: it cannot be done; the text says why, and what is left.
    """
    version = connection.check()
    say(f"{connection.url}: Grafana {version}")
    plan = _Plan(connection, wanted)
    _carry_out(connection, list(plan.steps()), say)
    for line in plan.remarks():
        say(line)
    return f"{connection.url}/d/{NOW.uid}"


class _Plan:
    """What there is to do, found by looking only."""

    def __init__(self, connection: Connection, wanted: Wanted) -> None:
        self._connection = connection
        self._api = connection.api
        self._wanted = wanted
        self._contact: tuple[str, str] | None = None
        self._unrouted = False

    def steps(self) -> Iterator[Step]:
        """In the order of writing."""
        # The data source first: to see one needs the role that all the rest needs.
        source = self._data_source()
        self._check_plugin()
        yield self._folder()
        yield source
        for uid, dashboard in self._wanted.dashboards.items():
            yield self._dashboard(uid, dashboard)
        yield from self._contact_point()
        yield from self._rules()
        yield self._interval()

    def remarks(self) -> Iterator[str]:
        """What the owner should know, once all is written."""
        if self._contact is None:
            yield (
                "PagerDuty: no contact point, as SOLARSHED_PAGERDUTY_KEY is not set; the alerts go where your "
                "notification policies send them"
            )
        elif self._unrouted:
            yield (
                "PagerDuty: this Grafana does not let a rule name its contact point; in Alerting, Notification "
                f'policies, add one with the matcher {CONTACT_POINT_LABEL} = {self._contact[0]} to "{self._contact[1]}"'
            )
        if self._wanted.look.engine is Engine.TIMESTREAM:
            # 30 s of 4 TCU are the least that Timestream takes; see infra/costs.
            dollars = 30 * 24 * 3600 / self._wanted.interval_s * 30 / 3600 * 4 * 0.518
            yield (
                f"Timestream is asked every {self._wanted.interval_s // 60} min for the alert rules, for about "
                f"{dollars:.0f} USD a month; choose with --alert-interval"
            )
        try:
            health = self._connection.ask(
                "the data source's health", lambda: self._api.datasource.health(DATA_SOURCE_UID)
            )
        except GrafanaError as e:
            yield f"data source: Grafana cannot read the store yet: {e}"
            return
        if not isinstance(health, dict) or health.get("status") != "OK":
            said = health.get("message", "no reason given") if isinstance(health, dict) else "no reason given"
            yield f"data source: Grafana cannot read the store yet: {said}"

    def _check_plugin(self) -> None:
        type_ = self._wanted.source.made()["type"]
        plugins = self._connection.ask("the list of plugins", self._api.plugin.list)
        if type_ not in {plugin.get("id") for plugin in plugins}:
            raise GrafanaError(
                f"{self._connection.url} lacks the plugin {type_}; install it under Administration, Plugins (Amazon "
                "Managed Grafana: allow plugin management in the console first), then run this again"
            )

    def _folder(self) -> Step:
        what = f'folder "{FOLDER_TITLE}"'
        if self._connection.find(what, lambda: self._api.folder.get_folder(FOLDER_UID)) is not None:
            return Step(what)
        for other in self._connection.ask("the list of folders", self._api.folder.get_all_folders):
            if other.get("title") == FOLDER_TITLE:
                raise GrafanaError(
                    f'{self._connection.url} has a folder "{FOLDER_TITLE}" that is not ours (uid {other.get("uid")}); '
                    "rename it there, then run this again"
                )
        return Step(
            what,
            lambda: self._api.folder.create_folder(FOLDER_TITLE, uid=FOLDER_UID),
            lambda: self._api.folder.delete_folder(FOLDER_UID),
        )

    def _data_source(self) -> Step:
        made = self._wanted.source.made()
        what = f'data source "{made["name"]}" ({made["type"]})'
        found = None
        for other in self._connection.ask("data sources", self._api.datasource.list_datasources):
            if other.get("uid") == DATA_SOURCE_UID:
                found = other
            elif other.get("name") == made["name"]:
                raise GrafanaError(
                    f'{self._connection.url} has a data source "{made["name"]}" that is not ours (uid '
                    f"{other.get('uid')}); rename it there, then run this again"
                )
        if found is None:
            return Step(
                what,
                lambda: self._api.datasource.create_datasource(made),
                lambda: self._api.datasource.delete_datasource_by_uid(DATA_SOURCE_UID),
            )
        # Whatever it is called there, and whether it is the default: that is the owner's to say.
        public = {key: value for key, value in made.items() if key not in ("secureJsonData", "name", "isDefault")}
        other_than = list(differences(public, found))
        if not other_than:
            return Step(what)
        if not self._wanted.replace_data_source:
            named = "; ".join(_without_fingerprint(other_than))
            raise GrafanaError(
                f'{self._connection.url} has the data source "{found.get("name")}" with other settings: {named}. '
                f"Give the same ones, or run this again with {_REPLACE}"
            )
        if found.get("readOnly"):
            raise GrafanaError(
                f'{self._connection.url} has the data source "{found.get("name")}" from a file on its server, where '
                "alone it can be changed"
            )
        kept = {"name": found.get("name"), "isDefault": found.get("isDefault", False)}
        return Step(what, lambda: self._api.datasource.update_datasource_by_uid(DATA_SOURCE_UID, {**made, **kept}))

    def _dashboard(self, uid: str, wanted: Json) -> Step:
        what = f'dashboard "{wanted["title"]}"'
        found = self._connection.find(what, lambda: self._api.dashboard.get_dashboard(uid))
        body = {"folderUid": FOLDER_UID, "message": "solarshed dashboard push"}
        dashboard = {key: value for key, value in wanted.items() if key not in ("id", "version")}
        if found is None:
            return Step(
                what,
                lambda: self._api.dashboard.update_dashboard({**body, "dashboard": dashboard, "overwrite": False}),
                lambda: self._api.dashboard.delete_dashboard(uid),
            )
        same = {key: value for key, value in wanted.items() if key not in _GRAFANAS_OWN}
        meta = found["meta"]
        if meta.get("folderUid") == FOLDER_UID and not any(differences(same, found["dashboard"])):
            return Step(what)
        if meta.get("provisioned"):
            raise GrafanaError(
                f'{self._connection.url} has the dashboard "{wanted["title"]}" from a file on its server, where '
                "alone it can be changed; remove it there, then run this again"
            )
        return Step(
            what, lambda: self._api.dashboard.update_dashboard({**body, "dashboard": dashboard, "overwrite": True})
        )

    def _contact_point(self) -> Iterator[Step]:
        points = self._connection.find("contact points", self._api.alertingprovisioning.get_contactpoints)
        if points is None:
            # As in a new workspace of Amazon Managed Grafana 10, which CloudFormation cannot turn it on in.
            raise GrafanaError(
                f"{self._connection.url} has Grafana alerting turned off; turn it on (Amazon Managed Grafana: in the "
                "console, at the workspace's configuration options), then run this again"
            )
        found = next((point for point in points if point.get("uid") == contact_point.UID), None)
        if found is not None:
            self._contact = contact_point.UID, str(found["name"])
        if self._wanted.pagerduty_key is None:
            return
        made = contact_point.pagerduty(self._wanted.pagerduty_key)
        what = f'contact point "{made["name"]}"'
        path = f"/v1/provisioning/contact-points/{contact_point.UID}"
        if found is None:
            if any(point.get("name") == made["name"] for point in points):
                raise GrafanaError(
                    f'{self._connection.url} has a contact point "{made["name"]}" that is not ours; rename it there, '
                    "then run this again"
                )
            self._contact = contact_point.UID, str(made["name"])
            yield Step(
                what,
                lambda: self._api.alertingprovisioning.create_contactpoint(made, disable_provenance=True),
                lambda: self._api.alertingprovisioning.delete_contactpoint(contact_point.UID),
            )
            return
        # Whatever it is called there: rules and policies name it so.
        made["name"] = found["name"]
        visible = {key: value for key, value in made["settings"].items() if key != "integrationKey"}
        if not any(differences({**made, "settings": visible}, found)):
            yield Step(what)
            return
        self._refuse_provisioned(what, found)
        # The library has no room for the header.
        yield Step(what, lambda: self._api.client.PUT(path, json=made, headers=_EDITABLE))

    def _rules(self) -> Iterator[Step]:
        now_url = f"{self._connection.url}/d/{NOW.uid}"
        for made in made_for(self._wanted.look.engine, now_url, self._contact):
            yield self._rule(made)

    def _rule(self, made: Json) -> Step:
        what, uid = f'alert rule "{made["title"]}"', made["uid"]
        provisioning = self._api.alertingprovisioning
        found = self._connection.find(what, lambda: provisioning.get_alertrule(uid))
        if found is None:
            return Step(
                what,
                lambda: self._note_route(made, provisioning.create_alertrule(made, disable_provenance=True)),
                lambda: provisioning.delete_alertrule(uid),
            )
        # A Grafana that took the label but not the route never will.
        cannot = "notification_settings" not in found and CONTACT_POINT_LABEL in (found.get("labels") or {})
        compared = {key: value for key, value in made.items() if key != "notification_settings" or not cannot}
        # Paused in Grafana by the owner, it stays so.
        compared.pop("isPaused")
        made["isPaused"] = found.get("isPaused", False)
        if not any(differences(compared, found)):
            self._note_route(made, found)
            return Step(what)
        self._refuse_provisioned(what, found)
        return Step(
            what, lambda: self._note_route(made, provisioning.update_alertrule(uid, made, disable_provenance=True))
        )

    def _interval(self) -> Step:
        wanted_s, provisioning = self._wanted.interval_s, self._api.alertingprovisioning
        what = f"alert rules every {wanted_s // 60} min"
        found = self._connection.find(what, lambda: provisioning.get_rule_group(FOLDER_UID, GROUP))
        if found is not None and found.get("interval") == wanted_s:
            return Step(what)

        def write() -> None:
            # With all its rules, some of which may be the owner's: Grafana takes a group as a whole.
            group = provisioning.get_rule_group(FOLDER_UID, GROUP)
            if group.get("interval") != wanted_s:
                provisioning.update_rule_group(
                    FOLDER_UID, GROUP, {**group, "interval": wanted_s}, disable_provenance=True
                )

        return Step(what, write)

    def _note_route(self, made: Json, kept: object) -> None:
        if "notification_settings" in made and isinstance(kept, dict) and not kept.get("notification_settings"):
            self._unrouted = True

    def _refuse_provisioned(self, what: str, found: Json) -> None:
        if found.get("provenance"):
            raise GrafanaError(
                f"{self._connection.url} has the {what} from elsewhere (provenance {found['provenance']}), and lets "
                "only that change it; remove it there, then run this again"
            )


def _carry_out(connection: Connection, steps: Iterable[Step], say: Callable[[str], None]) -> None:
    """Writes, and undoes it where that fails."""
    created: list[Step] = []
    updated: list[str] = []
    for step in steps:
        # What may be there now, though we have no answer that says so.
        begun = [step] if step.remove is not None else []
        try:
            if step.write is not None:
                connection.ask(step.what, step.write)
            say(f"{step.what}: {step.outcome}")
        except GrafanaError as e:
            uncertain = e.status is None or e.status >= 500
            left = _undo(connection, [*created, *begun] if uncertain else created, updated)
            raise GrafanaError(f"{e}; {left}", e.status) from None
        except KeyboardInterrupt:
            say(_undo(connection, [*created, *begun], updated))
            raise
        created += begun
        if step.outcome == "updated":
            updated.append(step.what)


def _undo(connection: Connection, created: Iterable[Step], updated: list[str]) -> str:
    """Removes what was created, the last first, and says what is left."""
    left = []
    for step in reversed(list(created)):
        if step.remove is not None:
            try:
                connection.find(step.what, step.remove)
            except GrafanaError:
                left.append(step.what)
    text = f"remove in Grafana what is left: {', '.join(left)}" if left else "nothing that was created is left"
    return f"{text}; updated before that: {', '.join(updated)}" if updated else text


def _without_fingerprint(texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield "its secret is another" if text.startswith(f"jsonData.{FINGERPRINT} ") else text
