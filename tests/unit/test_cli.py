"""What the command line shows: text from data is text, whatever is in it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from lakehouse import cli
from lakehouse.cli import show


def _commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below one, by the words that lead to it."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _commands(below, *path, name)
    else:
        yield path, command


REQUIRED = {
    (path, parameter.opts[0]): command
    for path, command in _commands(cli.cli)
    for parameter in command.params
    if parameter.required
}
"""The command of each option and argument that has to be given."""


def _words(parameter: click.Parameter) -> list[str]:
    """A parameter as it is given on the command line, with some value."""
    return ["1"] if isinstance(parameter, click.Argument) else [parameter.opts[0], "1"]


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


def test_what_has_to_be_given_is_found() -> None:
    # By name: a command that stopped asking for it would not be tried below, and nobody would know.
    found = {" ".join(path) for path, name in REQUIRED if name == "--warehouse"}
    assert found == {
        *("ingest", "maintain", "publish-alerts", "quarantine discard", "quarantine requeue"),
        *("rebuild", "reconcile", "refresh-metrics"),
    }
    assert (("quarantine", "show"), "record") in REQUIRED


@pytest.mark.parametrize(("path", "left_out"), REQUIRED, ids=[" ".join([*p, name]) for p, name in REQUIRED])
def test_a_command_says_what_was_left_out(
    path: tuple[str, ...],
    left_out: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = REQUIRED[path, left_out]
    missing = next(p for p in command.params if p.opts[0] == left_out)
    given = [word for p in command.params if p.required and p is not missing for word in _words(p)]
    monkeypatch.setattr(command, "callback", lambda **values: pytest.fail(f"It ran, with {values}."))
    monkeypatch.delenv("LAKEHOUSE_WAREHOUSE", raising=False)
    monkeypatch.setattr("sys.argv", ["lakehouse", *path, *given])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown, said = capsys.readouterr()
    assert (ended.value.code, shown) == (2, "")
    name = left_out if isinstance(missing, click.Option) else missing.make_metavar(click.Context(command))
    assert f"Error: Missing {missing.param_type_name} '{name}'." in said
    assert "Traceback" not in said


def test_an_empty_variable_names_no_warehouse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_WAREHOUSE", "")
    result = CliRunner().invoke(cli.cli, ["maintain"])
    assert result.exit_code == 2
    assert "Missing option '--warehouse'" in result.output
