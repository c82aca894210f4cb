# The server as an image, for every role: docker build -t pyrunner .
#
# BASE may be any Debian or descendant with Python 3.11 or newer that can make virtual environments. Both stages
# share it: the environment of the first one names the interpreter of the second.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS packages
COPY requirements.txt .
RUN python3 -m venv /opt/pyrunner/venv \
 && /opt/pyrunner/venv/bin/pip install --no-cache-dir --disable-pip-version-check --requirement requirements.txt \
 && /opt/pyrunner/venv/bin/pip uninstall --yes --disable-pip-version-check pip

FROM ${BASE}
# gcc, the C library's headers and valgrind judge submissions. tini is process 1: as process 1 Python would ignore
# a SIGTERM that comes before the server listens for it, and be killed at the end of the platform's patience.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev valgrind tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pyrunner
COPY --from=packages /opt/pyrunner/venv /opt/pyrunner/venv
WORKDIR /opt/pyrunner
COPY run.py ./
COPY sandbox sandbox/
COPY sessions sessions/
COPY judge judge/
COPY cluster cluster/
COPY server server/
RUN venv/bin/python -m compileall -q run.py sandbox sessions judge cluster server
USER 10001:10001
ENV PYRUNNER_HOST=0.0.0.0 \
    PYRUNNER_PORT=8000 \
    PYRUNNER_LOG_FORMAT=json
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["venv/bin/python", "-IS", "-c", "import os, sys, http.client; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PYRUNNER_PORT']), timeout=4); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--"]
CMD ["venv/bin/python", "run.py"]
