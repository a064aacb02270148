from asyncio import AbstractEventLoop
from logging import Logger

from fastserve._exchange import AccessLog as AccessLogBase

class AccessLog(AccessLogBase):
    def __init__(self, logger: Logger, loop: AbstractEventLoop, root_path: str = "") -> None: ...
    def flush(self) -> None: ...
