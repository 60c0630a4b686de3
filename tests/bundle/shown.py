"""What analysts and operators see must be so too: the dashboard, the alerts on the books, the notebooks.

A dashboard's JSON has no public schema. Its rules here are those that Databricks' examples follow and its
agent skills state; beside them stand the classes of databricks-labs-lsql, made from the product's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlglot
from databricks.labs.lsql.lakeview import Dashboard
from sqlglot import exp
from tests.bundle.resolver import ROOT, Bundle

from lakehouse.catalog import ops
from lakehouse.catalog.declared import all_views
from lakehouse.table import Table

ALERTS = {"freshness", "failed_batches", "quarantine", "tombstone_floor"}
GRID = 12
VERSIONS = {"counter": 2, "table": 2, "bar": 3}
_CHANNELS = {"counter": {"value"}, "table": {"columns"}, "bar": {"x", "y", "color"}}
_FIELD = re.compile(r"`\w+`|(?:SUM|AVG|COUNT|MIN|MAX)\(`\w+`\)")
_NEWER = {"queryLines", "pageType", "layoutVersion", "multilineTextboxSpec"}
"""Keys that the classes do not know yet; Databricks' newer examples have them."""

_CRON = re.compile(r"[0-5]?\d [0-5]?\d(?:/[0-5]?\d)? (?:\*|[01]?\d|2[0-3])(?:/\d+)? (?:\* \* \?|\? \* \*)")


def shown_problems(bundle: Bundle, tables: Sequence[Table]) -> Iterator[str]:
    """All that is wrong with what is shown in a target."""
    yield from _dashboards(bundle, tables)
    yield from _alerts(bundle)
    if bundle.variables["pii_readers"] in (bundle.variables["analysts"], ""):
        yield "every analyst would see personal data"
    if not str(bundle.variables["silent_minutes"]).isdecimal():
        yield "silent_minutes is no number"
    if "notebooks" not in bundle.config.get("sync", {}).get("paths", []):
        yield "sync: the notebooks stay behind"


# --- dashboard ----------------------------------------------------------------------------------------------


def _dashboards(bundle: Bundle, tables: Sequence[Table]) -> Iterator[str]:
    dashboards = bundle.resources("dashboards")
    if not dashboards:
        yield "there is no dashboard"
    for key, dashboard in dashboards.items():
        where, gold = f"dashboards.{key}", bundle.resources("schemas").get("gold", {})
        if dashboard.get("warehouse_id") not in _warehouses(bundle):
            yield f"{where} has no warehouse of ours"
        if dashboard.get("dataset_catalog") != bundle.variables["catalog"]:
            yield f"{where}: dataset_catalog is {dashboard.get('dataset_catalog')!r}"
        if dashboard.get("dataset_schema") != gold.get("name"):
            yield f"{where}: dataset_schema is {dashboard.get('dataset_schema')!r}"
        if dashboard.get("embed_credentials") is not False:
            yield f"{where}: embed_credentials would show everybody what its owner may see"
        path = ROOT / str(dashboard.get("file_path"))
        if not path.name.endswith(".lvdash.json") or not path.is_file():
            yield f"{where}: there is no dashboard in {dashboard.get('file_path')}"
            continue
        views = frozenset(view.name for layer, view in all_views(tables) if layer == "gold")
        yield from (
            f"{path.name}: {problem}" for problem in dashboard_problems(path.read_text("utf-8"), views)
        )


@lru_cache(maxsize=100)
def dashboard_problems(text: str, views: frozenset[str]) -> tuple[str, ...]:
    """What is wrong with a dashboard's JSON; `views`: those in gold."""
    return tuple(_of_a_dashboard(json.loads(text), views))


def _of_a_dashboard(told: Mapping[str, Any], views: frozenset[str]) -> Iterator[str]:
    columns: dict[str, list[str]] = {}
    for dataset in told.get("datasets", []):
        yield from _dataset(dataset, views, columns)
    names: list[str] = []
    used: set[str] = set()
    for page in told.get("pages", []):
        yield from _page(page)
        names.append(page["name"])
        for placed in page.get("layout", []):
            widget = placed["widget"]
            names.append(widget["name"])
            if "multilineTextboxSpec" in widget:
                if "spec" in widget or len(widget["multilineTextboxSpec"]["lines"]) != 1:
                    yield f"{widget['name']}: a text has one line and no spec"
                continue
            yield from (f"{widget['name']}: {problem}" for problem in _widget(widget, columns))
            used |= {query["query"]["datasetName"] for query in widget.get("queries", [])}
    for name in names:
        if names.count(name) > 1 or not re.fullmatch(r"[\w-]{1,60}", name):
            yield f"{name!r} is no name of its own"
    yield from (f"nothing shows the dataset {name!r}" for name in sorted(set(columns) - used))
    try:
        again = Dashboard.from_dict(dict(told)).as_dict()
    except (KeyError, TypeError, ValueError) as error:
        yield f"the product's classes refuse it: {error!r}"
        return
    yield from _lost("", told, again)


def _dataset(
    dataset: Mapping[str, Any], views: frozenset[str], columns: dict[str, list[str]]
) -> Iterator[str]:
    name, lines = dataset["name"], dataset.get("queryLines", [])
    if name in columns:
        yield f"two datasets are called {name!r}"
    columns[name] = []
    if not lines or not all(line.endswith("\n") for line in lines):
        yield f"{name}: its lines would run into each other"
    try:
        statements = sqlglot.parse("".join(lines), read="databricks")
    except sqlglot.errors.SqlglotError as error:
        yield f"{name}: {str(error).splitlines()[0]}"
        return
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        yield f"{name} is not one query"
        return
    [query] = statements
    columns[name] += query.named_selects
    # A name in a WITH may not be that of a view: without a schema in front it would stand for both.
    common = {cte.alias for cte in query.find_all(exp.CTE)}
    yield from (f"{name}: {view!r} is a view too" for view in sorted(common & views))
    for table in query.find_all(exp.Table):
        if table.db or table.catalog:
            yield f"{name}: {table.sql()} has a schema in front"
        elif table.name not in common | views:
            yield f"{name}: there is no {table.name!r} in gold"


def _page(page: Mapping[str, Any]) -> Iterator[str]:
    where = page["name"]
    if page.get("pageType") != "PAGE_TYPE_CANVAS" or page.get("layoutVersion") != "GRID_V1":
        yield f"{where}: a page of no kind"
    cells: dict[tuple[int, int], str] = {}
    for placed in page.get("layout", []):
        at, name = placed["position"], placed["widget"]["name"]
        for x in range(at["x"], at["x"] + at["width"]):
            for y in range(at["y"], at["y"] + at["height"]):
                if (x, y) in cells:
                    yield f"{where}: {name} lies on {cells[x, y]}"
                    return
                cells[x, y] = name
    bottom = max((y for _, y in cells), default=-1) + 1
    if set(cells) != {(x, y) for x in range(GRID) for y in range(bottom)}:
        yield f"{where}: its rows are not {GRID} wide"


def _widget(widget: Mapping[str, Any], columns: Mapping[str, list[str]]) -> Iterator[str]:
    spec, [asked] = widget["spec"], widget["queries"]
    kind, query = spec["widgetType"], asked["query"]
    if asked["name"] != "main_query":
        yield "its query is not called main_query"
    if VERSIONS.get(kind) != spec["version"]:
        yield f"{kind} of version {spec['version']}"
    if not (spec.get("frame", {}).get("showTitle") and spec["frame"].get("title")):
        yield "it shows no title"
    if query["datasetName"] not in columns:
        yield f"there is no dataset {query['datasetName']!r}"
        return
    fields = {field["name"]: field["expression"] for field in query["fields"]}
    for name, expression in fields.items():
        [column] = re.findall(r"`(\w+)`", expression) or [""]
        if not _FIELD.fullmatch(expression) or column not in columns[query["datasetName"]]:
            yield f"{name}: {expression} is no expression over {query['datasetName']}"
    added = any("(" in expression for expression in fields.values())
    if query.get("disaggregated") is added:
        yield "rows are added up, or they are not"
    encodings = spec["encodings"]
    if set(encodings) - _CHANNELS.get(kind, set()) or not encodings:
        yield f"{kind} has no {sorted(encodings)}"
    shown = [e for value in encodings.values() for e in (value if isinstance(value, list) else [value])]
    if {e.get("fieldName") for e in shown} != set(fields):
        yield "its fields and its encodings differ"
    if not all(e.get("displayName") for e in shown):
        yield "an axis or a column without a name"
    if kind == "bar" and not all("scale" in e for e in shown):
        yield "an axis without a scale"


def _lost(where: str, wanted: Any, got: Any) -> Iterator[str]:
    """Where the product's classes read something else than was written."""
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for key, value in wanted.items():
            if key not in _NEWER:
                yield from _lost(f"{where}.{key}", value, got.get(key))
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from _lost(f"{where}[{number}]", one, other)
    elif wanted != got:
        yield f"{where}: {wanted!r} is read as {got!r}"


# --- alerts on the books ------------------------------------------------------------------------------------


def _alerts(bundle: Bundle) -> Iterator[str]:
    alerts = bundle.resources("alerts")
    if set(alerts) != ALERTS:
        yield f"the alerts are {sorted(alerts)}"
    paused = "PAUSED" if bundle.target == "dev" else "UNPAUSED"
    for key, alert in alerts.items():
        where, evaluation, schedule = f"alerts.{key}", alert["evaluation"], alert["schedule"]
        if alert.get("warehouse_id") not in _warehouses(bundle):
            yield f"{where} has no warehouse of ours"
        if schedule.get("pause_status") != paused:
            yield f"{where} is {schedule.get('pause_status')}"
        if (
            not _CRON.fullmatch(schedule.get("quartz_cron_schedule", ""))
            or schedule.get("timezone_id") != "UTC"
        ):
            yield f"{where} has no Quartz expression in UTC"
        if evaluation.get("empty_result_state") != "OK":
            yield f"{where}: with nothing in the books it would not be OK"
        if not isinstance(evaluation.get("threshold", {}).get("value", {}).get("double_value"), (int, float)):
            yield f"{where} has no threshold"
        notified = evaluation.get("notification", {}).get("subscriptions")
        if notified != [{"user_email": bundle.variables["notify"]}]:
            yield f"{where}: nobody is told"
        if evaluation.get("notification", {}).get("retrigger_seconds", 0) < 3600:
            yield f"{where}: it would be told once, or all the time"
        if "{{QUERY_RESULT_TABLE}}" not in alert.get("custom_description", ""):
            yield f"{where}: the mail has no rows"
        written = bundle.written["resources"]["alerts"][key]
        for name in sorted({"run_as", "run_as_user_name", "parent_path", "file_path"} & set(written)):
            yield f"{where} says {name}"
        yield from (f"{where}: {problem}" for problem in _alert_query(bundle, alert))


def _alert_query(bundle: Bundle, alert: Mapping[str, Any]) -> Iterator[str]:
    try:
        statements = sqlglot.parse(alert["query_text"], read="databricks")
    except sqlglot.errors.SqlglotError as error:
        yield str(error).splitlines()[0]
        return
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        yield "it asks no single query"
        return
    [query] = statements
    source = alert["evaluation"]["source"]
    if source["name"] not in query.named_selects:
        yield f"its query gives no {source['name']!r}"
    if "aggregation" in source:
        yield "the mail would have one number, and no row"
    order = query.args.get("order")
    first = order.expressions[0] if order else None
    if first is None or first.this.name != source["name"] or not first.args.get("desc"):
        yield "the first row, which decides, is not the worst"
    personal = {column.name for columns, _, _ in ops.TABLES.values() for column in columns if column.pii}
    told = {column.name for column in query.find_all(exp.Column)} & personal
    if told or query.find(exp.Star, bfs=True) in query.expressions:
        yield f"personal data would be in a mail: {sorted(told)}"
    if alert["query_text"].rstrip().endswith(";"):
        yield "it ends with a semicolon, and the product puts more behind it"
    common = {cte.alias for cte in query.find_all(exp.CTE)}
    schemas = {bundle.resources("schemas")[layer]["name"]: layer for layer in ("gold", "ops")}
    books = {"ops": {"batches", "failures"}, "gold": {view.name for view in ops.IN_GOLD}}
    for table in query.find_all(exp.Table):
        if table.name in common and not table.db:
            continue
        if (
            table.catalog != bundle.variables["catalog"]
            or table.name not in books[schemas.get(table.db, "ops")]
        ):
            yield f"there is no {table.sql(dialect='databricks')} among the books"


def _warehouses(bundle: Bundle) -> set[str]:
    return {f"<id of sql_warehouses.{key}>" for key in bundle.resources("sql_warehouses")}
