"""Job: purge old tombstones in two steps, check that keys are unique, note whether bronze is complete. Daily.

    python jobs/maintain.py --catalog main --landing /Volumes/main/ops/landing \\
        --checkpoints /Volumes/main/ops/checkpoints
"""

from __future__ import annotations

import argparse

from lakehouse.databricks.job import add_flag, add_settings, end, settings_from, tables_from, utc_session
from lakehouse.operations.maintain import maintain


def main(argv: list[str] | None = None) -> int:
    """Parse, run, report. The exit status is 1 if a key is in its table more than once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    add_flag(parser, "--dry-run", "change nothing, say what would be done")
    args = parser.parse_args(argv)
    spark = utc_session()
    done = maintain(spark, settings_from(args), tables_from(args), dry_run=args.dry_run)
    for one in done:
        print(one, flush=True)
    return 1 if any(one.duplicate_keys for one in done) else 0


if __name__ == "__main__":
    end(main())
