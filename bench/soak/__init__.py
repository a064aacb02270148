"""Does a server with several workers lose a request while its workers are restarted, killed, added or stopped?

`python -m bench.soak` runs it. One client process keeps up the load and writes down every request; the harness disturbs
the server's workers meanwhile; at the end each failed request is held against what the workers themselves wrote.
"""
