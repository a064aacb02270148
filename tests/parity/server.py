"""One server process: start it, wait for the line that says it runs, take what it logs, stop it.

Every wait here ends on something the process says or does; PATIENCE only bounds a failure.
"""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from urllib.parse import quote

from tests.parity import normalise
from tests.parity.wire import Client

PATIENCE = 25.0
RUNNING = re.compile(r"running on (?:https?://(?P<host>\S+):(?P<port>\d+)|unix socket (?P<path>\S+)) ")
# fastserve shows so many warnings in a second and then counts; the count is told with the next one, or at the end.
WARNINGS_HIDDEN = re.compile(r"WARNING:  \d+ more warnings about requests were not shown\.$")
STOPPING = [
    "INFO:     Shutting down",
    "INFO:     Waiting for application shutdown.",
    "INFO:     Application shutdown complete.",
    "INFO:     Finished server process [PID]",
]
MODULES = {"uvicorn": "uvicorn", "fastserve": os.environ.get("PARITY_SUBJECT", "fastserve")}


class Lines:
    """The lines of one stream of a process, read by a thread as they come."""

    def __init__(self, stream):
        self.lines = []
        self.ended = False
        self._taken = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        with stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def find(self, predicate):
        """The first line not yet taken for which `predicate` is true, waiting for it; None once the stream ends."""
        with self._changed:
            position = self._taken
            while True:
                while position < len(self.lines):
                    if predicate(self.lines[position]):
                        return self.lines[position]
                    position += 1
                if self.ended:
                    return None
                if not self._changed.wait(PATIENCE):
                    raise TimeoutError("the awaited line did not come; got:\n" + "\n".join(self.lines[self._taken :]))

    def take(self, last=None):
        """The lines since those taken before, up to the line `last`, which is left out; all there are without it."""
        with self._changed:
            end = len(self.lines) if last is None else self.lines.index(last, self._taken)
            lines = self.lines[self._taken : end]
            self._taken = end + (last is not None)
            return lines

    def join(self):
        self._thread.join(PATIENCE)


class Server:
    """A running `python -m uvicorn` or `python -m fastserve`; `name` says which side of the comparison it is."""

    def __init__(self, name, *arguments):
        self.name = name
        self.arguments = arguments
        self._marks = 0
        self.tls = None
        if "--ssl-certfile" in arguments:
            # Whoever reads the bytes is not concerned with who sends them.
            self.tls = ssl.create_default_context()
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE
        command = [sys.executable, "-m", MODULES[name], *arguments]
        if name == "fastserve":
            command += os.environ.get("PARITY_OPTIONS", "").split()
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("UVICORN_", "FASTSERVE_")) and key not in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
        }
        # Frameworks keep names of methods and cookies in sets.
        environment["PYTHONHASHSEED"] = "0"
        self.process = subprocess.Popen(
            command,
            cwd=normalise.ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        self.output = Lines(self.process.stdout)
        self.errors = Lines(self.process.stderr)

    def wait_until_running(self):
        line = self.errors.find(lambda line: RUNNING.search(normalise.plain(line)))
        if line is None:
            raise AssertionError(f"{self.name} ended with {self.process.wait()}:\n" + "\n".join(self.errors.lines))
        match = RUNNING.search(normalise.plain(line))
        self.address = match["path"] or (match["host"].strip("[]"), int(match["port"]))
        self.started = [*normalise.log(self.errors.take(line)), normalise.log_line(line)]
        return self

    @property
    def url(self):
        return "{}://{}:{}".format("https" if self.tls else "http", *self.address)

    def connect(self):
        return Client(self.address, self.tls)

    # Words with apps/control.py

    def _control(self, path):
        with self.connect() as client:
            client.send(f"GET /control/{path} HTTP/1.1\r\nHost: parity\r\nConnection: close\r\n\r\n".encode())
            response = client.read_response("GET")
        assert response is not None, f"{self.name}: no answer to /control/{path}"
        entries = json.loads(response.body)
        assert " 200 " in response.status_line, f"{self.name}: {path} did not come; the journal has {entries}"
        return entries

    def wait_for(self, key, entry):
        """Returns once the application has written `entry` to the journal `key`."""
        self._control(f"wait/{key}/{quote(entry, safe='')}")

    def release(self, key):
        """Lets the request go that waits for `journal(key).released`."""
        self._control(f"release/{key}")

    def journal(self, key):
        return self._control(f"journal/{key}")

    def take_log(self):
        """What was logged since the last call, normalised: standard error, then standard output (the access log)."""
        self._marks += 1
        self._control(f"mark/{self._marks}")
        mark = self.errors.find(f"MARK {self._marks}".__eq__)
        access = self.output.find(lambda line: f"/control/mark/{self._marks} " in line)
        assert mark is not None, "standard error ended"
        assert access is not None, "standard output ended"
        lines = self.errors.take(mark) + self.output.take(access)
        return [line for line in normalise.log(lines) if "/control/" not in line]

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Waits for the end; the exit status, and all that was logged and not yet taken, normalised."""
        status = self.process.wait(PATIENCE)
        self.errors.join()
        self.output.join()
        lines = normalise.log(self.errors.take() + self.output.take())
        return status, [line for line in lines if "/control/" not in line]

    def kill(self):
        """Ends a process that a failed test has left behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def ask_to_stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)

    def stop(self):
        """Waits for the end that was asked for; what is wrong with it, as text, or an empty string.

        Whatever a test did not take must be the access log of a test that compares other things; a warning, an error
        or a traceback among it is wrong, and so is any line about stopping that is missing or too many.
        """
        try:
            status, lines = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            return f"{self.name} {self.arguments} did not stop; it said:\n" + "\n".join(self.wait()[1])
        left = [line for line in lines if not re.match(r'INFO: .* - "', line) and not WARNINGS_HIDDEN.match(line)]
        wanted = [line for line in STOPPING if "application" not in line.lower() or "Waiting for" in "".join(left)]
        if status != -signal.SIGTERM or [line for line in left if "Waiting for connections" not in line] != wanted:
            return f"{self.name} {self.arguments} ended with {status}, leaving in its log:\n" + "\n".join(left)
        return ""


class Pair:
    """uvicorn and fastserve with the same application and the same options."""

    def __init__(self, application, *options, socket_path=None):
        self.uvicorn, self.fastserve = self.both = [
            # A client that the machine keeps waiting is not one that has nothing to ask.
            Server(
                name,
                application,
                "--timeout-keep-alive",
                "60",
                *options,
                *bind_options(socket_path and f"{socket_path}-{name}"),
            )
            for name in ("uvicorn", "fastserve")
        ]
        for server in self.both:
            server.wait_until_running()

    def ask_to_stop(self):
        for server in self.both:
            server.ask_to_stop()

    def stop(self):
        return [fault for fault in [server.stop() for server in self.both] if fault]


def bind_options(socket_path):
    return ["--uds", socket_path] if socket_path else ["--port", "0"]


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
