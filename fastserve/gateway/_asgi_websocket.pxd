# ASGI 3.0 (WebSocket specification 2.5): one WebSocket as receive and send.

cimport cython
from cpython.object cimport PyObject

from fastserve._exchange cimport Exchange
from fastserve._websocket cimport WebSocket
from fastserve.gateway._cycle cimport Cycle
from fastserve.gateway._task cimport TaskDriver


cdef struct WebSocketParts:
    # What a message has under the keys of websocket.send; borrowed, NULL where it has not.
    PyObject* kind
    PyObject* data
    PyObject* text


@cython.final
cdef class WebSocketCycle(Cycle):
    # One call of the application for a WebSocket: its receive, its send, and what becomes of it.
    cdef dict scope                 # until the handshake is answered, for the line in the log; then None
    # Truth values in one byte each: there may be very many idle connections.
    cdef unsigned char connected    # the application has got websocket.connect
    cdef unsigned char told         # and websocket.disconnect
    cdef unsigned char closed       # it has sent websocket.close
    cdef unsigned char denied       # it has begun a response in place of accepting

    cdef dict _message(self, WebSocket websocket)
    # A message in the handshake; _send_late: after the end.
    cdef int _answer(self, object kind, dict message) except -1
    cdef int _send_late(self, object kind) except -1
    cdef int _close(self, dict message) except -1
    # uvicorn's line of how the handshake was answered.
    cdef int _log(self, str line, tuple more) except -1


# Run the application on a WebSocket whose handshake is `exchange`; its first step is made here.
cdef int serve(object application, dict scope, Exchange exchange, TaskDriver tasks, object logger) except -1

# The same items in a dictionary as instances have it: what is copied from it has values of its own, but no keys. That
# is a third of the size, which counts where there are very many, and quicker to make.
cdef dict with_shared_keys(dict items)
