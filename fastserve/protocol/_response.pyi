from typing import final

def imf_fixdate(second: int) -> bytes: ...

@final
class ResponseWriter:
    def __init__(self, fields: list[tuple[bytes, bytes]], date: bool = True) -> None: ...
