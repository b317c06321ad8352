"""What the scripts of both Python drivers for ArangoDB share: README.md says how they are spoken to."""

import json
import os
import sys
import threading
import time
import traceback
from collections import Counter
from queue import Empty, SimpleQueue

PASSWORD = os.environ.get("PASSWORD")
# How long an operation of the loop is tried again before the application gives up.
PATIENCE_S = 30
PAUSE_S = 0.002

failures = []


class operation:
    """A block that is told by name if it fails, and the next one runs all the same."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            failures.append(self.name)
            traceback.print_exception(error)
            print(f"FAILED {self.name}", file=sys.stderr)
        return True


class refused:
    """Asserts that the block fails with ArangoDB's status and error number."""

    def __init__(self, code, error_num=None):
        self.code, self.error_num = code, error_num

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert error is not None, f"expected {self.code}/{self.error_num}"
        assert getattr(error, "http_code", None) == self.code, f"expected {self.code}: {error!r}"
        if self.error_num is not None:
            assert error.error_code == self.error_num, f"expected {self.error_num}: {error!r}"
        return True


def verdict():
    """Ends the process as the operations went."""
    if failures:
        print("FAILED in all: " + ", ".join(failures), file=sys.stderr)
    sys.exit(1 if failures else 0)


class Talk:
    """Hears what the test wants, and tells it the longest gap between two acknowledgements."""

    def __init__(self):
        self.asked = SimpleQueue()
        self.longest, self.last, self.errors = 0, time.perf_counter_ns(), Counter()
        self.stopping = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in sys.stdin:
            self.asked.put(line.strip())

    def acknowledged(self, number):
        """A write was acknowledged just now."""
        now = time.perf_counter_ns()
        self.longest, self.last = max(self.longest, now - self.last), now
        if number == 100:
            print("ready", flush=True)
        try:
            asked = self.asked.get_nowait()
        except Empty:
            return
        if asked == "begin":
            self.longest, self.errors = 0, Counter()
            print("begun", flush=True)
        elif asked == "end":
            print(f"gap {self.longest // 1000} {json.dumps(self.errors)}", flush=True)
        elif asked == "stop":
            self.stopping = True

    def failed(self, error, begun):
        """An operation failed that was begun at this time; it is given up when patience ends."""
        if time.monotonic() - begun > PATIENCE_S:
            raise error
        self.errors[str(getattr(error, "error_code", None) or type(error).__name__)] += 1
