"""The cards at the top."""

from __future__ import annotations

from lakehouse.report.figures import Answers, Card
from lakehouse.report.words import MISSING, age, number, time


def cards(answers: Answers) -> list[Card]:
    """How much there is, and what asks for somebody."""
    (all_of,) = answers["overview"]
    tables = answers["tables"]
    alerts, critical, held = (all_of[c] for c in ("open_alerts", "critical_alerts", "quarantined"))
    newest = max((t["newest_change"] for t in tables if t["newest_change"]), default=None)
    youngest = min((t["minutes_old"] for t in tables if t["minutes_old"] is not None), default=None)
    return [
        Card("Calls", number(all_of["calls"]), "live", "calls"),
        Card("Scorecards", number(all_of["scorecards"]), "live", "scorecards"),
        Card("Analysed texts", number(all_of["items"]), "shown now", "sentiment"),
        Card("Coaching insights", number(all_of["insights"]), "live", "coaching"),
        Card(
            "Open alerts",
            number(alerts),
            f"{critical:,} critical",
            "alerts",
            "bad" if critical else "warn" if alerts else "good",
        ),
        Card(
            "Open in quarantine",
            number(held),
            "records to decide on" if held else "nothing to decide on",
            "freshness",
            "warn" if held else "good",
        ),
        Card("Live rows", number(sum(t["live_rows"] for t in tables)), "in all tables", "freshness"),
        Card(
            "Newest change",
            age(youngest) if newest else MISSING,
            f"before this report: {time(newest)}" if newest else "no change so far",
            "freshness",
        ),
    ]
