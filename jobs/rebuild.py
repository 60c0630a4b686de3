"""Job: bring state tables to what bronze says of them, in one MERGE of what differs each. Stop their streams
first.

    python jobs/rebuild.py --catalog main --landing /Volumes/main/ops/landing \\
        --checkpoints /Volumes/main/ops/checkpoints --tables calls
"""

from __future__ import annotations

import argparse

from lakehouse.databricks.job import add_flag, add_settings, end, settings_from, tables_from, utc_session
from lakehouse.operations.rebuild import rebuild


def main(argv: list[str] | None = None) -> int:
    """Parse, rebuild one table after the other, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    add_flag(parser, "--complete", "bronze has everything since the beginning: take my word")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for a stream to stop")
    args = parser.parse_args(argv)
    if not args.tables:
        parser.error("--tables: say which tables to rebuild")
    spark = utc_session()
    for table in tables_from(args):
        print(rebuild(spark, settings_from(args), table, complete=args.complete, wait=args.wait), flush=True)
    return 0


if __name__ == "__main__":
    end(main())
