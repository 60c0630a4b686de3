"""Job: compare a state table with its DynamoDB table while the stream runs, and repair it if asked to.

    python jobs/reconcile.py --catalog main --landing s3://bucket/landing \\
        --checkpoints /Volumes/main/ops/checkpoints --tables calls --table-name prod-calls \\
        --region eu-west-1 --service-credential lakehouse-source
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from lakehouse.aws.source import open_source
from lakehouse.databricks import job
from lakehouse.operations.reconcile import reconcile


def main(argv: list[str] | None = None) -> int:
    """Parse, compare, report. The exit status is 3 if table and source differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    job.add_settings(parser)
    parser.add_argument("--table-name", required=True, help="the DynamoDB table")
    parser.add_argument("--lag", type=float, default=900.0, help="seconds that a change takes at most")
    job.add_flag(parser, "--repair", "land a record for each difference")
    parser.add_argument("--max-rcu", type=int, default=None, help="read capacity units a second at most")
    parser.add_argument("--consumer-from", default=None, help="since when the stream is landed")
    job.add_credentials(parser)
    args = parser.parse_args(argv)
    tables = job.tables_from(args)
    if len(tables) != 1:
        parser.error("--tables: say which table to compare")
    spark = job.utc_session()
    source = open_source(
        tables[0],
        args.table_name,
        args.landing,
        consumer_from=args.consumer_from,
        max_rcu=args.max_rcu,
        region=args.region,
        credentials=job.credentials_from(args),
    )
    wait = partial(time.sleep, args.lag)
    done = reconcile(
        spark, job.settings_from(args), tables[0], source, wait, repair=args.repair, on_progress=print
    )
    print(done, flush=True)
    return 3 if done.verdict == "differ" else 0


if __name__ == "__main__":
    job.end(main())
