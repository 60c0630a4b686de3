"""Breaks each guard of the promise on purpose, and looks whether a test notices.

    uv run python tests/proof/mutations.py [--list] [name ...]

Each mutation is made in a copy of the tree and meets the tests that are named with it, all of which must fail
with an assertion. Before that the same tests must pass on a copy that nothing was done to. Exit status 1: a
mutation that a test did not notice. Lines of JSON go to the file that LAKEHOUSE_PROOF names.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
COPIED = ("src", "lambda", "jobs", "tests", "pyproject.toml")

BATCH, SILVER, CHANGES = (f"src/lakehouse/ingest/{name}.py" for name in ("batch", "silver", "changes"))
BOOKS, COMMITS, FLOORS = (f"src/lakehouse/ingest/{name}.py" for name in ("books", "commits", "floors"))
STREAM, FILL = "src/lakehouse/ingest/stream.py", "src/lakehouse/ingest/fill.py"
SOURCES = "src/lakehouse/ingest/sources.py"
SELECT, VIEWS = "src/lakehouse/sql/select.py", "src/lakehouse/sql/views.py"
REBUILD, SNAPSHOT = "src/lakehouse/operations/rebuild.py", "src/lakehouse/aws/snapshot.py"
COMPLETENESS = "src/lakehouse/operations/completeness.py"
RECORD, WRITER = "src/lakehouse/change_record.py", "lambda/change_writer/dynamodb.py"

ORDER = "tests/spark/test_change_order.py::test_which_change_wins[{}]"
BAD_LINE = "tests/spark/test_bad_lines.py::test_a_bad_line_has_its_reason_and_is_kept_whole[{}]"
REDUCTION = (
    "tests/spark/test_change_order.py::"
    "test_the_reduction_keeps_the_latest_change_of_each_key_deletes_included"
)
REDUCER = "tests/spark/test_promise.py::test_the_reducer_keeps_what_the_oracle_keeps[small]"
CUT = "tests/spark/test_promise.py::test_whatever_the_cut_the_tables_hold_what_landed[small-{:02d}]"
FLOOR = "tests/spark/test_tombstone_floor.py::"
BELOW = FLOOR + "test_below_the_floor_an_unknown_key_is_quarantined_and_a_known_one_compared"
REPLAY = "tests/spark/test_replays.py::"
HISTORY = "tests/spark/test_history.py::"
COUNTER = "tests/spark/test_counter_examples.py::"
RESTORED_WHOLE = "test_a_stream_that_was_restored_whole_does_not_pass_over_a_document_rewritten_meanwhile"
REBUILT = "tests/spark/test_rebuild.py::"
DOCUMENT = REBUILT + "test_a_table_of_documents_is_rebuilt_from_every_version_that_came"
KEPT_OUT = REBUILT + "test_what_the_floor_refused_stays_out_and_a_tombstone_that_bronze_lacks_stays_in"
SNAPSHOTS_SORT = (
    "tests/contract/test_items.py::test_snapshots_sort_below_their_stream_and_above_what_was_before"
)


@dataclass(frozen=True)
class Mutation:
    """One guard, broken by replacing texts that each stand once in a file."""

    name: str
    guard: str
    broken: str
    file: str
    replaced: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]
    noticed_by: str = r"AssertionError|assert |Failed|chispa\."
    """How the message of a failure begins, as a regular expression."""


MUTATIONS = (
    Mutation(
        "equal-sequences-win",
        "strict comparison",
        "MERGE updates where s._sequence >= t._sequence",
        SILVER,
        (('F.col("s._sequence") > F.col("t._sequence")', 'F.col("s._sequence") >= F.col("t._sequence")'),),
        (ORDER.format("a redelivery is not written again"),),
    ),
    Mutation(
        "no-comparison",
        "strict comparison",
        "MERGE updates whatever comes",
        SILVER,
        (('condition=F.col("s._sequence") > F.col("t._sequence"), set=values', "set=values"),),
        (ORDER.format("an older change is ignored"),),
    ),
    Mutation(
        "merge-by-time",
        "order by sequence, not by clock",
        "MERGE compares _changed_at",
        SILVER,
        (('F.col("s._sequence") > F.col("t._sequence")', 'F.col("s._changed_at") > F.col("t._changed_at")'),),
        (ORDER.format("a newer change replaces an older one"),),
    ),
    Mutation(
        "reduction-by-time",
        "order by sequence, not by clock",
        "the latest of a batch is told by _changed_at",
        SELECT,
        (("PARTITION BY _key ORDER BY _sequence DESC", "PARTITION BY _key ORDER BY _changed_at DESC"),),
        (REDUCER,),
    ),
    Mutation(
        "reduction-keeps-the-first",
        "the reduction keeps the latest",
        "the lowest sequence is taken for the highest",
        SELECT,
        (("PARTITION BY _key ORDER BY _sequence DESC", "PARTITION BY _key ORDER BY _sequence ASC"),),
        (
            REDUCTION,
            REDUCER,
        ),
    ),
    Mutation(
        "documents-keep-the-first",
        "the reduction keeps the latest",
        "min_by for max_by, of documents",
        CHANGES,
        (("F.max_by(F.struct(*changes.columns)", "F.min_by(F.struct(*changes.columns)"),),
        (DOCUMENT,),
    ),
    Mutation(
        "reduction-by-half-a-key",
        "the reduction is by the whole key",
        "grouped by the first key column",
        SELECT,
        (("PARTITION BY _key ORDER", "PARTITION BY get(from_json(_key, 'array<string>'), 0) ORDER"),),
        (REDUCTION,),
    ),
    Mutation(
        "reduction-drops-deletes",
        "deletes kept in the reduction",
        "the latest change is chosen among upserts",
        SELECT,
        (('_key IS NOT NULL AND ({where})"', '_key IS NOT NULL AND NOT is_deleted AND ({where})"'),),
        (
            REDUCTION,
            REDUCER,
            ORDER.format("a delete wins over a lower upsert of its batch"),
        ),
    ),
    Mutation(
        "delete-removes-the-row",
        "a delete is a tombstone",
        "MERGE deletes the row",
        SILVER,
        (
            (
                "        .whenMatchedUpdate(",
                '        .whenMatchedDelete("s.is_deleted AND s._sequence > t._sequence")\n'
                "        .whenMatchedUpdate(",
            ),
        ),
        (ORDER.format("a late upsert below a tombstone brings nothing back"),),
    ),
    Mutation(
        "unknown-key-gets-no-tombstone",
        "a delete is a tombstone",
        "a delete of a key that is not there inserts nothing",
        SILVER,
        (
            (
                "condition=insertable, values=values",
                'condition=insertable & ~F.col("s.is_deleted"), values=values',
            ),
        ),
        (ORDER.format("a delete wins over a lower upsert of a later batch"),),
    ),
    Mutation(
        "tombstones-keep-their-values",
        "a tombstone holds key and metadata alone",
        "columns of a tombstone are not blanked",
        SELECT,
        (("IF(is_deleted, NULL, item) AS _live", "item AS _live"),),
        ("tests/spark/test_values.py::test_a_tombstone_holds_its_key_and_its_metadata_alone",),
    ),
    Mutation(
        "ignored-expiries-apply",
        "ttl_deletes = ignore",
        "expiries are applied all the same",
        SELECT,
        (('if ttl_deletes == "ignore":', 'if ttl_deletes == "nothing":'),),
        (
            "tests/spark/test_policies.py::"
            "test_an_ignored_expiry_leaves_the_row_and_its_history_and_stands_in_bronze",
            REDUCTION,
        ),
    ),
    Mutation(
        "floor-not-in-merge",
        "tombstone floor",
        "MERGE inserts below the floor",
        SILVER,
        (('insertable = ~floors.is_below(floor, "s._changed_at") | kept', "insertable = F.lit(True)"),),
        (BELOW,),
    ),
    Mutation(
        "floor-never-read",
        "tombstone floor",
        "a batch takes the floor for none",
        CHANGES,
        (("floor=None if documents else row.floor", "floor=None"),),
        (BELOW,),
    ),
    Mutation(
        "floor-read-late",
        "tombstone floor",
        "the MERGE reads the floor again",
        SILVER,
        (
            (
                "floor=look.floor, among=look.among)",
                "floor=floors.current(spark, settings, table), among=look.among)",
            ),
        ),
        (FLOOR + "test_a_batch_at_work_while_the_floor_is_raised_twice_brings_nothing_back",),
    ),
    Mutation(
        "left-over-is-lost",
        "tombstone floor",
        "what the floor keeps out is not noted",
        SILVER,
        (
            (
                "look.oldest_upsert is not None and look.oldest_upsert < look.floor:",
                "look.oldest_upsert is not None and look.keys < 0:",
            ),
        ),
        (BELOW,),
    ),
    Mutation(
        "purge-at-once",
        "tombstone floor",
        "a purge does not wait a day",
        FLOORS,
        (("PURGE_DELAY = timedelta(hours=24)", "PURGE_DELAY = timedelta(0)"),),
        (FLOOR + "test_a_purge_takes_two_steps_a_day_apart",),
    ),
    Mutation(
        "unknown-time-is-young",
        "tombstone floor",
        "a change of unknown time counts as above the floor",
        FLOORS,
        (
            (
                "F.timestamp_micros(F.lit(floor)), F.lit(False))",
                "F.timestamp_micros(F.lit(floor)), F.lit(True))",
            ),
        ),
        (BELOW,),
    ),
    Mutation(
        "undated-tombstone-is-forgotten",
        "tombstone floor",
        "a tombstone of unknown time is left out",
        FLOORS,
        (
            (
                "F.coalesce(F.col(changed_at) < limit, F.lit(False))",
                "F.coalesce(F.col(changed_at) < limit, F.lit(True))",
            ),
        ),
        (COUNTER + "test_a_delete_of_unknown_time_before_its_older_update_with_a_floor",),
    ),
    Mutation(
        "history-shows-what-was-refused",
        "tombstone floor",
        "history has what the floor turned away",
        VIEWS,
        (("b._last <= r.upto AND", "b._last > r.upto AND"),),
        (BELOW, KEPT_OUT),
    ),
    Mutation(
        "history-twice",
        "history by key and sequence",
        "a change that came twice is there twice",
        VIEWS,
        ((") WHERE _copy = 1", ") WHERE true"),),
        (
            HISTORY + "test_every_distinct_change_is_kept_once_whatever_the_order_of_arrival",
            CUT.format(0),
        ),
    ),
    Mutation(
        "history-by-key",
        "history by key and sequence",
        "history holds one change of each key",
        VIEWS,
        (("PARTITION BY _key, _sequence ORDER BY _source_file", "PARTITION BY _key ORDER BY _source_file"),),
        (CUT.format(0),),
    ),
    Mutation(
        "no-padding",
        "padding of SequenceNumber",
        "the writer leaves the number as it is",
        WRITER,
        (("{number.zfill(40)}", "{number}"),),
        (
            "tests/contract/test_change_record.py::test_the_writers_sequence_is_one_to_the_reader[1]",
            "tests/aws/test_change_writer_conversion.py::test_sequences_compare_as_text_like_their_numbers",
        ),
    ),
    Mutation(
        "padding-not-asked-for",
        "padding of SequenceNumber",
        "the reader takes numbers of any width",
        RECORD,
        (("(\\d{{40}}|", "(\\d{{1,40}}|"),),
        (BAD_LINE.format("a number that is not padded"),),
    ),
    Mutation(
        "quarantine-id-without-object",
        "quarantine's key",
        "quarantine_id leaves the object out",
        VIEWS,
        (("'source', {source}, 'object', {object_of('_source_file')}))", "'source', {source}))"),),
        (REPLAY + "test_bad_lines_lie_in_quarantine_once_for_each_object",),
    ),
    Mutation(
        "quarantine-id-with-batch",
        "quarantine's key",
        "quarantine_id has the batch's number in it",
        VIEWS,
        (("named_struct('source', {source}, ", "named_struct('batch', _batch_id, 'source', {source}, "),),
        (REPLAY + "test_all_of_landing_under_a_new_checkpoint_gives_the_same_content",),
    ),
    Mutation(
        "snapshot-without-sign",
        "a snapshot sorts below its stream",
        "'-' left out",
        SNAPSHOT,
        (('f"{self.label}/-{iso_ms(self.time_ms)}{run}"', 'f"{self.label}/{iso_ms(self.time_ms)}{run}"'),),
        (SNAPSHOTS_SORT,),
    ),
    Mutation(
        "no-attempt",
        "a resumed scan makes changes of its own",
        "the attempt's number left out",
        SNAPSHOT,
        (('run = "" if self.attempt is None else f"/{self.attempt:04d}"', 'run = ""'),),
        ("tests/contract/test_items.py::test_the_id_is_of_the_sequence_and_the_key_alone",),
    ),
    Mutation(
        "appended-twice",
        "bronze and books are appended once",
        "no txnAppId, no txnVersion",
        COMMITS,
        (
            (
                'mode("append").option("txnAppId", writer).option(\n        "txnVersion", version\n    ).',
                'mode("append").',
            ),
        ),
        (REPLAY + "test_a_batch_that_is_repeated_after_a_crash_changes_nothing",),
    ),
    Mutation(
        "one-writer-for-all-checkpoints",
        "bronze and books are appended once",
        "a new checkpoint has the old one's identity",
        STREAM,
        (('writer=f"{stream.name}/{known}"', 'writer=f"{stream.name}/000000000000"'),),
        (REPLAY + "test_a_checkpoint_that_was_deleted_starts_again_with_books_of_its_own",),
        noticed_by=r"lakehouse\.errors\.CheckpointError",
    ),
    Mutation(
        "checkpoint-set-back-unnoticed",
        "a skipped append is this very batch",
        "nobody looks what bronze has of a repeated batch",
        BATCH,
        (("        _check_same_objects(stream, batch, rows, batch_id)\n", ""),),
        (COUNTER + "test_a_checkpoint_that_was_restored_from_yesterday_stops_its_stream_and_loses_nothing",),
    ),
    Mutation(
        "nothing-is-made-up-for",
        "a table has a mark of its own",
        "what a table has missed is not applied",
        BATCH,
        (("    if not _behind(spark, settings, tables, source, is_new):\n", "    if spark:\n"),),
        (
            COUNTER + "test_one_table_is_named_and_its_sibling_later",
            COUNTER + "test_a_table_that_is_declared_later_fills_itself_on_its_first_run",
        ),
    ),
    Mutation(
        "marks-of-a-table-before",
        "a table has a mark of its own",
        "marks from before a table was created anew count",
        BOOKS,
        (('F.coalesce(F.col("finished_at") >= F.col("made_at"), F.lit(True))', "F.lit(True)"),),
        (COUNTER + "test_a_table_that_was_dropped_fills_itself_again",),
    ),
    Mutation(
        "one-commit-is-retried",
        "the whole batch is done again",
        "only the work on a table is retried",
        BATCH,
        (
            ('        retrying(attempt, f"batch {batch_id} of {stream.name}")\n', "        attempt()\n"),
            (
                "applied[table.name] = silver.apply(spark, settings, prepared, at, wrote[table.name])",
                "applied[table.name] = retrying(\n            lambda: silver.apply("
                'spark, settings, prepared, at, wrote[table.name]), "state"\n        )',
            ),
        ),
        (CUT.format(0),),
        noticed_by="lakehouse.errors.StreamError: .*DELTA_CONCURRENT",
    ),
    Mutation(
        "last-attempt-counts",
        "the whole batch is done again",
        "the books hold what the last attempt wrote",
        SILVER,
        (("sum(upserts for upserts, _ in wrote)", "wrote[-1][0] if wrote else 0"),),
        ("tests/spark/test_books.py::test_the_books_hold_what_all_attempts_at_a_batch_have_written",),
    ),
    Mutation(
        "rebuild-forgets-tombstones",
        "a rebuild keeps tombstones",
        "tombstones that bronze lacks are removed",
        REBUILD,
        (
            (
                '.whenNotMatchedBySourceDelete(condition=~F.col("t.is_deleted"))',
                ".whenNotMatchedBySourceDelete()",
            ),
        ),
        (KEPT_OUT,),
    ),
    Mutation(
        "rebuild-overwrites-tombstones",
        "a rebuild keeps tombstones",
        "a tombstone above all of bronze is overwritten",
        REBUILD,
        (("condition=differs & ~kept", "condition=differs"),),
        (KEPT_OUT,),
    ),
    Mutation(
        "rebuild-takes-what-was-refused",
        "a rebuild leaves out what the floor refused",
        "all of bronze is taken",
        FILL,
        (
            (
                "if not spark.sql(away).isEmpty():",
                "if spark.sql(away).isEmpty() and not settings:",
            ),
        ),
        (KEPT_OUT,),
    ),
    Mutation(
        "rebuild-takes-what-was-superseded",
        "a rebuild leaves out what the floor refused",
        "the refused change alone is left out, and not what came before it",
        FILL,
        (("b._sequence <= r.upto", "b._sequence = r.upto"),),
        (KEPT_OUT,),
    ),
    Mutation(
        "rebuild-drops-what-is-held",
        "a rebuild leaves out what the floor refused",
        "what one batch was refused and another one wrote is left out",
        FILL,
        (("AND b._sequence <= r.upto AND b._sequence > r.held ", "AND b._sequence <= r.upto "),),
        (REBUILT + "test_a_refused_change_that_the_table_holds_after_all_stays",),
    ),
    Mutation(
        "rebuild-loses-what-was-released",
        "a rebuild leaves out what the floor refused",
        "what came after a refusal, and sorts below it, is left out too",
        FILL,
        (("AND (b._sequence = r.upto OR b._first_at <= r.refused_at))", ")"),),
        (
            REBUILT
            + "test_a_row_that_a_fresh_read_released_is_rebuilt_though_it_sorts_below_what_was_refused",
        ),
    ),
    Mutation(
        "rewritten-document-passes-for-its-batch",
        "a batch that bronze has is the very same",
        "documents are compared by their paths alone",
        SOURCES,
        (
            (
                'F.col("path").alias("_source_file"), F.col("modificationTime").alias("_modified_at")\n',
                'F.col("path").alias("_source_file")\n',
            ),
        ),
        (COUNTER + RESTORED_WHOLE,),
    ),
    Mutation(
        "rebuild-brings-back-what-was-purged",
        "a rebuild obeys the floor",
        "purged tombstones are inserted again",
        REBUILD,
        (("condition=~purged, values", "condition=F.lit(True), values"),),
        (REBUILT + "test_a_rebuild_does_not_bring_purged_tombstones_back",),
    ),
    Mutation(
        "rebuild-of-a-moving-table",
        "a rebuild begins anew",
        "nobody looks whether the table was written to",
        REBUILD,
        (("in (looked, None) or not written:", "in (looked, None) or written is not None:"),),
        (REBUILT + "test_a_rebuild_begins_anew_if_the_table_was_written_to_meanwhile",),
    ),
    Mutation(
        "rebuild-from-part-of-bronze",
        "a rebuild is refused without a basis",
        "a snapshot that is not in bronze is taken for one",
        COMPLETENESS,
        (
            (
                "whole = len(_in_bronze(spark, settings, source, names)) == len(names)",
                "whole = len(names) > 0",
            ),
        ),
        (REBUILT + "test_a_rebuild_is_refused_unless_bronze_has_a_snapshot_and_all_after_it",),
    ),
)


GUARD = """
import os
import sys
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    for name in ["lakehouse", "change_writer", *filter(None, os.environ["MUTATED"].split(","))]:
        module = sys.modules.get(name)
        if module is None and name in ("lakehouse", "change_writer"):
            continue  # not every test imports both
        found = getattr(module, "__file__", None)
        if found is None or not Path(found).is_relative_to(Path(__file__).parent):
            print(f"{name} was not imported from the copy, but from {found}")
            session.exitstatus = 99
"""
"""A plugin of pytest: that the copy was tested, and not the tree beside it."""


@dataclass(frozen=True)
class Outcome:
    """How the tests of a copy ended: messages of the tests that failed and of those that did not run."""

    failed: dict[str, str]
    broken: dict[str, str]
    status: int
    output: str


def main(arguments: Sequence[str]) -> int:
    """Make the mutations that are named, or all; 0 if every one was noticed."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help="of a mutation; all if none is given")
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument(
        "--unchecked", action="store_true", help="do not run the tests on the whole tree first"
    )
    told = parser.parse_args(arguments)
    unknown = set(told.names) - {m.name for m in MUTATIONS}
    if unknown:
        parser.error(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [m for m in MUTATIONS if not told.names or m.name in told.names]
    with tempfile.TemporaryDirectory(prefix="lakehouse-mutations-") as folder:
        # Once, so that all of them meet the same code, whoever edits the tree meanwhile.
        for name in COPIED:
            _copy(ROOT / name, Path(folder, name))
        return _run(Path(folder), chosen, listed=told.list, checked=not told.unchecked)


def _run(tree: Path, chosen: Sequence[Mutation], *, listed: bool, checked: bool) -> int:
    if listed:
        for mutation in chosen:
            print(f"{mutation.name:32} {mutation.guard}: {mutation.broken}")
        return 0
    for mutation in chosen:
        _mutated(tree, mutation)  # every text is there once, before anything takes its time
    if checked:
        tests = list(dict.fromkeys(test for mutation in chosen for test in mutation.tests))
        started = time.monotonic()
        whole = _try(tree, tests, None)
        if whole.status != 0:
            print(whole.output[-4000:])
            print(f"The tests do not pass as they are (status {whole.status}); nothing was broken.")
            return 2
        print(f"{len(tests)} tests pass on the whole tree, {time.monotonic() - started:.0f} s\n", flush=True)
    survived = 0
    for mutation in chosen:
        started = time.monotonic()
        outcome = _try(tree, mutation.tests, mutation)
        verdict = _verdict(mutation, outcome)
        if verdict != "noticed":
            survived += 1
            print(outcome.output[-3000:])
        seconds = round(time.monotonic() - started, 1)
        print(f"{verdict} {mutation.name}: {mutation.guard}; {mutation.broken}")
        for test in mutation.tests:
            message = outcome.failed.get(test) or outcome.broken.get(test) or "passed"
            print(f"    {test}\n        {message.splitlines()[0][:160]}")
        print(f"    {seconds} s", flush=True)
        _note(
            proof="mutation",
            name=mutation.name,
            guard=mutation.guard,
            broken=mutation.broken,
            file=mutation.file,
            tests=list(mutation.tests),
            verdict=verdict,
            seconds=seconds,
        )
    print(f"\n{len(chosen) - survived} of {len(chosen)} mutations were noticed.")
    return 1 if survived else 0


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _mutated(tree: Path, mutation: Mutation) -> str:
    """The mutated file's text; raises ValueError where a text does not stand in it exactly once."""
    text = (tree / mutation.file).read_text(encoding="utf-8")
    for old, new in mutation.replaced:
        if text.count(old) != 1:
            raise ValueError(f"{mutation.name}: {mutation.file} has {text.count(old)} times, not once: {old}")
        text = text.replace(old, new)
    compile(text, mutation.file, "exec")
    return text


def _try(tree: Path, tests: Sequence[str], mutation: Mutation | None) -> Outcome:
    """Run tests on a copy of the tree."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-mutation-") as folder:
        copy = Path(folder)
        for name in COPIED:
            _copy(tree / name, copy / name)
        (copy / "of_the_copy.py").write_text(GUARD, encoding="utf-8")
        module = ""
        if mutation is not None:
            (copy / mutation.file).write_text(_mutated(tree, mutation), encoding="utf-8")
            module = mutation.file.removesuffix(".py").partition("/")[2].replace("/", ".")
        own = {"PYTHONPATH": str(copy), "MUTATED": module, "PYTHONDONTWRITEBYTECODE": "1"}
        environment = {k: v for k, v in os.environ.items() if k != "LAKEHOUSE_PROOF"} | own
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "of_the_copy", "-p", "no:cacheprovider"]
        command += [f"--rootdir={copy}", f"--junitxml={copy}/junit.xml", *tests]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        failed, broken = _messages(copy / "junit.xml", tests)
        return Outcome(failed, broken, done.returncode, done.stdout + done.stderr)


def _messages(report: Path, tests: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    failed: dict[str, str] = {}
    broken: dict[str, str] = {}
    if not report.exists():
        return failed, broken
    ids = {
        (t.partition("::")[0].removesuffix(".py").replace("/", "."), t.partition("::")[2]): t for t in tests
    }
    for case in ElementTree.parse(report).iter("testcase"):
        test = ids.get((case.get("classname", ""), case.get("name", "")), case.get("name", ""))
        for kind, found in (("failure", failed), ("error", broken)):
            for told in case.iter(kind):
                found[test] = told.get("message", "")
    return failed, broken


def _verdict(mutation: Mutation, outcome: Outcome) -> Literal["noticed", "SURVIVED", "NOT TRIED"]:
    """Noticed: every test that is named with it failed, each for the reason that is expected."""
    if outcome.status not in (0, 1) or outcome.broken:
        return "NOT TRIED"
    right = [re.match(mutation.noticed_by, message, re.DOTALL) for message in outcome.failed.values()]
    return "noticed" if set(outcome.failed) == set(mutation.tests) and all(right) else "SURVIVED"


def _note(**figures: object) -> None:
    path = os.environ.get("LAKEHOUSE_PROOF")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
