"""Side by side with uvicorn: the same request to both servers, the same answer from both.

What is compared
    Every case runs against uvicorn and against fastserve, each serving the same application in a process of its
    own. Compared are the bytes of every response (status line, fields in their order, body as framed on the wire),
    whether the connection stays open, and the lines that the request left in both logs. Only the date, the server's
    name, process ids, client ports and paths of installed packages are normalised; see `normalise.py`.

Where things are
    apps/           the applications: `raw` (ASGI without a framework, one route per corner of the protocol), one
                    module per framework with the same set of routes, `control` (wraps each of them: marks the logs,
                    holds and releases requests, keeps a journal of what the application saw)
    server.py       a server process: start, wait for its running line, take its log, stop, check what is left over
    wire.py         a client on a bare socket, and `Case`: what is sent, what is read
    normalise.py    what may differ without being a difference
    conftest.py     the fixtures: one pair of processes per application and set of options, for the whole session

Adding a case
    Append `case("name", request("GET", "/route"))` to the table of `test_wire.py`; add a route to `apps/raw.py` if
    none does what is needed. Steps other than "send, read one response" are spelled out (`Send`, `Final`, `Interim`,
    `HalfClose`, `Close`, `Reset`, `Eof`). A framework's case goes into the table of `test_frameworks.py` and needs
    its route in every module of `apps/` that lists the feature in `FEATURES`.

    Nothing here waits by the clock. To act while the application is in a given place, let it write to its journal
    and wait for that entry with `server.wait_for(key, entry)`; to let it go on, `server.release(key)`.

A wanted difference
    fastserve is stricter than uvicorn in places, and better in others. Such a case says `differs=Differs(reason,
    uvicorn=..., fastserve=...)`: both sides are asserted, so the entry fails as soon as either changes.

Comparing uvicorn with itself
    PARITY_SUBJECT=uvicorn runs uvicorn on both sides: whatever fails then is a fault of the tests. Wanted
    differences are checked for uvicorn's half only.

Other ways to run
    PARITY_OPTIONS="--transport loop" adds options to every fastserve that is started.
"""
