from socket import socket

from fastserve.transport._board import Board

class Balancer:
    board: Board
    slot: int
    cell: int
    def __init__(self, board: Board, slot: int, cell: int) -> None: ...
    def add_slot(self, slot: int, channel: socket) -> None: ...
    def close(self) -> None: ...
