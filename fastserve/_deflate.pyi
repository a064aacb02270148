from typing import final

class InflateError(ValueError): ...

@final
class Deflate:
    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int

def negotiate(field_values: list[bytes]) -> tuple[Deflate, bytes] | tuple[None, None]: ...
