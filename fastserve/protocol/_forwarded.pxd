# What proxies in front say of a request: X-Forwarded-For and the like, and Forwarded (RFC 7239).

cimport cython
from fastserve._exchange cimport Endpoint, Exchange


@cython.final
cdef class Forwarding:
    cdef object trusted             # TrustedPeers
    # The fields that are read.
    cdef readonly bint addresses    # X-Forwarded-For and X-Forwarded-Proto
    cdef readonly bint host         # X-Forwarded-Host
    cdef readonly bint port         # X-Forwarded-Port
    cdef readonly bint prefix       # X-Forwarded-Prefix
    cdef readonly bint standard     # Forwarded

    # Give the exchange another endpoint if its peer is trusted and says so, before any handler sees it; the Host field
    # too. Returns None, or why the request cannot be served: a field that is on, but does not say what it should.
    cdef str apply(self, Exchange exchange)
    cdef bint _believes(self, Endpoint endpoint) except -1
    cdef Endpoint _derive(self, Endpoint base, bytes own_host, tuple values)
