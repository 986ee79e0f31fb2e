"""How long each step of a message can take at worst, from the limits that the adapters set themselves."""

from shared.adapters import partner_center, storage
from shared.settings import Settings
from shared.time_budget import TimeLimits


def time_limits(settings: Settings) -> TimeLimits:
    """The limits with these settings."""
    return TimeLimits(
        post=settings.checkout_timeout,
        get=partner_center.LONGEST_GET,
        token=partner_center.LONGEST_TOKEN,
        read=storage.LONGEST_READ,
        write=storage.LONGEST_OPERATION,
        # one credential for both services: after three operations that got no token, the delivery has ended, since
        # a step, its deferral and the poison queue's fresh copy have failed
        sign_in=0.0 if settings.storage_connection_string else 3 * storage.LONGEST_SIGN_IN,
    )
