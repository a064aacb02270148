"""The grammar of --bind, and its words for what is not of it."""

import pytest

from fastserve.bind import Bind, parse_bind


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8000", Bind("127.0.0.1", 8000)),
        ("localhost:0", Bind("localhost", 0)),
        (":8000", Bind("", 8000)),
        ("[::1]:65535", Bind("::1", 65535)),
        ("[::]:80", Bind("::", 80)),
        ("[fe80::1%eth0]:80", Bind("fe80::1%eth0", 80)),
        ("unix:s.sock", Bind(path="s.sock")),
        ("unix:/run/web.sock", Bind(path="/run/web.sock")),
        ("unix:/run/a b:c.sock?mode=660", Bind(path="/run/a b:c.sock", mode=0o660)),
        ("unix:s?mode=0600", Bind(path="s", mode=0o600)),
        ("fd://0", Bind(fd=0)),
        ("fd://17", Bind(fd=17)),
    ],
)
def test_what_it_says(text, bind):
    assert parse_bind(text) == bind
    assert parse_bind(str(bind)) == bind


def test_three_slashes_are_one():
    assert parse_bind("unix:///run/web.sock") == Bind(path="/run/web.sock")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' is not host:port, "),
        ("8000", "'8000' is not host:port, "),
        ("localhost", "'localhost' is not host:port, "),
        ("localhost:", "is not host:port"),
        ("localhost:http", "is not host:port"),
        ("localhost:80:90", "is not host:port"),
        ("localhost:+80", "is not host:port"),
        ("local host:80", "is not host:port"),
        ("http://localhost:80", "is not host:port"),
        ("localhost:80/", "is not host:port"),
        ("tcp:80:", "is not host:port"),
        ("::1:8000", "ambiguous: an IPv6 address stands in brackets"),
        ("[::1]", "is not host:port"),
        ("[]:80", "is not host:port"),
        ("[localhost]:80", "'localhost' is not an IPv6 address"),
        ("localhost:65536", "port 65536 is not between 0 and 65535"),
        ("unix:", "has no path"),
        ("unix:?mode=600", "has no path"),
        ("unix:a\0b", "has no path"),
        ("unix://s.sock", "is ambiguous: a relative path is unix:path"),
        ("unix:s?mode=888", "'mode=888' is not of the form mode=660"),
        ("unix:s?mode=", "is not of the form mode=660"),
        ("unix:s?user=www", "'user=www' is not of the form mode=660"),
        ("fd:3", "is not of the form fd://number"),
        ("fd://", "is not of the form fd://number"),
        ("fd://-1", "is not of the form fd://number"),
        ("fd://web", "is not of the form fd://number"),
    ],
)
def test_what_it_does_not_say(text, complaint):
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (the words are compared below)
        parse_bind(text)
    assert repr(text) in str(raised.value)
    assert complaint in str(raised.value)
