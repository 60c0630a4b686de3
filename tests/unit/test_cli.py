"""What the command line shows: text from data is text, whatever is in it."""

from __future__ import annotations

import io

import pytest
from click.testing import CliRunner
from rich.console import Console

from lakehouse import cli
from lakehouse.cli import show


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(show, "out", Console(file=text, width=200, force_terminal=True, color_system=None))
    return text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("<b>[bold]x[/bold]", "<b>[bold]x[/bold]"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\ttab\x00", "two\\x0alines\\x09tab\\x00"),
        ("\u202eright to left", "\\x202eright to left"),
        ("Zoë 🙂 'quoted'", "Zoë 🙂 'quoted'"),
        (None, "null"),
        ("", ""),
    ],
)
def test_a_cell_shows_its_text_and_obeys_none_of_it(shown: io.StringIO, value: str | None, cell: str) -> None:
    show.print_table(["[red]name"], iter([(value,)]))
    lines = shown.getvalue().splitlines()
    assert "[red]name" in lines[1]
    assert lines[3].strip("│ ").replace("\x1b[2m", "").replace("\x1b[0m", "").strip() == cell


def test_an_interval_that_is_none_is_blamed_on_the_option_that_has_it(tmp_path: object) -> None:
    arguments = ["ingest", "--landing", str(tmp_path), "--warehouse", str(tmp_path), "--follow", "calls"]
    result = CliRunner().invoke(cli.cli, arguments)
    assert result.exit_code == 2
    assert "Invalid value for --follow" in result.output


def test_a_warehouse_on_s3_is_refused(tmp_path: object) -> None:
    result = CliRunner().invoke(
        cli.cli, ["ingest", "--landing", str(tmp_path), "--warehouse", "s3://bucket/w"]
    )
    assert result.exit_code == 1
    assert "lies on this machine" in str(result.exception)


def test_transcripts_by_name_need_their_place(tmp_path: object) -> None:
    arguments = ["ingest", "transcripts", "--landing", str(tmp_path), "--warehouse", str(tmp_path)]
    result = CliRunner().invoke(cli.cli, arguments)
    assert "--transcripts" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["requeue", "--landing", "l"], "Name the records by their IDs, or take them all"),
        (["discard", "--why", "w", "3f2a9c", "--all"], "Name the records by their IDs, or take them all"),
        (["discard", "--why", "w", "3f2a9c", "--source", "calls"], "go with --all, not with IDs"),
        (["discard", "3f2a9c"], "Missing option '--why'"),
        (["requeue", "3f2a9c"], "Missing option '--landing'"),
    ],
)
def test_a_decision_on_quarantined_records_says_on_which(
    tmp_path: object, arguments: list[str], problem: str
) -> None:
    result = CliRunner().invoke(cli.cli, ["quarantine", *arguments, "--warehouse", str(tmp_path)])
    assert result.exit_code == 2
    assert problem in " ".join(result.output.split())
