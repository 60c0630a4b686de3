"""The stand-in for Lambda's event source mapping on a Kinesis stream; `poller.py` has the rules.

The form of the records is that of the AWS Lambda Developer Guide, "Using Lambda with Kinesis".
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from lakehouse.local.poller import Page, Poller, Shard

_PAGE = 10_000
"""The most records that GetRecords returns."""
_ROLE = "arn:aws:iam::000000000000:role/local"


class KinesisPoller(Poller):
    """Reads a Kinesis stream, one shard after the other; its client is a boto3 `kinesis` client."""

    def _list_shards(self) -> Iterator[Shard]:
        request = {"StreamARN": self._arn}
        while True:
            page = self._client.list_shards(**request)
            for shard in page["Shards"]:
                # A shard that two were merged into has two parents.
                parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
                yield Shard(shard["ShardId"], tuple(parent for parent in parents if parent))
            token = page.get("NextToken")
            if not token:
                return
            request = {"NextToken": token}  # the API takes no stream beside it

    def _iterator(self, shard: Shard, last_read: str | None) -> str:
        request = {"StreamARN": self._arn, "ShardId": shard.id}
        if last_read is None:
            request["ShardIteratorType"] = "TRIM_HORIZON"
        else:
            request |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last_read}
        iterator: str = self._client.get_shard_iterator(**request)["ShardIterator"]
        return iterator

    def _get(self, shard: Shard, iterator: str) -> Page:
        answer = self._client.get_records(
            StreamARN=self._arn, ShardIterator=iterator, Limit=min(_PAGE, self._batch_size)
        )
        records = [
            (record["SequenceNumber"], to_lambda_record(record, shard.id, self._arn))
            for record in answer["Records"]
        ]
        return Page(records, answer.get("NextShardIterator"), answer.get("MillisBehindLatest", 0) > 0)

    def _lost(self) -> tuple[tuple[type[Exception], ...], str]:
        return (self._client.exceptions.ResourceNotFoundException,), (
            "The stream, or the shard, is no longer there: what it still held has to be sent again."
        )


def to_lambda_record(record: Any, shard: str, stream_arn: str) -> dict[str, Any]:
    """Return a record of GetRecords, as boto3 gives it, in the form in which Lambda's event has it.

    The data becomes base64 text, the time of arrival epoch seconds with milliseconds.
    """
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record["PartitionKey"],
            "sequenceNumber": record["SequenceNumber"],
            "data": base64.b64encode(record["Data"]).decode("ascii"),
            "approximateArrivalTimestamp": round(record["ApproximateArrivalTimestamp"].timestamp(), 3),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{record['SequenceNumber']}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": _ROLE,
        "awsRegion": stream_arn.split(":")[3],
        "eventSourceARN": stream_arn,
    }
