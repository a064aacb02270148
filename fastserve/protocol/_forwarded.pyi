from typing import final

from fastserve.trust import TrustedPeers

@final
class Forwarding:
    addresses: bool
    host: bool
    port: bool
    prefix: bool
    standard: bool
    def __init__(
        self,
        trusted: TrustedPeers,
        *,
        addresses: bool = True,
        host: bool = False,
        port: bool = False,
        prefix: bool = False,
        standard: bool = False,
    ) -> None: ...

class MalformedError(ValueError): ...

def parse_forwarded(value: str) -> list[dict[str, str]]: ...
