"""How gunicorn runs the server: ``gunicorn -c gunicorn.conf.py wsgi:app``."""

# gevent must patch before anything imports ssl, redis or psycopg, and before the settings are checked here
# rather than in wsgi.py: a worker that refuses to start is started again for ever.
from gevent import monkey

monkey.patch_all()

import gc

# What is imported stays: looking it through again and again for garbage is a seventh of the time that it takes.
gc.disable()

import logging
import os
import resource
import shutil
import sys
import tempfile

# prometheus_client decides when it is imported whether its values are shared between processes.
# A reload (SIGHUP) reads this file again in the same master, and keeps what is counted.
_metrics_folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
if not os.path.basename(_metrics_folder).startswith(f"signalbox-metrics-{os.getpid()}-"):
    _metrics_folder = tempfile.mkdtemp(prefix=f"signalbox-metrics-{os.getpid()}-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics_folder

from prometheus_client import multiprocess

from app import background, switchboard_process
from app.access_log import JsonAccessLogger
from app.config import Settings, SettingsError
from app.crew import crew
from app.push.presence import Registry
from app.push.redis_gate import RedisAwayError, RedisGate

gc.enable()

try:
    settings = Settings.from_environ(os.environ)
except SettingsError as error:
    shutil.rmtree(_metrics_folder, ignore_errors=True)
    sys.exit(str(error))

bind = settings.bind
workers = settings.web_concurrency
worker_class = "app.gunicorn_worker.HubWorker"  # gevent's, accepting evenly and leaving without a gap
worker_connections = 10_000  # requests under way, not sockets; past it even /healthz would wait
backlog = 4096
keepalive = 5
timeout = 30
graceful_timeout = 20
control_socket_disable = True  # two masters of one user would share it (hazard 34)
forwarded_allow_ips = ""  # proxies are trusted by SIGNALBOX_TRUSTED_PROXIES alone
logger_class = JsonAccessLogger
accesslog = settings.access_log
errorlog = "-"
loglevel = settings.log_level

logging.basicConfig(
    level=loglevel.upper(),
    format="%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s %(message)s",
    datefmt="%Y-%m-%dT%H:%M:%S",
)

# A socket is a descriptor; take as many as we may have.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))


def pre_fork(server, worker):
    """Name the worker before it lives, so that the master can end its lease when it has died."""
    worker.signalbox_id = switchboard_process.new_worker_id()
    worker.slot = crew().take()
    # The collector writes into the head of all that it looks at: the master's pages would be copied to each worker
    # with its first full collection (10 MB; https://docs.python.org/3/library/gc.html#gc.freeze).
    gc.freeze()


def post_worker_init(worker):
    """Start this worker's switchboard, and what it does in the background."""
    switchboard_process.of(worker.wsgi).start(worker.signalbox_id, switchboard_process.worker_label())
    background.start(worker.wsgi, worker.signalbox_id)


def worker_exit(server, worker):
    """Say goodbye to the sockets that are left. gunicorn does not know of them (hazard 15)."""
    background.stop()
    wsgi = getattr(worker, "wsgi", None)
    board = switchboard_process.of(wsgi) if wsgi is not None else None
    if board is not None and board.worker is not None:
        board.worker.finish_drain()


def child_exit(server, worker):
    """In the master: a worker has died, however it died. Its nodes leave the page at once."""
    multiprocess.mark_process_dead(worker.pid)
    crew().free(worker.slot)
    try:
        gate = RedisGate(settings.redis_url)
        Registry(gate, settings.redis_prefix).end_lease(worker.signalbox_id)
        gate.client.close()
    except RedisAwayError as error:
        server.log.warning("lease not ended worker=%s: %s", worker.pid, error)


def on_exit(server):
    """Take the metrics' folder away."""
    shutil.rmtree(_metrics_folder, ignore_errors=True)
