"""Resolves an `unknown` outcome: reads the cart's record, asks the service, appends a correction, and publishes it.

    load ─ rules ─ bought: GET each order            ─┐
                   not bought: settled? ─ GET cart   ─┴─ confirm ─ append, if nothing has changed ─ publish
      └───────────────────── lost the race: all of it again ──────────┘

What may be told is decided in `shared.core.resolution`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from cli import output
from cli.cart_history import CartHistory, CartKey, Entry
from cli.connection import StorageConnection, StorageFailed, settings_failure
from cli.outcome_event import parse_object
from cli.rebuilt_request import rebuilt_request
from cli.records_reader import RecordsReader
from cli.resolution_plan import Finding, Refused, ResolutionPlan, last_of, warn_of_copy
from shared.adapters.identity import TokenProvider, credential_factory
from shared.adapters.partner_center import PartnerCenter
from shared.adapters.storage import AzureBlobs
from shared.context import Loaded
from shared.core import jsontext
from shared.core.evidence import lookup_of
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.core.outcomes import Event, decided
from shared.core.resolution import (
    NotAllowed,
    Resolution,
    as_bought,
    as_copy,
    as_not_bought,
    ask_rules,
    doubtful,
    must_look,
)
from shared.core.rules import CopyOf, Undecided
from shared.core.state_metadata import changed_metadata
from shared.ports import Conflict, PartnerCenterApi, StorageUnavailable
from shared.records import Records
from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from shared.core.cart_state import CartLookup

MAX_ROUNDS = 5
"""How often everything is asked again because the record has changed meanwhile."""
_OK, _NOT_FOUND = 200, 404


def partner_center(values: Mapping[str, str], file: Path | None) -> tuple[PartnerCenterApi, float]:
    """The service as the app calls it, and SETTLE_SECONDS.

    Raises:
        click.UsageError: the settings are missing or wrong. It lists every mistake.
    """
    try:
        settings = Settings.from_env(values)
    except SettingsError as error:
        raise settings_failure(error, file) from error
    tokens = TokenProvider(credential_factory(settings), settings.scope, settings.tenant_id)
    return PartnerCenter(settings, tokens), settings.settle


class Resolver:
    """Resolves one `unknown`."""

    def __init__(
        self, connection: StorageConnection, reader: RecordsReader, service: PartnerCenterApi, settle: float
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._service = service
        self._settle = settle

    def resolve(self, cart: CartKey, found: Finding, confirm: Callable[[ResolutionPlan], None]) -> ResolutionPlan:
        """Plan, confirm, append and publish.

        A write whose response was lost conflicts with itself. Then the record shows the own entry:

            append (✓, response lost) ─ sent again ✕ Conflict ─ load: its own ─ publish

        Args:
            cart: The cart.
            found: What the operator has found.
            confirm: Called with the plan, and again where it becomes another one. Returns if it may be told.

        Raises:
            Refused: it cannot be resolved so, or not now.
            StorageUnavailable: the record may be written or not.
        """
        plan: ResolutionPlan | None = None
        for _ in range(MAX_ROUNDS):
            history, loaded = self._load(cart)
            if plan and (own := next((e.event for e in history.entries if plan.is_same(e.event)), None)):
                self._publish(own)
                return plan
            before, plan = plan, self._plan(history, loaded, found)
            if before is None or not plan.is_like(before):
                confirm(plan)
            with self._connection.records() as container:
                try:
                    event = Records(AzureBlobs(container)).append(
                        plan.request, history.record, plan.event, plan.metadata
                    )
                except Conflict:
                    continue
            self._publish(event)
            return plan
        raise Refused("its record changes all the time: look again")

    def _load(self, cart: CartKey) -> tuple[CartHistory, Loaded]:
        history = self._reader.load(cart)
        if history.trouble:
            raise StorageUnavailable(history.trouble)
        wall = datetime.now(UTC)
        return history, Loaded(history.record.read_at or wall, wall, monotonic())

    def _plan(self, history: CartHistory, loaded: Loaded, found: Finding) -> ResolutionPlan:
        last = last_of(history, found.request_id)
        request = rebuilt_request(last)
        ruling = ask_rules(history.record, request)
        attempts = int(last.data.get("attempts", 0))
        state = history.known.state
        resolution: Resolution | NotAllowed
        warnings: tuple[str, ...] = ()
        if isinstance(ruling, NotAllowed):
            resolution = ruling
        elif isinstance(ruling, CopyOf):
            bought = next(entry for entry in history.entries if entry.event is ruling.entry)
            resolution = as_copy(state, ruling, bought.data_text, attempts)
            warnings = warn_of_copy(found, bought)
        elif found.orders:
            resolution = as_bought(state, ruling, request, self._orders(request, found.orders), attempts)
        else:
            resolution = self._not_bought(history, loaded, request, ruling, last, found.note)
        if isinstance(resolution, NotAllowed):
            raise Refused(resolution.reason)
        told = resolution
        revision = len(history.entries) + 1
        event = decided(request, told.decision, datetime.now(UTC), revision=revision, corrects=told.corrects)
        return ResolutionPlan(request, event, changed_metadata(told.state, state), warnings)

    def _not_bought(
        self,
        history: CartHistory,
        loaded: Loaded,
        request: CheckoutRequest,
        ruling: Undecided,
        last: Entry,
        note: str,
    ) -> Resolution | NotAllowed:
        """GET cart, where it can prove something, and decide."""

        def now() -> datetime:  # by storage's clock, as the function measures the age of a POST
            return loaded.now(monotonic())

        state = doubtful(history.known.state, last.decided_at or now())
        look: CartLookup | None = None
        if must_look(state, now(), self._settle):
            sent = now()
            response = self._service.get_cart(request)
            look = lookup_of(response, sent)
            if response.status is None:
                raise Refused(f"Partner Center was not asked, or did not answer ({response.failure}): try again")
        return as_not_bought(
            state,
            ruling,
            now=now(),
            look=look,
            settle=self._settle,
            attempts=int(last.data.get("attempts", 0)),
            note=note,
        )

    def _orders(self, request: CheckoutRequest, ids: tuple[str, ...]) -> list[str]:
        """The orders as they were received.

        Raises:
            Refused: the service does not know one of them, or does not answer.
        """
        return [
            self._order(request.customer_id, order_id) for order_id in {each.lower(): each for each in ids}.values()
        ]

    def _order(self, customer_id: str, order_id: str) -> str:
        try:
            response = self._service.get_order(customer_id, order_id)
        except ValueError as error:
            raise Refused(f"{order_id} cannot be the id of an order") from error
        text = _text_of(response)
        if str(parse_object(text).get("id", "")).lower() == order_id.lower():
            return text
        if response.status in (_OK, _NOT_FOUND):
            raise Refused(f"Partner Center knows no order {order_id} of this customer; a new one can take 15 minutes")
        said = f"HTTP {response.status}" if response.status else response.failure
        raise Refused(f"Partner Center did not tell the order {order_id} ({said}): try again")

    def _publish(self, event: Event) -> None:
        try:
            with self._connection.publisher() as publisher:
                publisher.publish(event)
        except StorageUnavailable as error:
            output.echo(
                f"Recorded, but not published. When the queue answers: cart-checkout republish --event {event.id}",
                err=True,
            )
            raise StorageFailed(error) from error


def _text_of(response: ServiceResponse) -> str:
    """The body of a success, or an empty text where it is none or no JSON."""
    if response.status != _OK:
        return ""
    try:
        jsontext.load(response.body)
    except jsontext.NotJson:
        return ""
    return jsontext.decode(response.body)
