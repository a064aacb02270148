"""WSGI applications in ASGI ones, under the name that uvicorn's users import them by."""

from fastserve.server.wsgi import WSGIMiddleware

__all__ = ["WSGIMiddleware"]
