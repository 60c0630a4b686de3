"""A look at landing itself: objects that are torn, empty or misplaced, and setting one aside.

Works on a folder (volumes included) and on S3, through pyarrow's file systems.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from lakehouse import change_record
from lakehouse.errors import ConfigurationError
from lakehouse.ingest.causes import cause_of

if TYPE_CHECKING:
    from pyarrow import fs

_CHUNK = 1 << 16  # compressed; gzip inflates at most a thousandfold
_PLACE = re.compile(
    rf"(?:{change_record.QUARANTINE_FOLDER}/)?(?P<source>[^/]+)/dt=\d{{4}}-\d{{2}}-\d{{2}}/HH=\d{{2}}/(?P<name>[^/]+)"
)
_OURS = (change_record.SET_ASIDE_FOLDER, change_record.BACKFILLS_FOLDER)
_EMPTY_GZIP = gzip.compress(b"", mtime=0)

Kind = Literal["torn", "unreadable", "empty", "misplaced", "unread", "set_aside"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that needs a look: what is the matter, where it lies, what to do."""

    kind: Kind
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class Store:
    """A place below which objects lie: a file system of pyarrow and the root's path in it."""

    files: fs.FileSystem
    root: str
    prefix: str

    def url(self, path: str) -> str:
        """The path as the streams and the messages of this project write it."""
        return f"{self.prefix}{path}"


def open_store(location: str, environ: Mapping[str, str] = os.environ) -> Store:
    """The store behind a folder or an `s3://` or `s3a://` URL.

    S3 is reached as the AWS variables say: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION, and the
    default chain of credentials.

    Raises:
        ConfigurationError: a location of another kind, or a folder that does not exist.
    """
    from pyarrow import fs

    scheme, found, rest = location.partition("://")  # an object's name may hold ? and #, so no URL parser
    if found and scheme in ("s3", "s3a"):
        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        at = urlsplit(endpoint) if endpoint else None
        files = fs.S3FileSystem(
            region=region,
            **({"endpoint_override": at.netloc, "scheme": at.scheme} if at else {}),
        )
        return Store(files, rest.rstrip("/"), f"{scheme}://")
    if found and scheme != "file":
        raise ConfigurationError(f"{location}: use a folder, or an s3:// URL.")
    path = os.path.abspath(rest if found else re.sub(r"^(dbfs|file):/*", "/", location))
    return Store(fs.LocalFileSystem(), path.rstrip("/") or "/", "")


def check(
    landing: str,
    sources: Sequence[str],
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    workers: int = 8,
) -> Iterator[Finding]:
    """Read every object below a landing location and yield what is wrong, in the order of the paths.

    torn: the object is cut off or corrupt, or Parquet of an unknown schema; it stops its table's stream.
    unreadable: it cannot be fetched, for a reason that is not in it; it stops its table's stream too.
    empty: no record in it; harmless, but a writer never lands one.
    misplaced: not `<source>/dt=YYYY-MM-DD/HH=HH/<name>.ndjson.gz` or `.parquet`; streams may not see it.
    unread: of a source that no table reads.

    Args:
        sources: the sources that tables read.
        on_progress: told how many of how many objects are done.

    Raises:
        ConfigurationError: nothing lies at the location.
    """
    store = open_store(landing)
    below = len(store.root) + 1
    listed = [info.path for info in _list(store, landing)]
    paths = [path for path in listed if path[below:].partition("/")[0] not in _OURS]
    with ThreadPoolExecutor(workers) as pool:
        for done, found in enumerate(pool.map(lambda p: _try(store, p, sources), paths), start=1):
            on_progress(done, len(paths))
            if found is not None:
                yield found


def check_documents(location: str) -> Iterator[Finding]:
    """Yield the documents below a location that no stream reads, in the order of the paths.

    Source: the rules of Spark's file sources: what begins with `_` or `.` is hidden,
    patterns tell capitals from small letters, an empty file is not opened.

    Raises:
        ConfigurationError: nothing lies at the location.
    """
    store = open_store(location)
    for info in _list(store, location):
        place, url = info.path[len(store.root) + 1 :], store.url(info.path)
        if not place.lower().endswith(".json"):
            continue
        if any(part.startswith(".") or (part[0] == "_" and "=" not in part) for part in place.split("/")):
            yield Finding("unread", url, "what begins with _ or . is hidden from every stream; rename it")
        elif not place.endswith(".json"):
            yield Finding("unread", url, "streams read *.json, in small letters; rename it")
        elif not info.size:
            yield Finding("empty", url, "an empty document is not read; write it again, or remove it")


def set_aside(location: str) -> str:
    """Take one landed object out of its stream's way; returns where it lies now.

    The object moves to `_set_aside/…` below the landing location, and an empty one takes its name, so
    that a batch that has already listed it can be repeated on any platform.

    Raises:
        ConfigurationError: the object does not exist, or does not lie below a landing location.
    """
    store = open_store(location)
    match = re.fullmatch(rf"(?P<landing>.*?)/?(?P<place>{_PLACE.pattern})", store.root)
    if match is None:
        raise ConfigurationError(
            f"{location} is no landed object: those lie at <landing>/<source>/dt=YYYY-MM-DD/HH=HH/<name>."
        )
    if not exists(store, store.root):
        raise ConfigurationError(f"{location} does not exist. `lakehouse landing check` lists what there is.")
    target = f"{match['landing']}/{change_record.SET_ASIDE_FOLDER}/{match['place']}"
    if exists(store, target):
        raise ConfigurationError(f"{location} has been set aside before: see {store.url(target)}.")
    store.files.create_dir(target.rpartition("/")[0], recursive=True)
    store.files.copy_file(store.root, target)
    with store.files.open_output_stream(store.root, compression=None) as out:
        out.write(_empty(store.root))
    return store.url(target)


RESTORED = r"(-restored)+\."
"""Where the name of an object that came back, once or again, differs from its first one (a dot)."""


def restore(location: str) -> str:
    """Let an object that was set aside be read, under a new name; returns where it lies now.

    The stream has read the empty one of its own name, and will not look at that again.

    Raises:
        ConfigurationError: it is not below `_set_aside`, does not exist, or still cannot be read.
    """
    store = open_store(location)
    match = re.fullmatch(
        rf"(?P<landing>.*?)/?{change_record.SET_ASIDE_FOLDER}/(?P<place>{_PLACE.pattern})", store.root
    )
    if match is None or not exists(store, store.root):
        raise ConfigurationError(
            f"{location} is no object that was set aside: those lie at "
            f"<landing>/{change_record.SET_ASIDE_FOLDER}/<source>/dt=YYYY-MM-DD/HH=HH/<name>. "
            "`lakehouse landing check` lists them."
        )
    read = _read_parquet if store.root.endswith(".parquet") else _read
    _, problem = read(store, store.root)
    if problem:
        raise ConfigurationError(
            f"{location} still cannot be read: {problem}. Put a whole object in its place first, from a copy "
            "or a version of it."
        )
    target = f"{match['landing']}/{_restored(match['place'])}"
    if exists(store, target):
        raise ConfigurationError(
            f"{location} has come back before: see {store.url(target)}. Let an ingest read that one first; "
            "if this is another one, land it under a name of its own."
        )
    store.files.copy_file(store.root, target)
    store.files.delete_file(store.root)
    return store.url(target)


def all_set_aside(store: Store, source: str) -> list[str]:
    """The objects of a source that are set aside; what was restored may have left its folders behind."""
    folder = f"{store.root}/{change_record.SET_ASIDE_FOLDER}"
    return sorted(info.path[len(folder) + 1 :] for info in _objects(store, f"{folder}/{source}"))


def _restored(place: str) -> str:
    """Where an object that was set aside comes back."""
    folder, _, name = place.rpartition("/")
    stem, dot, ending = name.partition(".")
    return f"{folder}/{stem}-restored{dot}{ending}"


def bytes_since(location: str, since: float) -> int:
    """The bytes of all objects below a location that were written after a time (seconds since 1970)."""
    store = open_store(location)
    return sum(info.size for info in _objects(store, store.root) if info.mtime.timestamp() > since)


def _objects(store: Store, folder: str, *, may_be_missing: bool = True) -> list[fs.FileInfo]:
    """Every object below a folder; raises FileNotFoundError for one that must be there and is not."""
    from pyarrow import fs

    found = store.files.get_file_info(fs.FileSelector(folder, allow_not_found=may_be_missing, recursive=True))
    return [info for info in found if info.type == fs.FileType.File]


def _list(store: Store, landing: str) -> list[fs.FileInfo]:
    try:
        found = _objects(store, store.root, may_be_missing=False)
    except FileNotFoundError:
        raise ConfigurationError(
            f"Nothing lies at {landing}. Check the path, the bucket and the prefix."
        ) from None
    return sorted(found, key=lambda info: str(info.path))


def _try(store: Store, path: str, sources: Sequence[str]) -> Finding | None:
    """`_look`; what cannot be fetched is a finding too, and the others are looked at all the same."""
    try:
        return _look(store, path, sources)
    except OSError as error:
        return Finding("unreadable", store.url(path), str(cause_of(f"{type(error).__name__}: {error}")))


def _look(store: Store, path: str, sources: Sequence[str]) -> Finding | None:
    url = store.url(path)
    place = path[len(store.root) + 1 :]
    match = _PLACE.fullmatch(place)
    parquet = place.endswith(".parquet") and not place.startswith(change_record.QUARANTINE_FOLDER)
    suffix = ".parquet" if parquet else ".ndjson.gz"
    if match is None or not match["name"].endswith(suffix) or match["name"].startswith(("_", ".")):
        return Finding(
            "misplaced",
            url,
            "not at <source>/dt=YYYY-MM-DD/HH=HH/<name>.ndjson.gz or .parquet; move or remove it",
        )
    records, problem = _read_parquet(store, path) if parquet else _read(store, path)
    if problem:
        return Finding(
            "torn", url, f"{problem}; its stream stops here: lakehouse landing set-aside {shlex.quote(url)}"
        )
    if records == 0:
        if exists(store, f"{store.root}/{change_record.SET_ASIDE_FOLDER}/{place}"):
            return Finding("set_aside", url, f"its content lies below {change_record.SET_ASIDE_FOLDER}")
        if exists(store, f"{store.root}/{_restored(place)}"):
            return None
        return Finding("empty", url, "no record in it; nothing to do, but find out who wrote it")
    if not place.startswith(change_record.QUARANTINE_FOLDER) and match["source"] not in sources:
        return Finding("unread", url, f"no table reads source {match['source']!r}; map it with SOURCE_MAP")
    return None


def _read(store: Store, path: str) -> tuple[int, str]:
    """Number of records, and what is wrong with the gzip stream; as strict as the reader of the streams."""
    records, size, tail = 0, 0, b"\n"
    reader = zlib.decompressobj(wbits=31)
    with store.files.open_input_stream(path, compression=None) as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            while chunk:
                if reader.eof:  # a gzip file may be several, one behind the other
                    reader = zlib.decompressobj(wbits=31)
                try:
                    text = reader.decompress(chunk)
                except zlib.error as error:
                    return records, f"corrupt gzip ({error})"
                chunk = reader.unused_data
                records += text.count(b"\n")
                tail = text[-1:] or tail
    if size and not reader.eof:
        return records, "torn gzip (it ends too early)"
    return records + (tail != b"\n"), ""


def _read_parquet(store: Store, path: str) -> tuple[int, str]:
    """Number of records, and what is wrong with the Parquet object."""
    import pyarrow as pa
    from pyarrow import parquet

    with store.files.open_input_stream(path, compression=None) as file:
        content = file.read()
    if not content:  # Spark does not open it
        return 0, ""
    try:  # in memory, so that an error is one of the content, not of the way there
        opened = parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        records = opened.read().num_rows
    except (pa.ArrowException, OSError) as error:
        return 0, f"corrupt Parquet ({error})"
    version = (
        (opened.metadata.metadata or {}).get(change_record.PARQUET_SCHEMA_KEY.encode(), b"not told").decode()
    )
    if records and version != str(change_record.PARQUET_SCHEMA):
        return records, f"Parquet of schema {version}, not {change_record.PARQUET_SCHEMA}"
    return records, ""


def _empty(name: str) -> bytes:
    """An object without a record, of the format that its name says."""
    if not name.endswith(".parquet"):
        return _EMPTY_GZIP
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"item": pa.array([], pa.string())}), sink)
    made: bytes = sink.getvalue().to_pybytes()
    return made


def exists(store: Store, path: str) -> bool:
    """Whether an object lies at a path of the store's file system."""
    from pyarrow import fs

    return bool(store.files.get_file_info(path).type == fs.FileType.File)
