"""Planted secrets, and a search for them in everything that the program lets out: logs, events, records, errors.

Secrets are ours: tokens, the storage key or signature, IDENTITY_HEADER, the user's name (which may travel in a
deferred copy, and nowhere else). Markers are what the producer or the service wrote: they are passed on in events
and records, and are never in a log line or an exception's text.
"""

import base64
import gc
import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import pytest
from azure.core.pipeline.transport import RequestsTransport
from msgspec.structs import replace

from local.azurite import ACCOUNT_KEY
from local.simulator.server import Simulator
from shared.adapters.identity import TokenProvider, credential_factory
from shared.adapters.partner_center import PartnerCenter
from shared.bootstrap import bootstrap
from shared.checkout import Checkout
from shared.core.jsontext import NotJson
from shared.core.messages import Delivery, decode
from shared.ports import TokenUnavailable
from shared.settings import Settings, SettingsError
from tests import conftest
from tests.adapters.test_identity import SignIn, gives, jwt
from tests.docs.test_docs import settings_read
from tests.support import sockets as edges
from tests.support.builders import CART, CUSTOMER, NOW, body, cloud_event, delivery, members, request
from tests.support.history import Failure
from tests.support.world import CUSTOMER as CUSTOMER_OF_THE_WORLD
from tests.support.world import SETTINGS, World

# the SDK's clients keep their sockets until they are collected: here, and not in another module's test
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

UPN = "Perdita.Weeks+planted@hidden-tenant.example"
MARKER = "Xylophone7Quagmire9Zeppelin"  # found again in any encoding: it is made of letters and digits
KEY = base64.b64encode(b"a storage key that nobody may ever see, 64 bytes of it, as usual").decode()
SIGNATURE = "cGxhbnRlZCBzaWduYXR1cmUgb2YgYSBTQVMgdG9rZW4hISE="
HEADER = "PlantedIdentityHeader0123456789ABCDEF"
TENANT = "7e57ab1e-0000-4000-8000-00000000beef"
HASTY = replace(SETTINGS, tenant_id=TENANT, retry_cap=20_000.0, retry_max_age=60.0)


# --- the search ------------------------------------------------------------------------------------------------

SHORTEST = 16  # characters of a secret that count as a leak of it


def pieces(secret: str) -> Iterator[bytes]:
    """The secret in pieces that overlap: a part that is a quarter longer than they are holds one of them whole."""
    step = SHORTEST // 4
    for start in {*range(0, max(len(secret) - SHORTEST, 0) + 1, step), max(len(secret) - SHORTEST, 0)}:
        yield secret[start : start + SHORTEST].lower().encode()


def runs_in_base64(text: bytes) -> Iterator[bytes]:
    """What base64 in the text says, wherever it begins and however it is aligned."""
    for run in re.findall(rb"[A-Za-z0-9+/_-]{16,}", text):
        plain = run.replace(b"-", b"+").replace(b"_", b"/")
        for offset in range(4):
            part = plain[offset:]
            yield base64.b64decode(part + b"A" * (-len(part) % 4))


def readings(text: bytes) -> Iterator[bytes]:
    """The text, and what decoding makes of it: percent signs, JSON's escapes, base64 at any place and alignment."""
    yield text
    if b"%" in text:
        yield unquote(text.decode("latin-1"), "latin-1").encode("latin-1")
    if b"\\u" in text:
        yield re.sub(rb"\\u00([0-9a-fA-F]{2})", lambda found: bytes.fromhex(found[1].decode()), text)
    for decoded in runs_in_base64(text):
        yield decoded
        yield from runs_in_base64(decoded)


def leaks(text: str | bytes, secrets: Iterable[str]) -> list[str]:
    """Which of the secrets, or a good part of one, can be read in the text."""
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    every = b"\n".join(readings(content)).lower()
    return [secret for secret in secrets if any(piece in every for piece in pieces(secret))]


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: f"<{secret}>",
    "in capitals": str.upper,
    "the first part": lambda secret: f"x{secret[:20]}…",
    "the last part": lambda secret: f"…{secret[-20:]}",
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "every character percent-encoded": lambda secret: "".join(f"%{ord(c):02x}" for c in secret),
    "in JSON, escaped": lambda secret: "".join(f"\\u{ord(c):04x}" for c in secret),
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "in base64, at the second alignment": lambda secret: base64.b64encode(b"{" + secret.encode()).decode(),
    "in base64, at the third alignment": lambda secret: base64.b64encode(b'{"' + secret.encode()).decode(),
    "in base64 after a letter": lambda secret: "a" + base64.b64encode(secret.encode()).decode(),
    "in base64 for URLs": lambda secret: base64.urlsafe_b64encode(b"?>" + secret.encode()).decode(),
    "in base64 of base64": lambda secret: base64.b64encode(b"[" + base64.b64encode(secret.encode())).decode(),
}


@pytest.mark.parametrize("secret", [UPN, KEY, SIGNATURE, HEADER, MARKER])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_the_search_finds_a_secret_in_every_encoding(secret: str, disguise: str) -> None:
    assert [secret] == leaks(f"before {DISGUISES[disguise](secret)} behind", [secret])


def test_the_search_finds_nothing_where_there_is_no_secret() -> None:
    text = json.dumps({"id": CUSTOMER, "body": base64.b64encode(body(context="x" * 300)).decode()})
    assert [] == leaks(text, [UPN, KEY, SIGNATURE, HEADER, MARKER, TENANT])


# --- the ears --------------------------------------------------------------------------------------------------


class Ears(logging.Handler):
    """Hears every record of every logger, with its arguments, its fields and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{self.format(record)}\n{record.args!r}\n{record.__dict__!r}"
        self.heard.append((record.name, text))

    def text(self) -> str:
        return "\n".join(text for _, text in self.heard)


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ears]:
    """All loggers at DEBUG, those too that the program makes quieter."""
    listening = Ears()
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.DEBUG)
    root.addHandler(listening)
    yield listening
    root.removeHandler(listening)
    for logger in _loggers():
        logger.setLevel(logging.NOTSET)


def _loggers() -> list[logging.Logger]:
    return [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]


def turn_all_up() -> None:
    for logger in _loggers():
        logger.setLevel(logging.DEBUG)


@pytest.fixture(scope="module", autouse=True)
def _collected_here() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _no_other_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT", "AZURE_AUTHORITY_HOST"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Scene:
    """The simulator behind real sockets, the real credential, and the tokens that were ever given."""

    simulator: Simulator
    world: World
    ears: Ears
    tokens: list[str]

    @property
    def secrets(self) -> list[str]:
        return [*self.tokens, HEADER, UPN, KEY]

    def settings(self) -> Settings:
        return replace(self.world.settings, partner_center_url=self.simulator.url)

    def play(self, scenario: str) -> None:
        self.world.enqueue(scenario, customerUserUpn=UPN, context={"planted": MARKER})
        self.world.run()

    def check(self, *errors: BaseException) -> None:
        """Nothing that was let out holds a secret; what is said to people holds no marker either."""
        assert self.tokens
        world = self.world
        for event in world.outcomes.messages:
            assert [] == leaks(event.text, self.secrets)
        for name, blob in world.container.blobs.items():
            assert [] == leaks(name, self.secrets)
            assert [] == leaks(blob.content, self.secrets)
            assert [] == leaks(str(blob.metadata), self.secrets)
        assert [] == leaks(self.ears.text(), [*self.secrets, MARKER])
        for error in errors:
            assert [] == leaks("".join(traceback.format_exception(error)), [*self.secrets, MARKER])


def tokens_of(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token that the simulator gives from now on."""
    given: list[str] = []
    issue = simulator.identity.issue

    def issue_and_tell(*args: Any) -> str:
        given.append(issue(*args))
        return given[-1]

    monkeypatch.setattr(simulator.identity, "issue", issue_and_tell)
    return given


@pytest.fixture
def scene(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    world = World(replace(HASTY, storage_connection_string=f"AccountName=shop;AccountKey={KEY}"))
    world.clock.now = datetime.now(UTC)
    with Simulator(tenant_id=TENANT, scale=0.001, clock=world.clock.epoch) as simulator:
        simulator.identity.header = HEADER
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        made = Scene(simulator, world, ears, tokens_of(simulator, monkeypatch))
        settings = made.settings()
        identity = TokenProvider(credential_factory(settings), settings.scope, TENANT)
        world.partner_center = center = PartnerCenter(settings, identity)
        world.checkout = world.worker()
        turn_all_up()
        yield made
        center._session.close()


# --- stories over real sockets ----------------------------------------------------------------------------------

STORIES = [
    "created",
    "huge-result",
    "partial",
    "pending-review",
    "fault-400-800013",
    "fault-with-data",
    "only-order-errors",
    "unknown-400-when-ordered",
    "already-ordered",
    "throttled",
    "coded-500",
    "html-502",
    "empty-body",
    "login-page",
    "cut-json",
    "dropped-after",
    "dropped-mid-body",
    "dropped-after-then-refused",
    "never-answers",
    "unauthorized-once",
    "unauthorized-for-ever",
    "conditional-access",
    "redirect",
]


@pytest.mark.parametrize("story", STORIES)
def test_no_secret_leaks_in_any_scenario(story: str, scene: Scene) -> None:
    scene.play(story)
    assert scene.world.outcome()
    scene.check()
    assert [MARKER] == leaks(scene.world.outcomes.messages[0].text + str(scene.world.container.blobs), [MARKER])


def test_the_upn_is_in_the_deferred_copy_and_in_nothing_else(scene: Scene) -> None:
    cart = scene.world.enqueue("coded-500", customerUserUpn=UPN)
    scene.world.deliver(scene.world.carts.receive())  # type: ignore[arg-type]
    (copy,) = scene.world.carts.messages
    assert [UPN] == leaks(copy.text, [UPN])
    assert [] == leaks(copy.text, [*scene.tokens, HEADER, KEY])
    assert "post" in scene.world.container.blobs[f"{CUSTOMER_OF_THE_WORLD}/{cart}.json"].metadata
    scene.check()


@pytest.mark.parametrize("how", [how for how in Failure if not how.name.startswith("KILLED")])
@pytest.mark.parametrize("story", ["created", "huge-result", "dropped-after-then-refused", "unauthorized-once"])
def test_no_secret_leaks_whichever_step_fails(story: str, how: Failure, scene: Scene) -> None:
    scene.world.tap(dict.fromkeys(range(1, 400, 7), how))
    scene.play(story)
    scene.world.journal.plan.clear()
    scene.world.run()
    scene.check()


@pytest.mark.parametrize("failure", [400, 401, 403, 404, 429, 500, 503])
def test_a_failing_identity_endpoint_leaks_nothing(failure: int, scene: Scene) -> None:
    scene.play("created")  # so that there are tokens to be told
    scene.simulator.identity.failure = failure
    scene.simulator.identity.revoke()
    scene.world.enqueue("plain-503", customerUserUpn=UPN, context=MARKER)
    scene.world.deliver(scene.world.carts.receive())  # type: ignore[arg-type]
    scene.check()


def test_another_tenants_token_is_not_quoted(scene: Scene) -> None:
    scene.simulator.identity.tenants = {"00000000-0000-4000-8000-000000000001": "99999999-0000-4000-8000-00000000dead"}
    scene.world.enqueue("created", customerUserUpn=UPN, context=MARKER)
    scene.world.deliver(scene.world.carts.receive())  # type: ignore[arg-type]
    assert "WrongTenant" in scene.ears.text()
    scene.check()


@pytest.mark.parametrize("quoting", ["200", "400", "500"])
def test_an_identity_endpoint_that_quotes_what_it_was_sent_is_not_quoted(
    quoting: str, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = {"error": f"you sent {HEADER}", "error_description": HEADER, "statusCode": 1, "message": HEADER}
    with edges.Server(edges.always(edges.answer(int(quoting), json.dumps(quoted).encode()))) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        identity = TokenProvider(credential_factory(HASTY), HASTY.scope, TENANT)
        with pytest.raises(TokenUnavailable) as caught:
            identity.token()
    assert [] == leaks("".join(traceback.format_exception(caught.value)), [HEADER])
    ours = [text for name, text in ears.heard if name.startswith(("cart_checkout", "shared"))]
    assert [] == leaks("\n".join(ours), [HEADER])


ASSERTION = jwt("the identity's own token, which vouches for the app")
APP = jwt("the app's token, which pays")
GIVEN = {"access_token": APP, "expires_in": 3599, "token_type": "Bearer"}
REFUSED = {"error": "invalid_client", "error_description": f"AADSTS7000215: not accepted: {ASSERTION}"}


@pytest.fixture
def vouching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TokenProvider]]:
    """A federated identity, with a configured response to its sign-in. The wiring of a world makes the SDK quiet."""
    World()
    with edges.Server(edges.always(gives(ASSERTION))) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        settings = replace(HASTY, auth="federated", app_id=CART)

        def identity(status: int, said: dict[str, Any]) -> TokenProvider:
            return TokenProvider(credential_factory(settings, transport=SignIn(status, said)), settings.scope, None)

        yield identity


def test_federated_neither_the_assertion_nor_the_apps_token_leaks(
    vouching: Callable[..., TokenProvider], ears: Ears
) -> None:
    identity = vouching(200, GIVEN)
    turn_all_up()
    assert APP == identity.token()
    assert ears.heard
    assert [] == leaks(ears.text(), [ASSERTION, APP, HEADER])


def test_federated_a_refusal_that_quotes_the_assertion_is_not_quoted(
    vouching: Callable[..., TokenProvider], ears: Ears
) -> None:
    with pytest.raises(TokenUnavailable, match="AADSTS7000215") as caught:
        vouching(400, REFUSED).token()
    assert [] == leaks("".join(traceback.format_exception(caught.value)), [ASSERTION, APP, HEADER])
    assert [] == leaks(ears.text(), [ASSERTION, APP, HEADER])


# --- what others wrote -------------------------------------------------------------------------------------------

FAULT = {"code": "800013", "description": MARKER, "source": MARKER, "data": [MARKER]}
SAID: dict[str, bytes] = {
    "an order": edges.answer(201, json.dumps({"orders": [{"id": MARKER, "status": MARKER}]}).encode()),
    "a failed order": edges.answer(201, json.dumps({"orders": [{"id": MARKER, "status": "error"}]}).encode()),
    "order errors": edges.answer(200, json.dumps({"orderErrors": [FAULT]}).encode()),
    "a refusal": edges.answer(400, json.dumps(FAULT).encode()),
    "a code that is none": edges.answer(400, json.dumps({**FAULT, "code": f"{MARKER} {MARKER}"}).encode()),
    "a held one": edges.answer(403, json.dumps(FAULT).encode()),
    "its own failure": edges.answer(500, json.dumps({**FAULT, "code": "800003"}).encode()),
    "a page": edges.answer(502, f"<html>{MARKER}</html>".encode()),
    "headers": edges.answer(201, b"{}", MS_RequestId=MARKER, MS_CorrelationId=MARKER, MS_CV=MARKER, Retry_After=MARKER),
    "a redirect": edges.answer(302, b"", Location=f"http://{MARKER}.example/{MARKER}"),
    "a cookie": edges.answer(429, b"", Set_Cookie=f"{MARKER}={MARKER}"),
    "a broken head": f"HTTP/1.1 {MARKER}\r\n\r\n".encode(),
    "a broken length": f"HTTP/1.1 200 OK\r\nContent-Length: {MARKER}\r\n\r\n{MARKER}".encode(),
}


@pytest.mark.parametrize("said", SAID)
def test_text_of_the_service_is_in_no_log(said: str, ears: Ears) -> None:
    class Token:
        def token(self) -> str:
            return "eyJhbGciOiJub25lIn0.eyJwbGFudGVkIjoidG9rZW4ifQ.c2lnbmF0dXJlIG9mIGl0"

        def renew(self, _: str) -> None:
            return None

    world = World(HASTY)

    def play(peer: edges.Peer) -> None:
        peer.request()
        peer.send(SAID[said])  # and hangs up: an answer without a length ends there

    with edges.Server(play) as server:
        settings = replace(HASTY, partner_center_url=server.url)
        world.partner_center = PartnerCenter(settings, Token())  # type: ignore[arg-type]
        world.checkout = world.worker()
        turn_all_up()
        world.enqueue("created", customerUserUpn=UPN)
        for _ in range(3):
            if (message := world.carts.receive()) is not None:
                world.deliver(message)
            world.clock.advance(3600)
        world.partner_center._session.close()
    ours = "\n".join(line for name, line in ears.heard if not name.startswith("urllib3"))
    assert '"result"' in ours
    assert [] == leaks(ours, [MARKER])
    assert [] == leaks(ears.text(), [Token().token(), UPN])


@pytest.mark.parametrize(
    "message",
    [
        MARKER.encode(),
        b"{" + MARKER.encode(),
        body(**{MARKER: 1}),
        body(customerId=MARKER),
        body(customerId=MARKER * 20),
        body(cartId=f"{CART}{MARKER}"),
        body(requestId=f"{MARKER}\0"),
        body(correlationId=MARKER),
        body(customerUserUpn=f"{UPN}\n"),
        body(retry={"attempt": MARKER}),
        body(retry={"reason": [MARKER]}),
        body(context={MARKER: {"a": [MARKER]}}),
        cloud_event(specversion=MARKER),
        cloud_event(members(context=MARKER), id=""),
        cloud_event(members(customerUserUpn=UPN), **{MARKER: MARKER}),
        base64.b64encode(MARKER.encode() * 3),
        b"\xff" + MARKER.encode(),
    ],
    ids=lambda message: message[:40].decode("latin-1"),
)
def test_text_of_the_producer_is_in_no_log_and_no_exception(message: bytes, ears: Ears) -> None:
    world = World(HASTY)
    world.checkout.handle(message, delivery())
    world.checkout.handle(message, delivery(from_poison=True))
    logs = "\n".join(line for _, line in ears.heard)
    assert '"result"' in logs
    assert [] == leaks(logs, [MARKER, UPN])
    found = decode(message, delivery())
    assert [] == leaks(repr(found), [UPN])
    for event in world.outcomes.messages:
        assert UPN in message.decode("latin-1") or [] == leaks(event.text, [UPN])


def test_an_invalid_body_is_passed_on_in_its_event_and_nowhere_else(ears: Ears) -> None:
    world = World()
    world.checkout.handle(MARKER.encode(), delivery())
    assert [MARKER] == leaks(world.outcomes.messages[0].text, [MARKER])
    assert [] == leaks(ears.text(), [MARKER])


# --- storage -----------------------------------------------------------------------------------------------------


def keyed(url: str) -> str:
    return f"AccountName=shop;AccountKey={KEY};BlobEndpoint={url}/shop;QueueEndpoint={url}/shop"


def signed(url: str) -> str:
    return (
        f"SharedAccessSignature=sv=2024-01-01&sig={quote(SIGNATURE)};BlobEndpoint={url}/shop;QueueEndpoint={url}/shop"
    )


def wired(connection: str, service: Any, clock: Callable[[], datetime]) -> Checkout:
    environ = {
        "CheckoutStorage": connection,
        "CARTS_QUEUE": "carts",
        "OUTCOMES_QUEUE": "outcomes",
        "RECORDS_CONTAINER": "records",
        "PARTNER_CENTER_TENANT_ID": TENANT,
    }
    return bootstrap(Settings.from_env(environ), partner_center=service, clock=clock)


def quoted(content: str) -> bytes:
    text = f"<Error><Code>AuthenticationFailed</Code><Message>{content}\nRequestId:1</Message></Error>"
    return edges.answer(403, text.encode(), x_ms_error_code="AuthenticationFailed", Content_Type="application/xml")


STORAGES: dict[str, Callable[[edges.Peer], None]] = {
    "busy": edges.always(edges.answer(503, b"", x_ms_error_code="ServerBusy")),
    "refusing, with an explanation": edges.always(quoted("Server failed to authenticate the request.")),
    "silent": lambda peer: void(peer.request()),
    "a page": edges.always(edges.answer(200, b"<html>sign in</html>", Content_Type="text/html")),
    "a broken head": edges.always(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nno header\r\n\r\n"),
    "dead": lambda _: None,
}


def void(*_: object) -> None:
    """Only the effect is wanted."""


@pytest.mark.parametrize("connection", [keyed, signed])
@pytest.mark.parametrize("storage", STORAGES)
def test_failing_storage_leaks_no_key_and_no_signature(
    storage: str, connection: Callable[[str], str], ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestsTransport, "sleep", lambda *_: None)
    monkeypatch.setattr("azure.storage.blob._download.time.sleep", lambda _: None)
    world = World()
    with edges.Server(STORAGES[storage]) as server:
        checkout = wired(connection(server.url), world.partner_center, world.clock)
        for message in (body(customerUserUpn=UPN, context=MARKER), MARKER.encode()):
            try:
                checkout.handle(message, delivery())
            except Exception as error:  # noqa: BLE001  the host catches everything too, and prints it
                shown = "".join(traceback.format_exception(error))
                assert [] == leaks(shown, [KEY, SIGNATURE, UPN, MARKER])
    assert ears.heard
    assert [] == leaks(ears.text(), [KEY, SIGNATURE, quote(SIGNATURE), UPN, MARKER])


def test_on_real_storage_no_secret_is_in_a_queue_a_blob_or_a_log(
    storage: conftest.Storage, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Simulator(tenant_id=TENANT, scale=0.001) as simulator:
        simulator.identity.header = HEADER
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        tokens = tokens_of(simulator, monkeypatch)
        environ = {**storage.environ, **simulator.environment(), "RETRY_BASE_SECONDS": "0.001", "SETTLE_SECONDS": "1"}
        checkout = bootstrap(Settings.from_env(environ))
        turn_all_up()
        world = World()
        carts = ["created", "huge-result", "coded-500", "fault-400-800013", "unauthorized-once"]
        for scenario in carts:
            world.enqueue(scenario, customerUserUpn=UPN, context=MARKER)
        waiting = [message.text.encode() for message in world.carts.messages]
        deadline = time.monotonic() + edges.PATIENCE
        published: list[str] = []
        while len(published) < len(carts):
            assert time.monotonic() < deadline
            for text in waiting:
                checkout.handle(text, Delivery("m", 1, NOW.replace(tzinfo=UTC)))
            waiting = []
            for copy in storage.carts.receive_messages(visibility_timeout=300):
                assert [] == leaks(copy.content, [*tokens, HEADER, ACCOUNT_KEY])
                assert [UPN] == leaks(copy.content, [UPN])
                waiting.append(copy.content.encode())
                storage.carts.delete_message(copy)
            published += [message.content for message in storage.outcomes.receive_messages(visibility_timeout=300)]
    secrets = [*tokens, HEADER, UPN, ACCOUNT_KEY]
    for event in published:
        # decoded: in base64, the address of a blob looks like that of the audience in a token's own base64
        assert [] == leaks(base64.b64decode(event), secrets)
    names = [blob.name for blob in storage.records.list_blobs()]
    assert len(names) >= len(carts)
    for name in names:
        assert [] == leaks(storage.records.download_blob(name).readall(), secrets)
    assert tokens
    assert [] == leaks(ears.text(), [*secrets, MARKER])


# --- settings ----------------------------------------------------------------------------------------------------


def test_the_settings_do_not_show_the_connection_string() -> None:
    settings = replace(HASTY, storage_connection_string=keyed("https://x.example"))
    for shown in (repr(settings), str(settings), f"{settings}", "%s" % (settings,)):  # noqa: UP031
        assert [] == leaks(shown, [KEY])


@pytest.mark.parametrize("name", sorted(settings_read()))
@pytest.mark.parametrize("value", [keyed("http://x"), signed("http://x"), KEY, f"https://x?sig={SIGNATURE}"])
def test_a_secret_in_the_wrong_setting_is_not_repeated_in_the_error(name: str, value: str) -> None:
    try:
        shown = repr(Settings.from_env({"IDENTITY_HEADER": HEADER, name: value}))
    except SettingsError as error:
        shown = "".join(traceback.format_exception(error)) + repr(error.mistakes)
    assert [] == leaks(shown, [KEY, SIGNATURE])


def test_requests_and_errors_do_not_show_what_they_hold() -> None:
    found = request(customerUserUpn=UPN, context=MARKER)
    assert [] == leaks(repr(found), [UPN, MARKER])
    assert [] == leaks(repr(decode(MARKER.encode(), delivery())), [MARKER])
    assert [] == leaks(repr(NotJson("$", "x")), [MARKER])
