"""One call of an ASGI application: what it is for an exchange and for a WebSocket alike."""

from asyncio import CancelledError

from fastserve.gateway._awaitables cimport Awaited
from fastserve.gateway._task cimport as_coroutine

cdef extern from *:
    """
    static PyObject *fastserve_call(PyObject *callable, PyObject *scope, PyObject *receive, PyObject *send) {
        PyObject *arguments[4] = {NULL, scope, receive, send};
        return PyObject_Vectorcall(callable, arguments + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    """
    object fastserve_call(object callable, object scope, object receive, object send)


cdef class Cycle(Awaited):
    """One call of an ASGI application."""

    def receive(self):
        """Return an awaitable of the next message of the kind that the scope's type has."""
        return self.wait(MESSAGE)

    cdef object call(self, object application, dict scope, object receive, object send):
        cdef object task
        try:
            coroutine = as_coroutine(fastserve_call(application, scope, receive, send))
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            self.task_finished(None, error)
            return None
        self.first_step = True
        task = self.driver.start(coroutine, self)
        self.first_step = False
        if not self.served.application_done:
            self.task = task
        return task

    cdef int flush(self) except -1:
        if self.first_step or (self.task is not None and self.driver.current() is self.task and self.driver.native):
            return 0
        return self.served.flush()

    # --- what the protocol tells

    cdef int body_arrived(self) except -1:
        return self.wake(MESSAGE) if self.first is not None else 0

    cdef int drained(self) except -1:
        return self.wake(ROOM) if self.first is not None else 0

    cdef int disconnected(self) except -1:
        self.drained()
        return self.body_arrived()

    cdef int cancel(self) except -1:
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()
        return 0

    # --- what the task tells

    cdef int task_suspended(self) except -1:
        return self.served.stepped()

    cdef int task_finished(self, object result, object exception) except -1:
        self.task = None
        self.ended(result, exception)
        self.served.finished()
        return self.served.stepped()

    cdef int ended(self, object result, object exception) except -1:
        return 0

    cdef int log_failure(self, object exception) except -1:
        if not (self.cancelled and isinstance(exception, CancelledError)):
            self.logger.error("Exception in ASGI application\n", exc_info=exception)
        return 0


cdef object RECEIVE = Cycle.__dict__["receive"]
