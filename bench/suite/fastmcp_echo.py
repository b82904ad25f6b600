"""A FastMCP server with the demo's `echo`. fastmcp_echo.py PORT serves Streamable HTTP; without a port, stdio."""

import sys

from fastmcp import FastMCP

mcp = FastMCP("echo")


@mcp.tool
def echo(message: str) -> str:
    """Says it again."""
    return message


if len(sys.argv) > 1:
    mcp.run(
        transport="http",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        path="/mcp",
        show_banner=False,
        log_level="ERROR",
        uvicorn_config={"access_log": False},
    )
else:
    mcp.run(show_banner=False, log_level="ERROR")
