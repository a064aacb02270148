# cython: auto_pickle=False
"""Awaitables of the ASGI gateway: finished ones without a future, and one that the protocol wakes.

How it works. `await x` asks `x.__await__()` for an iterator and calls its `__next__` until that ends; the value is in
the StopIteration. An end without a value needs no exception at all: NULL alone will do (a bare `raise StopIteration`
compiles to that). An end with a value needs an exception object from 3.12 on; `fastserve_end` makes it the short way.

`Waiter` pulls: it asks its source for the value in the very step that delivers it, never before. Whatever happens to a
waiter between the wake-up and that step (it is cancelled, another receiver is quicker), the value stays where it is.
"""

cimport cython

from fastserve.gateway._task cimport RequestTask, Suspension, TaskOwner

cdef extern from *:
    """
    /* Set a StopIteration with this value, as a generator that returns it does. */
    static void fastserve_end(PyObject *value) {
    #if PY_VERSION_HEX >= 0x030C0000
        /* Straight through tp_new: calling the type would pack the value into a tuple twice. */
        static PyObject *nothing = NULL;
        PyObject *end;
        if (nothing == NULL && (nothing = PyTuple_New(0)) == NULL)
            return;
        end = ((PyTypeObject *)PyExc_StopIteration)->tp_new((PyTypeObject *)PyExc_StopIteration, nothing, NULL);
        if (end == NULL)
            return;
        Py_XSETREF(((PyStopIterationObject *)end)->value, Py_NewRef(value));
        PyErr_SetRaisedException(end);
    #else
        /* No instance is made unless somebody looks at it. A tuple or an exception would be taken for its arguments or
           itself. */
        if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
            PyObject *end = PyObject_CallOneArg(PyExc_StopIteration, value);
            if (end == NULL)
                return;
            PyErr_SetObject(PyExc_StopIteration, end);
            Py_DECREF(end);
        }
        else
            PyErr_SetObject(PyExc_StopIteration, value);
    #endif
    }
    """
    void fastserve_end(object value) noexcept


cdef object thrown(object kind, object value, object traceback):
    """The exception that coroutine.throw() is to raise, given one to three arguments as generators take them."""
    if isinstance(kind, type):
        error = value if isinstance(value, kind) else kind() if value is None else kind(value)
    else:
        error = kind
    return error if traceback is None else error.with_traceback(traceback)


@cython.final
cdef class Ready:
    """An awaitable that is finished: `await` gives None."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value, /):
        raise StopIteration

    def throw(self, kind, value=None, traceback=None, /):
        raise thrown(kind, value, traceback)

    def close(self):
        pass


cdef Ready READY = Ready.__new__(Ready)


@cython.final
@cython.freelist(16)
cdef class ReadyValue:
    """An awaitable that is finished: `await` gives its value."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        fastserve_end(self.value)
        raise StopIteration

    def send(self, value, /):
        raise StopIteration(self.value)

    def throw(self, kind, value=None, traceback=None, /):
        raise thrown(kind, value, traceback)

    def close(self):
        pass


cdef ReadyValue ready_value(object value):
    cdef ReadyValue ready = ReadyValue.__new__(ReadyValue)
    ready.value = value
    return ready


@cython.final
cdef class _NotYet:
    def __repr__(self):
        return "NOT_YET"


cdef object NOT_YET = _NotYet.__new__(_NotYet)


cdef class Awaited(TaskOwner):
    """Something whose next value can be awaited."""

    cdef object awaited(self, int kind):
        return NOT_YET

    cdef Waiter wait(self, int kind):
        cdef Waiter waiter = Waiter.__new__(Waiter)
        waiter.source = self
        waiter.kind = kind
        return waiter

    cdef int wake(self, int kind) except -1:
        cdef Waiter waiter = self.first
        cdef list before
        if waiter is None:
            return 0
        if self.others is None:
            if waiter.kind != kind:
                return 0
            self.first = None
            return waiter.wake_up()
        # Taken apart before anybody is woken: who asks in vain waits again.
        before = [waiter, *self.others]
        self.others = [waiter for waiter in before if waiter.kind != kind]
        self.first = None
        self._close_up()
        failure = None
        for waiter in before:
            if waiter.kind == kind:
                try:
                    waiter.wake_up()
                except BaseException as error:
                    failure = error
        if failure is not None:
            raise failure
        return 0

    cdef int _close_up(self) except -1:
        # The first of the others in front, if nobody is there.
        if self.first is None and self.others:
            self.first = self.others.pop(0)
        if not self.others:
            self.others = None
        return 0


@cython.final
cdef class Waiter(Suspension):
    """A coroutine that ends with its source's next value and meanwhile suspends whoever awaits it."""

    cdef int wake_up(self) except -1:
        future = self.future
        if future is not None:
            if not future.done():
                future.set_result(None)
            return 0
        return self.resume()

    cdef int forget(self) except -1:
        """Wait no more."""
        cdef Awaited source = self.source
        self.source = None
        self.future = None
        self.waiting = None
        if source is None:
            return 0
        if source.first is self:
            source.first = None
        elif source.others is not None and self in source.others:
            source.others.remove(self)
        else:
            return 0
        return source._close_up()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef Awaited source = self.source
        if source is None:
            raise RuntimeError("this has been awaited already")
        if self.waiting is not None or (self.future is not None and not self.future.done()):
            raise RuntimeError("this is being awaited already")
        try:
            value = source.awaited(self.kind)
        except BaseException:
            self.forget()
            raise
        if value is not NOT_YET:
            self.forget()
            fastserve_end(value)
            raise StopIteration

        if source.first is None:
            source.first = self
        elif source.others is None:
            source.others = [self]
        else:
            source.others.append(self)
        if type(source.driver.current()) is RequestTask:
            self.future = None
            return self
        self.future = source.driver.create_future()
        self.future._asyncio_future_blocking = True
        return self.future

    def send(self, value, /):
        return next(self)

    def throw(self, kind, value=None, traceback=None, /):
        self.forget()
        raise thrown(kind, value, traceback)

    def close(self):
        self.forget()
