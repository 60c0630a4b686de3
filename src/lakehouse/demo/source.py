"""The demo's source side: tables with streams, events, a bucket of documents, and what feeds the writer."""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from lakehouse.demo import sample_items, sample_metrics
from lakehouse.demo.sample_day import Delete, Document, Expire, Operation, Put, Update
from lakehouse.demo.sample_metrics import Event
from lakehouse.errors import SourceError
from lakehouse.local.aws import LocalAws
from lakehouse.local.kinesis_poller import KinesisPoller
from lakehouse.local.poller import Handler, Poller, StreamPoller

BUCKET = "lakehouse-demo"
KEYS: dict[str, dict[str, Literal["HASH", "RANGE"]]] = {
    "calls": {"callId": "HASH"},
    "scorecards": {"guid": "HASH"},
    sample_items.TABLE: {"source_id": "HASH", "ingested_at": "RANGE"},
}
SHARDS = 2
"""Of the stream of events."""
SOURCE_MAP = f"{sample_items.TABLE}=sentiment_items,{sample_metrics.STREAM}=metric_events"
"""The tables and streams whose source has another name than they, as the writer's environment says it."""
DOCUMENTS = {"transcripts": "transcripts", "pca_calls": "pca/parsedFiles"}
"""The folder in the bucket of each source of documents."""

_PUT_RECORDS = 500
"""The most records that PutRecords takes."""
_PUT_BYTES = 5_000_000
"""The most bytes that it takes (5 MiB, keys included), with room to spare."""
_PUT_ATTEMPTS = 5


@dataclass
class Chain:
    """Tables with streams, a stream of events, a bucket, and the pollers that feed the writer."""

    aws: LocalAws
    handler: Handler
    pollers: list[Poller] = field(default_factory=list)
    deletes: dict[tuple[str, str], deque[bool]] = field(default_factory=lambda: defaultdict(deque))
    expired: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    rewrites: list[list[Document]] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)
    events_arn: str = ""

    def __post_init__(self) -> None:
        dynamodb = self.aws.client("dynamodb")
        self.aws.client("s3").create_bucket(Bucket=BUCKET)
        for table, keys in KEYS.items():
            made = dynamodb.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )
            arn = made["TableDescription"]["LatestStreamArn"]
            self.pollers.append(StreamPoller(self.aws.client("dynamodbstreams"), arn, self._deliver))
        kinesis = self.aws.client("kinesis")
        kinesis.create_stream(StreamName=sample_metrics.STREAM, ShardCount=SHARDS)
        described = kinesis.describe_stream_summary(StreamName=sample_metrics.STREAM)
        self.events_arn = described["StreamDescriptionSummary"]["StreamARN"]
        self.pollers.append(KinesisPoller(kinesis, self.events_arn, self._deliver))

    def write(self, operations: Sequence[Operation | Event], step: Callable[[int], None]) -> None:
        """Carry out the operations in order, documents beside them, a rewrite a second after its original.

        Events come before all else, in their own order.

        Raises SourceError if the stream does not take some event.
        """
        self._put_events([each for each in operations if isinstance(each, Event)])
        with ThreadPoolExecutor(4) as pool:
            documents = []
            for operation in operations:
                if isinstance(operation, Event):
                    self.counted["Event"] += 1
                elif isinstance(operation, Document):
                    if self._first(operation):
                        documents.append(pool.submit(self._put_document, operation))
                else:
                    self._change(operation)
                step(1)
            for document in documents:
                document.result()
            # Modification times are whole seconds in S3: of two versions in one second neither is newer.
            for version in self.rewrites:
                time.sleep(1.1)
                list(pool.map(self._put_document, version))
            self.rewrites.clear()

    def _first(self, document: Document) -> bool:
        version = self.written[document.name]
        self.written[document.name] += 1
        if version == 0:
            return True
        while len(self.rewrites) < version:
            self.rewrites.append([])
        self.rewrites[version - 1].append(document)
        return False

    def _put_document(self, document: Document) -> None:
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=document.name, Body=document.body.encode())

    def _put_events(self, events: Sequence[Event]) -> None:
        """Put the events in batches; what of a batch was not taken, and only that, once more."""
        kinesis = self.aws.client("kinesis")
        for batch in _batches(events):
            for _ in range(_PUT_ATTEMPTS):
                answer = kinesis.put_records(
                    StreamName=batch[0].stream,
                    Records=[{"PartitionKey": event.partition_key, "Data": event.data} for event in batch],
                )
                answers = zip(batch, answer["Records"], strict=True)
                batch = [event for event, told in answers if "ErrorCode" in told]
                if not batch:
                    break
                time.sleep(0.1)
            else:
                raise SourceError(batch[0].stream, f"{len(batch)} events were not taken.")

    def _change(self, operation: Put | Update | Delete | Expire) -> None:
        dynamodb = self.aws.client("dynamodb")
        self.counted[type(operation).__name__] += 1
        if isinstance(operation, Put):
            dynamodb.put_item(TableName=operation.table, Item=operation.item)
        elif isinstance(operation, Update):
            names = {f"#{i}": name for i, name in enumerate(operation.changes)}
            dynamodb.update_item(
                TableName=operation.table,
                Key=operation.key,
                UpdateExpression="SET " + ", ".join(f"#{i} = :{i}" for i in range(len(names))),
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={f":{i}": v for i, v in enumerate(operation.changes.values())},
            )
        else:
            key = json.dumps(operation.key, sort_keys=True)
            self.deletes[operation.table, key].append(isinstance(operation, Expire))
            dynamodb.delete_item(TableName=operation.table, Key=operation.key)

    def pump(self, step: Callable[[int], None]) -> None:
        """Deliver everything in the streams to the writer."""
        for poller in self.pollers:
            pumped = poller.pump()
            self.counted["delivered"] += pumped.records
            self.counted["retries"] += pumped.retries
            step(pumped.records)

    def _deliver(self, event: dict[str, Any], context: Any) -> Any:
        """Call the writer, with expiries marked as DynamoDB marks them."""
        for record in event["Records"]:
            if record["eventName"] != "REMOVE":
                continue
            table = record["eventSourceARN"].split("/")[1]
            key = json.dumps(record["dynamodb"]["Keys"], sort_keys=True)
            pending = self.deletes[table, key]
            if record["eventID"] in self.expired or (pending and pending.popleft()):
                self.expired.add(record["eventID"])
                record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        return self.handler(event, context)

    def source(
        self, step: Callable[[int], None]
    ) -> tuple[dict[str, list[dict[str, Any]]], list[tuple[str, bytes, dt.datetime]]]:
        """The items in the tables and the documents in the bucket, as they are at the end."""
        items: dict[str, list[dict[str, Any]]] = {}
        for table in KEYS:
            pages = self.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table)
            items[table] = [item for page in pages for item in page["Items"]]
            step(len(items[table]))
        s3 = self.aws.client("s3")
        lister = s3.get_paginator("list_objects_v2")
        listed = [
            entry
            for folder in DOCUMENTS.values()
            for page in lister.paginate(Bucket=BUCKET, Prefix=f"{folder}/")
            for entry in page.get("Contents", [])
        ]

        def read(entry: Any) -> tuple[str, bytes, dt.datetime]:
            step(1)
            body = s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
            return entry["Key"], body, entry["LastModified"]

        with ThreadPoolExecutor(4) as pool:
            return items, list(pool.map(read, listed))

    def events(self, step: Callable[[int], None]) -> list[dict[str, Any]]:
        """The events in the stream, read back without the writer: one for each object that was put.

        The form is that of a change record: the event's attributes (numbers as int or Decimal) beside
        `_eventID`, `_sequence` and `_approxStreamTs`. What was put twice is there twice; a record that is
        not wholly JSON has none.
        """
        found: list[dict[str, Any]] = []

        def read(event: dict[str, Any], _: Any) -> None:
            for record in event["Records"]:
                content, shard = record["kinesis"], record["eventID"].split(":")[0]
                number = content["sequenceNumber"]
                for index, told in enumerate(sample_metrics.events_in(base64.b64decode(content["data"]))):
                    metadata = {
                        "_eventID": f"{shard}:{number}#{index}",
                        "_sequence": f"{int(number):056}/{shard}/{index:06}",
                        "_approxStreamTs": round(content["approximateArrivalTimestamp"] * 1000),
                    }
                    found.append(told | metadata)
            step(len(event["Records"]))

        KinesisPoller(self.aws.client("kinesis"), self.events_arn, read).pump()
        return found


def _batches(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Runs of one stream's events that PutRecords takes, in order."""
    batch: list[Event] = []
    size = 0
    for event in events:
        length = len(event.data) + len(event.partition_key.encode())
        full = len(batch) == _PUT_RECORDS or size + length > _PUT_BYTES
        if batch and (full or event.stream != batch[0].stream):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch
