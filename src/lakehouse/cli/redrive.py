"""`lakehouse redrive`: failed batches and quarantined records, through the writer once more."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lakehouse.cli.show import bar, err, format_option, print_rows, say

if TYPE_CHECKING:
    from lakehouse.aws.redrive import Redriven


@click.command()
@click.argument("location")
@click.option("--function", metavar="NAME", help="The writer's Lambda function: land as it is set to.")
@click.option("--landing", metavar="URL", help="Land here (s3://bucket/prefix) instead of asking a function.")
@click.option(
    "--source-map",
    metavar="NAME=SOURCE,…",
    help="With --landing: the sources of tables and streams, as the writer's variable SOURCE_MAP has them.",
)
@click.option("--since", metavar="TIME", help="Only objects written at this time or after it.")
@click.option(
    "--delete",
    is_flag=True,
    help="Remove each failed batch once all of it has landed; else they stay.",
)
@click.option("--dry-run", is_flag=True, help="Convert and count; put and delete nothing.")
@click.option(
    "--writer",
    "code",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Folder or archive of the writer's code.  [default: the checkout's]",
)
@format_option
def redrive(
    location: str,
    function: str | None,
    landing: str | None,
    source_map: str | None,
    since: str | None,
    delete: bool,
    dry_run: bool,
    code: Path | None,
    style: str,
) -> None:
    """Land failed batches, and records that the writer had quarantined, by the writer's own code.

    LOCATION is an object or a folder: s3://failure-bucket, s3://bucket/landing/_quarantine/calls. What is in
    landing already is not landed again, so the command may be given as often as one likes. The exit status is
    1 if anything was left: objects of another kind, records that S3 did not take or that cannot be converted.

    A failed batch is done when each of its records is in landing or in quarantine. What a quarantine object
    holds and still cannot be converted stays in it.
    """
    if (function is None) == (landing is None):
        raise click.UsageError("Say where to land: --function NAME, or --landing s3://bucket/prefix.")
    if source_map and landing is None:
        raise click.UsageError("--source-map goes with --landing: a function has its own.")
    from lakehouse.aws.client import aws_client
    from lakehouse.aws.objects import open_objects
    from lakehouse.aws.redrive import Redriven, find
    from lakehouse.aws.redrive import redrive as give
    from lakehouse.aws.writer import Writer, function_environment
    from lakehouse.settings import parse_time
    from lakehouse.tables import TABLES

    after = None if since is None else parse_time(since)
    environ = (
        function_environment(aws_client("lambda"), function)
        if function
        else _environment(landing or "", source_map)
    )
    writer = Writer(environ, aws_client("s3"), code)
    root, name = _split(location)
    objects = open_objects(root)
    keys = find(objects, name, after)
    if not keys:
        say(f"There is nothing at {location}{'' if after is None else f' since {since}'}.", err)
    with bar("redriving objects") as tick:
        found = give(
            objects,
            keys,
            writer,
            {t.source for t in TABLES if t.format == "changes"},
            dry_run=dry_run,
            delete=delete,
            on_progress=tick,
        )
    if style != "table":
        names = [each.name for each in fields(Redriven)]
        print_rows([*names, "done"], ([*asdict(one).values(), one.done] for one in found), style)
    else:
        _show(found, writer.landing, dry_run)
    if not all(one.done for one in found):
        sys.exit(1)


def _show(found: Sequence[Redriven], landing: str, dry_run: bool) -> None:
    names = ["object", "kind", "records", "landed", "already_there", "quarantined", "failed", "what is left"]
    rows = (
        [one.object.rpartition("/")[2], *list(asdict(one).values())[1:7], one.problem or "nothing"]
        for one in found
    )
    if found:
        print_rows(names, rows, "table")
    left = sum(not one.done for one in found)
    total = {name: sum(getattr(one, name) for one in found) for name in names[2:7]}
    say(
        f"{len(found):,} objects, {total['records']:,} records: {total['landed']:,} "
        f"{'can be converted for' if dry_run else 'landed in'} {landing}, {total['already_there']:,} were "
        f"there already{' (not looked up)' if dry_run else ''}, {total['quarantined']:,} cannot be "
        f"converted, {total['failed']:,} failed. "
        f"{sum(one.deleted for one in found):,} objects deleted, {left:,} to look at."
    )
    if total["landed"] and not dry_run:
        say("Run the ingest again, or let it.")


def _environment(landing: str, source_map: str | None) -> Mapping[str, str]:
    """The writer's variables for a location."""
    scheme, found, rest = landing.partition("://")
    if not found or scheme not in ("s3", "s3a"):
        raise click.UsageError(
            f"--landing {landing}: the writer lands in S3 alone. Write s3://bucket/prefix."
        )
    bucket, _, prefix = rest.partition("/")
    return {"S3_BUCKET": bucket, "S3_PREFIX": prefix, "SOURCE_MAP": source_map or ""}


def _split(location: str) -> tuple[str, str]:
    """(what lies above, name of the object or folder): `s3://b/a/c` → `s3://b/a`, `c`; a bucket → it, ``."""
    scheme, found, rest = location.partition("://")
    rest = rest.rstrip("/")
    if (found and not rest) or not location:
        raise click.UsageError(f"{location!r} names no bucket and no folder. Is a variable empty?")
    if found and "/" not in rest:
        return location, ""
    if not found:
        path = Path(location).absolute()
        if not path.exists():
            raise click.UsageError(f"There is no {path}.")
        return str(path.parent), path.name
    above, _, name = rest.rpartition("/")
    return f"{scheme}://{above}", name
