"""The checks of `cart-checkout doctor`, one module an area, and what they find."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `status` is `ok`, `warning`, `failed` or `skipped`, and `todo` says what to do about it."""

    check: str
    status: str
    found: str
    todo: str = ""

    def as_json(self) -> dict[str, str]:
        """The JSON object of this finding."""
        return {name: value for name, value in asdict(self).items() if value}
