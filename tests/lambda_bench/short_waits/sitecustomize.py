"""Python runs this first in the function's process: waits are shortened, so that a bench of faults is quick.

The function's code, boto3 and the runtime client are as they are; only how long they wait is not, and with
BENCH_ENOUGH_BYTES how much of an event the function takes at once.
"""

import os
import time

import botocore.config

import change_writer.handler

READ_TIMEOUT_SECONDS = 0.3

_sleep = time.sleep


class _ShortConfig(botocore.config.Config):
    def __init__(self, *args, **kwargs):
        kwargs |= {"connect_timeout": 2, "read_timeout": READ_TIMEOUT_SECONDS}
        super().__init__(*args, **kwargs)


time.sleep = lambda seconds: _sleep(min(seconds, 0.002))
botocore.config.Config = _ShortConfig
if "BENCH_ENOUGH_BYTES" in os.environ:
    change_writer.handler.ENOUGH_BYTES = int(os.environ["BENCH_ENOUGH_BYTES"])
