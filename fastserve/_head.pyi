from typing import final

@final
class HeadMemory:
    def __init__(
        self, fields: int = 100, *, limit_request_line: int = 8192, limit_request_head: int = 65536
    ) -> None: ...
