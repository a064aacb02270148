from asyncio import AbstractEventLoop
from logging import Logger
from typing import final

from fastserve._exchange import AccessLog

@final
class LoggingAccessLog(AccessLog):
    def __init__(
        self, logger: Logger, loop: AbstractEventLoop, root_path: str = "", line_format: str | None = None
    ) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
