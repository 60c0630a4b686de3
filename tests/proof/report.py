"""Put what the proofs have measured into docs/proof.md: `python tests/proof/report.py FIGURES.jsonl`.

Each line of the input is one JSON object; `proof` names the table that it belongs to, its other members are
the columns, in their order.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "proof.md"
BEGIN, END = "<!-- figures: make prove -->", "<!-- end of figures -->"
TITLES = {
    "reducer": "The reducer",
    "lake": "Whole lakes, each a cut of its own",
    "backfill": "Backfills of a table that is written",
    "reconcile": "Reconcile beside a running stream",
    "concurrency": "Writers at once",
    "crashes": "Killed and restarted",
    "faults": "The writer while S3 fails, answers are lost and shards split",
    "mutation": "Guards that were broken on purpose",
}


def main(arguments: list[str]) -> None:
    """Replace what lies between the page's two marks."""
    (figures,) = arguments
    tables: dict[str, list[dict[str, Any]]] = {}
    for line in Path(figures).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        tables.setdefault(row.pop("proof"), []).append(row)
    parts = [f"Measured on {datetime.now(UTC):%Y-%m-%d}."]
    parts += [f"### {title}\n\n{table(tables.pop(name))}" for name, title in TITLES.items() if name in tables]
    assert not tables, f"no title for {', '.join(tables)}"
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{tail}", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a table of the page; a column is there if any row has it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in names)} |", "|" + "---|" * len(names)]
    for row in rows:
        # A seed is there to be copied.
        cells = (str(row.get(n, "")) if n == "seed" else cell(row.get(n)) for n in names)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A value as text that cannot end its cell."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    if isinstance(value, dict):
        value = ", ".join(f"{k} {cell(v)}" for k, v in value.items())
    if isinstance(value, float):
        value = f"{value:,.2f}" if value < 1 else f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:,}" if abs(value) < 10**12 else str(value)
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main(sys.argv[1:])
