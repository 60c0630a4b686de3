"""The bench notices a writer that loses records, and a mapping that is set up to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.lambda_bench import runs
from tests.lambda_bench.event_source import Settings
from tests.lambda_bench.function import Function
from tests.lambda_bench.runs import Bench, look, play, problems

MOST_RUNS = 60
SEED = 5

FAULTS_OF_A_WRITER = {
    "a conflict counts as done": (
        "landing.py",
        'if status == 412 or code == "PreconditionFailed":',
        "if status in (409, 412):",
    ),
    "an object that S3 did not take is passed over": (
        "landing.py",
        "return landed, (landing_object.first_index, error)",
        "continue",
    ),
    "the record after the one that did not land is named": (
        "handler.py",
        "number = kind.sequence_number(records[index])",
        "number = kind.sequence_number(records[min(index + 1, len(records) - 1)])",
    ),
    "an object is named after its first record alone": (
        "encode.py",
        "text = json.dumps(list(identities), ",
        "text = json.dumps(list(identities)[:1], ",
    ),
    "what S3 did not take is passed over if there is more to come": (
        "handler.py",
        "    if failure is not None:\n        index, error",
        "    if failure is not None and plan.left is None:\n        index, error",
    ),
    "the first record that was not taken is passed over": (
        "handler.py",
        "number = kind.sequence_number(records[plan.left])",
        "number = kind.sequence_number(records[min(plan.left + 1, len(records) - 1)])",
    ),
    "of an event one object lands": (
        "handler.py",
        "put_objects(s3_client(), settings.bucket, plan.objects)",
        "put_objects(s3_client(), settings.bucket, plan.objects[:1])",
    ),
    "what cannot be converted is left out": (
        "handler.py",
        "            lines.append((folder, line))\n            size += len(line.data)\n",
        "            size += len(line.data)\n",
    ),
}


def noticed(bench: Bench, first: int) -> list[str]:
    """What is wrong after the first run that leaves something wrong."""
    for number in range(first, first + MOST_RUNS):
        run = play(bench, SEED, number)
        wrong = problems(run, look(bench, run), redriven=False)
        if wrong:
            return wrong
    return []


@pytest.mark.extra
@pytest.mark.parametrize("fault", FAULTS_OF_A_WRITER)
def test_a_writer_that_loses_records_is_noticed(bench: Bench, tmp_path: Path, fault: str) -> None:
    name, text, instead = FAULTS_OF_A_WRITER[fault]
    environment = bench.functions[0].environment | {"BENCH_ENOUGH_BYTES": "2000"}
    with Function(environment, tmp_path) as broken:
        path = tmp_path / "task" / "change_writer" / name
        code = path.read_text(encoding="utf-8")
        assert code.count(text) == 1
        path.write_text(code.replace(text, instead), encoding="utf-8")
        first = 1000 + MOST_RUNS * list(FAULTS_OF_A_WRITER).index(fault)
        wrong = noticed(dataclasses.replace(bench, functions=[broken]), first)
    assert any("nowhere" in one for one in wrong)


def test_a_mapping_that_is_not_to_read_partial_answers_loses_records_and_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer answers in part, which Lambda takes for success unless ReportBatchItemFailures is on."""
    monkeypatch.setattr(runs, "Settings", lambda **given: Settings(**given, report_failures=False))
    assert any("nowhere" in one for one in noticed(bench, 2000))
