"""An HTTP/2 client out of the Python `h2` and `hyperframe` libraries, to be driven by hand: it
does what a client does, or sends frame by frame what no client would."""

from __future__ import annotations

import socket
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack
from hyperframe import frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def fields(path="/health", method="GET", authority="a.test", extra=()):
    """A request's field block."""
    pseudo = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
    return pseudo + list(extra)


class Answer:
    """What has come on one stream."""

    def __init__(self):
        self.status = None
        self.headers = {}
        self.interim = []
        self.body = bytearray()
        self.trailers = None
        self.is_over = False
        self.reset = None


class Client:
    """A well-behaved client. `ack=False` never opens a window again."""

    def __init__(self, port, ack=True, settings=None, sock=None):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=20)
        self.ack = ack
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.conn = h2.connection.H2Connection(config)
        if settings:
            self.conn.local_settings = h2.settings.Settings(True, settings)
        self.conn.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goaway: frames.GoAwayFrame | None = None
        self.buffer = b""
        self.pongs = 0
        self.is_closed = False
        self.flush()

    def flush(self):
        data = self.conn.data_to_send()
        if data:
            self.sock.sendall(data)

    def send(self, path="/health", method="GET", body=None, extra=(), end=True, **more):
        """Begins a request; returns its stream."""
        stream = self.begin(fields(path, method, extra=extra, **more), end and body is None)
        if body is not None:
            self.upload(stream, body, end)
        return stream

    def begin(self, block, end=True):
        """Sends a field block as it is."""
        stream = self.conn.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.conn.send_headers(stream, block, end_stream=end)
        self.flush()
        return stream

    def upload(self, stream, body, end=True):
        """Sends content as the windows allow."""
        view = memoryview(body)
        while view or end:
            room = self.conn.local_flow_control_window(stream)
            room = min(room, self.conn.max_outbound_frame_size)
            if view and room <= 0:
                self.pump()
                if self.answers[stream].is_over or self.is_closed:
                    return
                continue
            part, view = view[:room], view[room:]
            self.conn.send_data(stream, bytes(part), end_stream=end and not view)
            self.flush()
            if not view:
                return

    def pump(self, wait=True):
        """Reads once and takes note. `False` when the connection is over."""
        if not wait:
            self.sock.setblocking(False)
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            data = b""
        finally:
            self.sock.settimeout(20)
        if not data:
            self.is_closed = True
            return False
        for event in self.conn.receive_data(self.without_goaway(data)):
            self.note(event)
        self.flush_quietly()
        return True

    def without_goaway(self, data):
        """The library takes any GOAWAY for the end; streams under way go on after one."""
        self.buffer += data
        whole = b""
        while len(self.buffer) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self.buffer[:9]))
            if len(self.buffer) < 9 + length:
                break
            one, self.buffer = self.buffer[: 9 + length], self.buffer[9 + length :]
            if isinstance(frame, frames.GoAwayFrame):
                frame.parse_body(memoryview(one[9:]))
                self.goaway = frame
            else:
                whole += one
        return whole

    def flush_quietly(self):
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def note(self, event):
        answer = self.answers.setdefault(getattr(event, "stream_id", None) or 0, Answer())
        match event:
            case h2.events.InformationalResponseReceived():
                answer.interim.append(dict(event.headers)[":status"])
            case h2.events.ResponseReceived():
                answer.headers = dict(event.headers)
                answer.status = int(answer.headers[":status"])
            case h2.events.DataReceived():
                answer.body += event.data
                if self.ack and event.flow_controlled_length:
                    self.conn.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            case h2.events.TrailersReceived():
                answer.trailers = dict(event.headers)
            case h2.events.StreamEnded():
                answer.is_over = True
            case h2.events.StreamReset():
                answer.reset, answer.is_over = event.error_code, True
            case h2.events.PingAckReceived():
                self.pongs += 1

    def wait(self, *streams, seconds=20.0):
        """Reads until those streams are over; returns the last one's answer."""
        end = time.monotonic() + seconds
        while not all(self.answers[stream].is_over for stream in streams):
            assert time.monotonic() < end, f"not answered within {seconds} s"
            if not self.pump():
                break
        return self.answers[streams[-1]]

    def get(self, path="/health", **more) -> Answer:
        return self.wait(self.send(path, **more))

    def post(self, path, body, **more) -> Answer:
        return self.wait(self.send(path, "POST", body, **more))

    def wait_end(self, seconds=20.0):
        """Reads until the server closes; returns its GOAWAY."""
        end = time.monotonic() + seconds
        while self.pump():
            assert time.monotonic() < end, f"not closed within {seconds} s"
        return self.goaway

    def close(self):
        self.sock.close()


class Raw:
    """Frames as they are, in any order. Keeps every frame that comes."""

    def __init__(self, port, settings=None, preface=PREFACE):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.encoder = hpack.Encoder()
        self.buffer = b""
        self.frames: list[frames.Frame] = []
        self.is_closed = False
        self.sock.sendall(preface)
        if preface == PREFACE:
            self.send(frames.SettingsFrame(0, settings=settings or {}))

    def send(self, *sent):
        """Sends frames; a server that has closed is no error."""
        data = b"".join(
            frame if isinstance(frame, bytes) else frame.serialize() for frame in sent
        )
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.is_closed = True
        return not self.is_closed

    def headers(self, stream, block=None, end=True, end_headers=True):
        """A HEADERS frame."""
        data = self.encoder.encode(block or fields())
        frame = frames.HeadersFrame(stream, data=data)
        if end:
            frame.flags.add("END_STREAM")
        if end_headers:
            frame.flags.add("END_HEADERS")
        return frame

    def ack_settings(self):
        self.send(frames.SettingsFrame(0, flags=["ACK"]))

    def read(self, seconds=20.0) -> frames.Frame | None:
        """The next frame; `None` at the end."""
        self.sock.settimeout(seconds)
        while True:
            if len(self.buffer) >= 9:
                frame, length = frames.Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) >= 9 + length:
                    frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
                    self.buffer = self.buffer[9 + length :]
                    self.frames.append(frame)
                    return frame
            try:
                data = self.sock.recv(1 << 16)
            except (ConnectionResetError, BrokenPipeError):
                data = b""
            if not data:
                self.is_closed = True
                return None
            self.buffer += data

    def drink(self):
        """Takes what has come and waits for nothing."""
        self.sock.setblocking(False)
        try:
            while data := self.sock.recv(1 << 16):
                self.buffer += data
            self.is_closed = True
        except (BlockingIOError, ConnectionResetError, BrokenPipeError):
            pass
        finally:
            self.sock.settimeout(20)

    def has_goaway(self):
        """Whether one is among what has come and was not read."""
        at = 0
        while len(self.buffer) >= at + 9:
            if self.buffer[at + 3] == 7:
                return True
            at += 9 + int.from_bytes(self.buffer[at : at + 3], "big")
        return False

    def wait(self, kind, seconds=20.0, **wanted):
        """The next frame of that kind with those attributes; `None` if the end comes first."""
        end = time.monotonic() + seconds
        while frame := self.read(max(0.01, end - time.monotonic())):
            is_it = isinstance(frame, kind)
            if is_it and all(getattr(frame, name) == value for name, value in wanted.items()):
                return frame
        return None

    def wait_goaway(self, seconds=20.0):
        return self.wait(frames.GoAwayFrame, seconds)

    def close(self):
        self.sock.close()
