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

BATCH, MERGE, CHANGES = "src/lakehouse/batch.py", "src/lakehouse/merge.py", "src/lakehouse/changes.py"
FLOORS, PARSE, SNAPSHOT = "src/lakehouse/floors.py", "src/lakehouse/parse.py", "src/lakehouse/aws/snapshot.py"
INGEST, EVENTS = "src/lakehouse/ingest.py", "src/lakehouse/change_record.py"
WRITER = "lambda/change_writer/dynamodb.py"

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
        MERGE,
        (('F.col("s._sequence") > F.col("t._sequence")', 'F.col("s._sequence") >= F.col("t._sequence")'),),
        (ORDER.format("a redelivery is not written again"),),
    ),
    Mutation(
        "no-comparison",
        "strict comparison",
        "MERGE updates whatever comes",
        MERGE,
        (('condition=F.col("s._sequence") > F.col("t._sequence"), set=values', "set=values"),),
        (ORDER.format("an older change is ignored"),),
    ),
    Mutation(
        "merge-by-time",
        "order by sequence, not by clock",
        "MERGE compares _changed_at",
        MERGE,
        (('F.col("s._sequence") > F.col("t._sequence")', 'F.col("s._changed_at") > F.col("t._changed_at")'),),
        (ORDER.format("a newer change replaces an older one"),),
    ),
    Mutation(
        "reduction-by-time",
        "order by sequence, not by clock",
        "a batch is reduced by _changed_at",
        CHANGES,
        (
            (
                'F.max_by(F.struct(*changes.columns), "_sequence")',
                'F.max_by(F.struct(*changes.columns), "_changed_at")',
            ),
        ),
        (REDUCER,),
    ),
    Mutation(
        "reduction-keeps-the-first",
        "the reduction keeps the latest",
        "min_by for max_by",
        CHANGES,
        (("F.max_by(", "F.min_by("),),
        (REDUCTION, REDUCER),
    ),
    Mutation(
        "reduction-by-half-a-key",
        "the reduction is by the whole key",
        "grouped by the first key column",
        CHANGES,
        (("groupBy(*keys)", "groupBy(keys[0])"),),
        (REDUCTION,),
    ),
    Mutation(
        "reduction-drops-deletes",
        "deletes kept in the reduction",
        "latest_changes leaves tombstones out",
        CHANGES,
        (("changes.groupBy(", 'changes.where("NOT is_deleted").groupBy('),),
        (REDUCTION, REDUCER),
    ),
    Mutation(
        "batch-drops-deletes",
        "deletes kept in the reduction",
        "a batch leaves tombstones out before it reduces",
        BATCH,
        (
            (
                "latest_changes(_counting(changes, table), table.keys)",
                'latest_changes(_counting(changes, table).where("NOT is_deleted"), table.keys)',
            ),
        ),
        (ORDER.format("a delete wins over a lower upsert of its batch"),),
    ),
    Mutation(
        "delete-removes-the-row",
        "a delete is a tombstone",
        "MERGE deletes the row",
        MERGE,
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
        MERGE,
        (
            (
                "condition=insertable, values=values",
                'condition=insertable & ~F.col("s.is_deleted"), values=values',
            ),
        ),
        (ORDER.format("a delete wins over a lower upsert of a later batch"),),
    ),
    Mutation(
        "ignored-expiries-apply",
        "ttl_deletes = ignore",
        "expiries are applied all the same",
        BATCH,
        (
            (
                '    if table.ttl_deletes == "apply":\n        return changes',
                "    if table:\n        return changes",
            ),
        ),
        ("tests/spark/test_policies.py::test_an_ignored_expiry_leaves_the_row_and_stands_in_the_history",),
    ),
    Mutation(
        "floor-not-in-merge",
        "tombstone floor",
        "MERGE inserts below the floor",
        MERGE,
        (('insertable = ~floors.is_below(floor, "s._changed_at") | kept', "insertable = F.lit(True)"),),
        (BELOW,),
    ),
    Mutation(
        "floor-never-read",
        "tombstone floor",
        "a batch takes the floor for none",
        BATCH,
        (("floor = floors.current(batch.sparkSession, stream.settings, stream.table)", "floor = None"),),
        (BELOW,),
    ),
    Mutation(
        "floor-read-late",
        "tombstone floor",
        "a batch reads the floor after it has staged",
        BATCH,
        (
            (
                "        floor = floors.current(batch.sparkSession, stream.settings, stream.table)\n"
                "    staged = _stage(stream, batch, floor)\n",
                "        staged = _stage(stream, batch, floor)\n"
                "        floor = floors.current(batch.sparkSession, stream.settings, stream.table)\n"
                "    else:\n"
                "        staged = _stage(stream, batch, floor)\n",
            ),
            ("keep_raw=None if floor is None else floors.is_below(floor)", "keep_raw=F.lit(True)"),
        ),
        (FLOOR + "test_a_batch_at_work_while_the_floor_is_raised_twice_brings_nothing_back",),
    ),
    Mutation(
        "left-over-is-lost",
        "tombstone floor",
        "what the floor keeps out is not quarantined",
        BATCH,
        (("if floor is not None and counts.below:", "if floor is None and counts.below:"),),
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
        "no-dedupe",
        "dedupe in history and quarantine",
        "insert_missing takes its rows as they come",
        MERGE,
        (("rows.dropDuplicates(list(keys)).alias", "rows.alias"),),
        (HISTORY + "test_every_distinct_change_is_kept_once_whatever_the_order_of_arrival",),
    ),
    Mutation(
        "history-by-key",
        "history by key and sequence",
        "history holds one change of each key",
        BATCH,
        (('versions, (*table.keys, "_sequence"), among', "versions, table.keys, among"),),
        (CUT.format(0),),
    ),
    Mutation(
        "history-of-the-latest",
        "history by key and sequence",
        "history gets what the reduction left",
        BATCH,
        (("versions = changes.select(*columns, stamp)", "versions = latest.select(*columns, stamp)"),),
        (CUT.format(0),),
    ),
    Mutation(
        "history-by-the-state",
        "every sink decides from the batch alone",
        "history is written where the state table changed",
        BATCH,
        (("if table.history:", "if table.history and applied[-1].upserts + applied[-1].deletes:"),),
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
        EVENTS,
        ((r"(\d{{40}}|", r"(\d{{1,40}}|"),),
        (BAD_LINE.format("a number that is not padded"),),
    ),
    Mutation(
        "quarantine-id-without-object",
        "quarantine's key",
        "quarantine_id leaves the object out",
        BATCH,
        (('F.struct(source.alias("source"), where.alias("object"))', 'F.struct(source.alias("source"))'),),
        (REPLAY + "test_bad_lines_lie_in_quarantine_once_for_each_object",),
    ),
    Mutation(
        "quarantine-id-with-batch",
        "quarantine's key",
        "quarantine_id has the batch's number in it",
        BATCH,
        (
            (
                'name.alias("quarantine_id")',
                'F.sha2(F.concat(name, F.lit(str(batch_id))), 256).alias("quarantine_id")',
            ),
        ),
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
        "progress-twice",
        "progress is written once",
        "no txnAppId, no txnVersion",
        MERGE,
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
        "progress is written once",
        "a new checkpoint has the old one's identity",
        INGEST,
        (('f"{stream.name}/{_identity(stream.folder)}"', 'f"{stream.name}/"'),),
        (REPLAY + "test_a_checkpoint_that_was_deleted_starts_again_with_books_of_its_own",),
    ),
    Mutation(
        "one-commit-is-retried",
        "the whole batch is done again",
        "only the state's MERGE is retried",
        BATCH,
        (
            ("        retrying(attempt, what)\n", "        attempt()\n"),
            (
                "            merge_latest(spark, settings, table, latest",
                "            retrying(lambda: merge_latest(spark, settings, table, latest",
            ),
            ("floor=floor, among=among)\n        )", 'floor=floor, among=among), "state")\n        )'),
        ),
        (CUT.format(0),),
        noticed_by="lakehouse.errors.StreamError: .*DELTA_CONCURRENT",
    ),
    Mutation(
        "last-attempt-counts",
        "the whole batch is done again",
        "the books hold what the last attempt wrote",
        BATCH,
        (
            (
                "sum(a.upserts for a in applied), sum(a.deletes for a in applied)",
                "applied[-1].upserts if applied else 0, applied[-1].deletes if applied else 0",
            ),
        ),
        (CUT.format(0),),
    ),
    Mutation(
        "tombstones-keep-their-values",
        "a tombstone holds key and metadata alone",
        "columns of a tombstone are not blanked",
        PARSE,
        (('F.when(~F.col("is_deleted"), F.col(c.name)) for c in rest', "F.col(c.name) for c in rest"),),
        ("tests/spark/test_values.py::test_a_tombstone_holds_its_key_and_its_metadata_alone",),
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
