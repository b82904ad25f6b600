"""The seed's gunicorn.conf.py: the same values. Its log goes to a file here, as a service's does; its hooks, which only
log, and its StatsD and TLS branches, which are off there too, are left out."""

import multiprocessing
import os

bind = f"127.0.0.1:{os.getenv('PORT', '4444')}"
backlog = 2048
workers = int(os.getenv("WORKERS", multiprocessing.cpu_count() * 2 + 1))
worker_class = os.getenv("WORKER_CLASS", "uvicorn.workers.UvicornWorker")
worker_connections = 1000
max_requests = int(os.getenv("MAX_REQUESTS", 1000))
max_requests_jitter = 50
timeout = 30
keepalive = 5
graceful_timeout = 30
accesslog = os.getenv("ACCESS_LOG", "-")
errorlog = "-"
loglevel = os.getenv("LOG_LEVEL", "info")
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(D)s'
proc_name = "mcp-gateway"
worker_tmp_dir = "/dev/shm"
preload_app = True
threads = 4
