"""Pure: members of a JSON document, for the tables that are made from documents."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

UNKNOWN_SHAPE = "unknown_document_shape"
"""Reason in quarantine of a document that is none of those that the table is made from."""

_TWIN = r"(^|/)redacted-([^/]*)$"

NON_TALK = "NonTalkTime"
"""In PCA's SpeakerTime: stands beside the speakers, and is none."""


def member(path: str, as_type: str) -> Column:
    """The member at a path (`results.items`), null where there is none or it has another shape."""
    return F.try_variant_get("_document", f"$.{path}", as_type)


def is_object(path: str) -> Column:
    """Whether the member at a path is an object."""
    return member(path, "map<string, variant>").isNotNull()


def list_of(path: str, element: str) -> Column:
    """The array at a path; empty where there is none."""
    return F.coalesce(member(path, f"array<{element}>"), F.array().cast(f"array<{element}>"))


def known(text: Column) -> Column:
    """A text, null where the document says that there is none: "" or PCA's "None"."""
    return F.when(~F.trim(text).isin("", "None"), text)


def folded(name: str | Column) -> Column:
    """A key or a name; a twin in which personal data was redacted has that of its original."""
    return F.regexp_replace(name, _TWIN, "$1$2")


def is_redacted() -> Column:
    """Whether personal data was redacted in the document: by its name, or by what it says of itself."""
    return (
        F.col("_document_key").rlike(_TWIN)
        | F.coalesce(member("isRedacted", "boolean"), F.lit(False))
        | F.coalesce(F.lower(member("ContentMetadata.Output", "string")) == "redacted", F.lit(False))
    )


def speaker_labels() -> Column:
    """PCA's labels of the speakers: array of `Speaker`, `DisplayText`, as they are written."""
    return list_of("ConversationAnalytics.SpeakerLabels", "struct<Speaker: string, DisplayText: string>")


def machine_speakers() -> Column:
    """The speakers of a PCA file that are nobody: what an IVR said is put on a channel of its own.

    Source: PCA's reading of Genesys contact trace records, which names it `IVR`, shown as `Genesys IVR`.
    """
    labelled = F.filter(speaker_labels(), lambda one: one["DisplayText"].rlike(r"(?i)\bIVR\b"))
    return F.concat(F.transform(labelled, lambda one: one["Speaker"]), F.array(F.lit("IVR")))
