from fastserve._exchange import Exchange
from fastserve.protocol._connection import Connection

class Http1Connection(Connection):
    @property
    def busy(self) -> bool: ...

class Http1Exchange(Exchange): ...
