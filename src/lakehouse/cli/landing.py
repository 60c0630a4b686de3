"""`lakehouse landing …`: look at landed objects, set one aside, bring it back."""

from __future__ import annotations

import sys

import click

from lakehouse.cli.documents import document_options
from lakehouse.cli.show import bar, format_option, print_rows, say


@click.group()
def landing() -> None:
    """Look at landed objects, set one aside that stops its stream, and bring it back."""


@landing.command()
@click.option("--landing", "location", required=True, metavar="PATH_OR_URL")
@document_options
@format_option
def check(location: str, transcripts: str | None, pca: str | None, style: str) -> None:
    """Read every landed object and report what is torn, empty, misplaced or read by no table.

    Given where documents lie, report those too that no stream reads. The exit status is 1 if something is
    torn, unreadable, misplaced or unread.
    """
    from lakehouse.operations.landing import check as look
    from lakehouse.operations.landing import check_documents
    from lakehouse.tables import TABLES

    sources = [t.source for t in TABLES if t.format == "changes"]
    total = 0
    with bar("reading objects") as tick:

        def progress(done: int, of: int) -> None:
            nonlocal total
            total = of
            tick(done, of)

        found = list(look(location, sources, on_progress=progress))
    for documents in filter(None, (transcripts, pca)):
        found += check_documents(documents)
    for_people = style == "table"
    if found or not for_people:
        names = ["kind", "object" if for_people else "path", "detail"]
        print_rows(names, ((f.kind, f.path, f.detail) for f in found), style)
    if for_people:
        say(f"{total} objects, {len(found)} to look at.")
    if any(f.kind in ("torn", "unreadable", "misplaced", "unread") for f in found):
        sys.exit(1)


@landing.command(name="set-aside")
@click.argument("object_path", metavar="OBJECT")
def set_aside(object_path: str) -> None:
    """Move one landed object to _set_aside/ below landing, so that its table's stream goes on."""
    from lakehouse.operations.landing import set_aside as move

    target = move(object_path)
    say(f"Set aside: it lies at {target} now. Run the ingest again.")


@landing.command()
@click.argument("object_path", metavar="OBJECT")
def restore(object_path: str) -> None:
    """Let an object below _set_aside/ be read, under a new name, once a whole copy is in its place."""
    from lakehouse.operations.landing import restore as move

    target = move(object_path)
    say(f"Restored: it lies at {target} now. Run the ingest again.")
