# One request and its response (RFC 9110 section 3.9), and the two interfaces that meet at it:
#
#   Handler     what a gateway is: it is handed each new exchange
#   Responder   what a gateway keeps for one running exchange: the protocol tells it what happens on the wire
#
# The protocol derives from Exchange and overrides how bytes are emitted; the gateway reads the request, takes the body
# and calls start / body / trailers. Only `cdef` overrides count: a Python subclass cannot override them, so handlers
# written in Python go through PythonHandler.

cimport cython
from libc.stdint cimport int64_t


cdef enum:
    BODY_HIGH_WATER = 65536         # bytes of request body queued: at more reading stops until they are taken
    OUTPUT_HIGH_WATER = 65536       # bytes of response not yet taken by the kernel: at more the application waits


cdef enum ResponsePhase:
    RESPONSE_EXPECTED               # nothing from the application yet
    RESPONSE_STARTED                # status and fields are known and validated; nothing is on the wire
    RESPONSE_BODY                   # the head has gone out, body bytes may follow
    RESPONSE_TRAILERS               # the body is complete, the application announced trailers
    RESPONSE_COMPLETE


cdef enum Trust:
    TRUST_UNKNOWN                   # nobody has asked
    TRUST_NO
    TRUST_YES


@cython.final
cdef class Endpoint:
    # The facts of one connection that its exchanges share; or what a trusted proxy says they are, for some of them.
    cdef readonly object client     # (host: str, port: int), or None for a Unix socket
    cdef readonly object server     # (host: str, port: int), or (path: str, None)
    cdef readonly str scheme        # "http" or "https"; a proxy may say "ws" or "wss"
    cdef readonly long peer_uid     # the user at the other end of a Unix socket; -1 for other sockets
    cdef readonly bytes prefix      # what a proxy took off the paths, percent-encoded: the root path then; or None
    cdef readonly dict tls          # ASGI's `tls` extension; None without TLS
    cdef object cache               # the gateway's own, for what it derives from the above; None at first
    cdef str _peer
    # Of _forwarded: whether the peer is believed, what it said last, and what came of that.
    cdef Trust trust
    cdef tuple forwarded_values
    cdef Endpoint forwarded
    cdef bytes forwarded_host       # of `forwarded`: in place of the Host field's value, or None

    # The client as host:port for logs, "" on a Unix socket.
    cdef str peer(self)


cdef class Responder:
    # All of these are called by the protocol, outside of any step of the application, and must not raise for reasons
    # of the application's.
    cdef int body_arrived(self) except -1       # the body queue has more, or the request is complete
    cdef int disconnected(self) except -1       # the client is not there any more; exchange.disconnected is set
    cdef int abandoned(self) except -1          # the client has gone in the middle of the response, beyond doubt
    cdef int drained(self) except -1            # exchange.writable() has become true again
    cdef int cancel(self) except -1             # stop the application (deadline, end of the server)
    cdef str thread(self)                       # the name of the one that the application runs in, for logs; or None


cdef class Handler:
    # Begin to answer. The request's head is complete; the body may not be. The response may be complete on return.
    cdef int handle(self, Exchange exchange) except -1


cdef class Served:
    # What an application is called for: an exchange, or the WebSocket that one has become.
    cdef readonly Endpoint endpoint
    cdef readonly bytes raw_path        # the path of the target, still percent-encoded, without query
    cdef Responder responder            # None before handle() sets it and after finished()
    # Seconds on the worker's clock when the head was complete; precise where the access log is told at the end.
    cdef double started
    # The list that this one is linked into; see ServedList. Borrowed references.
    cdef ServedList _list
    cdef void* _previous
    cdef void* _next
    cdef readonly bint disconnected     # the client went away, or the request was cut short
    cdef readonly bint application_done  # finished() was called

    # Hand what is corked to the transport.
    cdef int flush(self) except -1
    # A step of the application is over: flush, and go on with the connection's next request if this one is complete.
    cdef int stepped(self) except -1
    # The application has ended and will not touch it again.
    cdef int finished(self) except -1
    # The method, or "WebSocket", for whoever is shown what runs.
    cdef str label(self)


@cython.final
cdef class ServedList:
    # Those whose application is still running, in no order. Links are borrowed: each unlinks itself in finished(), and
    # its responder keeps it alive until then.
    cdef void* _first
    cdef readonly Py_ssize_t size

    cdef void link(self, Served served) noexcept
    cdef void unlink(self, Served served) noexcept
    cdef list snapshot(self)


cdef class Exchange(Served):
    # Request: set before handle(), never changed after.
    cdef readonly str method
    cdef readonly bytes target          # as on the wire
    cdef readonly bytes query           # without the "?"
    cdef readonly list fields           # of (name, value): bytes, names in lower case
    cdef readonly int minor             # HTTP/1.minor; -1 in a rejected request, where it is not known
    cdef readonly bint accepts_trailers  # the client sent TE: trailers
    # Request body.
    cdef bytes _first                   # the oldest queued piece, or None
    cdef list _rest                     # those behind it, or None
    cdef Py_ssize_t queued              # bytes in the queue
    cdef readonly bint request_complete  # every body byte has been queued
    cdef readonly bint detached         # nothing sent can reach the client any more
    # Response.
    cdef readonly int status            # 0 until start()
    cdef ResponsePhase phase
    # How the gateway answers, set by it before start().
    cdef bytes reason                   # the reason phrase, or None for the usual one
    cdef bint text_fields               # fields are text (PEP 3333), not bytes
    cdef bint measure                   # a response that is complete with its first body() gets a Content-Length
    cdef bint committed                 # some byte of the final response has been handed to the transport
    cdef bytes response_head            # as sent, where the access log wants it; else None
    # What an opening handshake offers, a _websocket.WebSocket (which knows this module); None in other requests, and
    # after finished(). Once it is accepted the exchange is over, and the WebSocket goes on in its place.
    cdef object websocket

    # --- called by the protocol
    cdef int feed(self, const char* data, Py_ssize_t size) except -1
    cdef int end_of_request(self) except -1

    # As new; nothing may refer to it but the caller.
    cdef int reset(self) except -1

    # --- called by the gateway: the request
    # Everything queued so far as one bytes object (b"" when there is nothing). Reading may go on.
    cdef bytes take(self)
    # The application waits for body bytes: the moment to send 100 Continue.
    cdef int want_body(self) except -1

    # --- called by the gateway: the response. Each raises RuntimeError for what the application did wrong, and
    # --- changes nothing then. After the client went away they return 0 and do nothing.
    cdef int start(self, int status, object fields, bint trailers) except -1
    cdef int body(self, object data, bint more) except -1
    cdef int trailers(self, object fields, bint more) except -1
    cdef int inform(self, int status, object fields) except -1
    # Take start() back; False if something of the response is on its way already.
    cdef bint retract(self) except -1
    # Bytes that Content-Length leaves to body(), -1 where none was given.
    cdef int64_t left(self) noexcept
    # The whole body, instead of body(): `count` bytes of the file `fd` from `offset` on, sent by the kernel. The
    # descriptor is the caller's again on return. False, and nothing has changed, where files are not sent.
    cdef bint send_file(self, int fd, int64_t offset, int64_t count) except -1
    # Whether send_file() can be used.
    cdef bint sends_files(self) noexcept
    cdef bint writable(self) noexcept
    # Like flush(), also where handle() has not returned: the application is about to take its time.
    cdef int push(self) except -1
    # The application failed: 500 while nothing is on the wire, else the connection is closed.
    cdef int fail(self) except -1


cdef class AccessLog:
    cdef bint at_end                    # told when a response is over, not when its head goes out
    cdef bint wants_head                # Exchange.response_head is to be there

    # Once per response. sent: bytes of its body; seconds: since the request's head was complete. Both are 0 where the
    # log is not told at the end. A rejected request has "-" for a method and None for a target that are not known.
    cdef int record(self, Exchange exchange, int64_t sent, double seconds) except -1
