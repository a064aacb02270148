"""WSGI as its applications, frameworks and middleware meet it: whole servers, real sockets.

Where things are
    apps/           the applications, each wrapped in `wsgiref.validate.validator` where it keeps the rules itself, so
                    that a rule which the server breaks is a 500; one module per framework with the same routes
    client.py       requests on bare sockets; what the server's kernel has taken of them
    conftest.py     the servers: one process per application and set of options, for the whole session

`--threads 1` calls applications in the event loop, more threads call them in threads: what must not differ is asked of
both, by the fixture `server`.

An application tells what it does by lines on its output, and waits for a test by waiting for a file: nothing here waits
by the clock.

Asking another server
    WSGI_SUBJECT=gunicorn runs gunicorn's sync and gthread workers in fastserve's place: what fails then is either a
    fault of the tests or a difference we want.

Other ways to run
    WSGI_OPTIONS="--transport loop" adds options to every fastserve that is started.
"""
