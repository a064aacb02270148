"""Protocols: bytes to exchanges and back, one connection at a time. No sockets, no event loop."""
