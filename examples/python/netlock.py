"""A small client of the netlock protocol, written from docs/protocol.md alone.

    scripts/python   # once: installs protobuf from PyPI and generates the messages from the .proto
    target/python/bin/python examples/python/netlock.py netlock://127.0.0.1:7420 work/l/report

Acquires a lock, prints its fencing token, holds it for some seconds (default 1) and releases it.
The last argument is the TTL of the session in seconds (default 2). The URL has the form that the
Rust client uses: `netlock://[:TOKEN@]HOST[:PORT]`, or `netlocks:` for TLS, with the options `ca`,
`cert`, `key` and `table`. It can have several addresses of a cluster, separated by commas. The
client follows the leader of a cluster, and continues with its session after a connection was lost.
Exit status: 0, 1 if a request failed, 3 if the lock was lost while it was held.
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


class NotLeader(Exception):
    """The server is a member of a cluster and does not lead it."""

    def __init__(self, refused):
        super().__init__(refused.message)
        self.leader = refused.leader
        self.table = refused.table if refused.HasField("table") else None


def number(table):
    """Returns the identity of a table as a number."""
    return table.high << 64 | table.low


class Target:
    """Where to connect: the URL, and what the servers have said since."""

    def __init__(self, url):
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        hosts = [host for host in hosts.split(",") if host]
        self.addresses = [host if ":" in host else f"{host}:7420" for host in hosts]
        if parts.scheme not in ("netlock", "netlocks") or not self.addresses:
            raise ValueError("write netlock://HOST:PORT, or netlocks://HOST:PORT for TLS")
        self.is_secure = parts.scheme == "netlocks"
        query = parse_qs(parts.query, keep_blank_values=True)
        options = {name: values[0] for name, values in query.items()}
        self.token = unquote(login.partition(":")[2])
        table = options.pop("table", None)
        self.table = int(table, 16) if table else None
        self.files = {name: options.pop(name, None) for name in ("ca", "cert", "key")}
        if options:
            raise ValueError(f"unknown option `{min(options)}`: known are table, ca, cert, key")
        # Where clients reach the members of the cluster, as the last leader has said.
        self.members = []

    def dial(self, until):
        """Connects to the server, or to the leader of the cluster.

        A named leader is tried at once. The addresses are asked again after a pause, because the
        named leader may be dead, or an election may be under way.
        """
        pause, leader = 0.05, ""
        while True:
            failure = None
            for address in dict.fromkeys([leader, *self.addresses, *self.members]):
                while address:
                    try:
                        return self._greet(address)
                    except NotLeader as refused:
                        failure = refused
                        is_new = refused.leader not in ("", address, leader)
                        address = leader = refused.leader if is_new else ""
                    except OSError as error:
                        failure, address = failure or error, ""
            is_cluster = self.members or isinstance(failure, NotLeader)
            if not is_cluster or now() + pause >= until:
                raise ConnectionError(f"no server at {', '.join(self.addresses)}: {failure}")
            time.sleep(pause)
            pause, leader = min(2 * pause, 0.4), ""

    def _greet(self, address):
        connection = Connection(self, address)
        try:
            hello = pb.Hello(version=1, token=self.token)
            connection.send(pb.Request(id=1, hello=hello).SerializeToString())
            response = pb.Response.FromString(connection.receive(limit=5))
            if response.WhichOneof("body") == "refused":
                if response.refused.code == pb.Refused.NOT_LEADER:
                    raise NotLeader(response.refused)
                raise Refused(response.refused.message)
            self._check(address, response.welcome)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, address, welcome):
        """Checks that the server has the right table, and that the other addresses have it too."""
        table = number(welcome.table)
        if self.table not in (None, table):
            found = f"{address} has another table, {table:032x}"
            raise Refused(f"{found}: correct the address or `table`")
        if self.table is None and (welcome.members or len(self.addresses) > 1):
            for other in self.addresses:
                if other != address and other not in welcome.members:
                    self._check_other(other, address, table, bool(welcome.members))
            # From now on, no other table is accepted.
            self.table = table
        self.members = list(welcome.members)

    def _check_other(self, other, address, table, is_cluster):
        if not is_cluster:
            raise Refused(f"{address} is no member of a cluster: give one address, or add `table`")
        found = None
        try:
            self.table = table
            self._greet(other).close()
            found = table
        except NotLeader as refused:
            found = refused.table and number(refused.table)
        except OSError:
            pass
        finally:
            self.table = None
        if found != table:
            problem = f"{other} does not lead to the cluster at {address}"
            raise Refused(f"{problem}: remove the address, or add `table`")


class Connection:
    """A stream of frames over TCP or TLS. One thread may read while others write."""

    def __init__(self, target, address):
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        self._socket = socket.create_connection((host, int(port)), timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.is_secure:
            context = ssl.create_default_context(cafile=target.files["ca"])
            if target.files["cert"]:
                context.load_cert_chain(target.files["cert"], target.files["key"])
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
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

    def receive(self, limit=None):
        """Returns the message of the next frame. Waits for up to `limit` seconds, if given."""
        end = None if limit is None else now() + limit
        (size,) = struct.unpack(">I", self._take(4, end))
        return self._take(size, end)

    def _take(self, size, end):
        while len(self._buffer) < size:
            if end is not None and now() >= end:
                raise TimeoutError("the server does not answer")
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
    """A session, which a thread of its own renews. It is safe to share.

    When its connection is lost, it continues on another one, and repeats the requests without a
    reply.
    """

    NUMBER = 1

    def __init__(self, url, client, ttl_seconds=15):
        self._target = Target(url)
        self._changed = threading.Condition()
        # Held while requests are sent, so that none is lost when the connection is replaced.
        self._sending = threading.Lock()
        self._request = 1
        self._answers = {}
        # The requests whose last reply has not arrived, and those of them that were sent again.
        self._pending = {}
        self._repeated = set()
        self._loss = None
        self._failure = None
        self._ended = threading.Event()
        self._closed = threading.Event()
        self.ttl = ttl_seconds
        # Until the session is open, only the timeout of `_ask` applies.
        self._deadline = now() + 3600
        self._attach = pb.Attach(session=self.NUMBER, id=new_id(), secret=new_id())
        self._connection = self._target.dial(now() + 5)
        threading.Thread(target=self._read, daemon=True).start()
        sent = now()
        opened = self._ask(
            open=pb.Open(
                session=self.NUMBER,
                id=self._attach.id,
                secret=self._attach.secret,
                ttl_ms=int(ttl_seconds * 1000),
                client=client,
            )
        )
        self.ttl = opened.opened.ttl_ms / 1000
        self._deadline = sent + validity(self.ttl)
        self._keeper = threading.Thread(target=self._renew, daemon=True)
        self._keeper.start()

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
        with self._sending:
            with self._changed:
                self._request += 1
                request = self._request
                self._answers[request] = []
                message = pb.Request(id=request, **body).SerializeToString()
                self._pending[request] = message
            try:
                self._connection.send(message)
            except OSError:
                pass  # The thread that reads connects again, and repeats it.
        return request

    def _read(self):
        while True:
            try:
                self._receive()
            except (OSError, ValueError) as error:
                reason = error
            try:
                if self._closed.is_set():
                    raise ConnectionError(str(reason))
                self._reconnect()
            except (OSError, ValueError, Refused) as error:
                with self._changed:
                    self._failure = f"{reason}; {error}"
                    self._changed.notify_all()
                return

    def _receive(self):
        while True:
            response = pb.Response.FromString(self._connection.receive())
            body = response.WhichOneof("body")
            with self._changed:
                if response.id == 0:
                    raise ConnectionError(response.refused.message)
                if body == "refused" and response.refused.code == pb.Refused.NOT_LEADER:
                    raise ConnectionError(response.refused.message)
                if response.id in self._answers:
                    self._answers[response.id].append(response)
                # A claim that waits gets a second reply.
                if body != "waiting":
                    self._pending.pop(response.id, None)
                self._changed.notify_all()

    def _reconnect(self):
        """Continues with the session on another connection, while it may be alive."""
        self._connection.close()
        connection = self._target.dial(min(self._deadline, now() + self.ttl))
        with self._sending:
            self._connection = connection
            with self._changed:
                pending = dict(self._pending)
                self._repeated.update(pending)
            try:
                # Nobody waits for the reply. Without the session, later requests are refused.
                attach = pb.Request(id=1, attach=self._attach)
                for message in [attach.SerializeToString(), *pending.values()]:
                    connection.send(message)
            except OSError:
                pass  # The next read fails too.

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
            with self._changed:
                del self._answers[request]
                self._pending.pop(request, None)

    def _renew(self):
        pause = self.ttl / 3
        while not self._ended.wait(pause):
            sent = now()
            try:
                renewed = self._ask(limit=self.ttl / 3, renew=pb.Renew(session=self.NUMBER))
                self.ttl = renewed.renewed.ttl_ms / 1000
                self._deadline = sent + validity(self.ttl)
                # The reply has the members of the cluster, if they have changed.
                pong = self._ask(limit=self.ttl / 3, ping=pb.Ping()).pong
                self._target.members = list(pong.members) or self._target.members
            except Refused as refused:
                return self._lose(f"the server ended the session ({refused})")
            except Lost:
                return
            except (OSError, TimeoutError):
                # The deadline is unchanged: locks are lost then, unless a later renewal succeeds.
                # The server may hang, so another connection is tried.
                self._connection.close()
                pause = self.ttl / 12
                continue
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
        while response.WhichOneof("body") == "waiting":
            # A waiting claim gets a second reply to the same request: granted or gone. On another
            # connection, it is told again that it waits.
            response = self._answer(request)
        if response.WhichOneof("body") == "busy":
            return None
        if response.WhichOneof("body") != "granted":
            raise Refused(f"no longer in the queue: {pb.Gone.Why.Name(response.gone.why)}")
        self.check()
        return claim, response.granted.token

    def release(self, claim):
        """Releases a claim and returns whether it was held."""
        request = self._send(withdraw=pb.Withdraw(session=self.NUMBER, claim=claim))
        response = self._answer(request, limit=5)
        # A request that was sent twice finds no claim if the first one has released it.
        return response.withdrawn.found != pb.Withdrawn.ABSENT or request in self._repeated

    def close(self):
        """Ends the session, which releases its locks."""
        self._ended.set()
        self._keeper.join()
        self._ask(close=pb.Close(session=self.NUMBER))
        self._closed.set()
        self._connection.close()


def main(url, name, seconds="1", ttl="2"):
    session = Session(url, client="python", ttl_seconds=float(ttl))
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
