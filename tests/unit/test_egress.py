"""The way out to addresses that users register: nothing inside is reached, whatever form its address has."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from sagaline.orchestrator.egress import Egress, EgressDenied, EgressFailed, EgressSettings, check_url
from sagaline.orchestrator.egress.addresses import is_reachable

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass
class Canary:
    """A server on loopback that counts its connections and gives one answer to all."""

    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    connections: int = 0
    received: list[bytes] = field(default_factory=list)
    port: int = 0
    silent: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not self.silent and (head := await reader.readuntil(b"\r\n\r\n")):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                self.received.append(head + await reader.readexactly(length))
                writer.write(self.answer)
                await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    server = await asyncio.start_server(canary.serve, "127.0.0.1", 0)
    canary.port = server.sockets[0].getsockname()[1]
    yield canary
    server.close()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Names have the addresses of the first answer, then those of the next, and so on; numbers keep their meaning."""
    real, left = socket.getaddrinfo, list(answers)

    def getaddrinfo(host: str | bytes, port: int, *args: object, **kwargs: object) -> object:
        text = host.decode() if isinstance(host, bytes) else host
        if not text.endswith(".test"):
            return real(host, port, *args, **kwargs)  # type: ignore[arg-type]
        answer = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


INSIDE = (
    *("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1"),
    *(
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
    ),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
)
INSIDE_6 = (
    *("::1", "::", "::2", "fc00::1", "fd12:3456:789a::1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
    *("64:ff9b:1::1", "2001::1", "3fff::1", "5f00::1", "::127.0.0.1"),
)


def _forms(address: str) -> list[str]:
    """The ways to write an IPv4 address in a URL."""
    number, (a, b, c, d) = int(ipaddress.IPv4Address(address)), address.split(".")
    mapped = f"{number >> 16:x}:{number & 0xFFFF:x}"
    return [
        *(address, str(number), hex(number), oct(number).replace("0o", "0")),
        *(f"{int(a):#x}.{int(b):#x}.{int(c):#x}.{int(d):#x}", f"{int(a):04o}.{int(b):03o}.{int(c):03o}.{int(d):03o}"),
        *(f"{a}.{b}.{int(c) * 256 + int(d)}", f"{a}.{(int(b) << 16) + int(c) * 256 + int(d)}"),
        *(f"[::ffff:{mapped}]", f"[::ffff:{address}]", f"[64:ff9b::{mapped}]", f"[2002:{mapped}::1]"),
    ]


HOSTS = [*(form for address in INSIDE for form in _forms(address)), *(f"[{address}]" for address in INSIDE_6)]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_form_of_an_inner_address_is_reached(canary: Canary, scheme: str) -> None:
    """The ways to write inner addresses, and some URLs that two parsers may read differently."""
    assert len(HOSTS) > 250
    port = canary.port
    urls = [f"{scheme}://{host}:{port}/hook" for host in HOSTS]
    urls += [f"{scheme}://{host}:{port}/" for host in ("localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.1")]
    urls += [
        f"{scheme}://example.com@127.0.0.1:{port}/",
        f"{scheme}://127.0.0.1:{port}\\@example.com/",
        f"{scheme}://127.0.0.1:{port}#@example.com/",
        f"{scheme}://[fe80::1%25lo]:{port}/",
        f"{scheme}://[fe80::1%lo]:{port}/",
        f"{scheme}://%31%32%37.0.0.1:{port}/",
        f"{scheme}://127。0。0。1:{port}/",
        f"{scheme}://①②⑦.0.0.1:{port}/",
        f"{scheme}:////127.0.0.1:{port}/",
        f"{scheme}://\t127.0.0.1:{port}/",
        f"{scheme}:127.0.0.1:{port}",
        f"file://127.0.0.1:{port}/etc/passwd",
        f"gopher://127.0.0.1:{port}/",
        f"//127.0.0.1:{port}/",
        f"127.0.0.1:{port}",
        "",
    ]
    egress = Egress(EgressSettings(plain=True, timeout=timedelta(seconds=2)))
    for url in urls:
        with pytest.raises((EgressDenied, EgressFailed)):
            await egress.post(url, b"{}", {})
    await egress.close()
    assert canary.connections == 0


async def test_one_inner_address_among_public_ones_is_enough(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    egress = Egress(EgressSettings(plain=True))
    with pytest.raises(EgressDenied, match=r"shop\.test leads to 127\.0\.0\.1, which is not a public address"):
        await egress.post(f"http://shop.test:{canary.port}/", b"{}", {})
    assert canary.connections == 0


async def test_a_name_that_changes_its_mind_is_looked_up_once(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was checked, here an allowed one; the next look-up is checked again."""
    resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    egress = Egress(EgressSettings(plain=True, allowed=LOOPBACK, timeout=timedelta(seconds=5)))
    canary.answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    answered = await egress.post(f"http://shop.test:{canary.port}/hook?a=1", b'{"a":1}', {"content-type": "text/plain"})
    assert (answered.status, canary.connections) == (200, 1)
    assert canary.received[0].startswith(b"POST /hook?a=1 HTTP/1.1\r\nhost: shop.test:")
    assert canary.received[0].endswith(b'\r\n\r\n{"a":1}')
    with pytest.raises(EgressDenied, match=r"10\.0\.0\.1"):
        await egress.post(f"http://shop.test:{canary.port}/", b"{}", {})
    assert canary.connections == 1
    await egress.close()


async def test_a_redirect_is_an_answer_and_nothing_more(canary: Canary) -> None:
    canary.answer = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
    egress = Egress(EgressSettings(plain=True, allowed=LOOPBACK))
    answered = await egress.post(f"http://127.0.0.1:{canary.port}/", b"{}", {})
    assert (answered.status, answered.headers["location"]) == (302, "http://169.254.169.254/")
    assert len(canary.received) == 1
    await egress.close()


async def test_an_answer_is_read_up_to_its_limit_and_not_decoded(canary: Canary) -> None:
    canary.answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000
    egress = Egress(EgressSettings(plain=True, allowed=LOOPBACK, answer_bytes_max=1_000))
    answered = await egress.post(f"http://127.0.0.1:{canary.port}/", b"{}", {})
    assert (answered.body, answered.whole) == (b"x" * 1_000, False)
    await egress.close()


async def test_a_silent_receiver_ends_in_time(canary: Canary) -> None:
    canary.silent = True
    egress = Egress(EgressSettings(plain=True, allowed=LOOPBACK, timeout=timedelta(seconds=0.2)))
    with pytest.raises(EgressFailed, match=r"did not answer within 0\.2 s"):
        await egress.post(f"http://127.0.0.1:{canary.port}/?secret=1", b"{}", {})
    await egress.close()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"])
async def test_what_is_not_http_says_so_without_the_query(canary: Canary, answer: bytes) -> None:
    canary.answer, canary.silent = answer, not answer
    egress = Egress(EgressSettings(plain=True, allowed=LOOPBACK, timeout=timedelta(seconds=0.5)))
    with pytest.raises(EgressFailed) as failed:
        await egress.post(f"http://127.0.0.1:{canary.port}/hook?token=canary", b"{}", {})
    assert "canary" not in str(failed.value)
    await egress.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/", "it must begin with https://"),
        ("https://user:pw@example.com/", "user or password"),
        ("https:///hook", "has no host"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:99999/", "port 99999"),
        ("https://[::1", "cannot be read"),
        ("https://example.com/" + "a" * 3_000, "longer than 2,048"),
        ("https://exämple.com/", "printable ASCII"),
        ("https://example.com/a b", "spaces"),
    ],
)
def test_a_url_is_checked_when_it_is_registered(url: str, says: str) -> None:
    with pytest.raises(EgressDenied, match=says):
        check_url(url, EgressSettings())


def test_what_is_public_is_reachable() -> None:
    public = [
        "93.184.216.34",
        "8.8.8.8",
        "2606:4700:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ]
    assert [each for each in public if not is_reachable(ipaddress.ip_address(each))] == []
    assert is_reachable(ipaddress.ip_address("10.1.2.3"), (ipaddress.ip_network("10.1.0.0/16"),))
    assert not is_reachable(ipaddress.ip_address("10.2.2.3"), (ipaddress.ip_network("10.1.0.0/16"),))
