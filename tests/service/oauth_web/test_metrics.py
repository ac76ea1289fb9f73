"""The metrics of requests, GitHub, Redis and certificates for Prometheus."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from cryptography import x509

from tests.support.audit_sealing import SealedWorld
from tests.support.certificates import Authority
from tests.support.metrics import Samples, families, read_samples, value
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.ports import free_port
from tests.support.programs import until
from tests.support.web_process import another_web, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.web_process import WebServer

REQUESTS = "portcullis_http_requests_seconds"
GITHUB = "portcullis_github_requests_seconds"
REDIS = "portcullis_redis_calls_seconds"
EXPIRES = "portcullis_certificate_expires_timestamp_seconds"


@pytest.fixture(scope="module")
def metered() -> Iterator[tuple[WebServer, str]]:
    """A server, and the address of its metrics."""
    place = f"127.0.0.1:{free_port()}"
    with running_web({"WEB_METRICS_LISTEN": place}) as server:
        yield server, f"http://{place}/metrics"


def page(url: str) -> str:
    answer = httpx2.get(url, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.text


def samples(url: str) -> Samples:
    return read_samples(page(url))


def requests(found: Samples, endpoint: str, status: str) -> float:
    return value(found, f"{REQUESTS}_count", endpoint=endpoint, status=status)


async def test_requests_are_counted_by_endpoint_and_class_of_status(metered: tuple[WebServer, str]) -> None:
    server, url = metered
    before = samples(url)
    async with OAuthClient(server.issuer) as client:
        made = await client.register()
        read = await client.http.get(str(made.document["registration_client_uri"]), headers=made.management)
        assert read.status_code == 200
        assert (await client.http.get(client.authorize_url(made.client_id, Pkce.fresh().challenge))).is_success
        form = {"grant_type": "none", "client_id": made.client_id}
        assert (await client.http.post(f"{server.issuer}/token", data=form)).status_code == 400
    after = samples(url)
    for endpoint, status in (
        ("register", "2xx"),
        ("register.read", "2xx"),
        ("authorize.ask", "2xx"),
        ("token", "4xx"),
    ):
        assert requests(after, endpoint, status) - requests(before, endpoint, status) == 1, endpoint
        bucket = value(after, f"{REQUESTS}_bucket", endpoint=endpoint, status=status, le="+Inf")
        assert bucket == requests(after, endpoint, status)
        assert value(after, f"{REQUESTS}_sum", endpoint=endpoint, status=status) > 0


async def test_callers_cannot_choose_a_label(metered: tuple[WebServer, str]) -> None:
    server, url = metered
    word = secrets.token_hex(8)
    async with httpx2.AsyncClient(base_url=server.issuer) as http:
        await http.get("/nothing")
        await http.get(f"/register/{word}")
        before = samples(url)
        for number in range(20):
            assert (await http.get(f"/{word}{number}")).status_code == 404
            assert (await http.request(f"{word.upper()}{number}", "/token")).status_code == 405
            assert (await http.get(f"/register/{word}{number}")).status_code == 401
            assert (await http.get(f"/.well-known/oauth-protected-resource/{word}{number}")).status_code == 404
    after = samples(url)
    assert requests(after, "none", "4xx") - requests(before, "none", "4xx") == 40
    assert word not in page(url).lower()
    new = {name for name, labels in after.keys() - before.keys() if ("status", "4xx") in labels}
    assert {dict(labels)["endpoint"] for _, labels in after.keys() - before.keys()} <= {
        "discovery.resource_metadata"
    }
    assert new <= {f"{REQUESTS}_bucket", f"{REQUESTS}_count", f"{REQUESTS}_sum"}


async def test_requests_to_github_are_measured_by_step_and_result(metered: tuple[WebServer, str]) -> None:
    server, url = metered
    before = samples(url)

    def grown(step: str, result: str) -> float:
        return value(samples(url), f"{GITHUB}_count", step=step, result=result) - value(
            before, f"{GITHUB}_count", step=step, result=result
        )

    async with OAuthClient(server.issuer) as client:
        client_id = (await client.register()).client_id
        await client.tokens(client_id)
        assert (grown("code", "answered"), grown("user", "answered")) == (1, 1)
        assert (grown("organization", "answered"), grown("code", "refused")) == (0, 0)
        client.forget_session()
        callback = await client.at_callback(client.authorize_url(client_id, Pkce.fresh().challenge))
        await client.http.get(str(httpx2.URL(callback).copy_set_param("code", "not-of-github")))
        assert (grown("code", "answered"), grown("code", "refused")) == (1, 1)
    assert value(samples(url), f"{GITHUB}_sum", step="code", result="answered") > 0


async def test_without_redis_the_page_shows_the_failures(metered: tuple[WebServer, str]) -> None:
    server, url = metered
    before = samples(url)
    assert value(before, f"{REDIS}_count", result="answered") > 0
    assert "portcullis_redis_used_bytes" in families(page(url))
    server.redis.kill()
    try:
        async with OAuthClient(server.issuer) as client:
            form = {"grant_type": "refresh_token", "refresh_token": "none", "client_id": "none"}
            assert (await client.http.post(f"{server.issuer}/token", data=form)).status_code == 503
        after = samples(url)
        assert value(after, f"{REDIS}_count", result="failed") > value(before, f"{REDIS}_count", result="failed")
        assert requests(after, "token", "5xx") - requests(before, "token", "5xx") == 1
        assert families(page(url)).keys().isdisjoint({"portcullis_stored_bytes", "portcullis_redis_used_bytes"})
    finally:
        server.redis.start()
    until(lambda: httpx2.get(f"{server.issuer}/healthz").is_success)
    assert "portcullis_redis_used_bytes" in families(page(url))


@contextmanager
def with_certificate(server: WebServer, cert: Path, authorities: Path) -> Iterator[str]:
    """Another process of `server`, whose gateway has TLS; the address of its metrics."""
    place = f"127.0.0.1:{free_port()}"
    settings = {
        "WEB_METRICS_LISTEN": place,
        "ISSUER": server.issuer.replace("http://", "https://"),
        "TLS_CERT": str(cert),
        "TLS_KEY": str(cert.with_suffix(".key")),
        "TLS_CLIENT_CA": str(authorities),
    }
    with another_web(server, settings):
        yield f"http://{place}/metrics"


def test_the_expiry_of_certificates_follows_their_files(metered: tuple[WebServer, str], tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    cert, authorities = first.identity("localhost").cert, tmp_path / "authorities.pem"
    authorities.write_bytes(second.cert.read_bytes() + first.cert.read_bytes())

    def shown() -> dict[str, float]:
        return {dict(labels)["setting"]: end for (name, labels), end in samples(url).items() if name == EXPIRES}

    def ends(path: Path) -> list[float]:
        found = x509.load_pem_x509_certificates(path.read_bytes())
        return [certificate.not_valid_after_utc.timestamp() for certificate in found]

    with with_certificate(metered[0], cert, authorities) as url:
        # The metrics of files may be missing while the machine is busy.
        until(lambda: shown() == {"tls.cert": ends(cert)[0], "tls.client_ca": min(ends(authorities))})
        cert.write_text("no certificate")
        until(lambda: shown() == {"tls.client_ca": min(ends(authorities))})
        authorities.unlink()
        until(lambda: shown() == {})
        cert.write_bytes(second.cert.read_bytes())
        until(lambda: shown() == {"tls.cert": ends(second.cert)[0]})


def test_the_metrics_report_whether_events_are_recorded_and_sealed(
    metered: tuple[WebServer, str], tmp_path: Path
) -> None:
    world, place = SealedWorld(tmp_path), f"127.0.0.1:{free_port()}"
    settings = {"WEB_METRICS_LISTEN": place, "AUDIT_DIR": str(world.audit_dir)}
    with another_web(metered[0], settings) as address:
        url = f"http://{place}/metrics"
        until(lambda: value(samples(url), "portcullis_audit_available") == 1)
        until(lambda: value(samples(url), "portcullis_audit_checkpoint_age_seconds") == float("inf"))
        until(lambda: value(samples(url), "portcullis_audit_free_bytes") > 0)
        unsealed = value(samples(url), "portcullis_audit_unsealed_events")
        document = {"redirect_uris": ["http://127.0.0.1:7777/callback"]}
        assert httpx2.post(f"{address}/register", json=document).status_code == 201
        until(lambda: value(samples(url), "portcullis_audit_unsealed_events") > unsealed)

        def is_sealed() -> bool:
            world.seal()
            found = samples(url)
            unsealed = ("portcullis_audit_unsealed_events", ())
            return found.get(unsealed) == 0 and found["portcullis_audit_checkpoint_age_seconds", ()] < float("inf")

        until(is_sealed)


def test_no_secret_is_in_the_metrics(metered: tuple[WebServer, str]) -> None:
    server, url = metered
    text = page(url)
    for name in ("MASTER_KEY", "GITHUB_CLIENT_SECRET", "REDIS_PASSWORD"):
        assert json.dumps(server.environment[name])[1:-1] not in text
