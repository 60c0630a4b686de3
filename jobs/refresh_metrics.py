"""Job: bring the metrics and alerts of all entities whose windows have moved up to now. Run it hourly.

    python jobs/refresh_metrics.py --catalog main --landing /Volumes/main/ops/landing \\
        --checkpoints /Volumes/main/ops/checkpoints
"""

from __future__ import annotations

import argparse

from lakehouse.databricks.job import add_flag, add_settings, end, settings_from, utc_session
from lakehouse.errors import LeaseHeldError
from lakehouse.gold.followers import refresh_metrics
from lakehouse.settings import parse_time


def main(argv: list[str] | None = None) -> int:
    """Parse, refresh, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    parser.add_argument("--as-of", default="", help="where the windows end, ISO 8601; now if empty")
    add_flag(
        parser, "--everything", "all entities, from the state table, and not those that have moved alone"
    )
    add_flag(parser, "--leave-held", "a follower that is at work ages them itself: no error")
    args = parser.parse_args(argv)
    as_of = parse_time(args.as_of) if args.as_of else None
    spark = utc_session()
    try:
        entities = refresh_metrics(spark, settings_from(args), as_of, everything=args.everything)
    except LeaseHeldError as held:
        if not args.leave_held:
            raise
        print(held, flush=True)
        return 0
    print(f"{entities} entities refreshed", flush=True)
    return 0


if __name__ == "__main__":
    end(main())
