# Two images from one file. `services` holds the authorization server and the check service:
#   python -m oauth_web, python -m ext_authz
# `gateway` adds what serves MCP, renders Envoy's configuration and searches a large audit record:
#   portcullis bridge | example-server | github-standin | envoy render | acme run | audit compact | audit detect |
#   audit ship | alerts run
#
# Any base with Python 3.11 or later as `python3` and its venv module will do. Settings of pip for the build, such
# as PIP_INDEX_URL and PIP_CERT, can be given as build arguments; nothing of them stays in the images.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/portcullis/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS install
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/portcullis
WORKDIR /src
COPY requirements/ requirements/
RUN pip install --require-hashes -r requirements/services.txt

# The tool that builds our own package, at the version and hash that the lock file pins.
FROM install AS wheel
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements/gateway.txt > build.txt \
 && pip install --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY oauth_core/ oauth_core/
COPY oauth_web/ oauth_web/
COPY ext_authz/ ext_authz/
COPY portcullis/ portcullis/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM install AS install-services
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl

FROM install AS install-gateway
RUN pip install --require-hashes -r requirements/gateway.txt
RUN pip install --require-hashes -r requirements/audit.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl

# A number, not a name, so that an orchestrator can see that it is not root.
FROM base AS gateway
COPY --from=install-gateway /opt/portcullis /opt/portcullis
# New volumes take over who may write there.
RUN install -d -o 10001 -g 10001 /var/lib/portcullis /var/lib/portcullis/envoy \
    /var/lib/portcullis/verification-key \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/portcullis/acme /var/lib/portcullis/audit \
    /var/lib/portcullis/audit/sinks /var/lib/portcullis/audit/segments /var/lib/portcullis/audit/segments/oauth_web \
    /var/lib/portcullis/audit/segments/command /var/lib/portcullis/audit/segments/alerts \
    /var/lib/portcullis/audit-key /var/lib/portcullis/alerts
ENV HOME=/tmp
WORKDIR /tmp
USER 10001:10001
CMD ["portcullis", "--help"]

FROM base AS services
COPY --from=install-services /opt/portcullis /opt/portcullis
RUN install -d -o 10001 -g 10001 /var/lib/portcullis \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/portcullis/audit /var/lib/portcullis/audit/sinks \
    /var/lib/portcullis/audit/segments /var/lib/portcullis/audit/segments/oauth_web /var/lib/portcullis/audit/segments/command \
    /var/lib/portcullis/audit/segments/alerts /var/lib/portcullis/audit-key
ENV HOME=/tmp
WORKDIR /tmp
USER 10001:10001
CMD ["python3", "-m", "ext_authz"]
