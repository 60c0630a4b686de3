"""`lakehouse …`: the command line. What people look at are tables; `--format json` is for machines.

One file for each group of commands; `show` is what they share. Spark, boto3 and the engine are imported
inside the commands: `lakehouse --help` must not wait for them.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

try:
    import click
    import rich  # noqa: F401 - asked for here, so that a lack of it is one message
except ImportError as missing:
    # The wheel itself depends on nothing: on Databricks it must not bring packages of its own.
    raise SystemExit(f"{missing}. The command line needs more: pip install 'lakehouse[local,aws]'") from None

from lakehouse.cli import (
    backfill,
    demo,
    ingest,
    landing,
    maintain,
    publish,
    quarantine,
    query,
    rebuild,
    reconcile,
    redrive,
    refresh,
    report,
    show,
)
from lakehouse.errors import LakehouseError
from lakehouse.ingest.causes import cause_of


def main() -> None:
    """Entry point: an error of ours is a message and exit status 1 (2 for usage), never a stack trace."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except click.exceptions.Abort:
        show.err.print("Stopped.")
        sys.exit(130)
    except LakehouseError as error:
        _complain(error)
    except BrokenPipeError:  # the reader of our output has gone; so must the flush at exit
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    except OSError as error:  # a folder that cannot be read, a bucket that does not answer
        _complain(error)
    except Exception as error:
        if not type(error).__module__.startswith(
            ("pyspark.errors", "delta.exceptions", "botocore.exceptions", "py4j.")
        ):
            raise
        _complain(LakehouseError(str(cause_of(str(error)))))


def _complain(error: Exception) -> NoReturn:
    show.print_error(error)
    sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="lakehouse")
def cli() -> None:
    """Change data from DynamoDB to Delta tables: every row once, deletes included."""


for command in (
    demo.demo,
    ingest.ingest,
    query.sql,
    query.list_tables,
    landing.landing,
    backfill.backfill,
    maintain.maintain,
    quarantine.quarantine,
    reconcile.reconcile,
    rebuild.rebuild,
    redrive.redrive,
    refresh.refresh,
    publish.publish_alerts,
    report.report,
):
    cli.add_command(command)
