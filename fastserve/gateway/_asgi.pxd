# ASGI 3.0 (HTTP and WebSocket specification 2.5): exchanges to scope, receive and send. What follows the scope of a
# WebSocket is _asgi_websocket's.

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastserve._exchange cimport Exchange, Handler
from fastserve.gateway._cycle cimport Cycle
from fastserve.gateway._task cimport TaskDriver


cdef enum:
    SCOPE_FIXED = 10                # items of a scope that are the same for a request that is repeated: the first ones
    SCOPE_DICTS = 3                 # dictionaries that each request has as its own


@cython.final
cdef class ScopeTemplate:
    # The scope of a connection's latest request, for the next one: clients often ask for the same thing again (health
    # checks, polling), and what the connection itself contributes never changes.
    cdef dict scope                 # asgi, extensions, state and headers are None: each request has its own
    cdef PyObject* values[SCOPE_FIXED]  # the others' values in the order of the items; borrowed from `scope`
    cdef str method
    cdef bytes target
    cdef int minor


@cython.final
cdef class AsgiGateway(Handler):
    cdef object application
    cdef object loop
    cdef TaskDriver tasks
    cdef object logger
    cdef dict state                 # of the lifespan; every request gets a shallow copy
    cdef str root_path
    cdef bytes raw_root_path
    # For the next request: the cycle of one that nobody looks at any more, and its receive and send. Or None.
    cdef AsgiCycle spare
    cdef object spare_receive
    cdef object spare_send
    cdef dict spare_scope           # what `lent` describes

    # What the scope handed out last was then. Borrowed references: true as long as the scope's version is still the
    # same, and only compared otherwise.
    cdef PyObject* lent
    cdef uint64_t lent_version
    cdef PyObject* lent_values[SCOPE_FIXED]
    cdef PyObject* lent_dicts[SCOPE_DICTS]  # asgi, state and extensions
    cdef uint64_t lent_dict_versions[SCOPE_DICTS]
    cdef uint64_t lent_state        # the version of `state` that was copied
    cdef int lent_minor

    cdef dict _scope(self, Exchange exchange)
    cdef dict _websocket_scope(self, Exchange exchange)
    cdef ScopeTemplate _template(self, Exchange exchange)
    cdef bint _unchanged(self, dict scope) noexcept
    cdef int _keep(self, AsgiCycle cycle, object receive, object send) except -1


cdef struct MessageParts:
    # What a message has under the keys of http.response.start and http.response.body; borrowed, NULL where it has not.
    PyObject* kind
    PyObject* status
    PyObject* headers
    PyObject* trailers
    PyObject* body
    PyObject* more_body


@cython.final
cdef class AsgiCycle(Cycle):
    # One call of the application for an exchange: its receive, its send, and what becomes of it.
    cdef bint body_ended            # the application has got the message with more_body=False
    cdef bint listens               # the application has asked for messages that can only be a disconnect

    cdef dict _message(self, Exchange exchange)
    cdef int _start(self, Exchange exchange, MessageParts* parts) except -1
    cdef int _hint(self, Exchange exchange, dict message) except -1
