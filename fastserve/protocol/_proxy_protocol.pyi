from fastserve.protocol._connection import Connection

class ProxyHeader:
    local: bool
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    tls: bool
    reason: str

class ProxyProtocolConnection(Connection): ...

def read_proxy_header(data: bytes) -> tuple[int, ProxyHeader]: ...
