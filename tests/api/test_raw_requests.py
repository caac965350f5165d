"""Requests that no HTTP client would send, over a bare socket to a real server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

MIB = 1 << 20


def exchange(server: str, head: str, *body: bytes) -> bytes:
    """Send a request and close our side; everything that comes back."""
    address = urlsplit(server)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80), timeout=30) as connection:
        try:
            connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
            for piece in body:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has answered and closed before it had everything
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionError:
            pass
        return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture
def post(api_key: Callable[..., str]) -> Callable[..., str]:
    """A function that makes the head of a POST with a key."""
    key = api_key()

    def head(path: str, *headers: str) -> str:
        return "\n".join((f"POST {path} HTTP/1.1", "Host: test", f"Authorization: Bearer {key}", *headers))

    return head


@pytest.mark.parametrize("path", ["/v1/score", "/v1/webcams", "/v1/snapshots"])
class TestBodies:
    def test_one_that_says_26_mib_is_413_before_it_is_sent(
        self, server: str, post: Callable[..., str], path: str
    ) -> None:
        assert status_of(exchange(server, post(path, f"Content-Length: {26 * MIB}"))) == 413

    def test_one_of_26_mib_in_chunks_is_413(self, server: str, post: Callable[..., str], path: str) -> None:
        chunk = f"{MIB:x}\r\n".encode() + b"\0" * MIB + b"\r\n"
        answer = exchange(
            server, post(path, "Transfer-Encoding: chunked", "Content-Type: application/json"), *[chunk] * 26
        )
        assert status_of(answer) in (413, 0), answer[:300]  # 0: it was sent and lost, as we went on sending

    @pytest.mark.parametrize("length", ["-5", "1e3", "0x10", "5, 6", "9" * 30])
    def test_a_length_that_is_none_is_400(self, server: str, post: Callable[..., str], path: str, length: str) -> None:
        assert status_of(exchange(server, post(path, f"Content-Length: {length}"), b"12345")) in (400, 413)

    def test_two_lengths_or_a_length_and_chunks_are_400(self, server: str, post: Callable[..., str], path: str) -> None:
        chunked = "Transfer-Encoding: chunked"
        for headers in (("Content-Length: 5", "Content-Length: 6"), ("Content-Length: 5", chunked)):
            answer = exchange(server, post(path, *headers), b"0\r\n\r\n")
            assert status_of(answer) == 400, answer[:300]

    def test_a_body_that_breaks_off_is_dropped(
        self, server: str, post: Callable[..., str], path: str, client: httpx.Client
    ) -> None:
        before = client.get("/v1/webcams").json()
        answer = exchange(
            server, post(path, "Content-Type: application/json", "Content-Length: 1000"), b'{"external_id": "cut"}'
        )
        assert status_of(answer) in (0, 400), answer[:300]
        assert client.get("/v1/webcams").json() == before

    def test_what_follows_a_body_is_no_second_request(self, server: str, post: Callable[..., str], path: str) -> None:
        headers = ("Content-Type: application/json", "Content-Length: 5")
        answer = exchange(server, post(path, *headers), b'{"externalGET /v1/keys HTTP/1.1\r\n')
        assert status_of(answer) in (400, 422)
        assert answer.count(b"HTTP/1.1 200") == 0


def test_a_body_is_not_read_from_one_without_a_key(server: str) -> None:
    head = "POST /v1/score HTTP/1.1\nHost: test\nContent-Length: 1000000"
    assert status_of(exchange(server, head)) == 401, "answered although nothing of the body came"


@pytest.mark.parametrize(
    "head",
    ["GET / HTTP/9.9\nHost: test", "nonsense", "GET /v1/webcams HTTP/1.1\nHost: test\nBad Header: x", "\0\0\0\0"],
)
def test_what_is_no_http_is_400(server: str, head: str) -> None:
    assert status_of(exchange(server, head)) in (0, 400, 404)
    assert httpx.get(f"{server}/healthz", trust_env=False).status_code == 200
