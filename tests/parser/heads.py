"""Hypothesis strategies for request heads and chunked bodies: valid, nearly valid, and mutated."""

from hypothesis import strategies as st

METHODS = ["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PUT", "PATCH", "X-CUSTOM", "PRI", "get", "", "G T", "G\x01"]
TARGETS = [
    "/",
    "/a/b?c=d",
    "*",
    "http://a.example/x",
    "https://[::1]:8443?q",
    "a.example:443",
    "/%2e%2E/",
    "//x",
    "",
    "/a b",
    "/#f",
    "http://u@h/",
    "ftp://a/",
    "a",
    "/\x7f",
    "/\u00e9",
    "http:///",
    "/" + "p" * 70,
]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1", "HTTP/1.11", "", "HTTP/1.1 "]
NAMES = [
    "Host",
    "HOST",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
    "Expect",
    "TE",
    "Accept",
    "X-Custom",
    "x-\u00e9",
    "Cookie",
    "A",
    "",
    "Host ",
    " X",
    "X\x00",
    "User-Agent",
    "content-length",
]
VALUES = [
    "a.example",
    "a.example:80",
    "[::1]",
    "0",
    "5",
    "05",
    "5, 5",
    "-1",
    "99999999999999999999",
    "chunked",
    "Chunked",
    "gzip, chunked",
    "chunked, gzip",
    "identity",
    "keep-alive",
    "close",
    "Keep-Alive, Upgrade",
    "websocket",
    "100-continue",
    "trailers",
    "",
    " padded \t",
    "a b",
    "*/*",
    "\u00e9",
    "a\x00b",
    "\x7f",
    "v" * 40,
    ",",
    "chunked,",
]
LINE_ENDS = ["\r\n", "\n", "\r", "\r\r\n", ""]


def mostly(good: list[str], all_of: list[str]) -> st.SearchStrategy[str]:
    return st.one_of(*[st.sampled_from(good)] * 6, st.sampled_from(all_of))


line_ends = mostly(["\r\n"], LINE_ENDS)
fields = st.tuples(
    mostly(NAMES[:13], NAMES),
    mostly([": ", ":", ":\t"], [" : ", "", ": \t "]),
    mostly(VALUES[:6] + VALUES[14:24], VALUES),
    line_ends,
).map("".join)
host = st.sampled_from(["Host: a.example\r\n"] * 5 + [""])


@st.composite
def near_valid_heads(draw: st.DrawFn) -> bytes:
    """A head, right in most places and wrong in a few."""
    text = draw(st.sampled_from(["", "", "", "", "\r\n", "\n"]))
    text += " ".join(
        [draw(mostly(METHODS[:3], METHODS)), draw(mostly(TARGETS[:2], TARGETS)), draw(mostly(VERSIONS[:2], VERSIONS))]
    )
    text += draw(line_ends) + draw(host) + "".join(draw(st.lists(fields, max_size=5))) + draw(line_ends)
    return mutate(draw, text.encode("latin-1"))


def mutate(draw: st.DrawFn, data: bytes) -> bytes:
    """Once in a while, one byte replaced, removed or inserted."""
    if data and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        byte = draw(st.sampled_from([b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\x7f", b"\x80", b"a", b",", b";"]))
        kind = draw(st.integers(0, 2))
        data = data[:at] + (b"" if kind == 1 else byte) + data[at + (kind != 2) :]
    return data


sizes = mostly(["1", "5", "a", "0F", "003"], ["", "g", "-1", "8000000000000000", "0x1", "1 ", " 1", "0" * 17 + "1"])
extensions = mostly(
    [""], ["", ";a", ";a=b", ';a="b c"', ' ; a = "\\""', ";", ";a=", ";a b", ';"', ";a ", ";\x80", "\t;b"]
)
trailers = mostly(["X: 1\r\n", "Content-Length: 9\r\n", ""], ["X : 1\r\n", ": 1\r\n", " f\r\n", "X: 1\n", "X\r\n"])


@st.composite
def near_valid_bodies(draw: st.DrawFn) -> bytes:
    """A chunked body, right in most places and wrong in a few."""
    text = ""
    for _ in range(draw(st.integers(0, 4))):
        size = draw(sizes)
        try:
            length = int(size, 16)
        except ValueError:
            length = 3
        text += size + draw(extensions) + draw(line_ends)
        text += "d" * min(length, 40) + draw(line_ends)
    text += draw(mostly(["0", "000"], ["", "0 "])) + draw(extensions) + draw(line_ends)
    text += "".join(draw(st.lists(trailers, max_size=3))) + draw(line_ends)
    return mutate(draw, text.encode("latin-1"))
