"""The network guard under `fetch`: resolve a name once, judge every answer, connect to the judged address itself.

Checking a name first and letting the HTTP library resolve it again is the classic hole (DNS rebinding), so the check
lives below HTTP, where the connection is made. Addresses are judged, never text: `127.1`, `0x7f000001` and
`2130706433` all resolve to loopback.
"""

import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

_BLOCKED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent: a public address that only answers from inside
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "64:ff9b::/96",  # these four carry an IPv4 address inside
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "2001:db8::/32",
        "3fff::/20",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
# Everything public in IPv6 lies here; what is outside is reserved, local or a wrapped IPv4 address.
_IPV6_UNICAST = ipaddress.ip_network("2000::/3")


MAX_HEADER_BYTES = 64 * 1024
_HEADERS_END = re.compile(rb"\n\r?\n")


class HeadersTooLarge(Exception):
    """A server sent more headers than any picture needs."""


class BlockedAddress(Exception):
    """A name led to an address that must not be contacted from a server."""


def is_public(address: str) -> bool:
    """Say whether a literal IP address is a public unicast one, also when it wraps an IPv4 address.

    Raises:
        ValueError: not a literal address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip not in _IPV6_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _BLOCKED)


class Deadline:
    """A point in time (monotonic clock) that everything in one fetch shares."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def bounded(self, timeout: float | None, error: type[Exception]) -> float:
        """The shorter of a timeout and what is left, in seconds; raises `error` when nothing is left."""
        left = self.left_s()
        if left <= 0.0:
            raise error("the total time is used up")
        return left if timeout is None else min(timeout, left)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to public addresses only.

    Args:
        deadline: bounds looking up, connecting, and every read and write: a server that sends one byte at a time
            never trips a read timeout.
        is_exempt: given (host, port), says whether private addresses are allowed for it.
    """

    def __init__(self, deadline: Deadline, is_exempt: Callable[[str, int], bool]) -> None:
        self._deadline = deadline
        self._is_exempt = is_exempt

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve once, check all answers, connect to the first that answers.

        Raises:
            BlockedAddress: any answer is not public; one bad answer blocks the name.
        """
        answers = _resolve(host, port, self._deadline.bounded(timeout, httpcore.ConnectTimeout))
        if not self._is_exempt(host, port):
            bad = next((str(place[0]) for _, place in answers if not is_public(str(place[0]))), None)
            if bad is not None:
                raise BlockedAddress(f"{host} leads to {bad}, which is not a public address")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for family, place in answers:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(self._deadline.bounded(timeout, httpcore.ConnectTimeout))
                sock.connect(place)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _Stream(sock, self._deadline)
            except TimeoutError as error:
                failure = httpcore.ConnectTimeout(f"{host} did not answer: {error}")
            except OSError as error:
                failure = httpcore.ConnectError(f"{host} refused: {error}")
            except BaseException:
                sock.close()
                raise
            sock.close()
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Never: an image is not fetched from a local socket."""
        raise BlockedAddress("local sockets are not fetched from")


def _resolve(host: str, port: int, timeout: float) -> list[tuple[int, Any]]:
    """Look a name up, once; the answers as (address family, socket address) in the resolver's order."""
    answers: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    # getaddrinfo has no timeout of its own; a daemon thread may outlive us without holding up the exit.
    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from None
    if not isinstance(answer, list):
        raise httpcore.ConnectError(f"the name {host} cannot be resolved: {answer}")
    return [(family, place) for family, _, _, _, place in answer if family in (socket.AF_INET, socket.AF_INET6)]


class _Stream(httpcore.NetworkStream):
    """A socket whose every operation ends at the deadline, and whose first answer has bounded headers."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._headers: bytearray | None = bytearray()  # None once they have ended

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._sock.settimeout(self._deadline.bounded(timeout, httpcore.ReadTimeout))
        try:
            data = self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        if self._headers is not None:
            self._count_headers(data)
        return data

    def _count_headers(self, data: bytes) -> None:
        # httpcore has a limit of its own, which cannot be set.
        assert self._headers is not None
        self._headers += data
        end = _HEADERS_END.search(self._headers)
        if (end.start() if end else len(self._headers)) > MAX_HEADER_BYTES:
            raise HeadersTooLarge(f"the headers of its answer are larger than {MAX_HEADER_BYTES >> 10} KiB")
        if end:
            self._headers = None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sock.settimeout(self._deadline.bounded(timeout, httpcore.WriteTimeout))
        try:
            # sendall counts its timeout over the whole buffer.
            self._sock.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            self._sock.settimeout(self._deadline.bounded(timeout, httpcore.ConnectTimeout))
            return _Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname), self._deadline)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        if info == "socket":
            return self._sock
        if info == "server_addr":
            return self._sock.getpeername()
        return None
