# What receive() and send() answer: awaitables that are finished already, and one that waits for the protocol.
#
# What belongs here: the awaiting. What does not: messages, buffers and their limits, which the subclass of Awaited
# knows; and the stepping of the coroutine that awaits (_task).
#
# All of them are coroutines to asyncio.iscoroutine() (they have send, throw and close), because applications pass what
# receive() answers to create_task(), wait_for() and gather().

from fastserve.gateway._task cimport Suspension, TaskDriver, TaskOwner


# Awaited, it is None at once. There is one, it has no state, and it may be awaited any number of times.
cdef class Ready:
    pass

cdef Ready READY


# Awaited, it is `value` at once, each time it is awaited.
cdef class ReadyValue:
    cdef object value

cdef ReadyValue ready_value(object value)


# awaited() answers this while there is nothing to answer.
cdef object NOT_YET


cdef class Awaited(TaskOwner):
    # Base of the owner of a request's task, and of whatever else can be waited for. The subclass numbers what it can be
    # waited for: a `kind` for "a message is here", another for "there is room to write".
    cdef TaskDriver driver          # set by the subclass before wait()
    # Who waits now, oldest first: nobody or one, as a rule.
    cdef Waiter first               # or None
    cdef list others                # behind it, or None

    # The value that a waiter of this kind waits for, or NOT_YET. Called when the waiter is first awaited and after each
    # wake(), always from within the awaiting task. What it raises is raised where the application awaits. A value that
    # has been answered is delivered for certain; one that was announced to a waiter that is then cancelled is not lost,
    # since nobody has asked for it yet.
    cdef object awaited(self, int kind)

    # A new awaitable of this kind. It finishes at once if awaited() has a value by then. Usable once.
    cdef Waiter wait(self, int kind)

    # Have everybody who waits for this kind ask again. The coroutine of a RequestTask is stepped before this returns
    # if no task is current, so anything may have changed afterwards: call it last. Raises what the owner of a task
    # stepped raises, after everybody has been woken.
    cdef int wake(self, int kind) except -1
    cdef int _close_up(self) except -1


cdef class Waiter(Suspension):
    cdef Awaited source             # None once finished
    cdef int kind
    cdef object future              # what somebody else's task waits for, or None

    cdef int wake_up(self) except -1
    cdef int forget(self) except -1
