"""One worker put together: gateway over application, protocol over gateway, transport over protocol."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from fastserve.gateway._asgi import AsgiGateway
from fastserve.protocol._worker import Worker
from fastserve.server._access_log import LoggingAccessLog
from fastserve.server.config import Config
from fastserve.transport._loop import protocol_factory
from fastserve.types import WorkerProtocol


def assemble(
    config: Config, loop: asyncio.AbstractEventLoop, state: dict[str, Any]
) -> tuple[WorkerProtocol, Callable[[], asyncio.BaseProtocol]]:
    """A worker for the loaded application of `config`, and the protocol factory for its listening sockets."""
    gateway = AsgiGateway(
        config.loaded_app,
        loop,
        root_path=config.root_path,
        state=state,
        task=config.task,
        reset_contextvars=config.reset_contextvars,
        logger=logging.getLogger("fastserve.error"),
    )
    access_logger = logging.getLogger("fastserve.access")
    worker: WorkerProtocol = Worker(
        gateway,
        loop,
        default_fields=config.encoded_headers,
        date_header=config.date_header,
        limit_request_line=min(config.limit_request_line, config.limit_request_head),
        limit_request_head=config.limit_request_head,
        limit_request_fields=config.limit_request_fields,
        limit_request_body=config.limit_request_body,
        limit_concurrency=config.limit_concurrency,
        timeout_header=config.timeout_header,
        timeout_keep_alive=config.timeout_keep_alive,
        timeout_body=config.timeout_body,
        timeout_write=config.timeout_write,
        timeout_request=config.timeout_request,
        access_log=LoggingAccessLog(access_logger, loop, config.root_path) if config.access_log and access_logger.hasHandlers() else None,
    )
    return worker, protocol_factory(worker)
