"""One real session, in a process of its own: Delta, S3A, streams, where it listens, what it prints."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pytest

from lakehouse.errors import ConfigurationError, PlatformError
from lakehouse.local import session
from lakehouse.local.aws import LocalAws
from lakehouse.local.session import S3Endpoint, local_session
from lakehouse.local.spark_settings import launch_settings, s3_settings, session_settings

SCRIPT = """
import json, os, sys
from pathlib import Path
from lakehouse.errors import ConfigurationError
from lakehouse.local.session import S3Endpoint, local_session, stop_local_session
from tests.local.support import assert_listens_on_loopback_alone

warehouse, url, key, secret, region = sys.argv[1:]
s3 = S3Endpoint(url, key, secret, region)
spark = local_session(Path(warehouse), s3=s3, memory="1g")
said = {}

spark.sql("CREATE SCHEMA silver")
spark.range(5).write.format("delta").saveAsTable("silver.numbers")
spark.sql("MERGE INTO silver.numbers t USING (SELECT 4L AS id UNION ALL SELECT 9L) s ON t.id = s.id "
          "WHEN NOT MATCHED THEN INSERT *")
said["rows"] = spark.table("silver.numbers").count()
said["zone"] = spark.conf.get("spark.sql.session.timeZone")

said["read"] = sorted(row.value for row in spark.read.text("s3://landing/calls/").select("value").collect())
spark.range(3).write.format("delta").save("s3a://landing/delta")
said["delta on s3"] = spark.read.format("delta").load("s3a://landing/delta").count()
seen = []
query = (
    spark.readStream.text("s3a://landing/calls/")
    .writeStream.foreachBatch(lambda frame, number: seen.extend(row.value for row in frame.collect()))
    .option("checkpointLocation", "s3a://landing/checkpoint").trigger(availableNow=True).start()
)
query.awaitTermination()
said["streamed"] = sorted(seen)

assert_listens_on_loopback_alone(os.getpid())
said["same"] = local_session(Path(warehouse)) is spark and local_session(Path(warehouse), s3=s3) is spark
try:
    local_session(Path(warehouse) / "other")
except ConfigurationError as error:
    said["other"] = str(error)
try:
    local_session(Path(warehouse), s3=S3Endpoint("http://127.0.0.1:1", "a", "b"))
except ConfigurationError as error:
    said["other s3"] = str(error)
print(json.dumps(said))
"""


def test_a_session_writes_and_reads_delta_and_s3_and_keeps_the_terminal_clean(
    aws: LocalAws, tmp_path: Path
) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="landing")
    for hour in range(2):
        line = f'{{"hour":{hour}}}\n'.encode()
        s3.put_object(Bucket="landing", Key=f"calls/HH=0{hour}/a.ndjson.gz", Body=gzip.compress(line))
    misleading = {
        "SPARK_HOME": "/nowhere",
        "SPARK_CONF_DIR": "/nowhere",
        "SPARK_LOCAL_DIRS": "/nowhere",
        "PYSPARK_SUBMIT_ARGS": "--no-such-option",
        "AWS_PROFILE": "prod",
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "HTTP_PROXY": "http://192.0.2.1:3128",
        "http_proxy": "http://192.0.2.1:3128",
        "TMPDIR": str(tmp_path),
    }
    endpoint = aws.s3_endpoint
    warehouse = tmp_path / "ware house"
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(warehouse), *astuple(endpoint)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | misleading,
        cwd=Path(__file__).parents[2],
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    said = json.loads(answer.stdout)
    assert said["rows"] == 6
    assert said["zone"] == "UTC"
    assert said["read"] == said["streamed"] == ['{"hour":0}', '{"hour":1}']
    assert said["delta on s3"] == 3
    assert said["same"] is True
    assert "already has a Spark session" in said["other"]
    assert "cannot be changed" in said["other s3"]
    assert (warehouse / "tables" / "silver.db" / "numbers" / "_delta_log").is_dir()
    assert "session of process" in (warehouse / "logs" / "spark.log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ware house"]  # nothing temporary is left


def test_ctrl_c_is_a_keyboard_interrupt_without_javas_stack_traces(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom lakehouse.local.session import local_session\n"
        "spark = local_session(Path(sys.argv[1]), memory='1g')\n"
        "print('ready', flush=True)\n"
        "try:\n    spark.sql('SELECT sum(id) FROM range(0, 400000000000)').collect()\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
        "print(spark.sql('SELECT 1 AS one').first().one)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(timeout=4)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to Java too
        output, errors = process.communicate(timeout=60)
    assert (output, errors) == ("interrupted\n1\n", "")


def test_without_java_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_running", None)  # another test of this run may have a session
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PlatformError, match="JAVA_HOME"):
        local_session(tmp_path / "warehouse")
    assert not (tmp_path / "warehouse").exists()


def test_a_warehouse_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    script = (
        "import sys\nfrom pathlib import Path\nfrom lakehouse.local.session import local_session\n"
        "local_session(Path(sys.argv[1]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "file" / "warehouse")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"The warehouse {tmp_path / 'file' / 'warehouse'} cannot be written" in answer.stderr


def test_secrets_are_neither_shown_nor_put_on_a_command_line(tmp_path: Path) -> None:
    endpoint = S3Endpoint("http://127.0.0.1:1", "key", "hush")
    assert "hush" not in repr(endpoint)
    assert "hush" not in str(launch_settings([], "1g", True, tmp_path))
    assert s3_settings(endpoint, tmp_path)["spark.hadoop.fs.s3a.secret.key"] == "hush"


def test_without_an_endpoint_the_aws_environment_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    plain = s3_settings(None, tmp_path)
    assert "spark.hadoop.fs.s3a.endpoint" not in plain
    assert "spark.hadoop.fs.s3a.path.style.access" not in plain
    assert plain["spark.hadoop.fs.s3a.aws.credentials.provider"].endswith("DefaultCredentialsProvider")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://general.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    pointed = s3_settings(None, tmp_path)
    assert pointed["spark.hadoop.fs.s3a.endpoint"] == "https://s3.example"
    assert pointed["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    assert pointed["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "true"


def test_work_of_size_leaves_sparks_own_choices_alone(tmp_path: Path) -> None:
    quick = session_settings(tmp_path, True, tmp_path)
    full = session_settings(tmp_path, False, tmp_path)
    assert quick["spark.sql.shuffle.partitions"] == "1"
    assert quick["spark.sql.adaptive.enabled"] == "false"
    assert not {
        "spark.sql.adaptive.enabled",
        "spark.sql.codegen.wholeStage",
        "spark.default.parallelism",
    } & set(full)
    for quick_one, lasting, held_back in ((True, False, True), (True, True, False), (False, False, False)):
        options = launch_settings([], "1g", quick_one, tmp_path, lasting=lasting)
        assert ("TieredStopAtLevel" in options["spark.driver.extraJavaOptions"]) is held_back
    for settings in (quick, full):
        assert settings["spark.driver.bindAddress"] == settings["spark.driver.host"] == "127.0.0.1"


def test_a_session_that_lakehouse_did_not_start_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark import SparkContext

    monkeypatch.setattr(session, "_running", None)
    monkeypatch.setattr(SparkContext, "_gateway", object())
    with pytest.raises(ConfigurationError, match="did not start"):
        local_session(tmp_path)
