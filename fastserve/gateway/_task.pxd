# The task of a request: what drives the application's coroutine, and what asyncio.current_task() answers meanwhile.
#
# What belongs here: stepping a coroutine, and being an asyncio task to everybody who looks. What does not: what the
# coroutine computes and where its outcome goes (the owner's business), and what it waits for (_awaitables).
#
#   driver.start(coroutine, owner)      first step at once, inside the caller's frame
#     -> owner.task_suspended()         after every step that left the coroutine waiting (our own task only)
#     -> owner.task_finished(...)       exactly once, at the end; may well happen before start() has returned


from fastserve._exchange cimport Responder


cdef class TaskOwner(Responder):
    # Base of whatever a task works for. Both calls come when no task is current and outside the request's context.
    # What they raise goes to whoever made the step: the caller of start() or wake(), or the loop's exception handler.

    # The coroutine waits for something. Not told of a plain asyncio task, whose steps only the loop sees.
    cdef int task_suspended(self) except -1

    # The coroutine has returned `result` (exception is None) or raised `exception` (any BaseException, CancelledError
    # among them). A coroutine that returned although a cancellation was pending counts as returned here, while the task
    # itself answers cancelled(); a plain asyncio task does not tell these apart and reports the CancelledError.
    cdef int task_finished(self, object result, object exception) except -1


cdef class TaskDriver:
    # One per worker: everything about the loop that each task needs, looked up once.
    cdef readonly object loop
    cdef readonly str mode          # "auto", "native" or "asyncio", as asked for
    cdef readonly bint native       # what that means now; see choose()
    cdef object base_context        # each task runs in a copy of it; None: in an empty context
    cdef dict current_tasks         # asyncio's own, loop -> task, or None where it does not show it
    cdef object enter_task          # asyncio's own five, which it documents for tasks of third parties
    cdef object leave_task
    cdef object current_task
    cdef object register_task
    cdef object unregister_task
    cdef RequestTask spare          # a task that nobody knows, as new but for what it says of itself; or None
    cdef object call_soon           # loop.call_soon
    cdef object create_future       # loop.create_future

    # Read the loop's debug mode and task factory again: "auto" uses plain asyncio tasks when either is set. Call it
    # after the application's start-up code, which may set them.
    cpdef int choose(self) except -1

    # Run `coroutine` (see as_coroutine) to its end, telling `owner`. Answers the task: a RequestTask, or asyncio's own.
    cdef object start(self, object coroutine, TaskOwner owner)

    # Take back a task that start() has answered, to use it again if it has ended and the caller's variable is all that
    # refers to it.
    cdef int keep(self, object task) except -1

    cdef bint enter(self, RequestTask task) except -1
    cdef int leave(self, RequestTask task) except -1
    cdef object current(self)       # the loop's current task, or None


cdef class Suspension:
    # What a coroutine yields to wait for something that only its own RequestTask is to be told of: no future, no
    # callback, no turn of the loop. It may be yielded only while a RequestTask is current.
    cdef RequestTask waiting        # whose coroutine waits; None before and after
    cdef bint resumed               # resume() or cancel() has been called

    # Step the coroutine: at once where that is safe (no task is current), else from the loop.
    cdef int resume(self) except -1


cdef class TaskDetails:
    # The part of a task that most requests never have.
    cdef str name
    cdef list callbacks             # of (function, context)
    cdef object cancel_message
    cdef object cancelled_error     # the CancelledError that ended the coroutine, until it is asked for
    cdef object traceback           # of the exception, as it was when the coroutine ended


cdef enum TaskState:
    TASK_UNMADE, TASK_PENDING, TASK_FINISHED, TASK_CANCELLED


cdef class RequestTask:
    cdef TaskDriver driver
    cdef TaskOwner owner            # None once it has been told of the end
    cdef object coroutine           # kept after the end, as asyncio does, for get_coro()
    cdef object context             # contextvars.Context
    cdef object value               # what the coroutine returned
    cdef object error               # what it raised, or None
    cdef object waiter              # the future or Suspension that it waits for, or None
    cdef TaskDetails details        # or None
    cdef object __weakref__
    cdef int cancel_requests
    cdef TaskState state
    # Truth values in one byte each: an idle WebSocket has a task too.
    cdef unsigned char must_cancel  # throw a CancelledError at the next step
    cdef unsigned char registered   # in all_tasks()
    cdef unsigned char blocking     # _asyncio_future_blocking: being awaited, as a future
    cdef public bint _log_destroy_pending

    cdef int begin(self) except -1
    cdef int step(self, object error, bint enter_context) except -1
    cdef int step_later(self, object error) except -1
    cdef int wait_for(self, object yielded) except -1
    cdef object _wait_for(self, object yielded)
    cdef int complete(self, TaskState state) except -1
    cdef TaskDetails made_details(self)


# A task of ours that has not begun.
cdef RequestTask new_task(TaskDriver driver, object coroutine, TaskOwner owner)

# `awaitable` itself where it is a coroutine (has send, throw and close), else a coroutine that awaits it; TypeError if
# it cannot be awaited.
cdef object as_coroutine(object awaitable)
