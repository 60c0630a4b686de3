"""Job: create schemas, tables and views, add and fill columns that declarations have gained, and tag, grant,
mask.

    python jobs/setup.py --catalog main --landing /Volumes/main/ops/landing \\
        --checkpoints /Volumes/main/ops/checkpoints
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from lakehouse.catalog.governance import Governance
from lakehouse.catalog.set_up import set_up
from lakehouse.databricks.job import add_flag, add_settings, end, settings_from, tables_from, utc_session
from lakehouse.ingest.fill import fill
from lakehouse.settings import PII_READERS


def main(argv: list[str] | None = None) -> int:
    """Parse and run. Safe to repeat; run it while no stream is at work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    parser.add_argument("--pii-readers", default=PII_READERS, help="account group that sees personal data")
    parser.add_argument("--analysts", default=None, help="who is granted SELECT on each view in gold")
    parser.add_argument("--operators", default=None, help="who is granted SELECT on each table and view")
    add_flag(parser, "--no-predictive-optimization", "leave the schemas' predictive optimization as it is")
    args = parser.parse_args(argv)
    settings, governance = settings_from(args), None
    if args.platform == "databricks":
        settings = replace(settings, pii_readers=args.pii_readers)
        governance = Governance(
            args.analysts or None, args.operators or None, not args.no_predictive_optimization
        )
    spark, tables = utc_session(), tables_from(args)
    fill(spark, settings, tables, set_up(spark, settings, tables, governance))
    return 0


if __name__ == "__main__":
    end(main())
