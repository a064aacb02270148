"""What the tests of tasks and awaitables reach only through C: an owner that records, and something to wait for."""

from fastserve.gateway._awaitables cimport NOT_YET, READY, Awaited, ready_value
from fastserve.gateway._task cimport TaskDriver, TaskOwner, as_coroutine

ready = READY


def make_ready_value(value):
    return ready_value(value)


def make_coroutine(awaitable):
    return as_coroutine(awaitable)


cdef class Recorder(TaskOwner):
    """Owner of one task: `calls` lists what it was told, with the current task at that time.

    `failure` is raised when it is told of the end.
    """

    cdef readonly list calls
    cdef TaskDriver driver
    cdef object failure

    def __init__(self, TaskDriver driver, failure=None):
        self.driver = driver
        self.failure = failure
        self.calls = []

    def start(self, coroutine):
        return self.driver.start(coroutine, self)

    cdef int task_suspended(self) except -1:
        self.calls.append(("suspended", self.driver.current()))
        return 0

    cdef int task_finished(self, object result, object exception) except -1:
        self.calls.append(("finished", self.driver.current(), result, exception))
        if self.failure is not None:
            raise self.failure
        return 0


cdef class Mailbox(Awaited):
    """Messages of two kinds, 0 and 1, each with its queue; an exception among them is raised at the receiver."""

    cdef readonly list messages

    def __init__(self, TaskDriver driver):
        self.driver = driver
        self.messages = [[], []]

    cdef object awaited(self, int kind):
        if not self.messages[kind]:
            return NOT_YET
        message = self.messages[kind].pop(0)
        if isinstance(message, BaseException):
            raise message
        return message

    def receive(self, int kind=0):
        return self.wait(kind)

    def put(self, message, int kind=0):
        self.messages[kind].append(message)
        self.wake(kind)

    def wake_for_nothing(self, int kind=0):
        self.wake(kind)

    def waiting(self):
        return (self.first is not None) + (0 if self.others is None else len(self.others))
