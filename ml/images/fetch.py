"""Fetching an image by URL without becoming somebody's way into the private network.

The rules: http and https only, on ports 80 and 443; no user name in the URL; no proxy or other setting from the
environment; at most three redirects, each judged like the first URL, never from https down to http; no cookies;
every address judged where the connection is made (`ml.images.guard`); headers and body counted while they arrive; at
most two connections to a host at a time (`ml.images.host_turns`); one time limit over all of it.
"""

import functools
import ssl
import time
from typing import Literal

import httpcore
import httpx

from ml.images.decode import MAX_IMAGE_BYTES, ImageError, inspect
from ml.images.guard import BlockedAddress, Deadline, GuardedBackend, HeadersTooLarge
from ml.images.host_turns import HostTurns

FetchReason = Literal[
    "url_blocked",
    "scheme",
    "bad_url",
    "redirect_blocked",
    "too_many_redirects",
    "too_large",
    "compressed",
    "timeout",
    "http_status",
    "network",
    "not_an_image",
]

MAX_REDIRECTS = 3
_TIMEOUT_S = httpx.Timeout(connect=5.0, read=10.0, write=10.0, pool=5.0)
_PORTS = {"http": 80, "https": 443}
_MAX_URL_CHARACTERS = 4096
# Asking for identity keeps a compressed bomb from being unpacked; an answer that is compressed anyway is refused.
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "afterglow"}
# Doubles each time; short, since a tick has seconds for a hundred webcams.
_FIRST_PAUSE_S = 0.1
_TURNS = HostTurns()


class FetchError(Exception):
    """An image could not be fetched; `reason` is for programs, the message for people.

    `permanent` is true when asking again later is pointless: the address is forbidden, or the server says that the
    image is gone (404, 410).
    """

    def __init__(self, reason: FetchReason, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.reason: FetchReason = reason
        self.permanent = permanent


class _Retry(Exception):
    """A failure that another attempt may cure; carries the error to raise when no attempt is left."""

    def __init__(self, final: FetchError) -> None:
        super().__init__(str(final))
        self.final = final


class _GuardedTransport(httpx.HTTPTransport):
    """httpx over our own network backend. httpx has no public way to pass one, hence the replaced pool."""

    def __init__(self, backend: GuardedBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=_ssl_context(), max_connections=1, retries=0, network_backend=backend
        )


def fetch_image(
    url: str, *, allow_hosts: frozenset[str] = frozenset(), total_s: float = 30.0, retries: int = 2
) -> bytes:
    """Fetch an image and check it by decoding it once.

    Args:
        url: absolute, http or https.
        allow_hosts: exact `host:port` (IPv6 in brackets) that may be private addresses and other ports: webcams in
            the own network.
        total_s: seconds for everything together: names, redirects, retries, a server that drips.
        retries: further attempts after a failed connection, 429 or 5xx; nothing else is tried again.

    Returns:
        the bytes exactly as the server sent them, at most 25 MiB.

    Raises:
        FetchError: with its reason; the message names the URL without its query, which may hold a secret.
    """
    allowed = frozenset(host.lower() for host in allow_hosts)
    deadline = Deadline(total_s)
    pause_s = _FIRST_PAUSE_S
    for remaining in range(max(0, retries), -1, -1):
        try:
            data = _follow(url, allowed, deadline)
            break
        except _Retry as failure:
            if remaining == 0 or deadline.left_s() <= pause_s:
                raise failure.final from failure.__cause__
            time.sleep(pause_s)
            pause_s *= 2
    try:
        inspect(data)
    except ImageError as error:
        raise FetchError("not_an_image", f"{_shown(url)} gave no usable image: {error}") from error
    return data


def _follow(url: str, allowed: frozenset[str], deadline: Deadline) -> bytes:
    """One attempt: the first URL and its redirects."""
    target = _checked_url(url, allowed)
    backend = GuardedBackend(deadline, lambda host, port: _host_port(host, port) in allowed)
    for hop in range(MAX_REDIRECTS + 1):
        try:
            answer = _ask(target, backend, deadline)
        except BlockedAddress as error:
            reason: FetchReason = "redirect_blocked" if hop else "url_blocked"
            raise FetchError(reason, f"{_shown(url)} is not fetched: {error}", permanent=True) from error
        except HeadersTooLarge as error:
            raise FetchError("too_large", f"{_shown(url)}: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            timed_out = isinstance(error, httpx.ConnectTimeout)
            final = FetchError("timeout" if timed_out else "network", f"{_shown(url)} cannot be reached: {error}")
            raise _Retry(final) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise FetchError("timeout", f"{_shown(url)} took too long: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise FetchError("network", f"{_shown(url)} broke off: {error}") from error
        if isinstance(answer, bytes):
            return answer
        target = _checked_redirect(target, answer, allowed)
    raise FetchError("too_many_redirects", f"{_shown(url)} redirects more than {MAX_REDIRECTS} times")


def _ask(target: httpx.URL, backend: GuardedBackend, deadline: Deadline) -> bytes | str:
    """One hop, when its host has a turn free: the body, or the place that it redirects to."""
    host_port = _host_port(target.host, target.port or _PORTS[target.scheme])
    # A client per hop: no cookie and no connection is carried from one host to the next.
    with (
        _TURNS.turn(host_port, deadline.left_s()),
        httpx.Client(
            transport=_GuardedTransport(backend), timeout=_TIMEOUT_S, trust_env=False, headers=_HEADERS
        ) as client,
    ):
        return _get(client, target)


def _get(client: httpx.Client, target: httpx.URL) -> bytes | str:
    """Ask one URL: the body, or the place that it redirects to."""
    shown = _shown(str(target))
    with client.stream("GET", target, follow_redirects=False) as response:
        status = response.status_code
        if response.has_redirect_location:
            return response.headers["location"]
        if status == 429 or status >= 500:
            raise _Retry(FetchError("http_status", f"{shown} answered {status}"))
        if status != 200:
            raise FetchError("http_status", f"{shown} answered {status}", permanent=status in (404, 410))
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise FetchError(
                "compressed", f"{shown} sent its answer compressed ({encoding[:40]!r}) though asked not to"
            )
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MAX_IMAGE_BYTES:
            raise FetchError("too_large", f"{shown} has {length} bytes; at most {MAX_IMAGE_BYTES} are taken")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_IMAGE_BYTES:
                raise FetchError("too_large", f"{shown} sends more than {MAX_IMAGE_BYTES} bytes")
        return bytes(body)


def _checked_url(url: str, allowed: frozenset[str]) -> httpx.URL:
    """Parse a URL and apply the rules that need no network."""
    if len(url) > _MAX_URL_CHARACTERS:
        raise FetchError("bad_url", f"the URL is longer than {_MAX_URL_CHARACTERS} characters", permanent=True)
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError("bad_url", f"{_shown(url)} is not a URL: {error}", permanent=True) from error
    if parsed.scheme not in _PORTS:
        raise FetchError("scheme", f"{_shown(url)} is not an http or https URL", permanent=True)
    if parsed.userinfo:
        raise FetchError("bad_url", f"the URL of {parsed.host} holds a user name; remove it", permanent=True)
    if not parsed.host:
        raise FetchError("bad_url", f"{_shown(url)} names no host", permanent=True)
    port = parsed.port or _PORTS[parsed.scheme]
    if port not in _PORTS.values() and _host_port(parsed.host, port) not in allowed:
        raise FetchError("url_blocked", f"{_shown(url)} uses port {port}; only 80 and 443 are fetched", permanent=True)
    return parsed


def _checked_redirect(current: httpx.URL, location: str, allowed: frozenset[str]) -> httpx.URL:
    try:
        target = _checked_url(str(current.join(location)), allowed)
    except (FetchError, httpx.InvalidURL, ValueError) as error:
        message = f"{_shown(str(current))} redirects to where we do not go: {error}"
        raise FetchError("redirect_blocked", message, permanent=True) from error
    if current.scheme == "https" and target.scheme == "http":
        message = f"{_shown(str(current))} redirects from https down to http"
        raise FetchError("redirect_blocked", message, permanent=True)
    return target


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}".lower() if ":" in host else f"{host}:{port}".lower()


def _shown(url: str) -> str:
    """A URL for a message: without query and user name, which may hold secrets, and not endless."""
    plain = url.partition("?")[0].partition("#")[0]
    start, mark, rest = plain.partition("://")
    host, slash, path = rest.partition("/")
    plain = start + mark + host.rpartition("@")[2] + slash + path
    return ascii(plain[:200])[1:-1] or "the empty URL"


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # Loading the certificates takes tens of milliseconds, and one context serves every thread.
    return httpx.create_ssl_context(trust_env=False)
