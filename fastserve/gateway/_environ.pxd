# The environ of a WSGI application (PEP 3333), made of an exchange.

cimport cython
from fastserve._exchange cimport Endpoint, Exchange


@cython.final
cdef class EnvironTemplate:
    # The environ of a connection's latest request, for the next one: clients send much the same head again and again.
    cdef dict environ               # all of it, but what each request has as its own is None
    cdef list fields                # the request's, as they came
    cdef list keys                  # of each field, its key in the environ; None where a field is one of several
    cdef str method
    cdef bytes target
    cdef int minor


@cython.final
cdef class EnvironBuilder:
    cdef dict constant              # what is the same for all requests
    cdef bytes root_path
    cdef dict keys                  # a field's name -> its key in the environ, or None if it has no place there

    # A new dictionary. wsgi.input and wsgi.early_hints are yet to be set.
    cdef dict build(self, Exchange exchange)
    cdef EnvironTemplate _template(self, Exchange exchange)
    cdef int _describe(self, dict environ, Endpoint endpoint) except -1
    cdef int _split(self, dict environ, Exchange exchange) except -1
    cdef object _key(self, bytes name)
