# The server's image. tests/test_image.py carries these instructions out without Docker.
FROM python:3.11-slim-bookworm AS build
WORKDIR /srv/build
COPY requirements.txt ./
RUN python -m venv /opt/signalbox \
 && /opt/signalbox/bin/python -m pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY agent agent
COPY tools tools
# What nodes are offered; unsigned, for a private key has no place in an image (SIGNALBOX_AGENT_FILE names another).
RUN /opt/signalbox/bin/python -m tools.build_agent

FROM python:3.11-slim-bookworm
WORKDIR /srv/signalbox
COPY --from=build /opt/signalbox /opt/signalbox
COPY gunicorn.conf.py wsgi.py ./
COPY app app
# The server takes the words on the wire from here.
COPY agent agent
COPY migrations migrations
COPY --from=build /srv/build/dist dist
# Where SQLite lies if no other database is named: a volume, and any user id may write there.
RUN mkdir -m 777 instance
VOLUME ["/srv/signalbox/instance"]
ENV PATH=/opt/signalbox/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIGNALBOX_BIND=0.0.0.0:8000
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", "import http.client, os, sys; server = http.client.HTTPConnection('127.0.0.1', int(os.environ['SIGNALBOX_BIND'].rpartition(':')[2]), timeout=4); server.request('GET', '/healthz'); sys.exit(server.getresponse().status != 200)"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
