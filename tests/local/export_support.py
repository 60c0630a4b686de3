"""An export as DynamoDB writes it, in a folder; shaped like those in shared/real-inputs/dynamodb-export."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lakehouse.table import Column, Table

THINGS = Table(
    name="things",
    source="things",
    keys=("id",),
    comment="A little table with a key of one column.",
    columns=(Column("id", "string", "The key.", "id"), Column("note", "string", "Some text.", "note")),
)


def iso(ms: int) -> str:
    """A time as DynamoDB's manifests have it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def full_line(note: str = "", **item: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a full export."""
    return {"Item": {**item, **({"note": {"S": note}} if note else {})}}


def incremental_line(key: str, note: str | None) -> dict[str, Any]:
    """A line of an incremental export; without a note it is a delete."""
    line: dict[str, Any] = {
        "Metadata": {"WriteTimestampMicros": {"N": "1774379199746598"}},
        "Keys": {"id": {"S": key}},
        "OldImage": {"id": {"S": key}, "note": {"S": "before"}},
    }
    return line | ({} if note is None else {"NewImage": {"id": {"S": key}, "note": {"S": note}}})


def write_manifest(folder: Path, name: str, text: str) -> None:
    """A manifest and its checksum."""
    (folder / name).write_text(text)
    (folder / name).with_suffix(".md5").write_text(md5(text.encode()))


def write_export(
    root: Path,
    table_name: str,
    time_ms: int,
    files: Sequence[Sequence[Mapping[str, Any] | bytes]],
    *,
    incremental: bool = False,
    export_id: str = "01695097218000-abcd1234",
    **summary: Any,
) -> Path:
    """Write an export below `root`, and say where: the folder of its manifests.

    Args:
        files: the lines of each data file; bytes are taken as they are.
        summary: members of manifest-summary.json to write otherwise.
    """
    folder = root / "AWSDynamoDB" / export_id
    data = folder.parent / "data" if incremental else folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    (folder / "_started").touch()
    listed = []
    for number, lines in enumerate(files):
        name = f"{export_id[-8:]}{number:04d}.json.gz"
        text = b"".join(
            (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines
        )
        body = gzip.compress(text)
        (data / name).write_bytes(body)
        listed.append(
            {
                "itemCount": len(lines),
                "md5Checksum": md5(body),
                "etag": "af83d6f217c19b8b0fff8023d8ca4716-1",
                "dataFileS3Key": f"inc/AWSDynamoDB/{data.relative_to(folder.parent)}/{name}",
            }
        )
    write_manifest(folder, "manifest-files.json", "".join(json.dumps(one) + "\n" for one in listed))
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{table_name}"
    times = (
        {"exportFromTime": iso(time_ms - 3_600_000), "exportToTime": iso(time_ms)}
        if incremental
        else {"exportTime": iso(time_ms)}
    )
    told = {
        "version": "2023-08-01",
        "exportArn": f"{arn}/export/{export_id}",
        "startTime": iso(time_ms + 20_000),
        "endTime": iso(time_ms + 90_000),
        "tableArn": arn,
        "tableId": "00000000-0000-0000-0000-000000000000",
        **times,
        "s3Bucket": "example-export",
        "s3Prefix": "inc",
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": None,
        "manifestFilesS3Key": f"inc/AWSDynamoDB/{export_id}/manifest-files.json",
        "billedSizeBytes": 20901,
        "itemCount": sum(map(len, files)),
        "outputFormat": "DYNAMODB_JSON",
        **({"outputView": "NEW_AND_OLD_IMAGES", "exportType": "INCREMENTAL_EXPORT"} if incremental else {}),
        **summary,
    }
    write_manifest(folder, "manifest-summary.json", json.dumps(told))
    return folder
