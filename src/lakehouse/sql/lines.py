"""Pure: what a landed line becomes in bronze. Each function gives expressions for a SELECT, in order; later
ones are over earlier ones."""

from __future__ import annotations

from lakehouse import change_record
from lakehouse.settings import literal
from lakehouse.sql.select import NO_KEY, key_texts
from lakehouse.sql.values import framed, has_lone_surrogate, text_at, unframed
from lakehouse.table import Table

_MAX_MS = 253402300799999  # 9999-12-31T23:59:59.999Z
_MIN_MS = -62135596800000  # 0001-01-01T00:00:00Z

_INEXACT = r"[:\[,] *-?(?:\d+\.?\d*[eE]|[\d.]{39})"
"""A number that VARIANT may keep as a double: with an exponent, or of more digits than a decimal has. In a
text it may match for nothing: then the line is kept beside the record without need."""


def line_columns(table: Table) -> list[str]:
    """Lines (`value`, `_source_file`) → the columns of bronze that are made of a line.

    Args:
        table: of the source; its key is the record's.
    """

    def said(name: str) -> str:
        return text_at("item", (name,))

    ms = f"try_cast(try_cast({said(change_record.CHANGED_MS)} AS DECIMAL(38,0)) AS BIGINT)"
    flag = said(change_record.IS_DELETED)
    problem = _case(_problems())
    keys = {f"_key{number}": text for number, text in enumerate(key_texts(table, "item"), 1)}
    usable = " AND ".join(f"{name} <> {NO_KEY}" for name in keys)
    return [
        "value",
        "_source_file",
        f"is_valid_utf8(value) AND NOT coalesce({has_lone_surrogate('value')}, false) AS _readable",
        f"IF(_readable, {framed('value')}, NULL) AS _frame",
        f"{unframed('_frame', 'value')} AS item",
        f"{said(change_record.SEQUENCE)} AS _sequence",
        f"{said(change_record.EVENT_ID)} AS _event_id",
        f"{said(change_record.EVENT_NAME)} AS _event_name",
        # Without a usable flag the event's name decides: a delete must never read as an upsert.
        f"coalesce(CASE {flag} WHEN 'true' THEN true WHEN 'false' THEN false END, "
        f"{said(change_record.EVENT_NAME)} = 'REMOVE', false) AS is_deleted",
        f"{said(change_record.DELETE_KIND)} AS _delete_kind",
        f"{ms} AS _ms",
        f"IF(_ms BETWEEN {_MIN_MS} AND {_MAX_MS}, timestamp_millis(_ms), NULL) AS _changed_at",
        f"{said(change_record.UPDATED_AT)} AS updated_at",
        f"{problem} AS _problem",
        f"{_told(_details())} AS _detail",
        *(f"{text} AS {name}" for name, text in keys.items()),
        f"IF(_problem IS NULL AND {usable}, to_json(array({', '.join(keys)})), NULL) AS _key",
        f"IF(_problem IS NOT NULL OR value RLIKE {literal(_INEXACT)}, value, NULL) AS _raw",
    ]


def _problems() -> list[tuple[str, str]]:
    """Conditions, the first that holds counts, and the problem as a code."""
    return [
        ("NOT is_valid_utf8(value)", "'not_utf8'"),
        ("NOT _readable", "'lone_surrogate'"),
        ("item IS NULL", "'not_json'"),
        (r"value NOT RLIKE '^\\s*\\{'", "'not_an_object'"),
        (
            f"NOT coalesce(_sequence RLIKE {literal(change_record.SEQUENCE_PATTERN)}, false)",
            "'missing_sequence'",
        ),
    ]


def _details(value: str = "value", what: str = "line") -> list[tuple[str, str]]:
    """The same in words, as SQL."""
    limits = [
        (
            f"{value} RLIKE '\"[^\"]{{20000001}}'",
            f"'a text in the {what} has more than 20,000,000 characters'",
        ),
        (
            f"octet_length({value}) > 16777216",
            f"'the {what} is larger than the 16 MiB that VARIANT holds everywhere'",
        ),
        (f"{value} RLIKE '[0-9]{{1001}}'", f"'a number in the {what} has more than 1,000 digits'"),
        (
            rf"""{value} RLIKE '"[^"]{{50001,}}"\\s*:'""",
            f"'a name in the {what} has more than 50,000 characters'",
        ),
        (
            f"length({value}) - length(translate({value}, '[{{', '')) > 1000",
            f"'the {what} is not one JSON value, or is nested more than 1,000 deep'",
        ),
        (
            f"get_json_object({value}, '$') IS NOT NULL",
            f"'the {what} is not one JSON object that can be read: a member is in it twice, or more follows'",
        ),
    ]
    return [
        ("not_utf8", f"'the {what} is not UTF-8'"),
        ("lone_surrogate", rf"'text in the {what} has a \\\\ud800 without its other half, which is no text'"),
        ("not_json", _case(limits, f"'the {what} is not one JSON value'")),
        ("not_an_object", f"'the {what} is JSON, but no object'"),
        ("missing_sequence", f"'no usable {change_record.SEQUENCE}'"),
    ]


def _told(details: list[tuple[str, str]]) -> str:
    return _case([(f"_problem = {literal(name)}", detail) for name, detail in details])


def _case(parts: list[tuple[str, str]], otherwise: str = "NULL") -> str:
    return f"CASE {' '.join(f'WHEN {when} THEN {then}' for when, then in parts)} ELSE {otherwise} END"


def document_columns() -> list[str]:
    """Documents (`content`, `document_key`, `_source_file`, `_modified_at`) → the columns of bronze.

    The sequence is `<modification time>/<key>/<hash of the content>`.
    """
    problem = [
        ("NOT is_valid_utf8(_text)", "'not_utf8'"),
        ("NOT _readable", "'lone_surrogate'"),
        ("document IS NULL", "'not_json'"),
        (r"_text NOT RLIKE '^\\s*\\{'", "'not_an_object'"),
    ]
    return [
        "document_key AS _document_key",
        "_source_file",
        "_modified_at",
        # As bytes, a byte order mark at their head aside: a function of texts would mend what is no UTF-8.
        "CAST(IF(startswith(content, X'EFBBBF'), substr(content, 4), content) AS STRING) AS _text",
        f"is_valid_utf8(_text) AND NOT coalesce({has_lone_surrogate('_text')}, false) AS _readable",
        f"IF(_readable, {framed('_text')}, NULL) AS _frame",
        f"{unframed('_frame', '_text')} AS document",
        "concat_ws('/', date_format(_modified_at, \"yyyy-MM-dd'T'HH:mm:ss.SSS'Z'\"), _document_key, "
        "sha2(content, 256)) AS _sequence",
        f"{_case(problem)} AS _problem",
        f"{_told(_details('_text', 'document'))} AS _detail",
        "IF(_problem IS NOT NULL, _text, NULL) AS _raw",
    ]
