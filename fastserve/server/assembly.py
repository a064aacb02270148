"""One worker put together: gateway over application, protocol over gateway, transport over protocol."""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fastserve.gateway._asgi import AsgiGateway
from fastserve.gateway._wsgi import WsgiGateway
from fastserve.gateway._wsgi_threads import ThreadedGateway
from fastserve.options import DEFAULT_THREADS
from fastserve.protocol._forwarded import Forwarding
from fastserve.protocol._websocket import WebSocketUpgrade
from fastserve.protocol._worker import Worker
from fastserve.server._access_log import LoggingAccessLog
from fastserve.server.config import Config
from fastserve.transport._balance import Balancer
from fastserve.transport._loop import protocol_factory
from fastserve.transport.accept import LoopTransport, NativeTransport, Transport
from fastserve.transport.handshakes import TlsTransport
from fastserve.trust import TrustedPeers
from fastserve.types import ThreadCounts, WorkerProtocol

# A keep-alive time of 0 closes a connection as soon as it is idle; the worker's 0 is no deadline.
_AT_ONCE = 0.001

SWITCH_INTERVAL: Final = 0.0005
"""Seconds for which a thread that computes keeps the others waiting, in workers with such threads. One of the others is
the event loop: with Python's 5 ms it would wait for 40 where eight threads compute."""

LONGEST_BODY: Final = 2**30
"""Bytes of a request's body for a WSGI application, where nobody says how many: it may be on the disk as a whole."""


class Assembly(NamedTuple):
    """A worker, what gives it connections, and its end."""

    worker: WorkerProtocol
    transport: Transport
    close: Callable[[], None]
    """Called when nothing is served any more: closes the transport, stops the worker's clock, writes what the access
    log still holds."""
    threads: ThreadCounts | None = None
    """Of a WSGI application that is called in threads."""


def _forwarding(config: Config, peers: TrustedPeers) -> Forwarding | None:
    if not (config.proxy_headers or config.forwarded or config.forwarded_extra):
        return None
    return Forwarding(
        peers,
        # A proxy that speaks the one lets its clients say what they like in the other.
        addresses=config.proxy_headers and not config.forwarded,
        host=config.forwarded_extra,
        port=config.forwarded_extra,
        prefix=config.forwarded_extra,
        standard=config.forwarded,
    )


def _asgi(config: Config, loop: asyncio.AbstractEventLoop, state: dict[str, Any]) -> AsgiGateway:
    return AsgiGateway(
        config.loaded_app,
        loop,
        root_path=config.root_path,
        state=state,
        task=config.task,
        reset_contextvars=config.reset_contextvars,
        logger=logging.getLogger("fastserve.error"),
    )


def _wsgi(config: Config, loop: asyncio.AbstractEventLoop) -> WsgiGateway:
    threads = DEFAULT_THREADS if config.threads is None else config.threads
    logger = logging.getLogger("fastserve.error")
    if threads == 1:
        return WsgiGateway(
            config.loaded_app, loop, root_path=config.root_path, multiprocess=config.multiprocess, logger=logger
        )
    return ThreadedGateway(
        config.loaded_app,
        loop,
        threads,
        root_path=config.root_path,
        multiprocess=config.multiprocess,
        limit_queue=config.limit_queue,
        timeout_queue=config.timeout_queue,
        logger=logger,
    )


def assemble(
    config: Config, loop: asyncio.AbstractEventLoop, state: dict[str, Any], balancer: Balancer | None = None
) -> Assembly:
    """What serves the loaded application of `config` on `loop`; `state` is the lifespan's.

    balancer: of a worker among others; the event loop's transport has no use for it.
    """
    gateway = _wsgi(config, loop) if config.interface == "wsgi" else _asgi(config, loop, state)
    access_logger = logging.getLogger("fastserve.access")
    access_log = None
    if config.access_log and access_logger.hasHandlers():
        access_log = LoggingAccessLog(access_logger, loop, config.root_path, config.access_log_format)
    peers = config.trusted_peers
    proxies = peers if config.proxy_protocol else None
    certificates = config.load_certificates()
    worker = Worker(
        gateway,
        loop,
        default_fields=config.encoded_headers,
        date_header=config.date_header,
        limit_request_line=min(config.limit_request_line, config.limit_request_head),
        limit_request_head=config.limit_request_head,
        limit_request_fields=config.limit_request_fields,
        limit_request_body=config.limit_request_body or (LONGEST_BODY if config.interface == "wsgi" else None),
        limit_concurrency=config.limit_concurrency,
        timeout_header=config.timeout_header,
        timeout_keep_alive=config.timeout_keep_alive or _AT_ONCE,
        timeout_body=config.timeout_body,
        timeout_write=config.timeout_write,
        timeout_request=config.timeout_request,
        access_log=access_log,
        forwarding=_forwarding(config, peers),
        # Before TLS it is the transport that reads it.
        proxy_protocol=proxies if certificates is None else None,
    )

    # A WSGI application speaks HTTP only.
    if config.ws != "none" and config.interface != "wsgi":
        worker.add_upgrade(
            b"websocket",
            WebSocketUpgrade(
                max_size=config.ws_max_size,
                max_queue=config.ws_max_queue,
                ping_interval=config.ws_ping_interval,
                ping_timeout=config.ws_ping_timeout,
                per_message_deflate=config.ws_per_message_deflate,
                logger=logging.getLogger("fastserve.error"),
            ),
        )
    switch_interval = sys.getswitchinterval()
    if isinstance(gateway, ThreadedGateway):
        gateway.on_refused = worker.refuse
        sys.setswitchinterval(min(switch_interval, SWITCH_INTERVAL))

    transport: Transport
    if certificates is not None:
        transport = TlsTransport(
            worker, loop, protocol_factory(worker), certificates, config.timeout_ssl_handshake, proxies,
            config.timeout_header,
        )  # fmt: skip
    elif config.transport == "loop":
        transport = LoopTransport(loop, protocol_factory(worker))
    else:
        transport = NativeTransport(worker, loop, balancer)

    def close() -> None:
        transport.close()
        worker.close()
        if isinstance(gateway, ThreadedGateway):
            gateway.close()
            sys.setswitchinterval(switch_interval)
        if access_log is not None:
            access_log.close()

    return Assembly(worker, transport, close, gateway if isinstance(gateway, ThreadedGateway) else None)
