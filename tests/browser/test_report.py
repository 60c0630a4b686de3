"""The report in a real browser: charts are drawn, figures are SQL's, it reads in dark, light and on paper."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.browser.chromium import Browser, Page, chromium, find_browser
from tests.spark.report_data import HARMFUL, NOTHING, fill
from tests.spark.support import Lake

from lakehouse.report.make import make_report
from lakehouse.report.queries import ask
from lakehouse.report.words import name
from lakehouse.tables import TABLES

pytestmark = [pytest.mark.extra, pytest.mark.timeout(900)]  # on a busy machine Spark takes its time

CHARTS = 13
"""How many figures have a chart."""

HELPERS = (Path(__file__).parent / "look.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def program() -> str:
    """The browser; of the session, so that it is missed before Spark is started."""
    found = find_browser()
    if found is None:
        pytest.skip("there is no browser: install Debian's chromium, or name one with LAKEHOUSE_BROWSER")
    return found


@pytest.fixture(scope="module")
def browser(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(program, tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(spark, tmp_path_factory.mktemp("report") / "lake", TABLES)
    fill(made)
    return made


@pytest.fixture(scope="module")
def report(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    page = make_report(lake.spark, lake.settings, TABLES, title=HARMFUL[0], days=30)
    out.write_text(page, encoding="utf-8")
    return out


def _open(browser: Browser, report: Path, **how: Any) -> Page:
    page = browser.open(report.as_uri(), **how)
    page.run(HELPERS)
    return page


def test_every_chart_is_drawn(browser: Browser, report: Path) -> None:
    for width in (1280, 390):
        charts = _open(browser, report, width=width).run("charts()")
        assert len(charts) == CHARTS, [chart["name"] for chart in charts]
        for chart in charts:
            assert chart["marks"] > 0, chart
            assert chart["width"] > 250, chart
            assert chart["height"] > 40, chart
            assert not chart["unseen"], chart  # marks of no size, or of no colour
            assert not chart["faint"], chart  # marks that do not stand out from the page
            assert not chart["outside"], chart  # words that are cut off


def test_nothing_is_said_on_the_console_and_nothing_is_asked_of_the_network(
    browser: Browser, report: Path
) -> None:
    page = _open(browser, report)
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert not page.told("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    asked = {e["request"]["url"] for e in page.told("Network.requestWillBeSent")}
    assert asked <= {report.as_uri(), "data:,"}


def test_the_figures_are_those_of_sql(browser: Browser, lake: Lake, report: Path) -> None:
    page = _open(browser, report)
    gold = lake.settings.gold

    def table(figure: str) -> list[list[str]]:
        rows: list[list[str]] = page.run(f"figures('{figure}')")
        return rows

    def sql(query: str) -> list[list[str]]:
        return [[str(v) for v in row.values()] for row in ask(lake.spark, query)]

    recent = "call_timestamp_utc BETWEEN current_timestamp() - INTERVAL 30 DAYS AND current_timestamp()"
    by_hour = [[row[0], row[1], row[-1]] for row in table("calls_by_hour")[1:]]
    assert by_hour == sql(
        f"SELECT lpad(hour(call_timestamp_utc), 2, '0'), count_if(direction = 'inbound'), count(*) "
        f"FROM {gold}.calls WHERE {recent} GROUP BY 1 ORDER BY 1"
    )
    by_answer = [row[:3] for row in table("calls_by_answer") if row[0] == "inbound"]
    assert by_answer == sql(
        f"SELECT direction, answer_type, count(*) FROM {gold}.calls WHERE {recent} "
        "AND direction = 'inbound' GROUP BY ALL ORDER BY answer_type"
    )
    by_day = [[row[0], row[-1]] for row in table("sentiment_by_day")[1:]]
    assert by_day == sql(
        f"SELECT day_partition, count(*) FROM {gold}.dashboard_items WHERE tag IS NULL GROUP BY 1 ORDER BY 1"
    )
    overall = {row[0]: row[2] for row in table("scorecards_by_agent")}
    for agent, mean in sql(
        f"SELECT agent, CAST(avg(overall_score) AS DECIMAL(9,1)) FROM {gold}.scorecards "
        "WHERE agent LIKE 'Ana %' OR agent LIKE 'Zo%' GROUP BY agent"
    ):
        assert overall[agent] == mean
    alerts = sum(int(row[4]) for row in table("open_alerts")[1:])
    assert [[str(alerts)]] == sql(f"SELECT count(*) FROM {gold}.alerts WHERE closed_at IS NULL")
    # What a mark says is what its chart was drawn from: their sum is the sum of the figures.
    said = page.run("told('calls_by_hour')")
    assert sum(int(re.sub(r".*: (\d+) calls?$", r"\1", s)) for s in said) == sum(int(r[2]) for r in by_hour)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_read(browser: Browser, report: Path, scheme: str) -> None:
    page = _open(browser, report, scheme=scheme)
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    worst = page.run("contrasts()")
    assert worst["count"] > 100
    assert worst["least"] >= 4.5, worst
    brightness = page.run("luminance(rgb(getComputedStyle(document.body).backgroundColor))")
    assert (brightness > 0.8) == (scheme == "light")
    assert (brightness < 0.05) == (scheme == "dark")


def test_the_keyboard_reaches_everything(browser: Browser, report: Path) -> None:
    page = _open(browser, report)
    page.press("Tab", 9)
    assert page.run("focused()") == "Skip to the figures"
    assert page.run("document.activeElement.getBoundingClientRect().top") >= 0  # it shows when it is reached
    page.press("Enter", 13)
    assert page.run("location.hash") == "#main"
    seen, folded = [], 0
    for _ in range(200):
        page.press("Tab", 9)
        seen.append(page.run("focused()"))
        if page.run("document.activeElement.tagName") == "SUMMARY":
            folded += 1
        if page.run("document.activeElement === document.body"):
            break
    assert folded == page.run("document.querySelectorAll('summary').length")
    assert "Figures of Calls by hour and direction" in seen
    assert "Query of Quarantine by source and reason" in seen
    page.run("document.querySelector('summary').focus()")
    page.press("Enter", 13)
    assert page.run("document.querySelector('details').open") is True
    levels = page.run("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_text_from_data_stays_text(browser: Browser, report: Path) -> None:
    page = _open(browser, report)
    assert page.run("document.scripts.length") == 0
    assert page.run("document.querySelectorAll('img, iframe, object, embed, form, base').length") == 0
    agents = {row[0] for row in page.run("figures('coaching_by_agent')")}
    assert name(HARMFUL[0]) in agents
    assert page.run("document.title").startswith(f"Lakehouse report · {HARMFUL[0]} · ")
    # A name written from right to left does not turn its line.
    assert page.run(
        "[...document.querySelectorAll('td, th')].every(c => getComputedStyle(c).direction == 'ltr')"
    )


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_the_page_fits_its_window(browser: Browser, report: Path, width: int) -> None:
    page = _open(browser, report, width=width)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_on_paper_it_is_light_and_its_figures_are_open(browser: Browser, report: Path) -> None:
    page = _open(browser, report, scheme="dark")
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b", _inflated(pdf)))
    assert pages > 1
    page.media(scheme="dark", medium="print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("[...document.querySelectorAll('details.table table')].every(t => t.checkVisibility())")
    assert not page.run("[...document.querySelectorAll('nav, .query pre')].some(e => e.checkVisibility())")


def _inflated(pdf: bytes) -> bytes:
    """A PDF with its compressed streams after it."""
    found = [pdf]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:  # an image, a font
            continue
    return b"\n".join(found)


# --- the command -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of a warehouse without a row, over an earlier report."""
    folder = tmp_path_factory.mktemp("nothing")
    (folder / "made" / "tables").mkdir(parents=True)
    out = folder / "out.html"
    out.write_text("an earlier report", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse.cli", "report", "--warehouse", "made", "--out", out.name],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "out.html" in done.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["made", "out.html"]
    return out


def test_the_command_writes_a_report_of_an_empty_warehouse(nothing: Path) -> None:
    page = nothing.read_text(encoding="utf-8")
    for sentence in NOTHING:
        assert sentence in page
    assert "<svg" not in page


def test_a_report_of_nothing_is_a_page_like_any_other(browser: Browser, nothing: Path) -> None:
    page = _open(browser, nothing)
    assert page.run("charts().length") == 0
    assert page.run("document.querySelectorAll('.empty').length") == CHARTS + 3
    assert page.run("contrasts()")["least"] >= 4.5
    assert not page.told("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
