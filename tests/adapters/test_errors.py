"""Every shape of an error over a real socket: what comes in bytes is judged as it is without a network."""

from collections.abc import Callable

import msgspec
import pytest

from shared.adapters.identity import TokenProvider
from shared.adapters.partner_center import PartnerCenter
from shared.core.verdict import Bought, judge
from shared.settings import Settings
from tests.support.builders import request
from tests.support.errors import ERRORS, ErrorVector, kind_of
from tests.support.sockets import PATIENCE, Peer, Server, always, answer


class NoTokens(TokenProvider):
    """An identity that nobody asks: a POST is given its token."""

    def __init__(self) -> None:
        pass


def chunked(status: int, content: bytes) -> bytes:
    """An answer without a length, in chunks of one byte."""
    head = f"HTTP/1.1 {status} Said\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"


def until_closed(status: int, content: bytes) -> bytes:
    """An answer that ends with its connection, as HTTP/1.0 has it."""
    return f"HTTP/1.0 {status} Said\r\n\r\n".encode() + content


@pytest.mark.parametrize("framed", [answer, chunked, until_closed])
@pytest.mark.parametrize("vector", ERRORS, ids=lambda vector: vector.name)
def test_an_error_is_read_from_the_socket_as_it_was_written(
    vector: ErrorVector, framed: Callable[[int, bytes], bytes]
) -> None:
    sent = framed(vector.status, vector.content)

    def once(peer: Peer) -> None:
        if framed is until_closed:
            peer.request()
            peer.send(sent)
        else:
            always(sent)(peer)

    with Server(once) as server:
        settings = Settings("carts", "outcomes", "records", partner_center_url=server.url, checkout_timeout=PATIENCE)
        response = PartnerCenter(settings, NoTokens()).checkout(
            request(), ms_request_id="r", token="t", may_begin=lambda: True
        )
    verdict = judge(response)
    assert vector.status == response.status
    assert not isinstance(verdict, Bought)
    cause = verdict.error
    data = None if cause.data is None else msgspec.json.encode(cause.data).decode()
    assert (vector.kind, vector.error_class, vector.code) == (kind_of(verdict), cause.error_class, cause.code)
    assert (vector.description, vector.source, vector.data) == (cause.description, cause.source, data)
