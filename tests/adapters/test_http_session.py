"""What all sessions share: the machine's proxies and authorities, each learned once, and no .netrc."""

import ssl
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
import requests

from shared.adapters.http_session import Adapter, Session
from tests.support.sockets import Server, always, answer

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def session() -> Session:
    return Session(Adapter(pool_maxsize=8, pool_block=True))


def get(session: Session, url: str, headers: dict[str, str] | None = None) -> requests.Response:
    return session.request("GET", url, headers=headers or {}, timeout=(20, 20))


def test_the_environment_is_read_once_for_each_host(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    proxied = session.proxies("https://a.example/x?y")
    assert proxied == {"https": "http://proxy.example:3128"}
    monkeypatch.delenv("HTTPS_PROXY")
    assert session.proxies("https://a.example/z") == proxied
    assert session.proxies("https://b.example/") == {}


def test_a_host_that_the_environment_or_the_owner_excepts_has_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "a.example")
    session = Session(Adapter(), direct={"b.example"})
    assert [{}, {}] == [session.proxies("https://a.example/"), session.proxies("https://b.example:8443/")]
    assert session.proxies("https://c.example/")


def test_a_netrc_does_not_replace_what_the_caller_sends(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login kim password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(always(answer(200))) as server:
        assert get(session, server.url, {"Authorization": "SharedKey own"}).ok
    assert [request.headers["Authorization"] for request in server.requests] == ["SharedKey own"]


def test_many_connections_load_the_authorities_once(
    session: Session, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    loaded: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def counting(context: ssl.SSLContext, *args: object, **kwargs: object) -> None:
        loaded.append(kwargs)
        load(context, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counting)
    together = threading.Barrier(4)
    with Server(always(answer(200)), tls) as server:

        def ask() -> None:
            together.wait(20)
            assert get(session, server.url).ok

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(server.requests) == 4
    assert loaded == [{"cafile": str(certificate)}]


def test_connections_offer_a_protocol_that_is_set_once_for_all(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls.set_alpn_protocols(["http/1.1"])
    chosen: list[object] = []

    class Noting(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            chosen.append(self.selected_alpn_protocol())

    tls.sslsocket_class = Noting
    made: list[object] = []
    set_protocols = ssl.SSLContext.set_alpn_protocols

    def counting(context: ssl.SSLContext, protocols: Iterable[str]) -> None:
        made.append(protocols)
        set_protocols(context, protocols)

    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", counting)
    shared = Session(Adapter(pool_maxsize=1))
    with Server(always(answer(200, Connection="close")), tls) as server:
        for _ in range(3):
            assert get(shared, server.url).ok
        assert server.connections == 3
    assert chosen == ["http/1.1"] * 3
    assert len(made) == 1, "OpenSSL would free it while another connection copies it"


def test_an_untrusted_certificate_is_refused(
    session: Session, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with Server(always(answer(200)), tls) as server, pytest.raises(requests.exceptions.SSLError):
        get(session, server.url)
    assert server.requests == []


def test_a_body_that_is_not_streamed_has_been_read_when_the_response_is_returned(session: Session) -> None:
    """Otherwise its connection would be in use for as long as somebody holds the response."""
    with Server(always(answer(200, b"body" * 100_000))) as server:
        held = [get(session, server.url) for _ in range(3)]
        assert 1 == server.connections
    assert [b"body" * 100_000] * 3 == [response.content for response in held]


def test_a_certificate_for_another_name_is_refused(
    session: Session, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with (
        Server(always(answer(200)), tls) as server,
        pytest.raises(requests.exceptions.SSLError, match=r"hostname|match"),
    ):
        get(session, server.url.replace("127.0.0.1", "localhost"))
    assert server.requests == []


def test_a_folder_of_authorities_serves_as_well(
    session: Session, tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.pem").write_text(certificate.read_text())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)  # noqa: S603, S607
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with Server(always(answer(200)), tls) as server:
        assert get(session, server.url).ok


def test_a_complete_request_is_sent_as_it_was_given() -> None:
    complete = Session(Adapter(pool_maxsize=2))
    with Server(always(answer(200))) as server:
        headers = {"User-Agent": "sdk", "x-ms-version": "2026-01-01"}
        assert complete.request(
            "PUT", f"{server.url}/a%20b?c=%2F", data=b"\x00body", headers=headers, timeout=(20, 20)
        ).ok
    (sent,) = server.requests
    assert (sent.method, sent.target, sent.body) == ("PUT", "/a%20b?c=%2F", b"\x00body")
    assert dict(sent.headers.items()) == {
        **headers, "Host": server.url.removeprefix("http://"), "Accept-Encoding": "identity", "Content-Length": "5"
    }  # fmt: skip
