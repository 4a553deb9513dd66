"""How the Flask peers run: gevent workers, as many connections as ours may have."""

import os
import resource

_, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))

worker_class = "gevent"
workers = int(os.environ["PEER_WORKERS"])
worker_connections = 20_000
backlog = 4096
control_socket_disable = True
