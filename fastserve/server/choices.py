"""What an option may be, as dictionaries and lists, for programs that make a command line of their own from uvicorn's.

Their keys are what counts; the values are import strings of what serves here, None for nothing.
"""

from typing import Final

import click

from fastserve.options import LOG_LEVELS, OPTIONS, Choice

__all__ = [
    "HTTP_PROTOCOLS",
    "INTERFACES",
    "INTERFACE_CHOICES",
    "LEVEL_CHOICES",
    "LIFESPAN",
    "LIFESPAN_CHOICES",
    "LOOP_FACTORIES",
    "WS_PROTOCOLS",
    "UvicornDeprecationWarning",
]


class UvicornDeprecationWarning(UserWarning):
    """For filters that name it: nothing here warns of anything in this category."""


def _names(param: str) -> tuple[str, ...]:
    kind = OPTIONS[param].type
    assert isinstance(kind, Choice)
    return (*kind.words, *kind.unlisted)


_LOOPS: Final = {"none": None, "asyncio": "asyncio:SelectorEventLoop", "uvloop": "uvloop:new_event_loop"}

HTTP_PROTOCOLS: dict[str, str] = dict.fromkeys(_names("http"), "fastserve.protocol._http1:Http1Connection")
WS_PROTOCOLS: dict[str, str | None] = {
    name: None if name == "none" else HTTP_PROTOCOLS["auto"] for name in _names("ws")
}
LIFESPAN: dict[str, str] = {
    name: f"fastserve.server.lifespan:Lifespan{'Off' if name == 'off' else 'On'}" for name in _names("lifespan")
}
LOOP_FACTORIES: dict[str, str | None] = {name: _LOOPS.get(name, _LOOPS["uvloop"]) for name in _names("loop")}
INTERFACES: list[str] = list(_names("interface"))

LEVEL_CHOICES: Final = click.Choice(list(LOG_LEVELS))
LIFESPAN_CHOICES: Final = click.Choice(list(LIFESPAN))
INTERFACE_CHOICES: Final = click.Choice(INTERFACES)
