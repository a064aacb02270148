from socket import socket
from typing import final

from fastserve.transport._board import Board

@final
class Balancer:
    board: Board
    slot: int
    cell: int
    def __init__(self, board: Board, slot: int, cell: int) -> None: ...
    def add_slot(self, slot: int, channel: socket) -> None: ...
    def surplus(self) -> int: ...
    def close(self) -> None: ...
