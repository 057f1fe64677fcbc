"""Plays Grafana's HTTP API over real HTTP, as far as `dashboard push` uses it, with its checks and its bad days.

What Grafana adds to what it keeps (ids, versions, times, provenance, redacted secrets) is added here as well. It is
stricter than the real one: a path or a field that it does not know is remembered, and raised when it is closed.
"""

import json
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from demo.http_server import HOST, LocalServer

Json = dict[str, Any]
Answer = tuple[int, Any]

TOKEN = "glsa_of_an_admin"  # noqa: S105 - a peer's
EDITORS_TOKEN = "glsa_of_an_editor"  # noqa: S105 - a peer's
REDACTED = "[REDACTED]"
PLUGINS = ("prometheus", "influxdb", "grafana-timestream-datasource")

_RULE_FIELDS = {
    *("id", "uid", "orgID", "folderUID", "ruleGroup", "title", "condition", "data", "updated", "noDataState"),
    *("execErrState", "for", "annotations", "labels", "provenance", "isPaused", "notification_settings"),
}
_SOURCE_FIELDS = {
    *("uid", "name", "type", "access", "url", "user", "database", "basicAuth", "isDefault", "jsonData"),
    *("secureJsonData", "withCredentials", "version"),
}
_POINT_FIELDS = {"uid", "name", "type", "settings", "disableResolveMessage", "provenance"}
_DEFAULT_INTERVAL_S = 60


@dataclass
class Fault:
    """Instead of the proper answer to one such request, after so many. `takes_effect`: it is done all the same."""

    method: str
    path: str
    status: int
    body: str = '{"message": "it is broken"}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    after: int = 0
    takes_effect: bool = False


class Grafana:
    """A running server; use it in a `with`. All that it keeps may be looked at and changed between requests."""

    def __init__(self, prefix: str = "", version: str = "10.4.2", certificate: ssl.SSLContext | None = None) -> None:
        self.version = version
        self.plugins = list(PLUGINS)
        self.folders: dict[str, Json] = {}
        self.sources: dict[str, Json] = {}
        self.dashboards: dict[str, Json] = {}
        self.points: dict[str, Json] = {}
        self.rules: dict[str, Json] = {}
        self.intervals_s: dict[tuple[str, str], int] = {}
        self.source_health: Json = {"status": "OK", "message": "fine"}
        # As a Grafana that does not know the field.
        self.knows_routes = True
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.unexpected: list[str] = []
        self._prefix = prefix
        self._next_id = 1
        self._lock = threading.Lock()
        self._server = _Server(self)
        if certificate is not None:
            self._server.socket = certificate.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://{HOST}:{self._server.server_port}{prefix}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="grafana")
        self._thread.start()

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What was asked that may change something."""
        return [(method, path) for method, path in self.requests if method != "GET"]

    @property
    def is_empty(self) -> bool:
        """Whether it keeps nothing."""
        return not any((self.folders, self.sources, self.dashboards, self.points, self.rules))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()
        if exc is None:
            assert self.unexpected == []

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, Json]:
        """Status, body and headers of the answer to one request."""
        path = urlsplit(target).path
        with self._lock:
            self.requests.append((method, path))
            fault = next((f for f in self.faults if f.method == method and re.search(f.path, path)), None)
            if fault is not None:
                fault.after -= 1
                if fault.after < 0:
                    self.faults.remove(fault)
                    if fault.takes_effect:
                        self._proper(method, path, headers, body)
                    return fault.status, fault.body, dict(fault.headers)
            status, content = self._proper(method, path, headers, body)
        text = "" if content is None else json.dumps(content)
        return status, text, {"Content-Type": "application/json"}

    def _proper(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if not path.startswith(f"{self._prefix}/api/"):
            return self._unknown(method, path)
        path = path.removeprefix(f"{self._prefix}/api")
        if (method, path) == ("GET", "/health"):
            return 200, {"commit": "0", "database": "ok", "version": self.version}
        token = headers.get("Authorization", "")
        if token not in (f"Bearer {TOKEN}", f"Bearer {EDITORS_TOKEN}"):
            return 401, {"message": "Invalid API key", "statusCode": 401}
        if token != f"Bearer {TOKEN}" and path.startswith(("/datasources", "/v1/provisioning")):
            return 403, {
                "message": "You'll need additional permissions to perform this action",
                "title": "Access denied",
            }
        given: Json = {}
        if method in ("POST", "PUT"):
            try:
                given = json.loads(body)
            except ValueError:
                given = {}
            if not isinstance(given, dict) or not given:
                self.unexpected.append(f"{method} {path}: malformed {body!r}")
                return 400, {"message": "bad request data"}
        provenance = "" if headers.get("X-Disable-Provenance") == "true" else "api"
        for pattern, route in self._routes().items():
            verb, _, template = pattern.partition(" ")
            found = re.fullmatch(template, path)
            if verb == method and found:
                return route(given, provenance, *found.groups())
        return self._unknown(method, path)

    def _routes(self) -> dict[str, Callable[..., Answer]]:
        rules, points = "/v1/provisioning/alert-rules", "/v1/provisioning/contact-points"
        group = "/v1/provisioning/folder/([^/]+)/rule-groups/([^/]+)"
        return {
            "GET /plugins": lambda *_: (200, [{"id": each, "type": "datasource"} for each in self.plugins]),
            "GET /folders": lambda *_: (200, list(self.folders.values())),
            "POST /folders": self._post_folder,
            "GET /folders/([^/]+)": lambda _, __, uid: self._get(self.folders, uid),
            "DELETE /folders/([^/]+)": self._delete_folder,
            "GET /datasources": lambda *_: (200, list(map(self._visible, self.sources.values()))),
            "POST /datasources": self._post_source,
            "PUT /datasources/uid/([^/]+)": self._put_source,
            "DELETE /datasources/uid/([^/]+)": lambda _, __, uid: self._delete(self.sources, uid),
            "GET /datasources/uid/([^/]+)/health": lambda *_: (200, self.source_health),
            "POST /dashboards/db": self._post_dashboard,
            "GET /dashboards/uid/([^/]+)": lambda _, __, uid: self._get(self.dashboards, uid),
            "DELETE /dashboards/uid/([^/]+)": lambda _, __, uid: self._delete(self.dashboards, uid),
            f"GET {points}": lambda *_: (200, [self._redacted(point) for point in self.points.values()]),
            f"POST {points}": self._post_point,
            f"PUT {points}/([^/]+)": self._put_point,
            f"DELETE {points}/([^/]+)": self._delete_point,
            f"POST {rules}": self._post_rule,
            f"GET {rules}/([^/]+)": lambda _, __, uid: self._get(self.rules, uid, empty=True),
            f"PUT {rules}/([^/]+)": self._put_rule,
            f"DELETE {rules}/([^/]+)": self._delete_rule,
            f"GET {group}": self._get_group,
            f"PUT {group}": self._put_group,
        }

    def _unknown(self, method: str, path: str) -> Answer:
        self.unexpected.append(f"{method} {path}")
        return 404, {"message": "Not found"}

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _has_only(self, given: Json, fields: set[str], what: str) -> bool:
        if more := set(given) - fields:
            self.unexpected.append(f"{what} with {sorted(more)}")
        return not more

    @staticmethod
    def _get(kept: dict[str, Json], uid: str, *, empty: bool = False) -> Answer:
        return (200, kept[uid]) if uid in kept else (404, None if empty else {"message": "not found"})

    @staticmethod
    def _delete(kept: dict[str, Json], uid: str) -> Answer:
        return (200, {"message": "deleted"}) if kept.pop(uid, None) is not None else (404, {"message": "not found"})

    def _post_folder(self, given: Json, _: str) -> Answer:
        self._has_only(given, {"uid", "title", "parentUid"}, "folder")
        if given["uid"] in self.folders:
            return 409, {"message": "a folder with the same uid already exists"}
        if any(folder["title"] == given["title"] for folder in self.folders.values()):
            return 409, {"message": "a folder with the same name already exists in the current location"}
        self.folders[given["uid"]] = {**given, "id": self._id(), "version": 1, "canSave": True}
        return 200, self.folders[given["uid"]]

    def _delete_folder(self, _: Json, __: str, uid: str) -> Answer:
        if any(rule["folderUID"] == uid for rule in self.rules.values()):
            return 400, {"message": "folder cannot be deleted: folder contains alert rules"}
        for one in [one for one, kept in self.dashboards.items() if kept["meta"]["folderUid"] == uid]:
            del self.dashboards[one]
        return self._delete(self.folders, uid)

    @staticmethod
    def _visible(source: Json) -> Json:
        secrets = source.get("secureJsonData", {})
        visible = {name: value for name, value in source.items() if name != "secureJsonData"}
        return {**visible, "secureJsonFields": dict.fromkeys(secrets, True), "typeName": source["type"].title()}

    def _post_source(self, given: Json, _: str) -> Answer:
        self._has_only(given, _SOURCE_FIELDS, "data source")
        if any(given[each] == source[each] for source in self.sources.values() for each in ("name", "uid")):
            return 409, {"message": "data source with the same name already exists"}
        return self._keep_source(given, {"id": self._id(), "orgId": 1, "version": 1, "readOnly": False})

    def _put_source(self, given: Json, _: str, uid: str) -> Answer:
        self._has_only(given, _SOURCE_FIELDS, "data source")
        if uid not in self.sources:
            return 404, {"message": "Data source not found"}
        former = self.sources[uid]
        secrets = {**former.get("secureJsonData", {}), **given.get("secureJsonData", {})}
        added = {name: former[name] for name in ("id", "orgId", "readOnly")}
        return self._keep_source({**given, "secureJsonData": secrets}, {**added, "version": former["version"] + 1})

    def _keep_source(self, given: Json, added: Json) -> Answer:
        source = {"user": "", "database": "", "basicAuth": False, **given, **added}
        self.sources[given["uid"]] = source
        return 200, {"datasource": self._visible(source), "id": source["id"], "message": "Datasource added"}

    def _post_dashboard(self, given: Json, _: str) -> Answer:
        self._has_only(given, {"dashboard", "folderUid", "message", "overwrite"}, "dashboard")
        dashboard = given["dashboard"]
        uid = dashboard["uid"]
        if given["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        if uid in self.dashboards and not given["overwrite"]:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        version = self.dashboards[uid]["dashboard"]["version"] + 1 if uid in self.dashboards else 1
        kept = {**dashboard, "id": self._id(), "version": version}
        meta = {"folderUid": given["folderUid"], "provisioned": False, "canSave": True, "version": version}
        self.dashboards[uid] = {"dashboard": kept, "meta": meta}
        return 200, {"uid": uid, "version": version, "status": "success", "url": f"/d/{uid}"}

    @staticmethod
    def _redacted(point: Json) -> Json:
        return {**point, "settings": {**point["settings"], "integrationKey": REDACTED}}

    def _post_point(self, given: Json, provenance: str) -> Answer:
        self._has_only(given, _POINT_FIELDS, "contact point")
        if given["uid"] in self.points:
            return 400, {"message": "contact point configuration with this UID already exists"}
        if not given["settings"].get("integrationKey"):
            return 400, {"message": "invalid object specification: could not find integration key"}
        self.points[given["uid"]] = {**given, "provenance": provenance}
        return 202, self._redacted(self.points[given["uid"]])

    def _put_point(self, given: Json, provenance: str, uid: str) -> Answer:
        self._has_only(given, _POINT_FIELDS, "contact point")
        if uid not in self.points:
            return 404, {"message": "contact point not found"}
        if self.points[uid]["provenance"] not in ("", provenance):
            return 409, {"message": "cannot change provenance"}
        settings = dict(given["settings"])
        if settings.get("integrationKey") == REDACTED:
            settings["integrationKey"] = self.points[uid]["settings"]["integrationKey"]
        self.points[uid] = {**given, "uid": uid, "settings": settings, "provenance": provenance}
        return 202, {"message": "contactpoint updated"}

    def _delete_point(self, _: Json, __: str, uid: str) -> Answer:
        if uid not in self.points:
            return 404, {"message": "contact point not found"}
        routes = [rule.get("notification_settings", {}) for rule in self.rules.values()]
        if any(route.get("receiver") == self.points[uid]["name"] for route in routes):
            return 409, {"message": "contact point is used by an alert rule"}
        del self.points[uid]
        return 202, {"message": "contactpoint deleted"}

    def _post_rule(self, given: Json, provenance: str) -> Answer:
        if given.get("uid") in self.rules:
            return 409, {"message": "rule with this UID already exists"}
        if problem := self._problem_of_rule(given):
            return 400, {"message": problem}
        return 201, self._keep_rule(given, provenance)

    def _put_rule(self, given: Json, provenance: str, uid: str) -> Answer:
        if uid not in self.rules:
            return 404, None
        if self.rules[uid]["provenance"] not in ("", provenance):
            return 409, {"message": "cannot change provenance from 'api' to ''"}
        if problem := self._problem_of_rule(given):
            return 400, {"message": problem}
        return 200, self._keep_rule(given, provenance)

    def _delete_rule(self, _: Json, __: str, uid: str) -> Answer:
        # Grafana answers so too where there is none.
        self.rules.pop(uid, None)
        return 204, None

    def _problem_of_rule(self, given: Json) -> str | None:
        self._has_only(given, _RULE_FIELDS, "alert rule")
        steps = {step["refId"]: step for step in given["data"]}
        if given["condition"] not in steps:
            return "condition is no refId of the data"
        if given["folderUID"] not in self.folders or not given["ruleGroup"] or not given["title"]:
            return "folder, group and title are required"
        if any(r["title"] == given["title"] and r["uid"] != given["uid"] for r in self.rules.values()):
            return "a rule with this title exists in the folder"
        if given["noDataState"] not in ("OK", "NoData", "Alerting", "KeepLast"):
            return "unknown no data state"
        if given["execErrState"] not in ("OK", "Error", "Alerting", "KeepLast"):
            return "unknown execution error state"
        if not re.fullmatch(r"(\d+[smhd])+", given["for"]):
            return "for is no duration"
        for step in steps.values():
            if step["datasourceUid"] != "__expr__" and step["datasourceUid"] not in self.sources:
                return "data source not found"
            if step["model"]["refId"] != step["refId"] or not {"from", "to"} <= step["relativeTimeRange"].keys():
                return "invalid query"
        route = given.get("notification_settings")
        if route is not None and self.knows_routes:
            if not any(point["name"] == route["receiver"] for point in self.points.values()):
                return "receiver does not exist"
            if not {"grafana_folder", "alertname"} <= set(route.get("group_by", ["grafana_folder", "alertname"])):
                return "group by override must contain grafana_folder and alertname"
        return None

    def _keep_rule(self, given: Json, provenance: str) -> Json:
        rule = {**given, "id": self._id(), "orgID": 1, "provenance": provenance, "updated": "2026-11-23T12:00:00Z"}
        if not self.knows_routes:
            rule.pop("notification_settings", None)
        for step in rule["data"]:
            step["model"] = {"intervalMs": 1000, "maxDataPoints": 43200, **step["model"]}
        self.rules[given["uid"]] = rule
        self.intervals_s.setdefault((given["folderUID"], given["ruleGroup"]), _DEFAULT_INTERVAL_S)
        return rule

    def _get_group(self, _: Json, __: str, folder: str, group: str) -> Answer:
        rules = [r for r in self.rules.values() if (r["folderUID"], r["ruleGroup"]) == (folder, group)]
        if not rules:
            return 404, {"message": "rule group not found"}
        interval_s = self.intervals_s[folder, group]
        return 200, {"title": group, "folderUid": folder, "interval": interval_s, "rules": rules}

    def _put_group(self, given: Json, provenance: str, folder: str, group: str) -> Answer:
        self._has_only(given, {"title", "folderUid", "interval", "rules"}, "rule group")
        unknown = [rule["uid"] for rule in given["rules"] if rule["uid"] not in self.rules]
        if unknown or given["interval"] % 10:
            return 400, {"message": f"invalid group: {unknown}"}
        kept = {rule["uid"] for rule in given["rules"]}
        for uid in [uid for uid, rule in self.rules.items() if rule["ruleGroup"] == group and uid not in kept]:
            del self.rules[uid]
        for rule in given["rules"]:
            self._keep_rule(rule, provenance)
        self.intervals_s[folder, group] = given["interval"]
        return 200, given


class _Server(LocalServer):
    def __init__(self, peer: Grafana) -> None:
        super().__init__(0, _Handler)
        self.peer = peer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status, text, headers = self.server.peer.answer(self.command, self.path, dict(self.headers), body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """A test's output is not its place."""
