from collections.abc import Awaitable

from fastserve.gateway._awaitables import Awaited
from fastserve.types import Message

class Cycle(Awaited):
    def receive(self) -> Awaitable[Message]: ...
