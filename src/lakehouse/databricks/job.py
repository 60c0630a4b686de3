"""Arguments that jobs have, the settings they make, their session, and how a job ends."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from pyspark.sql import SparkSession

from lakehouse.errors import ConfigurationError
from lakehouse.settings import Settings
from lakehouse.table import Table
from lakehouse.tables import TABLES, table


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments from which `settings_from` and `tables_from` read."""
    parser.add_argument(
        "--landing", required=True, help="location under which the writer lands, a folder a source"
    )
    parser.add_argument("--checkpoints", required=True, help="folder of checkpoints, in a managed volume")
    parser.add_argument("--catalog", default="spark_catalog")
    parser.add_argument("--bronze", default="bronze", help="schema of the logs of every record")
    parser.add_argument("--silver", default="silver", help="schema of the state tables")
    parser.add_argument("--gold", default="gold", help="schema of the views")
    parser.add_argument("--ops", default="ops", help="schema of batches and quarantine")
    parser.add_argument("--tables", default="", help="names divided by commas; all if empty")
    parser.add_argument("--documents", action="append", default=[], metavar="SOURCE=LOCATION")
    parser.add_argument("--max-files", type=int, default=1000, help="objects a batch takes at most")
    add_flag(
        parser, "--parquet", "landing has Parquet objects too: a second stream for each source of changes"
    )
    parser.add_argument("--platform", choices=("databricks", "local"), default="databricks")
    parser.add_argument("--warehouse", default=None, help="folder of the tables (platform local only)")
    add_flag(parser, "--no-file-events", "list folders instead of using file events")


def add_flag(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    """Add an argument that is off, on (`--repair`), or told by a job's parameter (`--repair=false`)."""
    parser.add_argument(name, nargs="?", const=True, default=False, type=_on, metavar="BOOL", help=what)


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Add the arguments from which `credentials_from` reads, and the region to use with it."""
    parser.add_argument("--region", default=None, help="of AWS; else what AWS_REGION or a profile says")
    parser.add_argument("--service-credential", default=None, help="a service credential in Unity Catalog")


def credentials_from(args: argparse.Namespace) -> Any:
    """A botocore session by the service credential that the arguments name; None if they name none.

    It can be had on the driver alone, so it must not be asked for in a batch function.
    """
    if not args.service_credential:
        return None
    # There on Databricks alone; the package of that name has no credentials elsewhere.
    dbutils = import_module("databricks.sdk.runtime").dbutils
    return dbutils.credentials.getServiceCredentialsProvider(args.service_credential)


def utc_session() -> SparkSession:
    """The session of a job, in UTC: in another zone days shift, and columns that are filled with them."""
    spark = SparkSession.builder.getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    return spark


def end(status: int) -> None:
    """End the program of a job. Nothing is raised where it went well: on Databricks `sys.exit(0)` is an
    exception like any other, which may count as a failure of the task."""
    if status:
        sys.exit(status)


def settings_from(args: argparse.Namespace) -> Settings:
    """The settings that the arguments say.

    Raises:
        ConfigurationError: an argument that cannot be right.
    """
    documents: dict[str, str] = {}
    for pair in args.documents:
        source, found, location = pair.partition("=")
        if not (source and found and location):
            raise ConfigurationError(f"--documents {pair!r}: write it as SOURCE=LOCATION.")
        documents[source] = location
    return Settings(
        landing=args.landing,
        checkpoints=args.checkpoints,
        documents=documents,
        catalog=args.catalog,
        bronze=args.bronze,
        silver=args.silver,
        gold=args.gold,
        ops=args.ops,
        warehouse=args.warehouse,
        platform=args.platform,
        max_files=args.max_files,
        parquet=args.parquet,
        file_events=not args.no_file_events,
    )


def tables_from(args: argparse.Namespace) -> tuple[Table, ...]:
    """The tables that `--tables` names, all if it names none.

    Raises:
        UnknownTableError: a name that no table file declares.
    """
    names = [name.strip() for name in args.tables.split(",") if name.strip()]
    return tuple(table(name) for name in names) or TABLES


def _on(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
