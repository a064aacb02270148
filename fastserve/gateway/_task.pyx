# cython: auto_pickle=False
"""The task of a request: drives the application's coroutine and is an asyncio task to everybody who looks.

How it works. asyncio documents tasks made by third parties: whoever steps a coroutine says so with `_enter_task()` and
`_leave_task()`, and lists it with `_register_task()`. `RequestTask` is such a task. Its first step is made inside the
I/O callback that brought the request, so that a coroutine that never waits never meets the loop's queue, is never
listed and costs little more than a bare `send(None)`. When the coroutine waits for a future, the task does exactly what
`asyncio.Task` does; when it waits for a `Suspension`, the protocol steps it from the next I/O callback.

A step runs in the request's own context. When a loop callback makes the step, the loop has entered that context
already; when we make it, we do.
"""

import asyncio
import contextvars
import inspect
import itertools
import sys
import types
from asyncio import base_tasks, futures, tasks

cimport cython
from cpython.dict cimport PyDict_DelItem, PyDict_GetItemWithError, PyDict_Next, PyDict_SetDefault, PyDict_Size
from cpython.ref cimport PyObject

cdef extern from *:
    """
    /* The raised exception as an instance that carries its traceback, and the error indicator cleared. */
    static PyObject *fastserve_take_raised(void) {
    #if PY_VERSION_HEX >= 0x030C0000
        return PyErr_GetRaisedException();
    #else
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        if (traceback != NULL) {
            PyException_SetTraceback(value, traceback);
            Py_DECREF(traceback);
        }
        Py_DECREF(type);
        return value;
    #endif
    }

    /* Whether the caller's is the only reference, weak ones included. */
    static inline int fastserve_unknown(PyObject *task) {
        return Py_REFCNT(task) == 1 && *(PyObject **)((char *)task + Py_TYPE(task)->tp_weaklistoffset) == NULL;
    }

    /* A step answers what was yielded (*outcome 1), what was returned (0), or the exception that was raised (-1). It is
       in C because a traceback should begin with the coroutine's frame, and Cython would put its own before it. */
    static PyObject *fastserve_send(PyObject *coroutine, int *outcome) {
        PyObject *result = NULL;
        PySendResult sent = PyIter_Send(coroutine, Py_None, &result);
        *outcome = sent == PYGEN_NEXT ? 1 : sent == PYGEN_RETURN ? 0 : -1;
        return sent == PYGEN_ERROR ? fastserve_take_raised() : result;
    }

    static PyObject *fastserve_throw(PyObject *coroutine, PyObject *name, PyObject *error, int *outcome) {
        PyObject *value, *result = PyObject_CallMethodOneArg(coroutine, name, error);
        *outcome = 1;
        if (result != NULL)
            return result;
        result = fastserve_take_raised();
        *outcome = -1;
        if (!PyErr_GivenExceptionMatches(result, PyExc_StopIteration))
            return result;
        value = ((PyStopIterationObject *)result)->value;
        value = Py_NewRef(value == NULL ? Py_None : value);
        Py_DECREF(result);
        *outcome = 0;
        return value;
    }

    /* What future.result() raises, or None. */
    static PyObject *fastserve_failure(PyObject *future, PyObject *name) {
        PyObject *value = PyObject_CallMethodNoArgs(future, name);
        if (value == NULL)
            return fastserve_take_raised();
        Py_DECREF(value);
        Py_RETURN_NONE;
    }
    """
    bint fastserve_unknown(object task) noexcept
    object fastserve_send(object coroutine, int* outcome)
    object fastserve_throw(object coroutine, object name, object error, int* outcome)
    object fastserve_failure(object future, object name)

cdef extern from "Python.h":
    object PyContext_New()
    object PyContext_Copy(object context)
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) noexcept
    void PyErr_Clear() noexcept
    int PyContext_Exit(object context) except -1

cdef object CoroutineType = types.CoroutineType
cdef object Task = asyncio.Task
cdef object CancelledError = asyncio.CancelledError
cdef object InvalidStateError = asyncio.InvalidStateError
cdef object copy_context = contextvars.copy_context
cdef object future_loop = futures._get_loop
cdef object format_task = base_tasks._task_repr
cdef object task_stack = base_tasks._task_get_stack
cdef object print_task_stack = base_tasks._task_print_stack
cdef object next_number = itertools.count(1).__next__

# Until 3.13 uncancel() to zero left a cancellation that was not delivered yet in place.
cdef bint UNCANCEL_CLEARS = sys.version_info >= (3, 13)


def _raise(exception):
    raise exception


async def _await(awaitable):
    return await awaitable


cdef object as_coroutine(object awaitable):
    if type(awaitable) is CoroutineType or asyncio.iscoroutine(awaitable):
        return awaitable
    if inspect.isawaitable(awaitable):
        return _await(awaitable)
    raise TypeError(f"{type(awaitable).__name__!r} object cannot be awaited")


cdef class TaskOwner(Responder):
    """Whatever a task works for. Not to be made from Python: its methods are C functions."""

    cdef int task_suspended(self) except -1:
        return 0

    cdef int task_finished(self, object result, object exception) except -1:
        return 0


@cython.final
cdef class TaskDriver:
    """Starts the tasks of one worker.

    `loop` is the worker's event loop. `mode` is "native" (a `RequestTask` for each coroutine), "asyncio" (the loop's
    own tasks) or "auto": native, unless the loop is in debug mode or has a task factory. Each task runs in its own copy
    of the context in which the driver is made or, with `empty_context`, in an empty one. Raises ValueError for another
    mode.
    """

    def __init__(self, loop, str mode="auto", *, bint empty_context=False):
        if mode not in ("auto", "native", "asyncio"):
            raise ValueError(f"task mode {mode!r}: choose auto, native or asyncio")
        self.loop = loop
        self.mode = mode
        self.base_context = None if empty_context else PyContext_CopyCurrent()
        self.current_tasks = _shown_current_tasks()
        self.enter_task = tasks._enter_task
        self.leave_task = tasks._leave_task
        self.current_task = tasks.current_task
        self.register_task = tasks._register_task
        self.unregister_task = tasks._unregister_task
        self.call_soon = loop.call_soon
        self.create_future = loop.create_future
        self.choose()

    cpdef int choose(self) except -1:
        """Decide again between our own tasks and asyncio's, for the tasks to come."""
        if self.mode == "auto":
            self.native = not self.loop.get_debug() and self.loop.get_task_factory() is None
        else:
            self.native = self.mode == "native"
        return 0

    cdef object start(self, object coroutine, TaskOwner owner):
        cdef RequestTask task
        if self.native:
            task = new_task(self, coroutine, owner)
            task.begin()
            return task
        context = PyContext_New() if self.base_context is None else PyContext_Copy(self.base_context)
        # A task copies the context in which it is made. That serves factories that know no `context` argument, too.
        plain = context.run(self.loop.create_task, coroutine)
        plain.add_done_callback(_OutcomeReport.__new__(_OutcomeReport, owner), context=context)
        return plain

    cdef int keep(self, object task) except -1:
        cdef RequestTask ended
        if type(task) is not RequestTask or not fastserve_unknown(task):
            return 0
        ended = <RequestTask> task
        if ended.state == TASK_PENDING or ended.details is not None:
            return 0
        ended.driver = None
        ended.coroutine = ended.context = ended.value = ended.error = None
        ended.cancel_requests = 0
        ended.must_cancel = ended.blocking = False
        self.spare = ended
        return 0

    cdef bint enter(self, RequestTask task) except -1:
        """Make `task` the current one, unless there is one."""
        cdef dict current = self.current_tasks
        cdef Py_ssize_t before
        if current is not None:
            before = PyDict_Size(current)
            PyDict_SetDefault(current, self.loop, task)
            return PyDict_Size(current) > before
        try:
            self.enter_task(self.loop, task)
        except RuntimeError:
            return False
        return True

    cdef int leave(self, RequestTask task) except -1:
        cdef dict current = self.current_tasks
        cdef Py_ssize_t position = 0
        cdef PyObject* loop
        cdef PyObject* entered
        # Nearly always there is but one loop, and so one item.
        if current is not None and PyDict_Next(current, &position, &loop, &entered) and (
                entered is <PyObject*> task and loop is <PyObject*> self.loop):
            return PyDict_DelItem(current, self.loop)
        self.leave_task(self.loop, task)
        return 0

    cdef object current(self):
        cdef PyObject* task
        if self.current_tasks is None:
            return self.current_task(self.loop)
        task = PyDict_GetItemWithError(self.current_tasks, self.loop)
        return None if task is NULL else <object> task


cdef dict _shown_current_tasks():
    # Where asyncio notes the current tasks, which saves four calls for each step: believed only if what its functions
    # do can be seen there.
    current = getattr(tasks, "_current_tasks", None)
    loop = object()
    task = object()
    if type(current) is not dict:
        return None
    tasks._enter_task(loop, task)
    entered = current.get(loop) is task
    tasks._leave_task(loop, task)
    return current if entered and loop not in current else None


@cython.final
@cython.internal
cdef class _OutcomeReport:
    """Done callback of a plain asyncio task: passes its outcome to the owner."""

    cdef TaskOwner owner

    def __cinit__(self, TaskOwner owner):
        self.owner = owner

    def __call__(self, task):
        cdef TaskOwner owner = self.owner
        self.owner = None
        error = fastserve_failure(task, "result")
        owner.task_finished(task.result() if error is None else None, error)


cdef class Suspension:
    """What a coroutine yields to be resumed by its own `RequestTask`, straight from an I/O callback."""

    cdef int resume(self) except -1:
        cdef RequestTask task = self.waiting
        if task is None or self.resumed:
            return 0
        self.resumed = True
        self.waiting = None
        return task.step(None, True)

    def cancel(self, msg=None):
        """Have CancelledError thrown into the waiting coroutine from the loop; False if it no longer waits."""
        cdef RequestTask task = self.waiting
        if task is None or self.resumed:
            return False
        self.resumed = True
        self.waiting = None
        task.step_later(CancelledError() if msg is None else CancelledError(msg))
        return True

    def done(self):
        """Whether the coroutine has been, or is about to be, resumed."""
        return self.resumed


@cython.final
cdef class TaskDetails:
    """What few tasks have: a name, done callbacks, a cancellation or an exception. Only C reaches into it."""


cdef RequestTask new_task(TaskDriver driver, object coroutine, TaskOwner owner):
    cdef RequestTask task = driver.spare
    if task is None:
        task = RequestTask.__new__(RequestTask)
    else:
        driver.spare = None
    task.driver = driver
    task.owner = owner
    task.coroutine = coroutine
    task.context = PyContext_New() if driver.base_context is None else PyContext_Copy(driver.base_context)
    task.state = TASK_PENDING
    task._log_destroy_pending = True
    return task


@cython.final
cdef class RequestTask:
    """An asyncio task made by fastserve: same methods, same life, but its first step is made at once.

    It is made by the server, or by `run()`. `isinstance(task, asyncio.Task)` holds. Two differences show: the name is
    "Request-N", and `asyncio.all_tasks()` has the task only from the first time it waits until its end.
    """

    def __init__(self):
        raise TypeError("a RequestTask is made by the server")

    def __del__(self):
        if self.state == TASK_PENDING and self._log_destroy_pending:
            self.driver.loop.call_exception_handler(
                {"task": self, "message": "Task was destroyed but it is pending!"}
            )

    @property
    def __class__(self):
        return Task

    def __repr__(self):
        return format_task(self)

    # Stepping.

    cdef int begin(self) except -1:
        return self.step(None, True)

    cdef int step(self, object error, bint enter_context) except -1:
        """Resume the coroutine, throwing `error` into it unless that is None.

        `enter_context` says that the caller is not a loop callback that runs in the request's context already. The step
        is put off to the loop where it cannot be made now: another task is current, or the context is in use.
        """
        cdef TaskOwner owner
        cdef int outcome = 0
        cdef bint fatal = False
        if enter_context and PyContext_Enter(self.context) < 0:
            PyErr_Clear()
            return self.step_later(error)
        if not self.driver.enter(self):
            if enter_context:
                PyContext_Exit(self.context)
            return self.step_later(error)

        if self.must_cancel:
            if not isinstance(error, CancelledError):
                error = self._make_cancelled_error()
            self.must_cancel = False
        self.waiter = None
        if error is None:
            result = fastserve_send(self.coroutine, &outcome)
        else:
            result = fastserve_throw(self.coroutine, "throw", error, &outcome)
            error = None

        try:
            if outcome == 1:
                self.wait_for(result)
            elif outcome == 0:
                self.value = result
                if self.must_cancel:
                    self.must_cancel = False
                    self.complete(TASK_CANCELLED)
                else:
                    self.complete(TASK_FINISHED)
            elif isinstance(result, CancelledError):
                self.made_details().cancelled_error = result
                self.complete(TASK_CANCELLED)
            else:
                self.error = result
                self.made_details().traceback = result.__traceback__
                fatal = isinstance(result, (KeyboardInterrupt, SystemExit))
                self.complete(TASK_FINISHED)
        finally:
            self.driver.leave(self)
            if enter_context:
                PyContext_Exit(self.context)

        if outcome == 1:
            return self.owner.task_suspended()
        owner = self.owner
        self.owner = None
        if outcome == 0:
            return owner.task_finished(result, None)
        owner.task_finished(None, result)
        if fatal:
            # These are to leave run_forever(). The loop lets them through from its own callbacks; the code between an
            # I/O callback and us (a transport's) may not.
            if enter_context:
                self.driver.call_soon(_raise, result)
            else:
                raise result
        return 0

    cdef int wait_for(self, object yielded) except -1:
        """See to it that a step follows when `yielded`, which the coroutine waits for, is done."""
        if not self.registered:
            self.registered = True
            self.driver.register_task(self)
        try:
            problem = self._wait_for(yielded)
        except Exception as failure:
            problem = failure
        if problem is not None:
            self.step_later(problem)
        return 0

    cdef object _wait_for(self, object yielded):
        """Answers None, or the exception that the coroutine deserves for what it has yielded."""
        cdef Suspension suspension
        if isinstance(yielded, Suspension):
            suspension = <Suspension>yielded
            suspension.waiting = self
            suspension.resumed = False
        elif yielded is None:
            self.step_later(None)
            return None
        else:
            blocking = getattr(yielded, "_asyncio_future_blocking", None)
            if blocking is None:
                if inspect.isgenerator(yielded):
                    return RuntimeError(
                        f"yield was used instead of yield from for generator in task {self!r} with {yielded!r}"
                    )
                return RuntimeError(f"Task got bad yield: {yielded!r}")
            if yielded is self:
                return RuntimeError(f"Task cannot await on itself: {self!r}")
            if future_loop(yielded) is not self.driver.loop:
                return RuntimeError(f"Task {self!r} got Future {yielded!r} attached to a different loop")
            if not blocking:
                return RuntimeError(f"yield was used instead of yield from in task {self!r} with {yielded!r}")
            yielded._asyncio_future_blocking = False
            yielded.add_done_callback(self._wakeup, context=self.context)
        self.waiter = yielded
        if self.must_cancel and yielded.cancel(msg=self._cancel_message):
            self.must_cancel = False
        return None

    cdef int step_later(self, object error) except -1:
        if not self.registered:
            self.registered = True
            self.driver.register_task(self)
        self.driver.call_soon(self._step, error, context=self.context)
        return 0

    def _step(self, error):
        self.step(error, False)

    def _wakeup(self, future):
        self.step(fastserve_failure(future, "result"), False)

    cdef int complete(self, TaskState state) except -1:
        self.state = state
        if self.registered:
            self.registered = False
            self.driver.unregister_task(self)
        if self.details is not None and self.details.callbacks is not None:
            callbacks = self.details.callbacks
            self.details.callbacks = None
            for function, context in callbacks:
                self.driver.call_soon(function, self, context=context)
        return 0

    cdef TaskDetails made_details(self):
        if self.details is None:
            self.details = TaskDetails.__new__(TaskDetails)
        return self.details

    # Cancellation.

    def cancel(self, msg=None):
        """Request cancellation, as `asyncio.Task.cancel`."""
        if self.state != TASK_PENDING:
            return False
        self.cancel_requests += 1
        if self.waiter is not None and self.waiter.cancel(msg=msg):
            return True
        self.must_cancel = True
        if msg is not None or self.details is not None:
            self.made_details().cancel_message = msg
        return True

    def uncancel(self):
        """Take one cancellation request back; answers how many remain."""
        if self.cancel_requests > 0:
            self.cancel_requests -= 1
            if self.cancel_requests == 0 and UNCANCEL_CLEARS:
                self.must_cancel = False
        return self.cancel_requests

    def cancelling(self):
        """The number of cancellation requests that were not taken back."""
        return self.cancel_requests

    def _make_cancelled_error(self):
        cdef TaskDetails details = self.details
        if details is None:
            return CancelledError()
        error = details.cancelled_error
        if error is not None:
            details.cancelled_error = None
            return error
        return CancelledError() if details.cancel_message is None else CancelledError(details.cancel_message)

    # Outcome.

    def done(self):
        """Whether the coroutine has returned, raised or been cancelled."""
        return self.state != TASK_PENDING

    def cancelled(self):
        """Whether the task ended by cancellation."""
        return self.state == TASK_CANCELLED

    def result(self):
        """What the coroutine returned. Raises what it raised, CancelledError, or InvalidStateError before the end."""
        if self.state == TASK_CANCELLED:
            raise self._make_cancelled_error()
        if self.state != TASK_FINISHED:
            raise InvalidStateError("Result is not set.")
        if self.error is not None:
            raise self.error.with_traceback(self.details.traceback)
        return self.value

    def exception(self):
        """What the coroutine raised, or None. Raises CancelledError, or InvalidStateError before the end."""
        if self.state == TASK_CANCELLED:
            raise self._make_cancelled_error()
        if self.state != TASK_FINISHED:
            raise InvalidStateError("Exception is not set.")
        return self.error

    def set_result(self, result, /):
        """Raise RuntimeError: the result is what the coroutine returns."""
        raise RuntimeError("Task does not support set_result operation")

    def set_exception(self, exception, /):
        """Raise RuntimeError: the exception is what the coroutine raises."""
        raise RuntimeError("Task does not support set_exception operation")

    def add_done_callback(self, fn, /, *, context=None):
        """Have the loop call `fn(task)` after the end, in `context` or a copy of the current one."""
        cdef TaskDetails details
        if context is None:
            context = copy_context()
        if self.state != TASK_PENDING:
            self.driver.call_soon(fn, self, context=context)
            return
        details = self.made_details()
        if details.callbacks is None:
            details.callbacks = []
        details.callbacks.append((fn, context))

    def remove_done_callback(self, fn, /):
        """Forget every done callback equal to `fn`; answers how many there were."""
        cdef TaskDetails details = self.details
        if details is None or details.callbacks is None:
            return 0
        kept = [entry for entry in details.callbacks if entry[0] != fn]
        removed = len(details.callbacks) - len(kept)
        details.callbacks = kept or None
        return removed

    def __await__(self):
        if self.state == TASK_PENDING:
            self.blocking = True
            yield self
        if self.state == TASK_PENDING:
            raise RuntimeError("await wasn't used with future")
        return self.result()

    def __iter__(self):
        return self.__await__()

    # Identity.

    def get_loop(self):
        """The event loop that the task belongs to."""
        return self.driver.loop

    def get_coro(self):
        """The application's own coroutine."""
        return self.coroutine

    def get_context(self):
        """The `contextvars.Context` of this request."""
        return self.context

    def get_name(self):
        """The task's name; "Request-N" unless set."""
        cdef TaskDetails details = self.made_details()
        if details.name is None:
            details.name = f"Request-{next_number()}"
        return details.name

    def set_name(self, value, /):
        """Name the task, by the text of `value`."""
        self.made_details().name = str(value)

    def get_stack(self, *, limit=None):
        """The coroutine's frames, as `asyncio.Task.get_stack`."""
        return task_stack(self, limit)

    def print_stack(self, *, limit=None, file=None):
        """Print the coroutine's frames, as `asyncio.Task.print_stack`."""
        print_task_stack(self, limit, file)

    # What asyncio, anyio and others look at besides the documented methods.

    @property
    def _asyncio_future_blocking(self):
        return self.blocking != 0

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, value):
        self.blocking = bool(value)

    @property
    def _loop(self):
        return self.driver.loop

    @property
    def _coro(self):
        return self.coroutine

    @property
    def _fut_waiter(self):
        return self.waiter

    @property
    def _must_cancel(self):
        return self.must_cancel != 0

    @property
    def _callbacks(self):
        return None if self.details is None or self.details.callbacks is None else list(self.details.callbacks)

    @property
    def _state(self):
        return "PENDING" if self.state == TASK_PENDING else "CANCELLED" if self.state == TASK_CANCELLED else "FINISHED"

    @property
    def _result(self):
        return self.value

    @property
    def _exception(self):
        return self.error

    @property
    def _source_traceback(self):
        return None

    @property
    def _cancel_message(self):
        return None if self.details is None else self.details.cancel_message

    @property
    def _log_traceback(self):
        # The owner is always told of the exception, so it never goes unseen.
        return False

    @_log_traceback.setter
    def _log_traceback(self, value):
        if value:
            raise ValueError("_log_traceback can only be set to False")


def run(coroutine, TaskDriver driver):
    """Start `coroutine` (any awaitable) as the server does: its first step is made before this returns.

    Answers its task, a `RequestTask` or, in asyncio mode, the loop's own. The driver's loop must be running, and this
    be called from one of its callbacks; while another task is current, the first step is left to the loop.
    """
    return driver.start(as_coroutine(coroutine), TaskOwner.__new__(TaskOwner))
