# One call of an ASGI application: what is the same of it for an exchange and for a WebSocket. How it is called, its
# task, who waits in its receive and send, and what the protocol tells.
#
# What belongs here: nothing that knows a scope or a message. What does not: those (_asgi, _asgi_websocket), and the
# awaiting (_awaitables).

from fastserve._exchange cimport Served
from fastserve.gateway._awaitables cimport Awaited


cdef enum AwaitedKind:
    MESSAGE         # receive() has something to answer
    ROOM            # the client keeps up


cdef class Cycle(Awaited):
    cdef Served served              # what the application is called for; None before and after
    cdef object logger              # told of the application's errors
    cdef object task                # RequestTask or asyncio.Task; None before the first suspension and after the end
    # Truth values in one byte each: there may be very many idle WebSockets.
    cdef unsigned char first_step   # the application is in the step that call() makes
    cdef unsigned char cancelled    # by the server

    # Call the application; the first step of its task is made here. Answers the task, which may have ended, or None:
    # it has ended before there was one.
    cdef object call(self, object application, dict scope, object receive, object send)

    # Hand what is corked to the transport. Inside a step of our own task that can wait until the step is over.
    cdef int flush(self) except -1

    # The application has ended, as task_finished() says: complete what it has left open.
    cdef int ended(self, object result, object exception) except -1
    # Log what it has raised, unless the server has cancelled it.
    cdef int log_failure(self, object exception) except -1


# The descriptor of receive(), for fastserve_bind.
cdef object RECEIVE
