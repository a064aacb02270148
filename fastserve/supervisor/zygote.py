"""The zygote of `--preload`: imports the application once and forks workers from there on command.

Workers are forked twice, so that they are orphans at once and come to the supervisor, which is a subreaper: it waits
for them itself, however long the zygote that made them lives.
"""

import gc
import logging
import os
import signal
import socket
import sys

from fastserve.config import STARTUP_FAILURE
from fastserve.server.config import Config
from fastserve.supervisor import host
from fastserve.supervisor.control import Control
from fastserve.supervisor.hooks import run_after_fork
from fastserve.supervisor.worker_process import WITHHELD_SIGNALS, WorkerProcess, ignore, read_settings
from fastserve.transport._board import Board

logger = logging.getLogger("fastserve.error")


def main(control_fd: int, settings_fd: int, board_fd: int) -> None:
    """The whole of a zygote; the interpreter has just started. Ends when the supervisor closes the connection."""
    control = Control(socket.socket(fileno=control_fd))
    for descriptor in (control_fd, settings_fd, board_fd):
        os.set_inheritable(descriptor, False)
    # Sent to the whole process group, they mean the supervisor.
    for number in (*WITHHELD_SIGNALS, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WITHHELD_SIGNALS)
    config = read_settings(settings_fd)
    host.set_process_title(f"{config.process_name}: preload [{config.app}]")
    config.load()
    # What has been made so far is shared with the workers; a collection would write to all of it.
    gc.collect()
    gc.freeze()
    control.send({"say": "ready"})
    while not control.ended:
        for message in control.wait():
            _fork(control, message.descriptors, config, board_fd)


def _fork(control: Control, descriptors: list[int], config: Config, board_fd: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        child = os.fork()
    except OSError as error:
        # The other end of the new worker's connection closes, and tells.
        logger.error("Cannot fork a worker: %s", error)
        child = -1
    if child == 0:
        if _is_first_child():
            os._exit(0)
        control.close()
        _work(descriptors, config, board_fd)
    for descriptor in descriptors:
        os.close(descriptor)
    if child > 0:
        os.waitpid(child, 0)


def _is_first_child() -> bool:
    try:
        return os.fork() != 0
    except OSError as error:
        logger.error("Cannot fork a worker: %s", error)
        return True


def _work(descriptors: list[int], config: Config, board_fd: int) -> None:
    """The whole of a forked worker."""
    control_fd, dump_fd = descriptors
    process = WorkerProcess(Control(socket.socket(fileno=control_fd)), dump_fd, Board(board_fd))
    process.wait_for_start()
    try:
        run_after_fork()
    except Exception:
        logger.exception("A hook after the fork failed")
        sys.exit(STARTUP_FAILURE)
    process.serve(config)
    sys.exit(0)
