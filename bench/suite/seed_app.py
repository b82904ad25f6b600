"""The application of the seed (issue 432): FastAPI with its responses, middlewares and metrics, written as it is
written there. Its three pages answer with the bodies that Ringway answers with (SEED_BODIES, a JSON file), so that the
same bytes are compared."""

import json
import os
import time

from brotli_asgi import BrotliMiddleware
from fastapi import FastAPI, Request
from fastapi.responses import ORJSONResponse
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.middleware.gzip import GZipMiddleware

with open(os.environ["SEED_BODIES"]) as file:
    BODIES = json.load(file)
STARTED = time.monotonic()

app = FastAPI(
    title="MCP Gateway",
    default_response_class=ORJSONResponse,
    docs_url="/docs",
    redoc_url="/redoc",
)
app.add_middleware(BrotliMiddleware, quality=4, mode="text", lgwin=22, minimum_size=1024)
app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=6)
instrumentator = Instrumentator(
    should_group_status_codes=True,
    should_ignore_untemplated=True,
    should_respect_env_var=True,
    should_instrument_requests_inprogress=True,
    excluded_handlers=[".*admin.*", "/metrics"],
    env_var_name="ENABLE_METRICS",
    inprogress_name="mcp_requests_inprogress",
    inprogress_labels=True,
)
instrumentator.instrument(app).expose(app)


@app.middleware("http")
async def add_performance_headers(request: Request, call_next):
    start_time = time.time()  # the seed's text lacks this line and would fail on every request
    response = await call_next(request)
    response.headers["X-Process-Time"] = str(time.time() - start_time)
    response.headers["X-Server"] = "MCP-Gateway"
    return response


@app.get("/health")
async def health():
    return BODIES["/health"] | {"uptime_seconds": int(time.monotonic() - STARTED)}


@app.get("/version")
async def version():
    return BODIES["/version"]


@app.get("/api/v1/config")
async def config():
    return BODIES["/api/v1/config"]
