"""Programs that speak of uvicorn, run by `python -m fastserve.compat` and by their own `install()`."""

import json
import signal

import pytest

SCRIPT = """
import sys

import uvicorn

async def app(scope, receive, send):
    body = sys.modules["uvicorn"].Server.__module__.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

if __name__ == "__main__":
    uvicorn.run(sys.argv[1] if len(sys.argv) > 2 else app, port=0, workers=int(sys.argv[-1]), lifespan="off")
"""

INSTALLED = "import fastserve.compat\nfastserve.compat.install()\n"

UNTIL_SIGNALLED = """
import uvicorn

if __name__ == "__main__":
    config = uvicorn.Config("program:app", port=0, workers=2, lifespan="off")
    uvicorn.supervisors.Multiprocess(config, sockets=[config.bind_socket()]).run()
"""


@pytest.fixture
def program(folder):
    def write(text):
        (folder / "program.py").write_text(text)

    return write


@pytest.mark.parametrize("arguments", [["1"], ["program:app", "2"]], ids=["one process", "workers"])
def test_a_script(start, program, arguments):
    program(SCRIPT)
    process = start("program.py", *arguments, server="fastserve.compat")
    assert process.get()[1] == b"fastserve.server.server"
    assert process.stop() == 0


def test_workers_of_a_script_that_installs_by_itself(start, program, folder):
    program(SCRIPT.replace("import uvicorn", INSTALLED + "import uvicorn"))
    (folder / "begin.py").write_text(INSTALLED + "import uvicorn\nif __name__ == '__main__':\n"
                                     "    uvicorn.run('program:app', port=0, workers=2, lifespan='off')\n")  # fmt: skip
    (folder / "program.py").write_text(SCRIPT)
    process = start(server="begin")
    assert process.get()[1] == b"fastserve.server.server"
    assert process.stop() == 0


@pytest.mark.parametrize("arguments", [["-m", "uvicorn"], ["uvicorn"]])
def test_the_command(start, arguments):
    process = start(*arguments, "webapp:app", "--port", "0", server="fastserve.compat")
    assert process.get("/x")[1] == b"/x"
    assert process.stop() == 0


def test_a_supervisor_of_the_programs_own(start, program):
    program(SCRIPT.split("if __name__")[0] + UNTIL_SIGNALLED)
    process = start("program.py", server="fastserve.compat")
    process.wait_for("Started server process", 2)
    assert process.get()[1] == b"fastserve.server.server"
    assert process.stop(signal.SIGTERM) == 0


def test_a_reloader_of_the_programs_own(start, program, folder):
    program(SCRIPT.split("if __name__")[0] + UNTIL_SIGNALLED.replace("workers=2", "reload=True").replace(
        "supervisors.Multiprocess(config, ", "supervisors.ChangeReload(config, target=uvicorn.Server(config).run, "
    ))  # fmt: skip
    process = start("program.py", server="fastserve.compat")
    process.wait_for("Started server process")
    assert process.get()[1] == b"fastserve.server.server"
    (folder / "another.py").write_text("")
    process.wait_for("Started server process", 2)
    assert process.get()[1] == b"fastserve.server.server"
    assert process.stop(signal.SIGTERM) == 0


LOGS = """
import logging

class NotHealth(logging.Filter):
    def filter(self, record):
        return "/health" not in record.getMessage()

logging.getLogger("uvicorn.access").addFilter(NotHealth())

async def app(scope, receive, send):
    logging.getLogger("uvicorn").info("said by the application")
    logging.getLogger("uvicorn.error").warning("and on %s", scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
"""


@pytest.mark.parametrize(
    "arguments", [[], ["--workers", "2"], ["--preload"]], ids=["one process", "workers", "preload"]
)
def test_what_an_application_does_to_uvicorns_loggers_is_done_to_ours(start, program, arguments):
    program(LOGS)
    process = start("program:app", "--port", "0", "--lifespan", "off", *arguments)
    process.get("/health")
    process.get("/last")
    process.wait_for("GET /last")
    assert process.stop() == 0
    assert process.stderr.count("INFO:     said by the application") == 2
    assert "WARNING:  and on /health" in process.stderr
    assert [line.split('"')[1] for line in process.stdout] == ["GET /last HTTP/1.1"]


LOG_CONFIG = {
    "version": 1,
    "formatters": {
        "default": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s [%(name)s] %(message)s"},
        "access": {"()": "uvicorn.logging.AccessFormatter", "fmt": "ACCESS %(request_line)s %(status_code)s"},
    },
    "handlers": {
        "default": {"class": "logging.StreamHandler", "formatter": "default"},
        "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["default"], "level": "INFO"},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_logging_configuration_for_uvicorn_and_our_own_command(start, folder, workers):
    (folder / "log.json").write_text(json.dumps(LOG_CONFIG))
    process = start("webapp:app", "--port", "0", "--log-config", "log.json", "--workers", workers)
    process.wait_for(r"^INFO:     \[uvicorn\.error\] Started server process", int(workers))
    assert process.get("/x")[1] == b"/x"
    process.wait_for(r"^ACCESS GET /x HTTP/1\.1 200 OK$")
    assert process.stop() == 0
