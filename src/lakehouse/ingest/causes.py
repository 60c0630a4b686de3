"""Pure: what Spark, Java, S3 and the disk say of a failure → its cause in one line, and what to do about it.

What they say is a chain: Spark's condition, a stack, `Caused by: …`, again and again; in a batch function
Python's traceback around it. The first line of it is hardly ever the cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LIMIT = 1000
"""How long a cause may be, in characters."""


@dataclass(frozen=True, slots=True)
class Cause:
    """`text`: what happened, in words. `remedy`: a sentence on what to do; "" if that is not known.

    `torn`: the bytes of an object are cut off or changed.
    """

    text: str
    remedy: str = ""
    torn: bool = False

    def __str__(self) -> str:
        return f"{self.text}. {self.remedy}" if self.remedy else self.text


_KNOWN: Final = (
    (
        r"No space left on device|[Dd]isk quota exceeded|not enough space",
        Cause("the disk is full", "Make room on it and run this again: nothing is lost."),
    ),
    (
        r"InvalidObjectState|storage class",
        Cause(
            "it is archived, and S3 gives it to nobody until it is restored",
            "Restore it (aws s3api restore-object) and run this again; let landing go to no such class.",
        ),
    ),
    (
        r"AccessDenied|Access Denied|[Ff]orbidden|[Ss]tatus [Cc]ode: 403|[Pp]ermission denied|EACCES",
        Cause(
            "access is denied",
            "Let whoever runs this read it (on S3: s3:GetObject, kms:Decrypt of its key), and run it again.",
        ),
    ),
    (
        r"S3AFileSystem not found|No FileSystem for scheme|UnsupportedFileSystemException",
        Cause(
            "objects that this stream has found before lie on S3, which this command was not told of",
            "Name the landing location on S3 as before. Landing that has moved is read anew: "
            "lakehouse ingest --from-the-beginning; what bronze has already changes nothing.",
        ),
    ),
    (
        r"NoSuchKey|NoSuchFileException|FileNotFoundException|FILE_NOT_EXIST|[Nn]o such file or directory",
        Cause(
            "it is not there any more",
            "Put it back, from a copy or a version, under its own name, and run this again.",
        ),
    ),
    (
        r"Relative path in absolute URI|URISyntaxException",
        Cause(
            "its name has a colon, which Hadoop takes for that of a server", "Rename it, and run this again."
        ),
    ),
    (
        r"UnknownHostException|Connection refused|[Cc]onnect timed out|[Rr]ead timed out|SocketTimeout|"
        r"UnresolvedAddressException|[Ss]tatus [Cc]ode: 50[03]|SlowDown",
        Cause("the server that has it does not answer", "Run this again when it does: nothing is lost."),
    ),
    (
        r"java\.lang\.OutOfMemoryError",
        Cause("Java has too little memory", "Run this again with smaller batches: --max-files."),
    ),
    (
        r"ZipException|EOFException|Unexpected end of|incorrect (header|data) check|Checksum(Exc| error)"
        r"|invalid (block|stored|distance|literal|code|bit)|[Nn]ot (a|in) (GZIP|gzip)|is not a Parquet file"
        r"|[Cc]orrupt|could not read (page|footer)|footer is too large|CRC",
        Cause("the object is torn or corrupt", torn=True),
    ),
)

_RAISED: Final = re.compile(r"(?m)^\s*(Caused by)?:? ?((?:[\w$]+\.)*[\w$]*(?:Error|Exception)): (.+)$")
_OF_JAVA: Final = ("java.", "javax.", "org.", "com.", "io.", "scala.", "software.")
_CALLED: Final = "An error occurred while calling"
_CONDITION: Final = re.compile(r"\[([A-Z][A-Z_]+)(?:\.[A-Z_]+)?\]")
_OF_THE_WAY: Final = frozenset(
    ("STREAM_FAILED", "FOREACH_BATCH_USER_FUNCTION_ERROR", "FAILED_READ_FILE", "TASK_WRITE_FAILED")
)
"""Spark's conditions that say where something failed, and not what; others may quote values."""


def cause_of(text: str) -> Cause:
    """The cause that an error's text tells, the server's stack included."""
    told = "\n".join(line for line in text.splitlines() if not _is_beside(line))
    for pattern, cause in _KNOWN:
        if re.search(pattern, told):
            return cause
    return Cause(_innermost(text)[:LIMIT])


def _is_beside(line: str) -> bool:
    """Whether a line is a frame of a stack, or one that quotes a value."""
    return bool(re.match(r"\s+(at |\.\.\. |File )", line)) or not _OF_THE_WAY.issuperset(
        _CONDITION.findall(line)
    )


def _innermost(text: str) -> str:
    """What was raised innermost: by Python; by Java, where Python only called it or is not there at all."""
    called = _CALLED in text
    raised = _RAISED.findall(text.partition("JVM stacktrace:")[0] if called else text)
    python = [
        said if "." in kind else f"{kind}: {said}"
        for _, kind, said in raised
        if not kind.startswith(_OF_JAVA) and not said.startswith(_CALLED)
    ]
    java = [said for caused, kind, said in raised if kind.startswith(_OF_JAVA) and (caused or called)]
    inner = java if called else python or java
    first = next((line.strip() for line in text.splitlines() if line.strip()), "unknown")
    said = inner[-1] if inner else first
    return re.sub(
        r"^(The stream of '[^']*' stopped|\[STREAM_FAILED\] .*? terminated with exception): ", "", said
    )
