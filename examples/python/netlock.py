"""A small client of the netlock protocol, written from docs/protocol.md alone.

    scripts/python                     # once: protobuf from PyPI, and the messages generated from the .proto
    target/python/bin/python examples/python/netlock.py 127.0.0.1:7420 work/l/report [SECONDS]

Takes a lock, says its fencing token, holds it for some seconds (default 1) and gives it back.
"""

import secrets
import socket
import struct
import sys
import threading
import time

import netlock_pb2 as pb


class Refused(Exception):
    """The server did not do it, and says why."""


def new_id():
    """128 random bits from a generator that is fit for secrets."""
    return pb.Id(high=secrets.randbits(64), low=secrets.randbits(64))


class Session:
    """A connection with one session on it. Not for several threads at a time, but for its own that renews."""

    NUMBER = 1

    def __init__(self, address, client, ttl_seconds=15, token=""):
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host.strip("[]"), int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writing = threading.Lock()
        self._request = 0
        self._answers = {}
        self._ask(hello=pb.Hello(version=1, token=token))
        opened = self._ask(
            open=pb.Open(session=self.NUMBER, id=new_id(), secret=new_id(), ttl_ms=int(ttl_seconds * 1000), client=client)
        )
        self.ttl = opened.opened.ttl_ms / 1000
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._renew, daemon=True)
        self._keeper.start()

    def _send(self, **body):
        with self._writing:
            self._request += 1
            message = pb.Request(id=self._request, **body).SerializeToString()
            # A frame: the length, four bytes, big-endian; then the message.
            self._socket.sendall(struct.pack(">I", len(message)) + message)
            return self._request

    def _read(self, size):
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return data

    def _answer(self, request):
        """The next answer to a request. Answers to others, such as renewals, are put aside."""
        while not self._answers.get(request):
            (size,) = struct.unpack(">I", self._read(4))
            response = pb.Response.FromString(self._read(size))
            self._answers.setdefault(response.id, []).append(response)
            if response.id == 0:
                raise Refused(response.refused.message)
        response = self._answers[request].pop(0)
        if response.WhichOneof("body") == "refused":
            raise Refused(response.refused.message)
        return response

    def _ask(self, **body):
        return self._answer(self._send(**body))

    def _renew(self):
        while not self._ended.wait(self.ttl / 3):
            # Sent and not waited for: the answer is put aside by whoever reads next.
            self._send(renew=pb.Renew(session=self.NUMBER))

    def acquire(self, name, wait=True):
        """Stands in line for a name: the claim and its fencing token. None if it is taken and `wait` is False."""
        claim = new_id()
        enqueue = pb.Enqueue(session=self.NUMBER, claim=claim, name=name.encode(), **{"try": not wait})
        request = self._send(enqueue=enqueue)
        response = self._answer(request)
        if response.WhichOneof("body") == "waiting":
            # The second answer to the same request: granted, or gone.
            response = self._answer(request)
        if response.WhichOneof("body") == "busy":
            return None
        if response.WhichOneof("body") != "granted":
            raise Refused(f"in line no more: {pb.Gone.Why.Name(response.gone.why)}")
        return claim, response.granted.token

    def release(self, claim):
        """Gives a claim back; whether it was there."""
        response = self._ask(withdraw=pb.Withdraw(session=self.NUMBER, claim=claim))
        return response.withdrawn.found != pb.Withdrawn.ABSENT

    def close(self):
        """Ends the session, and all that it holds."""
        self._ended.set()
        self._keeper.join()
        self._ask(close=pb.Close(session=self.NUMBER))
        self._socket.close()


def main(address, name, seconds="1"):
    session = Session(address, client="python", ttl_seconds=2)
    claim, token = session.acquire(name)
    print(f"holds {name} with token {token}", flush=True)
    busy = session.acquire(name, wait=False)
    assert busy is None, "a lock is not granted twice"
    time.sleep(float(seconds))
    assert session.release(claim), "the lock was lost"
    assert not session.release(claim), "a lock is given back once"
    print("released", flush=True)
    session.close()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Refused as refused:
        sys.exit(f"refused: {refused}")
