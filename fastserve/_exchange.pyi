from collections.abc import Callable
from typing import Any, final

@final
class Endpoint:
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: str
    peer_uid: int
    prefix: bytes | None
    tls: dict[str, Any] | None
    def __init__(
        self,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        scheme: str = "http",
        peer_uid: int = -1,
        prefix: bytes | None = None,
        tls: dict[str, Any] | None = None,
    ) -> None: ...

class Responder: ...
class Handler: ...

class Served:
    endpoint: Endpoint
    raw_path: bytes
    disconnected: bool
    application_done: bool

@final
class ServedList:
    size: int

class Exchange(Served):
    method: str
    target: bytes
    query: bytes
    fields: list[tuple[bytes, bytes]]
    minor: int
    accepts_trailers: bool
    request_complete: bool
    detached: bool
    status: int
    @property
    def http_version(self) -> str: ...

class AccessLog: ...

@final
class PythonExchange(Responder):
    on_body: Callable[[], object] | None
    on_disconnect: Callable[[], object] | None
    on_writable: Callable[[], object] | None
    on_cancel: Callable[[], object] | None
    @property
    def request(self) -> Exchange: ...
    @property
    def complete(self) -> bool: ...
    @property
    def writable(self) -> bool: ...
    def read(self) -> bytes: ...
    def start(self, status: int, fields: list[tuple[bytes, bytes]], *, trailers: bool = False) -> None: ...
    def body(self, data: bytes, *, more: bool = False) -> None: ...
    def trailers(self, fields: list[tuple[bytes, bytes]], *, more: bool = False) -> None: ...
    def inform(self, status: int, fields: list[tuple[bytes, bytes]]) -> None: ...
    def fail(self) -> None: ...

@final
class PythonHandler(Handler):
    def __init__(self, function: Callable[[PythonExchange], object]) -> None: ...
