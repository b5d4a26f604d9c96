"""What a command says when it cannot go on: one message, whoever or whatever stopped it."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENVIRONMENT = "DHO_PROMPT_DEBUG"
AGAIN = 2.0  # seconds until an interruption that something swallowed is raised again
_IN_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n.*^[\w.]+: (.*)", re.DOTALL | re.MULTILINE)


class Stopped(BaseException):
    """A signal asks the process to end; not an Exception, so that nothing takes it for an error of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def one_message(afterwards: str = "") -> Iterator[None]:
    """Show a wrong input, Ctrl-C, SIGTERM or a dead worker as one message with a non-zero exit status.

    DHO_PROMPT_DEBUG=1 shows the traceback instead.

    Args:
        afterwards: what to do after an interruption, e.g. ``the same command resumes``.
    """
    try:
        with _signals_raise():
            yield
            sys.stdout.flush()
    except Stopped as stop:
        if os.environ.get(ENVIRONMENT):
            raise
        how = "interrupted" if stop.number == signal.SIGINT else f"stopped by {stop}"
        print(f"\ndho_prompt: {how}{f'; {afterwards}' if afterwards else ''}", file=sys.stderr, flush=True)
        sys.exit(128 + stop.number)
    except (ValueError, OSError, FloatingPointError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            if afterwards:
                print(f"dho_prompt: nobody reads the output any more; {afterwards}", file=sys.stderr, flush=True)
            sys.exit(128 + signal.SIGPIPE)
        _fail(error, str(error))
    except RuntimeError as error:
        dead = re.search(r"DataLoader worker \(pid.*", str(error))
        if not dead:
            raise
        _fail(
            error,
            f"a process that reads images died ({dead[0].splitlines()[0].rstrip('. ')}); most often memory ran out, "
            "also shared memory (/dev/shm). Lower DATALOADER.NUM_WORKERS (0 reads in the main process)"
            + (f"; {afterwards}" if afterwards else ""),
        )


def _nobody_reads() -> bool:
    """Whether the reader of stdout has gone, as ``head`` does; what is left to be written then goes nowhere."""
    try:
        stdout = sys.stdout.fileno()
    except OSError:
        return False  # it is no file
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(stdout, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)  # Python flushes once more at its end
    return True


def _fail(error: BaseException, message: str) -> None:
    if os.environ.get(ENVIRONMENT):
        raise error
    inner = _IN_WORKER.search(message)
    sys.exit(f"dho_prompt: error: {inner[1].strip() if inner else message}\n({ENVIRONMENT}=1 shows where)")


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGINT and SIGTERM raise :class:`Stopped` in this process, again and again until it has arrived.

    An exception out of a signal handler is lost where Python ignores exceptions, as in the finalizers of data loaders.
    Worker processes are forked with the handlers; they leave both signals to this process, which ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    owner, asked = os.getpid(), []

    def stop(number: int, frame: Any) -> None:
        if os.getpid() != owner:
            return
        if number != getattr(signal, "SIGALRM", None):
            asked.append(number)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise Stopped(asked[0])

    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else [])]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
