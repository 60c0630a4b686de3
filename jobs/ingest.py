"""Job: run the ingest streams, once for all that has landed or at an interval.

    python jobs/ingest.py --catalog main --landing /Volumes/main/ops/landing \\
        --checkpoints /Volumes/main/ops/checkpoints --trigger "30 seconds"
"""

from __future__ import annotations

import argparse

from lakehouse.databricks.job import add_flag, add_settings, end, settings_from, tables_from, utc_session
from lakehouse.errors import LeaseHeldError
from lakehouse.gold.run import ingest
from lakehouse.ingest.runner import Result
from lakehouse.ingest.trigger import Trigger


def main(argv: list[str] | None = None) -> int:
    """Parse, run, report. The exit status is 1 if a stream ended in an error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    parser.add_argument(
        "--trigger", type=Trigger.parse, default=Trigger(), help="available-now, or '30 seconds'"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds to wait for a checkpoint's other holder"
    )
    add_flag(parser, "--from-the-beginning", "read all of landing into bronze again, under new checkpoints")
    add_flag(parser, "--leave-held", "a checkpoint that is held after all is its holder's business: no error")
    args = parser.parse_args(argv)
    spark = utc_session()
    results = ingest(
        spark,
        settings_from(args),
        tables_from(args),
        args.trigger,
        wait=args.wait,
        from_the_beginning=args.from_the_beginning,
        on_end=_report,
    )
    left = LeaseHeldError if args.leave_held else ()
    return 1 if any(r.error and not isinstance(r.error, left) for r in results) else 0


def _report(result: Result) -> None:
    for table, batches in result.tables.items():
        print(f"{result.stream} → {table}: {batches}", flush=True)
    print(f"{result.stream}: {result.seconds:.1f} s, {result.error or 'ended well'}", flush=True)


if __name__ == "__main__":
    end(main())
