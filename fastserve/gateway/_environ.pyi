from collections.abc import Callable, Iterable
from typing import Any, final

class ErrorStream:
    def write(self, text: str) -> int: ...
    def writelines(self, lines: Iterable[str]) -> None: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...

@final
class EnvironTemplate: ...

@final
class EnvironBuilder:
    def __init__(
        self,
        root_path: str = "",
        *,
        multithread: bool = False,
        multiprocess: bool = False,
        file_wrapper: Callable[..., Any] | None = None,
    ) -> None: ...
