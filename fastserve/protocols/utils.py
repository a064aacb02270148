"""The names that applications and middleware import from uvicorn's module of this name."""

import urllib.parse

from fastserve.errors import ClientDisconnected
from fastserve.types import Scope

__all__ = ["ClientDisconnected", "get_client_addr", "get_path_with_query_string"]


def get_client_addr(scope: Scope) -> str:
    """`address:port` of the client; an empty string where it has none, as on a Unix socket."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def get_path_with_query_string(scope: Scope) -> str:
    """The path, quoted, with the query string."""
    path = urllib.parse.quote(scope["path"])
    query: bytes = scope["query_string"]
    return f"{path}?{query.decode('ascii')}" if query else path
