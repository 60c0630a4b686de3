"""The demo's source side: tables with streams, a bucket with documents, and what feeds the writer."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from lakehouse.local import sample_items
from lakehouse.local.aws import LocalAws
from lakehouse.local.poller import Handler, StreamPoller
from lakehouse.local.sample_day import Delete, Document, Expire, Operation, Put, Update

BUCKET = "lakehouse-demo"
KEYS: dict[str, dict[str, Literal["HASH", "RANGE"]]] = {
    "calls": {"callId": "HASH"},
    "scorecards": {"guid": "HASH"},
    sample_items.TABLE: {"source_id": "HASH", "ingested_at": "RANGE"},
}
SOURCE_MAP = f"{sample_items.TABLE}=sentiment_items"
"""The tables whose source has another name than they, as the writer's environment says it."""
DOCUMENTS = {"transcripts": "transcripts", "pca_calls": "pca/parsedFiles"}
"""The folder in the bucket of each source of documents."""


@dataclass
class Chain:
    """Tables with streams, a bucket, and the pollers that feed the writer."""

    aws: LocalAws
    handler: Handler
    pollers: list[StreamPoller] = field(default_factory=list)
    deletes: dict[tuple[str, str], deque[bool]] = field(default_factory=lambda: defaultdict(deque))
    expired: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    rewrites: list[list[Document]] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)

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

    def write(self, operations: Sequence[Operation], step: Callable[[int], None]) -> None:
        """Carry out the operations in order, documents beside them, a rewrite a second after its original."""
        with ThreadPoolExecutor(4) as pool:
            documents = []
            for operation in operations:
                if isinstance(operation, Document):
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
