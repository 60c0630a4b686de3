"""What the docs say is so: queries and commands run or parse, examples work, tables and links are right."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
import itertools
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click
import pytest
from pyspark.sql import SparkSession
from tests.spark.support import Lake, change, event

from change_writer.settings import parse_settings
from lakehouse.catalog import ops
from lakehouse.catalog.bronze import CHANGES
from lakehouse.catalog.set_up import set_up
from lakehouse.cli import cli
from lakehouse.demo.run import ANALYSTS_QUERY, DAY
from lakehouse.ingest.fill import fill
from lakehouse.ingest.trigger import Trigger
from lakehouse.local.query import read_only
from lakehouse.operations import completeness, landing
from lakehouse.settings import LAYERS
from lakehouse.sql.views import BELOW_FLOOR
from lakehouse.tables import TABLES, table

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
ANALYSTS, OPERATIONS = ROOT / "docs" / "analysts.md", ROOT / "docs" / "operations.md"


def _pages() -> Iterator[Path]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "node_modules")
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".md"))


PAGES = tuple(_pages())


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line that it begins on, its language, its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[2], textwrap.dedent(found[3]))


BLOCKS = tuple(block for page in PAGES for block in _blocks(page))


@dataclass(frozen=True)
class Command:
    """One command line of a console block, as its words."""

    where: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where} {' '.join(self.words[:3])}"


def _commands() -> Iterator[Command]:
    for block in BLOCKS:
        if block.language not in ("console", "sh", "shell", "bash"):
            continue
        variables: dict[str, str] = {}
        for line in block.text.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ")
            assigned = re.fullmatch(r'(\w+)="([^"]*)"', line)
            if assigned:
                variables[f"${assigned[1]}"] = assigned[2]
                continue
            for name, value in variables.items():
                line = line.replace(name, value)
            words = shlex.split(line, comments=True)
            yield Command(str(block), tuple(words[2:] if words[:2] == ["uv", "run"] else words))


COMMANDS = tuple(_commands())
OURS = tuple(c for c in COMMANDS if c.words[:1] == ("lakehouse",))
JOBS = tuple(c for c in COMMANDS if c.words[:1] == ("python",))


def _section(page: Path, heading: str) -> str:
    """The text below a heading, down to the next one of its rank or above."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |^\1 |\Z)", text, re.M | re.S)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[2]


def _cells(text: str) -> Iterator[list[str]]:
    """The rows of the tables in a text, without their heads."""
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        is_row = line.startswith("|") and not line.startswith("|---")
        if is_row and before.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _named(text: str) -> list[str]:
    """What stands in backticks in the first cells of the tables in a text."""
    return [name for cells in _cells(text) for name in re.findall(r"`([^`]+)`", cells[0])]


# --- queries -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A small lake with one of everything that the docs ask for."""
    made = Lake(spark, tmp_path_factory.mktemp("docs"), TABLES)
    called = f"{DAY}T14:00:00Z"
    told = {"direction": "inbound", "siteName": "Tampa", "file_name": "x_GUID_g1_x.wav"}
    made.land(
        "calls",
        change(1, callId="c1", callTimestampUTC=called, payload=told, mood="new"),
        change(2, callId="c2", callTimestampUTC=called),
        change(3, callId="c3", callTimestampUTC=called, payload={"direction": "outbound"}),
        change(4, callId="c4", deleted=True),
        "no json",
    )
    scores = {"urgency": {"score": 3, "evidence": "…"}, "politeness": {"score": 4}}
    made.land(
        "scorecards",
        # A time that cannot be read breaks a rule.
        change(5, guid="g1", agent="Zoë", callType="sales", datetime="?", overallScore=3.5, scores=scores),
    )
    item = {"status": "analyzed", "sentiment": "negative", "score": 0.8, "matched_tags": ["price"]}
    now = datetime.now(UTC).isoformat()
    made.land("sentiment_items", change(6, source_id="s1", ingested_at=now, **item))
    about = {"GUID": "g1", "Agent": "Zoë", "SentimentTrends": {"spk_0": {"SentimentScore": -3}}}
    made.write_document("p1.json", {"ConversationAnalytics": about}, mtime=1_760_000_000, below=made.pca)
    parts = [{"end_time": f"{end}.5", "speaker_label": f"spk_{end % 2}"} for end in (30, 71)]
    made.write_document("c1.json", {"results": {"audio_segments": parts}}, mtime=1_760_000_000)
    demand = {"subject": "Maths", "balance_status": "high_demand"}
    made.land("metric_events", event(7, event_type="supply_demand_update", **demand))
    made.ingest_well()
    completeness.note(spark, made.settings, "calls", completeness.BEGINNING, "a test")
    return made


QUERIES = tuple((str(b), b.text) for b in BLOCKS if b.language == "sql") + tuple(
    (c.where, c.words[-1]) for c in OURS if c.words[1:2] == ("sql",)
)


@pytest.mark.parametrize("query", [q for _, q in QUERIES], ids=[where for where, _ in QUERIES])
def test_every_query_runs_only_reads_and_finds_something(lake: Lake, query: str) -> None:
    own = {layer: getattr(lake.settings, layer) for layer in LAYERS}
    query = re.sub(rf"\b({'|'.join(LAYERS)})\.(?=[a-z])", lambda found: f"{own[found[1]]}.", query)
    assert read_only(lake.spark, query).collect()


def test_the_pages_for_people_have_queries() -> None:
    assert {b.page for b in BLOCKS if b.language == "sql"} >= {README, ANALYSTS, OPERATIONS}


@pytest.mark.parametrize("page", [README, ANALYSTS], ids=lambda page: page.name)
def test_the_first_query_is_the_one_that_the_demo_checks(page: Path) -> None:
    first = next(b.text for b in BLOCKS if b.page == page and b.language == "sql")
    assert first.split() == ANALYSTS_QUERY.format(day=DAY.isoformat()).split()


def test_the_columns_of_the_histories_are_described(lake: Lake) -> None:
    described = _named(_section(ANALYSTS, "How it was at a time"))
    for declared in (t for t in TABLES if t.history):
        own = {c.name for c in declared.columns}
        assert {*lake.gold(declared.history_name).columns} - own == {*described}


@pytest.mark.parametrize("name", [t.view_or_default.name for t in TABLES])
def test_the_columns_of_each_gold_view_are_described(lake: Lake, name: str) -> None:
    section = _section(ANALYSTS, f"gold.{name}")
    for following in ("`answer_type` is", "| `insight_type` | when |"):
        section = section.partition(following)[0]
    assert sorted(_named(section)) == sorted(lake.gold(name).columns)


# --- commands ----------------------------------------------------------------------------------------


def _parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> click.Context:
    """Click's own parsing of a command line, down to the last subcommand; nothing is run."""
    context = command.make_context(command.name, words, parent=parent)
    if not isinstance(command, click.Group):
        return context
    _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    assert inner is not None
    return _parse(inner, rest, context)


@pytest.mark.parametrize("command", OURS, ids=str)
def test_every_lakehouse_command_parses(command: Command) -> None:
    context = _parse(cli, list(command.words[1:]))
    for name in context.params.get("tables") or ():
        table(name)
    if context.params.get("follow"):
        Trigger.parse(context.params["follow"])


def test_every_lakehouse_command_in_running_text_exists() -> None:
    for page in PAGES:
        text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for found in re.finditer(r"`(?:uv run )?lakehouse((?: [a-z-]+)+)", text):
            command: click.Command = cli
            for word in found[1].split():
                if not isinstance(command, click.Group):
                    break
                inner = command.commands.get(word)
                assert inner is not None, f"{page.name}: {found[0]}"
                command = inner


def test_the_docs_show_every_command() -> None:
    groups = {name: group for name, group in cli.commands.items() if isinstance(group, click.Group)}
    shown = {" ".join(c.words[1 : 3 if c.words[1] in groups else 2]) for c in OURS}
    inner = {f"{name} {command}" for name, group in groups.items() for command in group.commands}
    assert shown == {*cli.commands} - {*groups} | inner


def _job(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"job_{Path(path).stem}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("command", JOBS, ids=str)
def test_every_job_in_the_docs_takes_its_arguments(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _job(command.words[1])
    called: list[Any] = []
    effects = [
        name
        for name in ("ingest", "set_up", "fill", "maintain", "rebuild", "reconcile")
        if hasattr(module, name)
    ]
    for effect in effects:
        monkeypatch.setattr(module, effect, lambda *given, **_: called.append(given) or _NoResults())
    for name in ("SparkSession", "open_source"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, _AnySession())
    assert module.main(list(command.words[2:])) == 0
    assert len(called) == len(effects) > 0


class _NoResults(list[Any]):
    """What a job's effect returns here: nothing, and nothing to complain of."""

    verdict = "agree"


class _AnySession:
    """Stands in for SparkSession and the clients: every attribute and every call gives itself."""

    def __getattr__(self, name: str) -> _AnySession:
        return self

    def __call__(self, *given: Any, **named: Any) -> _AnySession:
        return self


def test_the_arguments_of_the_jobs_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    described: dict[str, str] = {}
    for names, _, defaults in _cells(_section(OPERATIONS, "Run it on Databricks")):
        each = [word.strip(" `") for word in defaults.split(",")]
        described |= zip(re.findall(r"`([^`]+)`", names), each, strict=True)
    taken: dict[str, str] = {}

    def look(parser: argparse.ArgumentParser, _argv: object = None) -> None:
        taken.update((a.option_strings[0], _default(a)) for a in parser._actions if a.dest != "help")
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", look)
    for path in ("setup", "ingest", "refresh_metrics", "publish_alerts", "maintain", "rebuild", "reconcile"):
        with pytest.raises(SystemExit):
            _job(f"jobs/{path}.py").main([])
    assert described == taken


def _default(action: argparse.Action) -> str:
    """An argument's default as the docs write it."""
    if action.required:
        return "required"
    if action.default == Trigger():
        return "available-now"
    if action.default is False:
        return "off"
    if action.default in (None, "", []):
        return "all" if action.dest == "tables" else "none"
    return f"{action.default:g}" if isinstance(action.default, float) else str(action.default)


def test_every_make_target_exists_and_is_described() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        mentioned = set(re.findall(r"(?:`|^ *)make ([a-z][a-z-]*)", text, re.MULTILINE))
        assert mentioned <= targets, page.name
    assert {name.removeprefix("make ") for name in _named(_section(CONTRIBUTING, "Set up"))} == targets


# --- examples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_every_python_block_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")
    assert max(map(len, block.text.splitlines())) <= 110


def test_the_examples_of_a_new_table_and_a_new_column_work(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, tried, gained = (b for b in BLOCKS if b.page == CONTRIBUTING and b.language == "python")
    module = ModuleType("lakehouse.tables.agents")
    exec(compile(declared.text, str(declared), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names: dict[str, Any] = {}
    exec(compile(tried.text, str(tried), "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0](spark, tmp_path / "tried")

    lake = Lake(spark, tmp_path / "gained", (module.AGENTS,))
    lake.land("agents", change(1, agentId="A1", team="north"), change(2, agentId="A2", team="south", more=1))
    lake.ingest_well()
    column = eval(compile(gained.text.strip(), str(gained), "eval"), module.__dict__)
    lake.tables = (dataclasses.replace(module.AGENTS, columns=(*module.AGENTS.columns, column)),)
    fill(spark, lake.settings, lake.tables, set_up(spark, lake.settings, lake.tables))
    assert {name: row.team for name, row in lake.rows(lake.tables[0]).items()} == {
        "A1": "north",
        "A2": "south",
    }
    more = lake.bronze("agents").selectExpr("try_variant_get(item, '$.more', 'int') AS more").collect()
    assert {row.more for row in more} == {None, 1}
    assert lake.gold("agents").where("team = 'north'").count() == 1


# --- tables and links --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ops.TABLES)
def test_the_columns_of_the_books_are_described(name: str) -> None:
    assert _named(_section(OPERATIONS, f"ops.{name}")) == [c.name for c in ops.TABLES[name][0]]


def test_the_columns_of_quarantine_are_described(lake: Lake) -> None:
    assert _named(_section(OPERATIONS, "ops.quarantine")) == lake.quarantine().columns


def test_the_columns_of_bronze_are_described() -> None:
    assert sorted(_named(_section(ANALYSTS, "What no column names"))) == sorted(c.name for c in CHANGES)


def _codes(path: Path) -> set[str]:
    """The reason codes in a source file: of the errors that carry one, and of what goes into `_problem`, or
    into the `reason` of a refusal."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("ConversionError", "_UnfitError"):
            parts = list(node.args[:1])
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            parts = [v for k, v in pairs if isinstance(k, ast.Constant) and k.value in ("_problem", "reason")]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in (
            "problem",
            "UNKNOWN_SHAPE",
            "WITHOUT_AUDIO",
        ):
            parts = [node.value]
        elif isinstance(node, ast.FunctionDef) and node.name == "_problems":
            parts = [row.elts[1] for row in ast.walk(node) if isinstance(row, ast.Tuple)]
        texts = [str(c.value) for part in parts for c in ast.walk(part) if isinstance(c, ast.Constant)]
        # Without the quotes of a SQL literal.
        found |= {match[2] for text in texts if (match := re.fullmatch(r"('?)([a-z][a-z0-9_]+)\1", text))}
    return found - {"string", "reason"}


def test_every_reason_for_quarantine_is_described() -> None:
    by_ingest, by_writer = _section(OPERATIONS, "Records are in quarantine").split("Found by the writer")
    source = ROOT / "src" / "lakehouse"
    files = [source / "sql" / "lines.py", source / "ingest" / "refused.py", *(source / "tables").glob("*.py")]
    assert set(_named(by_ingest)) == {BELOW_FLOOR}.union(*map(_codes, files))
    writer = _codes(ROOT / "lambda" / "change_writer" / "dynamodb.py") | {"unexpected_error"}
    assert set(_named(by_writer)) == writer


def test_what_landing_check_finds_is_described() -> None:
    assert set(_named(_section(OPERATIONS, "Looking at landing"))) == set(get_args(landing.Kind))


def test_the_writers_variables_are_described() -> None:
    class Environment(Mapping[str, str]):
        read: set[str] = set()  # noqa: RUF012 - one is made

        def __getitem__(self, name: str) -> str:
            self.read.add(name)
            if name == "S3_BUCKET":
                return "bucket"
            raise KeyError(name)

        def __iter__(self) -> Iterator[str]:
            return iter(())

        def __len__(self) -> int:
            return 0

    settings = parse_settings(Environment())
    rows = {cells[0].strip("`"): cells[2] for cells in _cells(_section(README, "The writer"))}
    assert set(rows) == Environment.read
    defaults = {
        "MAX_RECORDS": settings.max_records,
        "MAX_PAYLOAD_BYTES": settings.max_payload_bytes,
        "LOG_LEVEL": settings.log_level,
        "LANDING_FORMAT": settings.landing_format,
    }
    assert {name: rows[name] for name in defaults} == {name: str(value) for name, value in defaults.items()}


def _anchors(page: Path) -> set[str]:
    """The names of a page's headings as links write them."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert ROOT in target.parents, link
        if anchor:
            assert anchor in _anchors(target), link
