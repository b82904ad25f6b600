"""A second opinion on HTTP/1.1: seeded requests, sound and bent, are read by Ringway and by h11.

What Ringway accepts, h11 must accept and read the same way: method, target, fields, body, and where the message
ends. (The other way round Ringway is the stricter of the two, so only sound requests must be accepted.)"""

from __future__ import annotations

import json
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import h11
import pytest
from support.gateway import ECHO

SEED = int(os.environ.get("FUZZ_SEED", "20260728"))
COUNT = int(os.environ.get("FUZZ_ITERS", "4000"))
# What a bent request gets: bytes on which parsers like to disagree.
BENDS = [
    b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"\x7f", b"\x80", b"\xff", b"+", b"-", b"0",
    b"\r\n", b"\r\n ", b"\n\n", b"chunked", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"HTTP/1.0", b"HTTP/2.0", b"X" * 50,
]  # fmt: skip


def sound(dice: random.Random) -> bytes:
    """A request that every server must read."""
    method = dice.choice([b"GET", b"POST", b"PUT", b"DELETE", b"X-OWN"])
    target = b"/" + bytes(dice.choices(b"abc/%20?=&-._~!$'()*+,;:@", k=dice.randrange(12)))
    target = target.replace(b"%", b"%2f").replace(b"..", b".a")  # others are refused on purpose
    fields = [b"Host: a.test"]
    for n in range(dice.randrange(4)):
        value = bytes(dice.choices(b"abc 123=;/,\"()", k=dice.randrange(10))).strip()
        blank = dice.choice([b"", b" ", b"\t", b"  "])
        fields.append(b"X-%d:" % n + blank + value + dice.choice([b"", b" "]))
    body = bytes(dice.choices(b"abc\r\n0;:", k=dice.randrange(40)))
    kind = dice.randrange(3)
    wire = b""
    if kind == 1:
        fields.append(b"Content-Length: %d" % len(body))
        wire = body
    elif kind == 2:
        fields.append(dice.choice([b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED"]))
        while body:
            size = dice.randrange(1, len(body) + 1)
            extension = dice.choice([b"", b"", b";a=b", b';q="x y"'])
            wire += b"%x" % size + extension + b"\r\n" + body[:size] + b"\r\n"
            body = body[size:]
        wire += b"0\r\n" + dice.choice([b"", b"", b"X-Trailer: 1\r\n"]) + b"\r\n"
    dice.shuffle(fields)
    head = method + b" " + target + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n"
    return head + wire


def bent(dice: random.Random) -> bytes:
    """A sound request with one to three changes."""
    wire = bytearray(sound(dice))
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(wire))
        change = dice.randrange(3)
        if change == 0:
            wire[at : at + 1] = b""
        elif change == 1:
            wire[at:at] = dice.choice(BENDS)
        else:
            wire[at : at + 1] = dice.choice(BENDS)
    return bytes(wire)


def fields(pairs) -> list[tuple[bytes, bytes]]:
    """Fields without what does not count: case of names, blanks, case of a coding's name."""
    plain = ((name.lower(), value.strip(b" \t")) for name, value in pairs)
    return sorted((n, v.lower() if n == b"transfer-encoding" else v) for n, v in plain)


def by_h11(wire: bytes) -> dict | None:
    """How h11 reads the first message; None if it refuses or wants more."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(wire)
    parser.receive_data(b"")
    read = {"body": b""}
    try:
        while True:
            event = parser.next_event()
            if isinstance(event, h11.Request):
                read["method"], read["target"] = event.method, event.target
                read["fields"] = fields(event.headers)
            elif isinstance(event, h11.Data):
                read["body"] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return read
            else:
                return None
    except h11.RemoteProtocolError:
        return None


def by_ringway(port: int, wire: bytes) -> dict | None:
    """How Ringway reads the first message, by what the echo saw; None unless it answers 200."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(wire)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while piece := connection.recv(65536):
                received += piece
        except ConnectionError:
            return None  # closed while we were sending: refused
    if not received:
        return None
    answers = h11.Connection(h11.CLIENT)
    answers.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    answers.send(h11.EndOfMessage())
    answers.receive_data(received)
    answers.receive_data(b"")
    body, status = b"", 0
    while True:
        event = answers.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif not isinstance(event, h11.InformationalResponse):
            break
    assert isinstance(event, h11.EndOfMessage), (wire, received, event)
    if status != 200:
        assert 400 <= status < 600, (wire, received)
        return None
    seen = json.loads(body)
    method, target, _ = seen["line"].split(" ")
    pairs = (line.split(":", 1) for line in seen["headers"])
    return {
        "method": method.encode("latin1"),
        "target": target.encode("latin1"),
        "fields": fields((n.encode("latin1"), v.encode("latin1")) for n, v in pairs),
        "body": seen["body"].encode("latin1"),
    }


@pytest.mark.parametrize("make", [sound, bent])
def test_two_parsers_read_the_same(ringway, make):
    gateway = ringway(ECHO)
    dice = random.Random(SEED)
    wires = [make(dice) for _ in range(COUNT)]

    def differs(wire: bytes) -> str | None:
        ours, theirs = by_ringway(gateway.port, wire), by_h11(wire)
        if ours is None:
            refused_sound = make is sound
            return f"refused, but sound: {wire!r}" if refused_sound else None
        return None if ours == theirs else f"{wire!r}\n  ringway {ours}\n  h11     {theirs}"

    with ThreadPoolExecutor(4) as pool:
        found = [difference for difference in pool.map(differs, wires) if difference]
    assert not found, f"{len(found)} of {COUNT}, seed {SEED}:\n" + "\n".join(found[:8])
    accepted = sum(by_h11(wire) is not None for wire in wires)
    assert accepted > COUNT / 20, "the bends leave something to agree on"
