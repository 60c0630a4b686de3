"""Effects: the metrics and alerts of the entities that a batch names, or whose windows have moved.

Both read `silver.metric_entity_events`: a row for each event and entity that it names, clustered by entity,
so that the events of a few entities are found without reading the others'.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from delta.tables import DeltaTable
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lakehouse.gold.alerts import apply_conditions, causes, metric_conditions
from lakehouse.gold.metrics import DAY, EVENT, entity_events, metrics_of
from lakehouse.gold.tables import ENTITY, ENTITY_EVENTS, METRICS
from lakehouse.ingest.commits import KEY_LITERALS, retrying, until_settled
from lakehouse.ingest.floors import micros
from lakehouse.ingest.lease import exclusive, lease
from lakehouse.ingest.sources import stored
from lakehouse.settings import Settings
from lakehouse.tables.metric_events import METRIC_EVENTS


def apply_events(
    spark: SparkSession, settings: Settings, changes: DataFrame, scratch: str, among: list[str] | None
) -> None:
    """Bring the entities' events, metrics and alerts up to a batch of metric_events; before its state MERGE.

    Until that MERGE the state table says what an event was before. So when an event comes again as another
    one, the entity that it has left is found; and found again after a crash.

    Args:
        changes: changes of metric_events, several of one event among them.
        scratch: folder for what is read more than once.
        among: the event ids in `changes`, if they are few.
    """
    plan = stored(_plan(spark, settings, changes, among), f"{scratch}/entity_events")
    as_of = micros(datetime.now(UTC))
    come = _wins() & (F.unix_micros("occurred_at") <= as_of)
    newest = [
        F.max(F.when(come & looked_at, F.col("occurred_at"))).alias(name)
        for name, looked_at in causes().items()
    ]
    entities = _Entities.of(stored(plan.groupBy(*ENTITY).agg(*newest), f"{scratch}/entities"))
    target = settings.table("silver", "metric_entity_events")
    values: dict[str, str | SparkColumn] = {f"`{c.name}`": F.col(f"s.{c.name}") for c in ENTITY_EVENTS}
    (
        DeltaTable.forName(spark, target)
        .alias("t")
        .merge(plan.alias("s"), entities.same & (F.col("t.event_id") == F.col("s.event_id")))
        .whenMatchedDelete(condition=~_wins("s.") & (F.col("t._sequence") < F.col("s._newest")))
        .whenMatchedUpdate(condition=_wins("s.") & (F.col("s._sequence") > F.col("t._sequence")), set=values)
        .whenNotMatchedInsert(condition=_wins("s."), values=values)
        .execute()
    )
    _bring_up_to(spark, settings, entities, as_of, scratch)


def refresh_metrics(
    spark: SparkSession,
    settings: Settings,
    as_of: datetime | None = None,
    *,
    everything: bool = False,
    held: bool = False,
    wait: float = 0.0,
) -> int:
    """Bring the metrics and alerts of all entities whose windows have moved up to a time.

    Args:
        as_of: where the windows end, with a zone; now if not given.
        everything: of all entities, and from the state table: after it was rebuilt.
        held: the caller holds the checkpoint of metric_events, which `everything` needs: a batch that is
            between two of its commits has events that the state table does not have yet.
        wait: seconds to wait for another refresh, or for that checkpoint.

    Returns:
        How many entities were looked at.

    Raises:
        LeaseHeldError: another refresh is at work, or with `everything` the stream of metric_events.
    """
    scratch = f"{settings.checkpoints}/_refresh"
    stream = METRIC_EVENTS.name
    with ExitStack() as leases:
        if everything and not held:
            leases.enter_context(lease(spark, settings, settings.stream_folder(stream), stream, wait=wait))
        leases.enter_context(lease(spark, settings, scratch, "refresh-metrics", wait=wait))
        leases.enter_context(exclusive(settings.warehouse))
        until = micros(as_of or datetime.now(UTC))

        def work() -> int:
            if everything:
                _refill(spark, settings)
            found = _known_entities(spark, settings) if everything else _moved(spark, settings, until)
            nothing = (F.lit(None).cast("timestamp").alias(name) for name in causes())
            entities = _Entities.of(stored(found.select("*", *nothing), f"{scratch}/entities"))
            count = entities.rows.count()
            if count:
                _bring_up_to(spark, settings, entities, until, scratch)
            return count

        return retrying(work, "refresh of the metrics")


# --- which entities -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entities:
    """Entities to look at: `rows` with ENTITY and the causes, and the ids if they are few."""

    rows: DataFrame
    ids: list[str] | None

    @classmethod
    def of(cls, rows: DataFrame) -> _Entities:
        ids = [r[0] for r in rows.select("entity_id").distinct().limit(KEY_LITERALS + 1).collect()]
        return cls(rows, ids if len(ids) <= KEY_LITERALS else None)

    @property
    def same(self) -> SparkColumn:
        """The condition of a MERGE; with few ids it says which files need not be read."""
        same = F.lit(True)
        for key in ENTITY:
            same = same & (F.col(f"t.{key}") == F.col(f"s.{key}"))
        return same if self.ids is None else same & F.col("t.entity_id").isin(self.ids)

    def among(self, table: DataFrame) -> DataFrame:
        """The rows of a table that are of these entities."""
        few = table if self.ids is None else table.where(F.col("entity_id").isin(self.ids))
        return few.join(self.rows.select(*ENTITY), list(ENTITY), "left_semi")


def _plan(spark: SparkSession, settings: Settings, changes: DataFrame, among: list[str] | None) -> DataFrame:
    """Every entity that a version of the batch's events names; the newest version says where an event is."""
    columns = [*EVENT, "region", "is_deleted"]
    before = spark.table(settings.table("silver", METRIC_EVENTS.name))
    if among is not None:
        before = before.where(F.col("event_id").isin(among))
    ids = changes.select("event_id").distinct()
    versions = changes.select(columns).unionByName(before.join(ids, "event_id", "left_semi").select(columns))
    newest = F.max("_sequence").over(Window.partitionBy("event_id"))
    live = versions.withColumn("_newest", newest).where(~F.col("is_deleted"))
    found = entity_events(live, "_newest")
    row = F.max_by(F.struct(*found.columns), "_sequence").alias("_row")
    return found.groupBy(*ENTITY, "event_id").agg(row).select("_row.*")


def _wins(alias: str = "") -> SparkColumn:
    return F.col(f"{alias}_sequence") == F.col(f"{alias}_newest")


def _moved(spark: SparkSession, settings: Settings, as_of: int) -> DataFrame:
    """The entities for which an event or report has come in or grown too old for a window; or the reverse."""
    events = spark.table(settings.table("silver", "metric_entity_events"))
    metrics = spark.table(settings.table("silver", "metrics")).select(*ENTITY, "as_of")
    before, at = F.unix_micros("as_of"), F.unix_micros("occurred_at")
    crossed = F.lit(False)
    for days in (0, 7, 14, 30):
        edge = at + days * DAY
        crossed = crossed | ((edge <= before) != (edge <= as_of))
    moved = F.coalesce(crossed, at <= as_of)
    return events.join(metrics, list(ENTITY), "left").where(moved).select(*ENTITY).distinct()


def _known_entities(spark: SparkSession, settings: Settings) -> DataFrame:
    """Those of open alerts among them: of an entity whose events are gone nothing else may be left."""
    names = ("metric_entity_events", "metrics")
    events, metrics = (spark.table(settings.table("silver", name)).select(*ENTITY) for name in names)
    alerts = spark.table(settings.table("silver", "alerts"))
    still_open = alerts.where("closed_at IS NULL AND entity_type != 'call'").select(*ENTITY)
    return events.union(metrics).union(still_open).distinct()


# --- writing ------------------------------------------------------------------------------------------


def _bring_up_to(
    spark: SparkSession, settings: Settings, entities: _Entities, as_of: int, scratch: str
) -> None:
    """Alerts, then metrics; again while another writer adds events, so that none is left out by both.

    The rows of metrics come last: their `as_of` says that all of it was done.
    """
    name = settings.table("silver", "metric_entity_events")

    def work() -> None:
        figures = metrics_of(entities.among(spark.table(name)), as_of)
        rows = stored(entities.rows.join(figures, list(ENTITY), "left"), f"{scratch}/metrics")
        apply_conditions(spark, settings, metric_conditions(rows), as_of, entities.ids)
        _merge_metrics(spark, settings, entities, rows)

    until_settled(spark, name, work)


def _merge_metrics(spark: SparkSession, settings: Settings, entities: _Entities, rows: DataFrame) -> None:
    values: dict[str, str | SparkColumn] = {c.name: F.col(f"s.{c.name}") for c in METRICS}
    there = F.col("s.as_of").isNotNull()
    (
        DeltaTable.forName(spark, settings.table("silver", "metrics"))
        .alias("t")
        .merge(rows.alias("s"), entities.same)
        .whenMatchedDelete(condition=~there)
        .whenMatchedUpdate(set=values)
        .whenNotMatchedInsert(condition=there, values=values)
        .execute()
    )


def _refill(spark: SparkSession, settings: Settings) -> None:
    """The entities' events anew, from the state table."""
    events = spark.table(settings.table("silver", METRIC_EVENTS.name)).where(~F.col("is_deleted"))
    columns = [c.name for c in ENTITY_EVENTS]
    # A condition that every row meets, but not plainly: without one Delta would forget the clustering.
    entity_events(events).select(columns).writeTo(settings.table("silver", "metric_entity_events")).overwrite(
        F.col("event_id") >= F.lit("")
    )
