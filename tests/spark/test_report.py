"""The report says what SQL says, of everything and of nothing, and what is in the data stays text."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.spark.report_data import NOTHING, Read, fill
from tests.spark.support import Lake

from lakehouse.local.query import read_only
from lakehouse.report import charts, words
from lakehouse.report.make import make_report
from lakehouse.report.page import html
from lakehouse.report.queries import FIXED, ask, queries
from lakehouse.report.sections import make_page
from lakehouse.report.sections.freshness import freshness
from lakehouse.settings import LAYERS
from lakehouse.tables import TABLES

pytestmark = pytest.mark.timeout(600)  # the first test makes the lake and the report

Made = tuple[Lake, Read, str]


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Made:
    lake = Lake(spark, tmp_path_factory.mktemp("report") / "lake", TABLES)
    fill(lake)
    told: list[tuple[int, int]] = []
    page = make_report(
        spark,
        lake.settings,
        TABLES,
        title="<b>here</b>",
        days=30,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] == len(queries(TABLES))
    return lake, Read(page), page


def _sql(lake: Lake) -> Callable[[str], list[list[str]]]:
    """Rows as the page writes them: text, a dash for null."""
    own = {layer: getattr(lake.settings, layer) for layer in LAYERS}

    def run(query: str) -> list[list[str]]:
        query = re.sub(rf"\b({'|'.join(LAYERS)})\.(?=[a-z])", lambda found: f"{own[found[1]]}.", query)
        rows = ask(lake.spark, query)
        return [[words.MISSING if v is None else str(v) for v in row.values()] for row in rows]

    return run


# --- figures -----------------------------------------------------------------------------------------

RECENT = "call_timestamp_utc BETWEEN current_timestamp() - INTERVAL 30 DAYS AND current_timestamp()"
HOUR = "lpad(hour(call_timestamp_utc), 2, '0')"


def test_calls_by_hour_are_those_of_sql(made: Made) -> None:
    lake, read, _ = made
    for figure, column in (("calls_by_hour", "direction"), ("calls_by_hour_and_answer", "answer_type")):
        head = read.tables[figure][0]
        shown = {
            (row[0], name): int(n) for row in read.rows(figure) for name, n in zip(head, row, strict=True)
        }
        for hour, total in _sql(lake)(f"SELECT {HOUR}, count(*) FROM gold.calls WHERE {RECENT} GROUP BY 1"):
            assert shown[hour, "Total"] == int(total)
        for hour, name, count in _sql(lake)(
            f"SELECT {HOUR}, {column}, count(*) FROM gold.calls WHERE {RECENT} "
            f"AND {column} IN ('inbound', 'Human', 'NoAnswer', 'Voicemail', 'Unknown') GROUP BY ALL"
        ):
            assert shown[hour, name] == int(count)


def test_a_direction_that_is_seldom_counts_among_the_others(made: Made) -> None:
    lake, read, _ = made
    names = read.tables["calls_by_hour"][0][1:-1]
    assert names[:2] == ["inbound", "outbound"]
    assert len(names) == len(set(charts.colours(names))) == 6
    assert {"(other)", words.NOT_TOLD} <= set(names)
    ((wanted,),) = _sql(lake)(f"SELECT count(*) FROM gold.calls WHERE {RECENT}")
    assert sum(int(row[-1]) for row in read.rows("calls_by_hour")) == int(wanted)
    assert sum(int(row[2]) for row in read.rows("calls_by_answer")) == int(wanted)


def test_the_analysts_first_query_is_on_the_page(made: Made) -> None:
    lake, read, _ = made
    shown = [row for row in read.rows("calls_by_answer") if row[0] == "inbound"]
    wanted = _sql(lake)(
        "SELECT direction, answer_type, count(*), CAST(avg(call_duration_seconds) AS DECIMAL(12,1)), "
        f"count_if(call_duration_seconds > 60) FROM gold.calls WHERE {RECENT} AND direction = 'inbound' "
        "GROUP BY ALL ORDER BY answer_type"
    )
    assert shown == wanted


def test_what_lies_outside_the_period_is_said(made: Made) -> None:
    lake, read, _ = made
    ((within, without, live),) = _sql(lake)(
        f"SELECT count_if({RECENT}), count_if(call_timestamp_utc IS NULL), count(*) FROM gold.calls"
    )
    assert f"{within} calls from " in read.text
    assert f"Outside the period: {int(live) - int(within) - int(without)} calls." in read.text
    assert f"Without a readable time, and so on no day: {without} calls." in read.text


def test_scorecards_by_agent_are_those_of_sql(made: Made) -> None:
    lake, read, _ = made
    shown = {row[0]: row[1:] for row in read.rows("scorecards_by_agent")}
    for agent, *wanted in _sql(lake)(
        "SELECT agent, count(*), CAST(avg(overall_score) AS DECIMAL(9,1)), "
        "CAST(avg(score_ask_for_payment) AS DECIMAL(9,1)), CAST(avg(score_urgency) AS DECIMAL(9,1)) "
        "FROM gold.scorecards WHERE agent IN ('Ana Souza', 'Zoë Nakamura') GROUP BY agent"
    ):
        found = shown[agent]
        assert [found[0], found[1], found[2], found[-1]] == wanted
    means = [Decimal(row[2]) for row in read.rows("scorecards_by_agent")]
    assert means == sorted(means, reverse=True)
    assert "15 of 16 agents are shown" in read.text


def test_sentiment_and_tags_by_day_are_those_of_sql(made: Made) -> None:
    lake, read, _ = made
    head = read.tables["sentiment_by_day"][0]
    shown = {(row[0], n): v for row in read.rows("sentiment_by_day") for n, v in zip(head, row, strict=True)}
    wanted = _sql(lake)(
        "SELECT day_partition, sentiment, count(*) FROM gold.dashboard_items WHERE tag IS NULL "
        "AND sentiment IN ('positive', 'neutral', 'mixed', 'negative') GROUP BY ALL"
    )
    assert len(wanted) > 5
    assert all(shown[day, sentiment] == count for day, sentiment, count in wanted)
    assert "(other)" in head
    head = read.tables["tags_by_day"][0]
    (price,) = [row for row in read.rows("tags_by_day") if row[0] == "price"] or [None]
    ranked = _sql(lake)(
        "SELECT tag, count(*) FROM gold.dashboard_items WHERE tag IS NOT NULL GROUP BY tag ORDER BY 2 DESC, 1"
    )
    totals = [row[-1] for row in read.rows("tags_by_day")]
    assert totals == [count for _, count in ranked[:12]]
    assert price is None or price[-1] == dict(map(tuple, ranked))["price"]
    assert f"12 of {len(ranked)} tags are shown" in read.text


def test_metrics_and_alerts_are_those_of_sql(made: Made) -> None:
    lake, read, _ = made
    sql = _sql(lake)
    kinds = {row[0]: row[2:] for row in read.rows("metrics_by_kind")}
    for kind, *wanted in sql(
        "SELECT entity_type, count(*), sum(sessions_7d), sum(sessions_14d), sum(sessions_30d), "
        "sum(ib_calls_7d), sum(ib_calls_14d), CAST(avg(avg_rating) AS DECIMAL(9,2)), "
        "CAST(avg(health_score) AS DECIMAL(9,1)) FROM gold.metrics GROUP BY entity_type"
    ):
        assert kinds[kind] == wanted
    bands = {row[0]: row[1] for row in read.rows("students_by_health")}
    ((low, middle, none),) = sql(
        "SELECT count_if(health_score < 50), count_if(health_score >= 50 AND health_score < 70), "
        "count_if(health_score IS NULL) FROM gold.metrics WHERE entity_type = 'student'"
    )
    assert (bands["below 50"], bands["50 to 70"], bands["not reported"]) == (low, middle, none)
    scores = [row[3:5] for row in read.rows("supply_and_demand")]
    assert scores == sql(
        "SELECT CAST(demand_score AS DECIMAL(9,2)), CAST(supply_score AS DECIMAL(9,2)) FROM gold.metrics "
        "WHERE entity_type = 'subject' ORDER BY coalesce(demand_score, 0) - coalesce(supply_score, 0) DESC, "
        "entity_id, region LIMIT 15"
    )
    counts = Counter({(row[0], row[1]): int(row[4]) for row in read.rows("open_alerts")})
    for rule, severity, count in sql(
        "SELECT alert_type, coalesce(severity, '(not told)'), count(*) FROM gold.alerts "
        "WHERE closed_at IS NULL GROUP BY ALL"
    ):
        assert counts[rule, severity] == int(count)
    assert [row[1] for row in read.rows("newest_alerts")][:3] == ["critical"] * 3
    assert len(read.rows("newest_alerts")) == 20


def test_coaching_freshness_and_quarantine_are_those_of_sql(made: Made) -> None:
    lake, read, _ = made
    sql = _sql(lake)
    agents = {row[0]: row[2:] for row in read.rows("coaching_by_agent")}
    for agent, *wanted in sql(
        "SELECT agent, count(DISTINCT s3_key), count(*), count_if(priority = 'high'), "
        "count_if(priority = 'medium'), count_if(priority = 'low') FROM gold.coaching_insights "
        "WHERE agent IN ('Ana Souza', 'Zoë Nakamura') GROUP BY agent"
    ):
        assert agents[agent] == wanted
    assert sum(int(row[2]) for row in read.rows("insights_by_type")) == 60
    tables = {row[0]: row[-1] for row in read.rows("tables")}
    assert set(tables) == {table.name for table in TABLES}
    assert [tables["calls"]] == sql("SELECT count_if(NOT is_deleted) FROM silver.calls")[0]
    assert [row[3:] for row in read.rows("streams")] == [["4006", "3600", "280", "86", "40", "12"]] * 2
    assert sorted(row[3:] for row in read.rows("quarantine")) == sorted(
        sql(
            "SELECT count_if(status = 'open'), 0, count_if(status = 'discarded') FROM ops.quarantine "
            "GROUP BY source"
        )
    )


def test_the_cards_are_those_of_sql(made: Made) -> None:
    lake, _, page = made
    shown = dict(re.findall(r'class="title">([^<]+)</span>\s*<span class="value">([^<]+)</span>', page))
    for title, query in {
        "Calls": "SELECT count(*) FROM gold.calls",
        "Scorecards": "SELECT count(*) FROM gold.scorecards",
        "Analysed texts": "SELECT count(*) FROM gold.dashboard_items WHERE tag IS NULL",
        "Coaching insights": "SELECT count(*) FROM gold.coaching_insights",
        "Open alerts": "SELECT count(*) FROM gold.alerts WHERE closed_at IS NULL",
        "Open in quarantine": "SELECT count(*) FROM ops.quarantine WHERE status = 'open'",
    }.items():
        assert [[shown[title]]] == _sql(lake)(query), title
    assert shown["Newest change"] == "3 days"


def test_every_query_on_the_page_can_be_run_as_it_stands_and_only_reads(made: Made) -> None:
    lake, read, _ = made
    assert len(read.queries) == len(read.tables) >= 17
    for name, query in read.queries.items():
        assert read_only(lake.spark, query).columns, name


# --- nothing, and harm -------------------------------------------------------------------------------


def test_where_there_is_nothing_the_page_says_so() -> None:
    answers: dict[str, list[dict[str, Any]]] = {query.name: [] for query in queries(TABLES)}
    for name in ("overview", "calls_period"):
        columns = re.findall(r" AS (\w+)(?=,|\n|$)", next(q.sql for q in FIXED if q.name == name))
        answers[name] = [dict.fromkeys(columns, 0)]
    text = html(make_page(answers, dict.fromkeys(answers, ""), made_at=datetime.now(UTC), title="x", days=1))
    read = Read(text)
    assert not read.tables
    assert "svg" not in {tag for tag, _ in read.elements}
    for sentence in NOTHING:
        assert sentence in read.text
    assert "None" not in text


def test_a_stream_has_a_row_for_each_table_that_it_feeds() -> None:
    fed = (("calls", "calls"), ("pca_calls", "transcripts"), ("pca_calls", "coaching_insights"), ("w", None))
    counts = dict.fromkeys(("batches", "records", "upserts", "deletes", "stale", "quarantined", "misfits"), 1)
    rows = [{"stream": f"{s}/0123", "table_name": t, "last_batch": None} | counts for s, t in fed]
    (_, _, streams, _) = freshness({"tables": [], "followers": [], "streams": rows, "quarantine": []}).figures
    assert [row[0] for row in streams.table.rows] == [
        "calls",
        "pca_calls \N{RIGHTWARDS ARROW} transcripts",
        "pca_calls \N{RIGHTWARDS ARROW} coaching_insights",
        "w",
    ]


ELEMENTS = """
html head meta link title style body a header h1 p bdi time nav ul li main h2 span section div figure
figcaption h3 svg g path line rect text details summary table thead tbody tr th td pre code footer
"""


def test_text_from_data_stays_text(made: Made) -> None:
    _, read, page = made
    assert {tag for tag, _ in read.elements} <= set(ELEMENTS.split())
    for tag, attributes in read.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
            if name in ("href", "src", "xlink:href"):
                assert re.fullmatch(r"#[a-z]+|data:,", value or ""), (tag, value)
    agents = {row[0] for row in read.tables["coaching_by_agent"] + read.tables["scorecards_by_agent"]}
    assert "<script>alert(1)</script>" in agents
    assert "</script><!--" in agents
    assert "\N{REPLACEMENT CHARACTER}right to left\N{REPLACEMENT CHARACTER}" in agents
    assert "{{ 7 * 7 }} {% raw %}" in agents
    assert "ليلى حداد" in agents
    assert "(empty)" in agents
    alike = [agent for agent in agents if agent.startswith("aaaa")]
    assert sorted(map(len, alike)) == [60, 64]  # two that look alike once they are cut are told apart
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2028]", page)
    assert "<b>here</b>" in read.text


def test_the_page_holds_no_script_and_asks_for_nothing(made: Made) -> None:
    _, read, page = made
    (policy,) = [a["content"] for t, a in read.elements if t == "meta" and a.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "@import" not in page
    assert "url(" not in page
    assert len(page.encode()) < 2_000_000


def test_free_text_stays_in_the_lake(made: Made) -> None:
    assert "secret" not in made[2]


def test_every_chart_is_drawn_twice_and_every_mark_says_its_figure(made: Made) -> None:
    _, read, page = made
    labels = [a.get("aria-label") or "" for tag, a in read.elements if tag == "svg"]
    assert len(labels) == len(set(labels)) * 2 >= 24
    assert all(label.startswith("Chart: ") for label in labels)
    assert page.count("<title>") > 500
    assert "<title>Ana Souza, Overall: " in page
    assert "<title>Physics · north: demand 60" in page


# --- words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (1234567, None, "1,234,567"),
        (Decimal("0.25"), 1, "0.3"),
        (Decimal("-0.25"), 1, "-0.3"),
        (2.5, 0, "3"),
        (1e21, None, "1,000,000,000,000,000,000,000"),
        (None, 1, words.MISSING),
    ],
)
def test_numbers_are_written_with_separators_and_rounded_half_up(value: Any, places: int, text: str) -> None:
    assert words.number(value, places) == text


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (None, words.MISSING),
        (-5, "in the future"),
        (0, "none"),
        (1, "1 minute"),
        (119, "119 minutes"),
        (120, "2 hours"),
        (2879, "47 hours"),
        (2880, "2 days"),
    ],
)
def test_ages_are_written_in_the_unit_that_fits(minutes: int | None, text: str) -> None:
    assert words.age(minutes) == text


def test_names_are_never_the_same_twice() -> None:
    assert words.names([None, words.NOT_TOLD, "a", "a", "a ", "a\n"]) == {
        None: "(not told)",
        "(not told)": "(not told) (2)",
        "a": "a",
        "a ": "a (2)",
        "a\n": "a\N{REPLACEMENT CHARACTER}",
    }


def test_a_series_keeps_its_colour_and_no_two_share_one() -> None:
    assert charts.colours(["inbound", "x", "outbound", "y"]) == [
        "var(--blue)",
        "var(--amber)",
        "var(--teal)",
        "var(--violet)",
    ]


# --- the command -------------------------------------------------------------------------------------


def test_the_command_says_what_is_wrong_before_spark_starts(tmp_path: Path) -> None:
    for arguments, said in (
        (["--warehouse", str(tmp_path)], "There are no tables in"),
        (["--warehouse", str(tmp_path), "--out", str(tmp_path)], "is a directory"),
        (["--warehouse", str(tmp_path), "--out", str(tmp_path / "no" / "x.html")], "There is no folder"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "lakehouse.cli", "report", *arguments], capture_output=True, text=True
        )
        assert done.returncode in (1, 2)
        assert said in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
