"""Byte for byte: what a client writes as `arguments` reaches the server as it was written, and what a
server writes as a result reaches the client as it was written. A recording server is the witness."""

from __future__ import annotations

import json

import pytest
from support import http
from support.mcp import ACCEPT, Legacy, Modern
from support.servers import odd_stdio

# JSON that a decoder and encoder would hardly leave alone.
ODD = [
    '{"z":1,"a":2,"m":{"z":[],"a":{}}}',
    '{ "spaced" :  [ 1 ,2,\t3 ] }',
    '{"n":[1.0,1e2,1E+2,-0,-0.0,1.10,100000000000000000000000000001,0.1e-7,1.7976931348623157e308]}',
    r'{"u":"\u00e4\u2603\ud83c\udf89\/\b\f\n\r\t\"\\","raw":"ä☃🎉/"}',
    '{"twice":1,"twice":2}',
    '{"":"","result":"}","id":7,"jsonrpc":"2.0","method":"x","params":{"arguments":{}}}',
    '{"deep":' + "[" * 60 + "]" * 60 + "}",
    '{"long":"' + "x" * 100_000 + '"}',
    r'{"escaped key \"\u0061\"":null,"\u0000":true}',
    "{}",
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    from support.gateway import Gateway

    folder = tmp_path_factory.mktemp("recorded")
    gateways = {}
    for era in ("legacy", "modern"):
        record = folder / f"{era}.jsonl"
        server = odd_stdio("--record", str(record), "--era", era)
        gateway = Gateway(folder, mcp={"mcpServers": {"odd": server}})
        gateway.wait_server("odd")
        gateways[era] = (gateway, record)
    yield gateways
    for gateway, _ in gateways.values():
        gateway.stop()


def send(era: str, url: str, params: bytes) -> http.Response:
    """A tools/call whose params are exactly these bytes."""
    if era == "legacy":
        client = Legacy(url)
        body = b'{"jsonrpc":"2.0","id":"an id","method":"tools/call","params":' + params + b"}"
        return client.post(body)
    client = Modern(url)
    meta = json.dumps(client.meta()).encode()
    body = b'{"jsonrpc":"2.0","id":"an id","method":"tools/call","params":'
    body += params[:-1] + b',"_meta":' + meta + b"}}"
    named = {"name": json.loads(params)["name"]}
    return http.request("POST", url, body, ACCEPT | client.headers("tools/call", named))


def message_of(response: http.Response) -> bytes:
    assert response.status == 200, response.body
    return [m for m in response.messages() if b'"result"' in m or b'"error"' in m][-1]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_arguments_arrive_as_they_were_written(recorded, era, odd):
    gateway, record = recorded[era]
    before = record.stat().st_size
    params = b'{"name":"echo","arguments":' + odd.encode() + b"}"
    message_of(send(era, gateway.mcp_url, params))
    with record.open("rb") as file:
        file.seek(before)
        line = next(line for line in file if b'"tools/call"' in line)
    assert odd.encode().replace(b"\n", b"") in line, line[:300]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_results_arrive_as_they_were_written(recorded, era, odd):
    gateway, _ = recorded[era]
    result = '{"content":[],"_meta":{"a/b":1.0},"structuredContent":' + odd + ',"isError":false'
    result += ',"resultType":"complete"}' if era == "modern" else "}"
    params = json.dumps({"name": "raw", "arguments": {"result": result}}).encode()
    message = message_of(send(era, gateway.mcp_url, params))
    assert odd.encode() in message, message[:300]
    assert b'"_meta":{"a/b":1.0}' in message
    assert json.loads(message)["id"] == "an id"


@pytest.mark.parametrize("id", ['"1"', "1", "-7", "9007199254740993", r'"\u00e4 \" }"', '""'])
def test_ids_come_back_as_they_were(recorded, id):
    gateway, _ = recorded["legacy"]
    client = Legacy(gateway.mcp_url)
    call = '"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}'
    message = message_of(client.post(f'{{"jsonrpc":"2.0","id":{id},{call}}}'.encode()))
    assert json.loads(message)["id"] == json.loads(id)


def test_error_objects_come_back_as_they_were(recorded):
    gateway, _ = recorded["legacy"]
    answer = Legacy(gateway.mcp_url).call("resources/read", {"uri": "odd://one"})
    assert answer["result"]["contents"][0]["text"] == "read"
    missing = Legacy(gateway.mcp_url).call("prompts/get", {"name": "none"})
    assert missing["error"]["code"] in (-32601, -32602)


@pytest.mark.parametrize(
    "order",
    [
        '{"params":{"arguments":{"text":"x"},"name":"echo"},"method":"tools/call","id":1,"jsonrpc":"2.0"}',
        ' \n{"id":1 , "method" : "tools/call","jsonrpc":"2.0","params": {"name": "echo" ,"arguments":{"text":"x"}} }\n ',
        r'{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/call","params":{"n\u0061me":"\u0065cho","arguments":{"text":"x"}}}',
    ],
    ids=["order", "blanks", "escapes"],
)
def test_any_spelling_of_the_envelope_is_understood(recorded, order):
    gateway, _ = recorded["legacy"]
    message = json.loads(message_of(Legacy(gateway.mcp_url).post(order.encode())))
    assert message["result"]["content"][0]["text"] == "x"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"nonsense", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}', -32700),
        (b"\xff\xfe{}", -32700),
        (b"42", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b"[" * 5000 + b"]" * 5000, None),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, None),
    ],
    ids=range(11),
)
def test_malformed_messages_are_refused(recorded, body, code):
    gateway, _ = recorded["legacy"]
    response = Legacy(gateway.mcp_url).post(body)
    assert response.status == 400, response.body
    if code:
        assert response.json()["error"]["code"] == code
    assert gateway.get("/health").status == 200
