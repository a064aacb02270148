"""Which peers are believed, and which address of a chain of proxies is the client's: uvicorn is asked, case by case."""

import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.middleware.proxy_headers import _parse_host_port, _TrustedHosts

from fastserve.trust import TrustedPeers, host_and_port

LISTS = [
    "127.0.0.1",
    "127.0.0.1,::1",
    "*",
    ["*"],
    " * ",
    "*,127.0.0.1",
    "",
    [],
    "10.0.0.0/8, 192.168.0.0/16",
    "10.0.0.1/8",
    ["2001:db8::/32", "::1"],
    "some-literal, /run/web.sock, unix:",
    "unix",
    "testserver,10.11.12.13",
    "0.0.0.0/0",
]
HOSTS = [
    None,
    "",
    "127.0.0.1",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "10.1.2.3",
    "10.0.0.1",
    "011.0.0.1",
    "192.168.1.1",
    "2001:db8::5",
    "2001:DB8:0::5",
    "fe80::1%eth0",
    "some-literal",
    "/run/web.sock",
    "unix:",
    "unix",
    "testserver",
    "unknown",
    "*",
    " * ",
    "x" * 300,
]
PIECES = ["1.2.3.4", "127.0.0.1", "10.0.0.1:99", "[::1]", "[::1]:80", "[::1", "[::1]x", "[2001:db8::1]:0x1", "::1"]
PIECES += ["unknown", "_hidden", "", "a:b", "a:", ":5", "1.2.3.4:-1", "1.2.3.4: 5", "1.2.3.4:+5", "a:b:c", "unix:", "*"]


@pytest.mark.parametrize("peers", LISTS, ids=repr)
def test_the_list_is_read_as_uvicorn_reads_it(peers):
    ours, theirs = TrustedPeers(peers), _TrustedHosts(peers)
    assert [host for host in HOSTS if host in ours] == [host for host in HOSTS if host in theirs]


@given(st.sampled_from(LISTS), st.lists(st.sampled_from(PIECES), min_size=1, max_size=4))
def test_the_client_is_the_one_uvicorn_finds(peers, pieces):
    value = ", ".join(pieces)
    assert TrustedPeers(peers).client_of(value) == _TrustedHosts(peers).get_trusted_client_address(value)


@given(st.text("[]:.0123456789abcdef +-_\xb2", max_size=12))
def test_hosts_and_ports_are_split_as_uvicorn_splits_them(text):
    assert host_and_port(text) == _parse_host_port(text)


def test_peers_on_unix_sockets_are_known_by_their_user():
    me = os.getuid()
    assert TrustedPeers("unix").has_user(me)
    assert TrustedPeers("*").has_user(me)
    assert not TrustedPeers("127.0.0.1,::1").has_user(me)
    assert TrustedPeers(f"unix:{me}").has_user(me)
    assert not TrustedPeers(f"unix:{me}").has_user(me + 1)
    assert TrustedPeers("10.0.0.1, unix:" + pwd.getpwuid(me).pw_name).has_user(me)


def test_a_user_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="'unix:no-such-user': there is no such user"):
        TrustedPeers("unix:no-such-user")
