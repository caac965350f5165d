"""What may be fetched, from whom, and how much of it, against real servers on loopback."""

import gzip
import io
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml.images import fetch as fetching
from ml.images.decode import MAX_IMAGE_BYTES
from ml.images.fetch import FetchError, fetch_image
from ml.images.guard import is_public


def _jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(out, "JPEG")
    return out.getvalue()


JPEG = _jpeg()


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        try:
            getattr(self, "answer" + self.path.partition("?")[0].replace("/", "_"))()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_good(self) -> None:
        self._send(200, JPEG, Content_Type="text/plain")

    def answer_html(self) -> None:
        self._send(200, b"<html>offline</html>", Content_Type="image/jpeg")

    def answer_missing(self) -> None:
        self._send(404)

    def answer_gone(self) -> None:
        self._send(410)

    def answer_forbidden(self) -> None:
        self._send(403)

    def answer_down(self) -> None:
        self._send(503)

    def answer_busy(self) -> None:
        self._send(429)

    def answer_recovers(self) -> None:
        self._send(200, JPEG) if len(self.server.seen) == 3 else self._send(503)

    def answer_gzip(self) -> None:
        self._send(200, b"\x1f\x8b" + b"\0" * 50, Content_Encoding="gzip")

    def answer_compressed_bomb(self) -> None:
        self._send(200, gzip.compress(JPEG + b"\0" * (MAX_IMAGE_BYTES + 1)), Content_Encoding="gzip")

    def answer_header_line(self) -> None:
        self._send(200, JPEG, X_Long="a" * int(self.path.partition("=")[2]))

    def answer_header_lines(self) -> None:
        self._send(200, JPEG, **{f"X_{number}": "a" * 1000 for number in range(70)})

    def answer_headers_without_end(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write(b"X-Endless: " + b"a" * 4000 + b"\r\n")

    def answer_crowded(self) -> None:
        with self.server.lock:
            self.server.inside += 1
            self.server.most_inside = max(self.server.most_inside, self.server.inside)
            self.server.lock.wait_for(lambda: self.server.inside >= 3, timeout=0.2)
            self.server.inside -= 1
        self._send(200, JPEG)

    def answer_hold(self) -> None:
        self.server.stopped.wait(20)

    def answer_declared_huge(self) -> None:
        self._send(200, JPEG, Content_Length=str(MAX_IMAGE_BYTES + 1))

    def answer_cut(self) -> None:
        self._send(200, JPEG[:40], Content_Length=str(len(JPEG)))

    def answer_endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"\xff\xd8\xff")
        while True:
            self.wfile.write(b"\0" * 262_144)

    def answer_drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.stopped.wait(0.05):
            self.wfile.write(b"\xff")

    def answer_loop(self) -> None:
        self._send(302, Location="/loop", Set_Cookie="session=1")

    def answer_hop(self) -> None:
        left = int(self.path.partition("=")[2])
        self._send(302, Location=f"/hop?left={left - 1}" if left > 1 else "/good", Set_Cookie="session=1")

    def answer_to(self) -> None:
        self._send(302, Location=self.path.partition("=")[2])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.stopped = threading.Event()
        self.lock = threading.Condition()
        self.inside, self.most_inside = 0, 0
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def stop(self) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[_Server]:
    running = _Server()
    running.thread.start()
    yield running
    running.stop()


def _fetch(server: _Server, path: str, **options: Any) -> bytes:
    return fetch_image(f"http://{server.host}{path}", allow_hosts=frozenset({server.host}), **options)


def _refused(url: str, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch_image(url, retries=0, **options)
    return caught.value


class TestAddresses:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0",
            "localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "192.0.0.192",
            "100.100.100.200",
            "[fd00:ec2::254]",
            "10.0.0.1",
            "255.255.255.255",
        ],
    )
    def test_private_addresses_are_blocked_however_they_are_written(self, host: str) -> None:
        error = _refused(f"http://{host}/latest")
        assert (error.reason, error.permanent) == ("url_blocked", True)

    @pytest.mark.parametrize(
        "address",
        [
            "224.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.5",
            "168.63.129.16",
            "fe80::1%eth0",
            "ff02::1",
        ]
        + [
            "::7f00:1",
            "fec0::1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "100.64.0.1",
            "240.0.0.1",
        ],
    )
    def test_special_addresses_are_not_public(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
    def test_ordinary_addresses_are_public(self, address: str) -> None:
        assert is_public(address)

    def test_a_port_on_loopback_is_reached_only_when_its_host_and_port_are_allowed(self, server: _Server) -> None:
        port = server.server_address[1]
        for allowed in (
            frozenset[str](),
            frozenset({"127.0.0.1:1"}),
            frozenset({"127.0.0.1"}),
            frozenset({f"::1:{port}"}),
        ):
            assert _refused(f"http://{server.host}/good", allow_hosts=allowed).reason == "url_blocked"
        assert server.seen == []
        assert _fetch(server, "/good") == JPEG

    def test_one_private_answer_blocks_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lookups, connects = _watch_network(monkeypatch, [["93.184.216.34", "10.0.0.7"]])
        assert _refused("http://mixed.example/a.jpg").reason == "url_blocked"
        assert (len(lookups), connects) == (1, [])

    def test_a_name_is_looked_up_once_and_the_judged_address_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lookups, connects = _watch_network(monkeypatch, [["93.184.216.34"], ["127.0.0.1"]])
        assert _refused("http://rebinding.example/a.jpg").reason == "network"
        assert lookups == ["rebinding.example"]
        assert connects == [("93.184.216.34", 80)]

    def test_a_name_that_turns_private_after_the_first_lookup_never_reaches_a_local_server(
        self, server: _Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = server.server_address[1]
        monkeypatch.setattr(fetching, "_PORTS", {"http": port, "https": 443})
        lookups, connects = _watch_network(monkeypatch, [["93.184.216.34"], ["127.0.0.1"]], let_through="127.0.0.1")
        error = _refused(f"http://rebinding.example:{port}/good")
        assert (error.reason, lookups, server.seen) == ("network", ["rebinding.example"], [])
        assert connects == [("93.184.216.34", port)]
        # The local server would have answered: the same name, looked up anew, leads there and is blocked.
        assert _refused(f"http://rebinding.example:{port}/good").reason == "url_blocked"
        assert server.seen == []
        assert _fetch(server, "/good") == JPEG


def _watch_network(
    monkeypatch: pytest.MonkeyPatch, answers: list[list[str]], let_through: str | None = None
) -> tuple[list[str], list[tuple[str, int]]]:
    """Answer lookups from a list, one entry each, and refuse every connection; what was asked for is recorded."""
    lookups: list[str] = []
    connects: list[tuple[str, int]] = []

    def look_up(host: str | bytes, port: int, *args: Any, **options: Any) -> list[Any]:
        lookups.append(host.decode() if isinstance(host, bytes) else host)
        found = answers[min(len(lookups), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    class Refusing(socket.socket):
        def connect(self, address: Any) -> None:
            connects.append(address)
            if address[0] == let_through:
                return super().connect(address)
            raise ConnectionRefusedError("refused by the test")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "socket", Refusing)
    return lookups, connects


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("file:///etc/passwd", "scheme"),
            ("ftp://example.com/a.jpg", "scheme"),
            ("gopher://example.com/", "scheme"),
            ("data:image/png;base64,AAAA", "scheme"),
            ("//example.com/a.jpg", "scheme"),
            ("a.jpg", "scheme"),
            ("", "scheme"),
            ("http://user:secret@example.com/", "bad_url"),
            ("http://example.com@127.0.0.1/", "bad_url"),
            ("http:///a.jpg", "bad_url"),
            ("http://example.com:99999/", "url_blocked"),
            ("http://[::1/", "bad_url"),
            ("http://exa mple.com/\n", "bad_url"),
            ("http://example.com/" + "a" * 5000, "bad_url"),
            ("http://example.com:6379/", "url_blocked"),
        ],
    )
    def test_what_is_no_plain_web_address_is_refused_before_any_lookup(
        self, url: str, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lookups, _ = _watch_network(monkeypatch, [["93.184.216.34"]])
        error = _refused(url)
        assert (error.reason, error.permanent, lookups) == (reason, True, [])
        assert "secret" not in str(error)

    def test_a_message_keeps_the_query_to_itself(self, server: _Server) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, "/missing?token=hunter2")
        assert "hunter2" not in str(caught.value) and "/missing" in str(caught.value)

    def test_a_proxy_from_the_environment_is_ignored(self, server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert _fetch(server, "/good") == JPEG

    def test_the_server_is_asked_by_its_name_and_for_uncompressed_bytes(self, server: _Server) -> None:
        host = f"localhost:{server.server_address[1]}"
        assert fetch_image(f"http://{host}/good", allow_hosts=frozenset({host.upper()})) == JPEG
        headers = server.seen[-1][1]
        assert (headers["Host"], headers["Accept-Encoding"]) == (host, "identity")
        assert "Authorization" not in headers


class TestRedirects:
    def test_three_are_followed_and_carry_no_cookie(self, server: _Server) -> None:
        assert _fetch(server, "/hop?left=3") == JPEG
        assert len(server.seen) == 4
        assert not any("Cookie" in headers for _, headers in server.seen)

    @pytest.mark.parametrize("path", ["/hop?left=4", "/loop"])
    def test_more_are_too_many(self, server: _Server, path: str) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, path)
        assert caught.value.reason == "too_many_redirects"
        assert len(server.seen) == 4

    @pytest.mark.parametrize(
        "target",
        [
            "http://127.0.0.1:6379/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "file:///etc/passwd",
            "http://a:b@example.com/",
        ],
    )
    def test_a_redirect_is_judged_like_a_first_url(self, server: _Server, target: str) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, f"/to?={target}")
        assert (caught.value.reason, caught.value.permanent, len(server.seen)) == ("redirect_blocked", True, 1)

    def test_a_redirect_to_another_server_on_loopback_never_reaches_it(self, server: _Server) -> None:
        other = _Server()
        other.thread.start()
        try:
            with pytest.raises(FetchError) as caught:
                _fetch(server, f"/to?=http://{other.host}/good")
            assert (caught.value.reason, other.seen) == ("redirect_blocked", [])
        finally:
            other.stop()


class TestBodies:
    def test_the_content_decides_and_not_the_declared_type(self, server: _Server) -> None:
        assert _fetch(server, "/good") == JPEG
        with pytest.raises(FetchError) as caught:
            _fetch(server, "/html")
        assert caught.value.reason == "not_an_image"

    @pytest.mark.parametrize("path", ["/endless", "/declared_huge"])
    def test_a_body_over_the_cap_is_cut_off(self, server: _Server, path: str) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, path)
        assert caught.value.reason == "too_large"

    def test_a_server_that_drips_runs_into_the_total_time(self, server: _Server) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, "/drip", total_s=0.5)
        assert (caught.value.reason, caught.value.permanent) == ("timeout", False)

    @pytest.mark.parametrize("path", ["/gzip", "/compressed_bomb"])
    def test_an_answer_that_is_compressed_though_asked_not_to_is_refused_unread(
        self, server: _Server, path: str
    ) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, path)
        assert (caught.value.reason, caught.value.permanent) == ("compressed", False)
        assert "gzip" in str(caught.value)

    @pytest.mark.parametrize("path", ["/header_line?=66000", "/header_lines", "/headers_without_end"])
    def test_headers_over_the_cap_are_cut_off(self, server: _Server, path: str) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, path)
        assert (caught.value.reason, len(server.seen)) == ("too_large", 1)
        assert "headers" in str(caught.value)

    def test_long_headers_under_the_cap_are_taken(self, server: _Server) -> None:
        assert _fetch(server, "/header_line?=60000") == JPEG

    def test_a_body_shorter_than_announced_is_a_network_failure(self, server: _Server) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, "/cut")
        assert caught.value.reason == "network"


class TestTurns:
    def test_no_host_has_more_than_two_connections_at_a_time(self, server: _Server) -> None:
        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(lambda _: _fetch(server, "/crowded"), range(6))) == [JPEG] * 6
        assert (len(server.seen), server.most_inside) == (6, 2)

    def test_waiting_for_a_turn_counts_as_time_and_another_host_need_not_wait(self, server: _Server) -> None:
        other = _Server()
        other.thread.start()
        try:
            with ThreadPoolExecutor(2) as threads:
                held = [threads.submit(_refused_on, server, "/hold") for _ in range(2)]
                while len(server.seen) < 2:
                    threading.Event().wait(0.01)
                with pytest.raises(FetchError) as caught:
                    _fetch(server, "/good", total_s=0.2)
                assert (caught.value.reason, len(server.seen)) == ("timeout", 2)
                assert _fetch(other, "/good") == JPEG
                server.stopped.set()
                assert [each.result() for each in held] == ["network", "network"]
            assert _fetch(server, "/good") == JPEG
        finally:
            other.stop()


def _refused_on(server: _Server, path: str) -> str:
    with pytest.raises(FetchError) as caught:
        _fetch(server, path, retries=0)
    return caught.value.reason


class TestRetries:
    @pytest.mark.parametrize(
        ("path", "asked", "permanent"),
        [("/missing", 1, True), ("/gone", 1, True), ("/forbidden", 1, False), ("/down", 3, False), ("/busy", 3, False)],
    )
    def test_only_what_may_pass_is_tried_again(self, server: _Server, path: str, asked: int, permanent: bool) -> None:
        with pytest.raises(FetchError) as caught:
            _fetch(server, path)
        assert (caught.value.reason, caught.value.permanent) == ("http_status", permanent)
        assert len(server.seen) == asked

    def test_a_server_that_recovers_gives_its_image(self, server: _Server) -> None:
        assert _fetch(server, "/recovers") == JPEG

    def test_a_closed_port_is_tried_again_and_then_named(
        self, server: _Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lookups, connects = _watch_network(monkeypatch, [["93.184.216.34"]])
        with pytest.raises(FetchError) as caught:
            fetch_image("http://closed.example/a.jpg", retries=2)
        assert (caught.value.reason, len(lookups), len(connects)) == ("network", 3, 3)

    def test_a_name_that_does_not_exist_is_a_network_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*args: Any, **options: Any) -> list[Any]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        error = _refused("http://nothing.invalid/a.jpg")
        assert (error.reason, error.permanent) == ("network", False)
        assert "nothing.invalid" in str(error)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with the openssl command")
class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        path = tmp_path / "both.pem"
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-keyout", str(path), "-out", str(tmp_path / "cert.pem"), "-days", "2", "-subj", "/CN=localhost"]
            + ["-addext", "subjectAltName=DNS:localhost"],
            capture_output=True,
            timeout=30,
        )
        assert made.returncode == 0, made.stderr
        with path.open("ab") as opened:
            opened.write((tmp_path / "cert.pem").read_bytes())
        return path

    @pytest.fixture
    def secure(self, certificate: Path) -> Iterator[_Server]:
        running = _Server()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.thread.start()
        yield running
        running.stop()

    def test_the_certificate_is_checked_against_the_name(
        self, secure: _Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = secure.server_address[1]
        allowed = frozenset({f"localhost:{port}", f"127.0.0.1:{port}"})
        assert _refused(f"https://localhost:{port}/good", allow_hosts=allowed).reason == "network"
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(fetching, "_ssl_context", lambda: trusting)
        assert fetch_image(f"https://localhost:{port}/good", allow_hosts=allowed) == JPEG
        assert self.names[-1] == "localhost"
        assert _refused(f"https://127.0.0.1:{port}/good", allow_hosts=allowed).reason == "network"

    def test_https_never_redirects_down_to_http(
        self, secure: _Server, server: _Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(fetching, "_ssl_context", lambda: trusting)
        host = f"localhost:{secure.server_address[1]}"
        error = _refused(f"https://{host}/to?=http://{server.host}/good", allow_hosts=frozenset({host, server.host}))
        assert (error.reason, server.seen) == ("redirect_blocked", [])
