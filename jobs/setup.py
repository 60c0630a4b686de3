"""Job: create schemas, tables and views, and add columns that declarations have gained.

    python jobs/setup.py --catalog main --landing /Volumes/main/ops/landing \\
        --checkpoints /Volumes/main/ops/checkpoints
"""

from __future__ import annotations

import argparse
import sys

from pyspark.sql import SparkSession

from lakehouse.catalog import set_up
from lakehouse.job import add_settings, settings_from, tables_from


def main(argv: list[str] | None = None) -> int:
    """Parse and run. Safe to repeat; run it while no stream is at work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    args = parser.parse_args(argv)
    set_up(SparkSession.builder.getOrCreate(), settings_from(args), tables_from(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
