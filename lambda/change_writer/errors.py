"""Every error that the change writer raises on purpose.

    ChangeWriterError
    ├── SettingsError               a variable of the function is missing or wrong
    ├── NotAStreamEventError        the event is not of a stream that this function reads
    ├── UnsupportedStreamViewError  the stream does not carry new images
    ├── ConversionError             one record cannot become a change record: it goes to quarantine
    ├── PutError                    S3 did not take one object
    └── LandingError                the whole batch has to be delivered again

Each error carries what it is about as attributes and builds its message from them. No message
holds values of an item: messages are logged, and items hold personal data.
`transient` says whether the same call may succeed later unchanged.
"""

from __future__ import annotations


class ChangeWriterError(Exception):
    """Base of every error raised on purpose."""

    transient = False


class SettingsError(ChangeWriterError):
    """A variable of the function is missing or wrong."""

    def __init__(self, variable: str, value: str | None, expected: str) -> None:
        self.variable = variable
        self.value = value
        self.expected = expected
        found = "is not set" if value is None else f"is {value!r}"
        super().__init__(f"{variable} {found}. Expected: {expected}.")


class NotAStreamEventError(ChangeWriterError):
    """The event is not of a stream that this function reads; nothing of it was landed."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"Not a stream event: {found}. Nothing was landed. Invoke this function only through an event "
            "source mapping of a DynamoDB stream (eventSource 'aws:dynamodb') or of a Kinesis stream "
            "(eventSource 'aws:kinesis')."
        )


class UnsupportedStreamViewError(ChangeWriterError):
    """The stream does not carry new images and would make empty rows; nothing was landed."""

    def __init__(self, table: str | None, stream_arn: str | None, view_type: str) -> None:
        self.table = table
        self.stream_arn = stream_arn
        self.view_type = view_type
        super().__init__(
            f"The stream {stream_arn or '(its records name no eventSourceARN)'} of table "
            f"{table or '(unknown)'} has view type {view_type}, which would make empty rows. Nothing was "
            "landed. Recreate the stream with StreamViewType NEW_AND_OLD_IMAGES."
        )


class ConversionError(ChangeWriterError):
    """One record cannot become a change record; `reason` is a snake_case code, `detail` for people."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class PutError(ChangeWriterError):
    """S3 did not take one object; `code` is its error code, or the name of the client's exception."""

    transient = True

    def __init__(self, bucket: str, key: str, code: str) -> None:
        self.bucket = bucket
        self.key = key
        self.code = code
        super().__init__(f"S3 did not take s3://{bucket}/{key}: {code}. The batch will be delivered again.")


class LandingError(ChangeWriterError):
    """A record did not land and cannot be named to Lambda, so the whole batch has to come again."""

    transient = True

    def __init__(self, index: int, cause: PutError) -> None:
        self.index = index
        self.bucket = cause.bucket
        self.key = cause.key
        self.code = cause.code
        super().__init__(
            f"Record {index} of the event did not land ({cause.code} at s3://{cause.bucket}/{cause.key}) and "
            "has no usable sequence number to report, so the whole batch has to be delivered again."
        )
