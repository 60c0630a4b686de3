"""Options that say where documents lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from lakehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from lakehouse.table import Table

_OPTIONS = {"transcripts": "--transcripts", "pca_calls": "--pca"}
"""By the source of the documents."""


def document_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--transcripts` and `--pca`, as arguments `transcripts` and `pca`."""
    pca = click.option(
        "--pca",
        metavar="PATH_OR_URL",
        help="Where the parsed files of Post Call Analytics lie (parsedFiles/).",
    )
    transcripts = click.option(
        "--transcripts", metavar="PATH_OR_URL", help="Where the transcripts of Amazon Transcribe lie."
    )
    return transcripts(pca(command))


def document_places(
    transcripts: str | None, pca: str | None, needed_by: Iterable[Table]
) -> Mapping[str, str]:
    """The places by source, for `Settings.documents`.

    Raises:
        ConfigurationError: one of the tables is read from documents, and no place of any is given.
    """
    places = {name: at for name, at in (("transcripts", transcripts), ("pca_calls", pca)) if at}
    for table in needed_by:
        if table.format == "documents" and not places.keys() & set(table.sources):
            options = " or ".join(_OPTIONS[source] for source in table.sources)
            raise ConfigurationError(
                f"Table {table.name!r} is read from documents: say where with {options}."
            )
    return places
