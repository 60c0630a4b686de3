"""Pure: the views over bronze: the history of a table, and quarantine. `{bronze}`, `{gold}`, `{ops}` stand
for the schemas."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse import change_record
from lakehouse.settings import literal
from lakehouse.sql.select import counting, select
from lakehouse.table import Table

BELOW_FLOOR = "below_tombstone_floor"
"""Reason of a record whose key may have had a tombstone that was purged."""

OBJECT = rf"(({change_record.QUARANTINE_FOLDER}/)?[^/]+/dt=[^/]+/HH=[^/]+/[^/]+)$"
"""The object of a record below the landing location, whose own place may change."""


def object_of(source_file: str) -> str:
    """A record's object below landing; a document's whole path."""
    return f"coalesce(nullif(regexp_extract({source_file}, {literal(OBJECT)}, 1), ''), {source_file})"


def record_id(source: str, whole: str) -> str:
    """Id of a row of bronze in quarantine: of what the record is and where it lies.

    As bytes: a line that is no UTF-8 must not share its id with another one.

    Args:
        source: SQL for the source's name.
        whole: the column that has the record, `item` or `document`.
    """
    place = f"to_json(named_struct('source', {source}, 'object', {object_of('_source_file')}))"
    text = f"coalesce(_raw, to_json({whole}))"
    return f"sha2(concat(CAST({place} AS BINARY), CAST({text} AS BINARY)), 256)"


def history(table: Table) -> str:
    """Every version of every row of a table, with the time in which it held.

    A version is a distinct key and sequence in bronze, but for what the tombstone floor turned away and for
    expiries that the table ignores.

    `valid_from` is the running maximum of the change time in the order of changes; without one the previous
    version's, else the time in the sequence (the stream's creation). So versions follow each other without
    gap or overlap, whatever came in when. A snapshot or a repair tells what was there, not since when: it
    shows only where no later change is as old, and not where the next one is an insert, which it must have
    seen. Versions of no length are left out, and those that a rule keeps from gold.
    """
    keys = ", ".join(f"`{k}`" for k in table.keys)
    names = ", ".join(f"`{c.name}`" for c in table.columns)
    in_order = f"PARTITION BY {keys} ORDER BY _sequence"
    following = f"OVER ({in_order} ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)"
    rows = select(table, versions(table)).replace("\n", "\n  ")
    return f"""
WITH changes AS (
  SELECT *,
    instr(_sequence, '/-') > 0 OR instr(_sequence, '+') > 0 AS snapshot,
    first(CASE WHEN _event_name IN ('INSERT', 'MODIFY', 'REMOVE') THEN _event_name END, true)
      {following} AS next_event,
    min(_changed_at) {following} AS earliest_later
  FROM (
  {rows}
  )
),
timed AS (
  SELECT *,
    CASE WHEN row_number() OVER ({in_order}) = 1
      THEN coalesce(_changed_at, try_to_timestamp(substr(_sequence, 1, 23) || 'Z'), timestamp_seconds(0))
      ELSE _changed_at END AS changed
  FROM changes
  WHERE NOT snapshot
    OR (coalesce(earliest_later > _changed_at, true) AND (is_deleted OR NOT next_event <=> 'INSERT'))
),
started AS (
  SELECT *, max(changed) OVER ({in_order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS valid_from
  FROM timed
),
versions AS (
  SELECT *, lead(valid_from) OVER ({in_order}) AS valid_to FROM started
)
SELECT {names}, updated_at, is_deleted, valid_from, valid_to, valid_to IS NULL AS is_current
FROM versions WHERE (valid_to IS NULL OR valid_to > valid_from) AND (is_deleted OR {table.shown})
"""  # noqa: S608 - declared names


def turned_away(table: Table) -> str:
    """The keys of which the tombstone floor refused a change: up to which sequence, in which batches, when
    last, and what the table holds.

    A key that is not there may have been deleted, and its tombstone purged: nothing up to `upto` may bring it
    in. Of a key that is there all the same (a writer that worked by an older floor has brought it) what lies
    up to `held` counts as ever.
    """
    key = f"to_json(array({', '.join(f't.`{name}`' for name in table.keys)}))"
    refused = (
        "SELECT key, max(sequence) AS upto, collect_set(concat(stream, '/', batch_id)) AS batches, "  # noqa: S608
        "max(refused_at) AS refused_at "
        f"FROM {{ops}}.refused WHERE table_name = {literal(table.name)} "
        f"AND reason = {literal(BELOW_FLOOR)} GROUP BY key"
    )
    return f"""
    WITH refused AS ({refused})
    SELECT key, upto, batches, refused_at, coalesce(held, '') AS held FROM refused LEFT JOIN (
      SELECT r.key, max(t._sequence) AS held
      FROM {{silver}}.`{table.name}` AS t JOIN refused AS r ON r.key = {key}
      GROUP BY r.key
    ) USING (key)"""  # noqa: S608 - declared names


def versions(table: Table) -> str:
    """Each key and sequence in bronze once.

    Where the latest change of a key was turned away, it does not show, nor what came with it and lies before
    it; where a later one came, all shows that led there.
    """
    return f"""(
    SELECT * FROM (
      SELECT *, row_number() OVER (PARTITION BY _key, _sequence ORDER BY _source_file) AS _copy
      FROM (
        SELECT *, max(_sequence) OVER (PARTITION BY _key) AS _last
        FROM {{bronze}}.`{table.source}`
        WHERE {counting(table.ttl_deletes)}
      ) AS b WHERE NOT EXISTS (
        SELECT 1 FROM ({turned_away(table)}
        ) AS r WHERE r.key = b._key AND b._last <= r.upto AND b._sequence > r.held
          AND (b._sequence = r.upto OR array_contains(r.batches, concat(b._stream, '/', b._batch_id)))
      )
    ) WHERE _copy = 1
  )"""  # noqa: S608 - declared names


def quarantine(sources: Mapping[str, str], writer_quarantine: str) -> str:
    """Every record that could not be applied, once, with the latest decision on it.

    Args:
        sources: the format (`Table.format`) of each source.
        writer_quarantine: name of the bronze table of what the writer could not convert.
    """

    def met(source: str, whole: str, reason: str, table: str, place: str) -> str:
        return (
            f"SELECT {record_id(source, whole)} AS quarantine_id, {source} AS source, {reason}, "  # noqa: S608
            f"{object_of('_source_file')} AS object, coalesce(_raw, to_json({whole})) AS raw, "
            f"_loaded_at AS quarantined_at, _stream AS stream, _batch_id AS batch_id, {table} AS table_name\n"
            f"  FROM {place}"
        )

    problem, nowhere = "_problem AS reason, _detail AS detail", "CAST(NULL AS STRING)"
    parts = []
    for source, format_ in sources.items():
        name, whole = literal(source), "document" if format_ == "documents" else "item"
        bronze = f"{{bronze}}.`{source}` WHERE _problem IS NOT NULL"
        parts.append(met(name, whole, problem, nowhere, bronze))
        refused = (
            f"{{ops}}.refused AS r JOIN {{bronze}}.`{source}` AS b ON r.stream = b._stream AND r.batch_id = "
            f"b._batch_id AND r.object = b._source_file AND r.sequence <=> b._sequence\n"
            f"  WHERE r.source = {name} AND r.quarantine_id = {record_id(name, whole)}"
        )
        parts.append(met(name, whole, "r.reason, r.detail", "r.table_name", refused))
    said = f"regexp_extract(_source_file, '/{change_record.QUARANTINE_FOLDER}/([^/]+)/', 1)"
    parts.append(met(said, "item", problem, nowhere, f"{{bronze}}.`{writer_quarantine}`"))
    union = "\n  UNION ALL\n  ".join(parts)
    return f"""
WITH decided AS (
  SELECT quarantine_id,
    max_by(struct(decision, decided_at, decided_by, why, landed_as), decided_at) AS d
  FROM {{ops}}.quarantine_decisions GROUP BY quarantine_id
),
met AS (
  {union}
),
once AS (
  SELECT quarantine_id, min_by(struct(*), quarantined_at) AS m, IF(count(table_name) = 0, NULL,
  array_sort(collect_set(table_name))) AS refused_by FROM met GROUP BY quarantine_id
)
SELECT quarantine_id, m.source, m.reason, m.detail, m.object, m.raw, m.quarantined_at, m.stream, m.batch_id,
  refused_by, coalesce(d.decision, 'open') AS status, d.decided_at, d.decided_by, d.why, d.landed_as
FROM once LEFT JOIN decided USING (quarantine_id)
"""  # noqa: S608 - declared names
