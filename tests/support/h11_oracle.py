"""Says what h11, an independent HTTP/1.1 parser, makes of inputs.

stdin: for each input one letter (R: bytes a server receives, P: bytes a client receives),
for P the request's method and a line feed, then the input's length as four bytes, big-endian,
and the input. stdout: for each input one line of JSON, a list of
{kind: message|interim|refused|cut, ...}. Bytes are written as latin-1.
"""
import json
import sys

import h11

MAX = 1 << 20


def fields(headers):
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def message(event):
    seen = {
        "kind": "message",
        "version": event.http_version.decode("latin-1"),
        "headers": fields(event.headers),
        "body": "",
        "trailers": [],
    }
    if isinstance(event, h11.Request):
        seen["method"] = event.method.decode("latin-1")
        seen["target"] = event.target.decode("latin-1")
    else:
        seen["status"] = event.status_code
    return seen


def answer(conn):
    """Answers 200 as a server would; says whether another request may follow."""
    conn.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    if conn.our_state is h11.SWITCHED_PROTOCOL:  # CONNECT
        return False
    conn.send(h11.EndOfMessage())
    if conn.our_state is h11.DONE and conn.their_state is h11.DONE:
        conn.start_next_cycle()
        return True
    return False


def read(conn, data, after):
    seen, current = [], None
    conn.receive_data(data)
    if conn.our_role is h11.CLIENT:
        conn.receive_data(b"")
    while True:
        try:
            event = conn.next_event()
        except h11.RemoteProtocolError as error:
            cut = "peer" in str(error) and "closed" in str(error)
            seen.append({"kind": "cut" if cut else "refused", "why": str(error)})
            return seen
        if event is h11.NEED_DATA:
            if current is not None or conn.trailing_data[0]:
                seen.append({"kind": "cut"})
            return seen
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return seen
        if isinstance(event, h11.InformationalResponse):
            seen.append({"kind": "interim", "status": event.status_code})
        elif isinstance(event, (h11.Request, h11.Response)):
            current = message(event)
        elif isinstance(event, h11.Data):
            current["body"] += bytes(event.data).decode("latin-1")
        elif isinstance(event, h11.EndOfMessage):
            current["trailers"] = fields(event.headers)
            current["end"] = len(data) - len(conn.trailing_data[0])
            seen.append(current)
            current = None
            if not after(conn):
                return seen


def main():
    source = sys.stdin.buffer
    while kind := source.read(1):
        method = source.readline().strip() if kind == b"P" else b""
        data = source.read(int.from_bytes(source.read(4), "big"))
        if kind == b"R":
            seen = read(h11.Connection(h11.SERVER, MAX), data, answer)
        else:
            conn = h11.Connection(h11.CLIENT, MAX)
            conn.send(h11.Request(method=method, target="/", headers=[("Host", "a.test")]))
            conn.send(h11.EndOfMessage())
            seen = read(conn, data, lambda conn: False)
        print(json.dumps(seen))


main()
