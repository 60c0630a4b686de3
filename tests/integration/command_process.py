"""A process that runs one command line after the other, each as `lakehouse` would, in one Spark session.

A request is a line of JSON on standard input, the arguments; so is the answer: exit status, output, errors.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from lakehouse.cli import main


def run(arguments: list[str]) -> tuple[int | str | None, str, str]:
    """Exit status, standard output and standard error of one command line."""
    sys.argv = ["lakehouse", *arguments]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        status: int | str | None = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
    return status, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    for request in sys.stdin:
        print(json.dumps(run(json.loads(request))), flush=True)
