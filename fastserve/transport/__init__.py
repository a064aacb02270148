"""Transports: sockets to connections. The only floor that reads and writes sockets."""
