"""Settings are parsed once, and what is wrong with them is said by name."""

from __future__ import annotations

import pytest

from change_writer.errors import SettingsError
from change_writer.settings import Settings, get_settings, parse_settings


def parse(**variables: str) -> Settings:
    return parse_settings({"S3_BUCKET": "my-bucket", **variables})


def test_only_the_bucket_is_required() -> None:
    assert parse() == Settings("my-bucket", "", {}, 2000, 8_000_000, "INFO")


def test_an_empty_optional_variable_counts_as_unset() -> None:
    names = ("S3_PREFIX", "SOURCE_MAP", "MAX_RECORDS", "MAX_PAYLOAD_BYTES", "LOG_LEVEL", "LANDING_FORMAT")
    empty = dict.fromkeys(names, "")
    assert parse(**empty) == parse()


def test_every_variable_is_read() -> None:
    assert parse(
        S3_PREFIX="landing",
        SOURCE_MAP="calls-prod=calls, sentiment-items-primary = sentiment_items,",
        MAX_RECORDS="10",
        MAX_PAYLOAD_BYTES="1000000",
        LOG_LEVEL="debug",
        LANDING_FORMAT="parquet",
    ) == Settings(
        "my-bucket",
        "landing",
        {"calls-prod": "calls", "sentiment-items-primary": "sentiment_items"},
        10,
        1_000_000,
        "DEBUG",
        "parquet",
    )


@pytest.mark.parametrize(
    ("given", "prefix"),
    [("/", ""), ("a", "a"), ("/a/b/", "a/b"), ("a//b", "a/b"), (" a ", "a"), ("a b", "a b")],
)
def test_slashes_of_the_prefix_are_normalised(given: str, prefix: str) -> None:
    settings = parse(S3_PREFIX=given)
    assert settings.prefix == prefix
    assert settings.folder("calls") == f"{prefix}/calls".lstrip("/")
    assert settings.quarantine_folder("calls") == f"{prefix}/_quarantine/calls".lstrip("/")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("S3_BUCKET", ""),
        ("S3_BUCKET", "s3://bucket"),
        ("S3_BUCKET", "bucket/prefix"),
        ("S3_PREFIX", "a/../b"),
        ("S3_PREFIX", "./a"),
        ("S3_PREFIX", "a\nb"),
        ("SOURCE_MAP", "calls"),
        ("SOURCE_MAP", "calls="),
        ("SOURCE_MAP", "=calls"),
        ("SOURCE_MAP", "a b=calls"),
        ("SOURCE_MAP", "calls=_quarantine"),
        ("SOURCE_MAP", "calls=.hidden"),
        ("SOURCE_MAP", "calls=a/b"),
        ("SOURCE_MAP", "calls=a,calls=b"),
        ("SOURCE_MAP", "calls=a=b"),
        ("SOURCE_MAP", "calls=a;cards=b"),
        ("MAX_RECORDS", "0"),
        ("MAX_RECORDS", "-1"),
        ("MAX_RECORDS", "many"),
        ("MAX_RECORDS", "1.5"),
        ("MAX_RECORDS", "\u0661"),
        ("MAX_PAYLOAD_BYTES", "6MB"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_form_expected(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(**{variable: value})
    assert caught.value.variable == variable
    assert caught.value.value == value
    assert str(caught.value).startswith(f"{variable} is {value!r}. Expected: ")


def test_a_missing_bucket_is_said_to_be_missing() -> None:
    with pytest.raises(SettingsError, match=r"S3_BUCKET is not set\. Expected: the name of a bucket"):
        parse_settings({})


def test_an_unmapped_table_is_its_own_source() -> None:
    settings = parse(SOURCE_MAP="calls-prod=calls")
    assert settings.source_of("calls-prod") == "calls"
    assert settings.source_of("calls-prod-2") == "calls-prod-2"
    assert settings.source_of("prod-calls") == "prod-calls"


@pytest.mark.parametrize("stream", ["e", "ev", "s" * 128])
def test_a_stream_of_kinesis_may_have_a_short_name_or_a_long_one(stream: str) -> None:
    assert parse(SOURCE_MAP=f"{stream}=metric_events").source_of(stream) == "metric_events"
    assert parse().source_of(stream) == stream


@pytest.mark.parametrize("table", ["_quarantine", "_unknown", ".hidden", "-dash"])
def test_a_table_that_readers_would_not_see_must_be_mapped(table: str) -> None:
    with pytest.raises(SettingsError, match=f"an entry '{table}=<source>'"):
        parse().source_of(table)
    assert parse(SOURCE_MAP=f"{table}=calls").source_of(table) == "calls"


def test_the_environment_is_parsed_once_and_not_kept_when_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    get_settings.cache_clear()
    try:
        monkeypatch.setenv("S3_BUCKET", "")
        with pytest.raises(SettingsError):
            get_settings()
        monkeypatch.setenv("S3_BUCKET", "first")
        assert get_settings().bucket == "first"
        monkeypatch.setenv("S3_BUCKET", "second")
        assert get_settings().bucket == "first"
    finally:
        get_settings.cache_clear()
