from typing import final

from fastserve._exchange import Exchange
from fastserve.protocol._connection import Connection

@final
class Http1Connection(Connection): ...

@final
class Http1Exchange(Exchange): ...
