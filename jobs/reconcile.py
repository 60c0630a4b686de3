"""Job: compare a state table with its DynamoDB table while the stream runs, and repair it if asked to.

    python jobs/reconcile.py --catalog main --landing s3://bucket/landing \\
        --checkpoints /Volumes/main/ops/checkpoints --tables calls --table-name prod-calls
"""

from __future__ import annotations

import argparse
import sys
import time

from pyspark.sql import SparkSession

from lakehouse.aws.client import aws_client
from lakehouse.aws.fresh import Reader
from lakehouse.aws.objects import open_objects
from lakehouse.aws.snapshot import lambda_mappings
from lakehouse.aws.source import DynamoSource
from lakehouse.job import add_settings, settings_from, tables_from
from lakehouse.reconcile import reconcile


def main(argv: list[str] | None = None) -> int:
    """Parse, compare, report. The exit status is 3 if table and source differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    parser.add_argument("--table-name", required=True, help="the DynamoDB table")
    parser.add_argument("--lag", type=float, default=900.0, help="seconds that a change takes at most")
    parser.add_argument("--repair", action="store_true", help="land a record for each difference")
    parser.add_argument("--max-rcu", type=int, default=None, help="read capacity units a second at most")
    parser.add_argument("--consumer-from", default=None, help="since when the stream is landed")
    args = parser.parse_args(argv)
    tables = tables_from(args)
    if len(tables) != 1:
        parser.error("--tables: say which table to compare")
    spark = SparkSession.builder.getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    mappings = None if args.consumer_from else lambda_mappings(aws_client("lambda"))
    reader = Reader(aws_client("dynamodb"), tables[0], args.table_name, args.consumer_from, mappings)
    source = DynamoSource(reader, open_objects(args.landing), max_rcu=args.max_rcu)
    done = reconcile(
        spark,
        settings_from(args),
        tables[0],
        source,
        lambda: time.sleep(args.lag),
        repair=args.repair,
        on_progress=print,
    )
    print(done, flush=True)
    return 3 if done.verdict == "differ" else 0


if __name__ == "__main__":
    sys.exit(main())
