"""The cause of a failure, out of what Spark, Java, S3 and the disk really say."""

from __future__ import annotations

import pytest

from lakehouse.ingest.causes import Cause, cause_of

READING = (
    "[STREAM_FAILED] Query [id = 1, runId = 2] terminated with exception: Job aborted due to stage "
    "failure: Task 0 in stage 3.0 failed 1 times, most recent failure: Lost task 0.0 in stage 3.0 (TID 7): "
    "org.apache.spark.SparkException: [FAILED_READ_FILE.NO_HINT] Encountered error while reading file "
    "{path}. SQLSTATE: KD001\n\tat org.apache.spark.sql.errors.QueryExecutionErrors$.cannotReadFiles(Query)\n"
    "Caused by: {cause}\n\tat org.apache.hadoop.fs.s3a.S3AUtils.translateException(S3AUtils)\n\t... 21 more"
)
S3 = "s3a://landing/calls/dt=2026-01-05/HH=08/a.ndjson.gz"
TORN = Cause("the object is torn or corrupt", torn=True)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("java.io.EOFException: Unexpected end of input stream", "the object is torn or corrupt"),
        ("java.util.zip.ZipException: invalid block type", "the object is torn or corrupt"),
        ("java.io.IOException: incorrect header check", "the object is torn or corrupt"),
        (
            "java.nio.file.AccessDeniedException: s3a://landing/a: getFileStatus on s3a://landing/a: "
            "software.amazon.awssdk.services.s3.model.S3Exception: (Service: S3, Status Code: 403, Request "
            "ID: 1):403 Forbidden",
            "access is denied",
        ),
        ("java.io.FileNotFoundException: /landing/a.ndjson.gz (Permission denied)", "access is denied"),
        (
            "java.nio.file.AccessDeniedException: s3a://landing/a: software.amazon.awssdk.services.s3.model."
            "InvalidObjectStateException: The operation is not valid for the object's storage class "
            "(Service: S3, Status Code: 403)",
            "it is archived, and S3 gives it to nobody until it is restored",
        ),
        ("java.io.FileNotFoundException: No such file or directory: s3a://l/a", "it is not there any more"),
        (
            "java.net.URISyntaxException: Relative path in absolute URI: a:b.ndjson.gz",
            "its name has a colon, which Hadoop takes for that of a server",
        ),
        ("java.io.IOException: No space left on device", "the disk is full"),
        ("java.net.UnknownHostException: s3.eu.example", "the server that has it does not answer"),
        (
            "java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found",
            "objects that this stream has found before lie on S3, which this command was not told of",
        ),
        ("java.lang.IllegalStateException: something new", "something new"),
    ],
)
def test_an_object_that_cannot_be_read_has_the_cause_of_that(cause: str, expected: str) -> None:
    found = cause_of(READING.format(path=S3, cause=cause))
    assert found.text == expected
    assert found.torn == (found == TORN)
    assert bool(found.remedy) == (expected not in (TORN.text, "something new"))


BATCH = (
    "[FOREACH_BATCH_USER_FUNCTION_ERROR] An error occurred in the user provided function in foreach batch "
    "sink. Reason: Traceback (most recent call last):\n"
    '  File "/a/py4j/clientserver.py", line 1, in _call_proxy\n    return_value = getattr(x)\n'
    "{raised}\n\nJVM stacktrace:\norg.apache.spark.sql.streaming.StreamingQueryException: [STREAM_FAILED] x\n"
    "\tat org.apache.spark.sql.execution.streaming.StreamExecution.run(StreamExecution.scala:200)"
)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (
            "py4j.protocol.Py4JJavaError: An error occurred while calling o1270.parquet.\n"
            ": org.apache.spark.SparkException: [TASK_WRITE_FAILED] Task failed while writing rows.\n"
            "\tat org.apache.spark.sql.errors.QueryExecutionErrors$.taskFailed(Query.scala)\n"
            "Caused by: java.io.IOException: No space left on device\n\tat java.base/java.io.Out.write",
            "the disk is full",
        ),
        (
            "py4j.protocol.Py4JJavaError: An error occurred while calling o12.collect.\n"
            ": java.lang.IllegalStateException: what is outside\n"
            "Caused by: org.example.OddException: what is inside",
            "what is inside",
        ),
        (
            "pyspark.errors.exceptions.captured.NumberFormatException: [CAST_INVALID_INPUT] The value "
            '\'Forbidden, corrupt\' of the type "STRING" cannot be cast to "INT" because it is malformed.',
            "[CAST_INVALID_INPUT] The value 'Forbidden, corrupt' of the type \"STRING\" cannot be cast "
            'to "INT" because it is malformed.',
        ),
        ("lakehouse.errors.StreamError: The stream of 'calls' stopped: no more", "no more"),
        ("KeyError: 'call_id'", "KeyError: 'call_id'"),
    ],
)
def test_a_batch_that_fails_has_the_innermost_cause(raised: str, expected: str) -> None:
    assert cause_of(BATCH.format(raised=raised)).text == expected


def test_a_long_cause_is_cut_and_an_empty_one_has_a_word() -> None:
    assert len(cause_of("x" * 5000).text) == 1000
    assert cause_of(" \n") == Cause("unknown")
