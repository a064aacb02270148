from typing import final

from fastserve.protocol._connection import Connection

@final
class ProxyHeader:
    local: bool
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    tls: bool
    reason: str

@final
class ProxyProtocolConnection(Connection): ...

def read_proxy_header(data: bytes) -> tuple[int, ProxyHeader]: ...
