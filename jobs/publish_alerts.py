"""Job: put alerts that opened, or changed their severity, on EventBridge. Let there be one run at a time.

    python jobs/publish_alerts.py --catalog main --landing /Volumes/main/ops/landing \\
        --checkpoints /Volumes/main/ops/checkpoints --event-bus alerts --service-credential alerts
"""

from __future__ import annotations

import argparse
import os

from lakehouse.aws.publish import DEFAULT_BUS, DEFAULT_SOURCE, EventBus, events_client
from lakehouse.databricks.job import (
    add_credentials,
    add_settings,
    credentials_from,
    end,
    settings_from,
    utc_session,
)
from lakehouse.gold.outbox import publish_due


def main(argv: list[str] | None = None) -> int:
    """Parse, publish, report. The exit status is 1 if alerts were left unpublished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_settings(parser)
    bus = os.environ.get("EVENT_BUS_NAME") or DEFAULT_BUS
    parser.add_argument("--event-bus", default=bus, help="name or ARN (EVENT_BUS_NAME, or default)")
    parser.add_argument("--event-source", default=DEFAULT_SOURCE, help="Source of the events")
    parser.add_argument("--endpoint-url", default=None, help="another server than AWS's")
    add_credentials(parser)
    args = parser.parse_args(argv)
    client = events_client(
        region=args.region, endpoint_url=args.endpoint_url, credentials=credentials_from(args)
    )
    event_bus = EventBus(client, args.event_bus, args.event_source)
    spark = utc_session()
    done = publish_due(spark, settings_from(args), event_bus.put, on_progress=print)
    print(done, flush=True)
    return 1 if done.unpublished else 0


if __name__ == "__main__":
    end(main())
