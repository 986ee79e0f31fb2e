"""Reads one setting after another from an environment, and collects what is wrong with each."""

import re
from collections.abc import Callable, Mapping

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_STORAGE_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])+", re.ASCII)
_SHORTEST_NAME = 3  # the service's rule, for queues and containers alike
_REFERENCE = re.compile(r"@Microsoft\.(KeyVault|AppConfiguration)\(", re.IGNORECASE)
_QUOTES = ("'", '"', "\u2018", "\u201c")


def configuration_key(name: str) -> str:
    """A setting's name as .NET configuration compares it: without case, and `__` stands for `:`."""
    return name.replace("__", ":").lower()


class SettingReader:
    """Reads settings. `mistakes` has one sentence for each that is wrong or missing, and repeats no value."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.mistakes: list[str] = []

    def text(self, name: str, *, required: bool = False, hint: str = "", given: str | None = None) -> str | None:
        """The value without spaces around it, or None. `given`: the value, where another name holds it."""
        value = (given or self.env.get(name, "")).strip()
        if mistake := _not_a_value(value):
            self.mistakes.append(f"{name} {mistake}")
            return None
        if not value and required:
            self.mistakes.append(f"{name} is missing{hint}")
        return value or None

    def storage_name(self, name: str, example: str, *, longest: int = 63) -> str:
        """The name of a queue or a container."""
        value = self.text(name, required=True, hint=f" (for example {example})") or example
        if not (_SHORTEST_NAME <= len(value) <= longest and _STORAGE_NAME.fullmatch(value)):
            self.mistakes.append(
                f"{name} must be {_SHORTEST_NAME} to {longest} lower-case letters, digits and single hyphens, "
                f"for example {example}"
            )
        return value

    def guid(self, name: str, *, required: bool = False, given: str | None = None) -> str | None:
        """A GUID in lower case."""
        value = self.text(name, required=required, given=given)
        if value is not None and not _GUID.fullmatch(value):
            self.mistakes.append(f"{name} must be a GUID such as 11111111-2222-3333-4444-555555555555")
        return value.lower() if value else None

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        """One of these values, by default the first."""
        value = self.text(name) or values[0]
        if value not in values:
            self.mistakes.append(f"{name} must be {' or '.join(values)}")
        return value

    def seconds(self, name: str, default: float, *, most: float) -> float:
        """A duration."""
        return self._number(name, default, float, most=most, unit=" seconds")

    def count(self, name: str, default: int, *, most: int) -> int:
        """A positive integer."""
        return int(self._number(name, default, int, most=most, unit=""))

    def _number(self, name: str, default: float, parse: Callable[[str], float], *, most: float, unit: str) -> float:
        value = self.text(name)
        if value is None:
            return default
        try:
            number = parse(value)
        except ValueError:
            number = 0.0
        if not 0 < number <= most:  # NaN fails this too
            self.mistakes.append(f"{name} must be a number above 0 and at most {most:g}{unit}")
            return default
        return number


def _not_a_value(value: str) -> str:
    """What is wrong with a value that no setting can have, or an empty text."""
    if match := _REFERENCE.match(value):
        service = "a Key Vault" if match[1].lower() == "keyvault" else "an App Configuration"
        return (
            f"is {service} reference that the platform has not resolved: does the app's identity have access to it, "
            "and does it exist? (The portal shows the status of each reference.)"
        )
    if value.startswith(_QUOTES):
        return "has quotes around its value: in an env file they are part of it. Remove them"
    return ""
