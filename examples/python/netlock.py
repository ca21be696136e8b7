"""A small client of the netlock protocol, written from docs/protocol.md alone.

    scripts/python   # once: installs protobuf from PyPI and generates the messages from the .proto
    target/python/bin/python examples/python/netlock.py netlock://127.0.0.1:7420 work/l/report

Acquires a lock, prints its fencing token, holds it for some seconds (default 1) and releases it.
The URL has the form that the Rust client uses: `netlock://[:TOKEN@]HOST[:PORT]`, or `netlocks:` for
TLS, with the options `ca`, `cert`, `key` and `table`. Exit status: 0, 1 if a request failed, 3 if
the lock was lost while it was held.
"""

import secrets
import select
import socket
import ssl
import struct
import sys
import threading
import time
from urllib.parse import parse_qs, unquote, urlsplit

import netlock_pb2 as pb


class Refused(Exception):
    """The server refuses a request. The message says why."""


class Lost(Exception):
    """The session has ended, or may have ended by now: stop the work that the lock protects."""


def new_id():
    """Returns 128 random bits from a generator that is fit for secrets."""
    return pb.Id(high=secrets.randbits(64), low=secrets.randbits(64))


def now():
    """Returns the seconds since boot. Time asleep counts, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def validity(ttl):
    """Returns how many seconds after a renewal was sent the session counts as alive.

    This is the TTL, minus the drift of two clocks (1 % and 2 ms), minus a margin in which work
    stops before the server can grant the lock to another client (10 %, at least 250 ms, at most a
    third).
    """
    return ttl - (ttl / 100 + 0.002) - min(max(ttl / 10, 0.25), ttl / 3)


class Connection:
    """A stream of frames over TCP or TLS. One thread may read while others write."""

    def __init__(self, url):
        parts = urlsplit(url)
        if parts.scheme not in ("netlock", "netlocks") or not parts.hostname:
            raise ValueError("write netlock://HOST:PORT, or netlocks://HOST:PORT for TLS")
        query = parse_qs(parts.query, keep_blank_values=True)
        options = {name: values[0] for name, values in query.items()}
        self.token = unquote(parts.password or "")
        table = options.pop("table", None)
        self.table = int(table, 16) if table else None
        files = {name: options.pop(name, None) for name in ("ca", "cert", "key")}
        if options:
            raise ValueError(f"unknown option `{min(options)}`: known are table, ca, cert, key")
        self._socket = socket.create_connection((parts.hostname, parts.port or 7420), timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "netlocks":
            context = ssl.create_default_context(cafile=files["ca"])
            if files["cert"]:
                context.load_cert_chain(files["cert"], files["key"])
            self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        self._socket.setblocking(False)
        # Two threads must not use a TLS connection at once, so a read does not block while it has
        # the lock.
        self._using = threading.Lock()
        self._buffer = b""

    def send(self, message):
        """Sends a message as a frame: its length in four bytes, big-endian, then the message."""
        data = struct.pack(">I", len(message)) + message
        with self._using:
            while data:
                try:
                    data = data[self._socket.send(data) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    select.select([], [self._socket], [])
                except ssl.SSLWantReadError:
                    select.select([self._socket], [], [])

    def receive(self):
        """Returns the message of the next frame."""
        (size,) = struct.unpack(">I", self._take(4))
        return self._take(size)

    def _take(self, size):
        while len(self._buffer) < size:
            try:
                with self._using:
                    more = self._socket.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                select.select([self._socket], [], [], 1)
                continue
            if not more:
                raise ConnectionError("the server closed the connection")
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def close(self):
        """Closes the connection. A thread that reads from it gets an error."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


class Session:
    """A connection with one session, which a thread of its own renews. It is safe to share."""

    NUMBER = 1

    def __init__(self, url, client, ttl_seconds=15):
        self._connection = Connection(url)
        self._changed = threading.Condition()
        self._request = 0
        self._answers = {}
        self._loss = None
        self._failure = None
        self._ended = threading.Event()
        # Until the session is open, only the timeout of `_ask` applies.
        self._deadline = now() + 3600
        threading.Thread(target=self._read, daemon=True).start()
        welcome = self._ask(hello=pb.Hello(version=1, token=self._connection.token)).welcome
        self._check_table(welcome)
        sent = now()
        ttl_ms = int(ttl_seconds * 1000)
        opened = self._ask(
            open=pb.Open(session=self.NUMBER, id=new_id(), secret=new_id(), ttl_ms=ttl_ms, client=client)
        )
        self.ttl = opened.opened.ttl_ms / 1000
        self._deadline = sent + validity(self.ttl)
        self._keeper = threading.Thread(target=self._renew, daemon=True)
        self._keeper.start()

    def _check_table(self, welcome):
        wanted = self._connection.table
        if wanted is not None and wanted != (welcome.table.high << 64 | welcome.table.low):
            found = f"{welcome.table.high:016x}{welcome.table.low:016x}"
            raise Refused(f"this server has another table, {found}: correct the address or `table`")

    def check(self, min_remaining=0.0):
        """Raises Lost unless the session is valid for `min_remaining` more seconds.

        Call it before each side effect.
        """
        if self._loss is None and now() + min_remaining >= self._deadline:
            if min_remaining > 0 and now() < self._deadline:
                raise Lost(f"less than {min_remaining} s are left")
            self._lose("not renewed in time")
        if self._loss is not None:
            raise Lost(self._loss)

    def _lose(self, reason):
        with self._changed:
            if self._loss is None:
                self._loss = reason
            self._changed.notify_all()

    def _send(self, **body):
        with self._changed:
            self._request += 1
            request = self._request
            self._answers[request] = []
        self._connection.send(pb.Request(id=request, **body).SerializeToString())
        return request

    def _read(self):
        try:
            while True:
                response = pb.Response.FromString(self._connection.receive())
                with self._changed:
                    if response.id == 0:
                        raise ConnectionError(response.refused.message)
                    if response.id in self._answers:
                        self._answers[response.id].append(response)
                    self._changed.notify_all()
        except (OSError, ValueError) as error:
            with self._changed:
                self._failure = str(error)
                self._changed.notify_all()

    def _answer(self, request, limit=None):
        """Returns the next reply to a request.

        Waits for up to `limit` seconds, or without a limit until the session is lost.
        """
        end = None if limit is None else now() + limit
        with self._changed:
            while not self._answers[request]:
                self.check()
                if self._failure is not None:
                    raise ConnectionError(self._failure)
                if end is not None and now() >= end:
                    raise TimeoutError(f"no answer within {limit} s")
                self._changed.wait(0.2)
            response = self._answers[request].pop(0)
        if response.WhichOneof("body") == "refused":
            raise Refused(response.refused.message)
        return response

    def _ask(self, limit=5, **body):
        request = self._send(**body)
        try:
            return self._answer(request, limit)
        finally:
            del self._answers[request]

    def _renew(self):
        pause = self.ttl / 3
        while not self._ended.wait(pause):
            sent = now()
            try:
                renewed = self._ask(limit=self.ttl / 3, renew=pb.Renew(session=self.NUMBER))
            except Refused as refused:
                return self._lose(f"the server ended the session ({refused})")
            except Lost:
                return
            except (OSError, TimeoutError):
                # The deadline is unchanged: locks are lost then, unless a later renewal succeeds.
                pause = self.ttl / 12
                continue
            self.ttl = renewed.renewed.ttl_ms / 1000
            self._deadline = sent + validity(self.ttl)
            pause = self.ttl / 3

    def acquire(self, name, wait=True):
        """Acquires a name and returns the claim and its fencing token.

        If the name is taken and `wait` is False, returns None.
        """
        claim = new_id()
        enqueue = pb.Enqueue(session=self.NUMBER, claim=claim, name=name.encode())
        setattr(enqueue, "try", not wait)  # `try` is a keyword of Python.
        request = self._send(enqueue=enqueue)
        response = self._answer(request, limit=5)
        if response.WhichOneof("body") == "waiting":
            # A waiting claim gets a second reply to the same request: granted or gone.
            response = self._answer(request)
        if response.WhichOneof("body") == "busy":
            return None
        if response.WhichOneof("body") != "granted":
            raise Refused(f"no longer in the queue: {pb.Gone.Why.Name(response.gone.why)}")
        self.check()
        return claim, response.granted.token

    def release(self, claim):
        """Releases a claim and returns whether it was held."""
        response = self._ask(withdraw=pb.Withdraw(session=self.NUMBER, claim=claim))
        return response.withdrawn.found != pb.Withdrawn.ABSENT

    def close(self):
        """Ends the session, which releases its locks."""
        self._ended.set()
        self._keeper.join()
        self._ask(close=pb.Close(session=self.NUMBER))
        self._connection.close()


def main(url, name, seconds="1"):
    session = Session(url, client="python", ttl_seconds=2)
    claim, token = session.acquire(name)
    print(f"holds {name} with token {token}", flush=True)
    busy = session.acquire(name, wait=False)
    assert busy is None, "a lock is not granted twice"
    end = now() + float(seconds)
    while now() < end:
        session.check()
        time.sleep(0.02)
    assert session.release(claim), "the lock was lost"
    assert not session.release(claim), "a lock is released once"
    print("released", flush=True)
    session.close()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Refused, OSError, ValueError) as error:
        sys.exit(f"refused: {error}")
    except Lost as lost:
        print(f"lost: {lost}", flush=True)
        sys.exit(3)
