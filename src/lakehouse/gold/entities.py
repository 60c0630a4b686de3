"""Effects: the metrics and alerts of the entities that a change of events names, or whose windows have moved.

Both read `silver.metric_entity_events`: a row for each event and entity that it names, clustered by entity,
so that the events of a few entities are found without reading the others'. Whoever calls holds the lease of
the follower `metrics`: nobody else writes that table, or metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_

from delta.tables import DeltaTable
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakehouse.gold.alerts import apply_conditions, causes, metric_conditions
from lakehouse.gold.metrics import DAY, EVENT, entity_events, metrics_of
from lakehouse.gold.tables import ENTITY, ENTITY_EVENTS, METRICS
from lakehouse.ingest.commits import KEY_LITERALS
from lakehouse.ingest.sources import stored
from lakehouse.settings import Settings
from lakehouse.tables.metric_events import METRIC_EVENTS


def follow_events(
    spark: SparkSession, settings: Settings, images: DataFrame, scratch: str, as_of: int
) -> int:
    """Bring the entities' events, metrics and alerts up to a change of metric_events.

    The images say whom to look at, what an event was before included; what is so comes from the state table
    as it is now. So it does not matter how often a change is seen, or that a later one is there already.

    Args:
        images: of the change feed of metric_events.
        scratch: folder for what is read more than once.
        as_of: where the windows end, in microseconds since 1970.

    Returns:
        How many entities were looked at.
    """
    plan = stored(_plan(spark, settings, images), f"{scratch}/entity_events")
    came = F.col("_there") & (F.unix_micros("occurred_at") <= as_of)
    entities = _Entities.of(plan.groupBy(*ENTITY).agg(*_newest(came)))
    if not entities.count:
        return 0
    same = entities.same & (F.col("t.event_id") == F.col("s.event_id"))
    names = [c.name for c in ENTITY_EVENTS]
    differs = reduce(or_, (~F.col(f"s.{c}").eqNullSafe(F.col(f"t.{c}")) for c in names))
    values: dict[str, str | SparkColumn] = {f"`{c}`": F.col(f"s.{c}") for c in names}
    (
        DeltaTable.forName(spark, settings.table("silver", "metric_entity_events"))
        .alias("t")
        .merge(plan.alias("s"), same)
        .whenMatchedDelete(condition=~F.col("s._there"))
        .whenMatchedUpdate(condition=differs, set=values)
        .whenNotMatchedInsert(condition=F.col("s._there"), values=values)
        .execute()
    )
    _bring_up_to(spark, settings, entities, as_of, scratch)
    return entities.count


def age_metrics(spark: SparkSession, settings: Settings, scratch: str, as_of: int) -> int:
    """Bring metrics and alerts of the entities whose windows have moved up to a time; how many they are."""
    nothing = (F.lit(None).cast("timestamp").alias(name) for name in causes())
    found = _moved(spark, settings, as_of).select("*", *nothing)
    return _look_at(spark, settings, found, as_of, scratch)


def refresh_all(spark: SparkSession, settings: Settings, scratch: str, as_of: int) -> int:
    """Bring everything up to the state table and to a time: where what has changed in it cannot be told.

    Returns:
        How many entities were looked at: those of metrics and of open alerts among them, of whose events
        nothing may be left.
    """
    events, theirs = (
        spark.table(settings.table("silver", name)) for name in (METRIC_EVENTS.name, "metric_entity_events")
    )
    if not (events.isEmpty() and theirs.isEmpty()):
        _refill(spark, settings)
    came = F.unix_micros("occurred_at") <= as_of
    newest = theirs.groupBy(*ENTITY).agg(*_newest(came))
    found = _known_entities(spark, settings).join(newest, list(ENTITY), "left")
    return _look_at(spark, settings, found, as_of, scratch)


def _look_at(spark: SparkSession, settings: Settings, found: DataFrame, as_of: int, scratch: str) -> int:
    entities = _Entities.of(stored(found, f"{scratch}/entities"))
    if entities.count:
        _bring_up_to(spark, settings, entities, as_of, scratch)
    return entities.count


def _newest(came: SparkColumn) -> list[SparkColumn]:
    """By cause the time of the newest event that came in for it; see `metric_conditions`."""
    return [
        F.max(F.when(came & looked_at, F.col("occurred_at"))).alias(name)
        for name, looked_at in causes().items()
    ]


# --- which entities -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entities:
    """Entities to look at: `rows` with ENTITY and the causes, and the ids if they are few."""

    rows: DataFrame
    count: int
    ids: list[str] | None

    @classmethod
    def of(cls, rows: DataFrame) -> _Entities:
        ids = rows.select("entity_id").distinct().limit(KEY_LITERALS + 1)
        row = rows.agg(F.count("*")).crossJoin(ids.agg(F.collect_list("entity_id"))).first()
        assert row is not None
        return cls(rows, row[0], row[1] if len(row[1]) <= KEY_LITERALS else None)

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


def changed(images: DataFrame) -> DataFrame:
    """Pure: images of metric_events → `event_id` and the entity of each version that came or went.

    A commit that left an event as it was, as to all that metrics look at, says nothing of it: a column was
    filled that they do not read, a tombstone was purged.
    """
    live = images.where(~F.col("is_deleted"))
    after = F.col("_change_type").isin("insert", "update_postimage")
    balance = F.sum(F.when(after, 1).otherwise(-1))
    told = live.groupBy(*EVENT, "region", "_commit_version").agg(balance.alias("_balance"))
    return entity_events(told.where("_balance <> 0")).select(*ENTITY, "event_id").distinct()


def _plan(spark: SparkSession, settings: Settings, images: DataFrame) -> DataFrame:
    """Rows of metric_entity_events that may have to change: as they are to be, or not `_there` any more."""
    gone = changed(images)
    ids = images.select("event_id").distinct()
    state = spark.table(settings.table("silver", METRIC_EVENTS.name))
    few = [row[0] for row in ids.limit(KEY_LITERALS + 1).collect()]
    if len(few) <= KEY_LITERALS:
        state = state.where(F.col("event_id").isin(few))
    now = state.join(gone.select("event_id").distinct(), "event_id", "left_semi").where(~F.col("is_deleted"))
    rows = entity_events(now).withColumn("_there", F.lit(True))
    return rows.join(gone, [*ENTITY, "event_id"], "full").withColumn(
        "_there", F.coalesce("_there", F.lit(False))
    )


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
    """Alerts, then metrics: whose `as_of` says that all of it was done."""
    events = spark.table(settings.table("silver", "metric_entity_events"))
    figures = metrics_of(entities.among(events), as_of)
    rows = stored(entities.rows.join(figures, list(ENTITY), "left"), f"{scratch}/metrics")
    apply_conditions(spark, settings, metric_conditions(rows), as_of, entities.ids)
    _merge_metrics(spark, settings, entities, rows)


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
