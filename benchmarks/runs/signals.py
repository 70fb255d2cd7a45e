"""SIGINT and SIGTERM: the first asks a run to stop, the second ends it at once."""

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE = 0.1  # seconds within which two signals count as one: `timeout` sends two
_asked: list[int] = []  # the signals since `listening` began


def asked() -> int | None:
    """Return the signal that asked to stop; None if none did."""
    return _asked[0] if _asked else None


def status(number: int) -> int:
    """Return the exit status of a process that a signal ended."""
    return 128 + number


@contextmanager
def listening() -> Iterator[None]:
    """Note signals for `asked` while the block runs.

    Python's own handlers wait until a call into compiled code returns, which may take
    minutes. So a thread listens to what the interpreter writes when a signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    thread = threading.Thread(target=listen, args=(ours,), daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(theirs.fileno())
    handlers = {each: signal.signal(each, lambda *_: None) for each in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        theirs.close()
        thread.join()
        ours.close()
        _asked.clear()


def listen(connection: socket.socket) -> None:
    """Note the first signal; end the process at the second."""
    first = -math.inf
    while received := connection.recv(1):
        if received[0] not in SIGNALS or time.monotonic() - first < ONE:
            continue
        if _asked:
            os._exit(status(received[0]))
        first = time.monotonic()
        _asked.append(received[0])
        print(
            "Stopping: what is running is finished and saved. A second signal ends it "
            "at once.",
            file=sys.stderr,
            flush=True,
        )
