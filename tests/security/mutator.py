"""Makes hostile bodies out of valid ones, by byte and by structure. Seeded: the seed determines a whole run.

    by the byte        flip, cut, repeat, splice two, drop a fragment somewhere
    by the structure   put hostile in a member's place; name it again, twice, or otherwise; leave it out
    by the wrapping    base64 in every dialect, byte order marks, a CloudEvent, layers of all of them

The structure is that of text, not of a parsed tree: a tree could not hold a key twice, or half a surrogate pair.
"""

import base64
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from msgspec.structs import replace

from shared.core import jsontext
from shared.core.models import ServiceResponse
from tests.security import corpus
from tests.support.builders import text_of

T = TypeVar("T")


@dataclass(slots=True)
class Node:
    """A JSON value as text: an object's members or an array's elements, in brackets, or any other value's text.

    Members are pairs of texts and nodes (an element's name is empty), so that a name may stand there twice.
    """

    brackets: str
    members: list[tuple[str, "Node"]] = field(default_factory=list)
    text: str = ""

    @classmethod
    def of(cls, value: object) -> "Node":
        """A value that `jsontext.load` or a builder made."""
        if isinstance(value, dict):
            return cls("{}", [(text_of(name), cls.of(each)) for name, each in value.items()])
        if isinstance(value, list):
            return cls("[]", [("", cls.of(each)) for each in value])
        return cls("", text=str(value) if isinstance(value, Decimal) else text_of(value))

    def __str__(self) -> str:
        if not self.brackets:
            return self.text
        inside = ",".join(f"{name}:{each}" if name else str(each) for name, each in self.members)
        return f"{self.brackets[0]}{inside}{self.brackets[1]}"

    def copy(self) -> "Node":
        """Another one to change."""
        return Node(self.brackets, [(name, each.copy()) for name, each in self.members], self.text)


class Mutator:
    """A source of hostile bodies and responses. The same seed gives the same ones, on every machine."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._objects = [Node.of(jsontext.load(body)) for body in corpus.SHAPES if body.startswith(b"{")]
        self._answers = [
            (answer, Node.of(jsontext.load(answer.body)) if _is_small_object(answer.body) else None)
            for answer in corpus.ANSWERS
        ]
        self._large = [*corpus.LARGE, *map(base64.b64encode, corpus.LARGE)]

    def body(self) -> bytes:
        """A message for the carts queue."""
        rng = self._random.random()
        if rng < 0.001:  # a long one costs as much as a hundred others
            return self._bytes(self._pick(self._large), 1)
        if rng < 0.25:
            return self._bytes(self._pick(corpus.SHAPES), self._few())
        text = str(self._structure(self._pick(self._objects))).encode("utf-8", "surrogatepass")
        if rng > 0.9:
            text = self._bytes(text, self._few())
        return text if rng < 0.7 else self._wrap(text)

    def answer(self) -> ServiceResponse:
        """A response of the service, or of a gateway."""
        if self._random.random() < 0.02:
            return corpus.HUGE
        found, tree = self._pick(self._answers)
        if found.status is None:
            return found
        body, rng = found.body, self._random.random()
        if rng < 0.3:
            body = self._bytes(body[:8_000], self._few())
        elif rng < 0.9 and tree is not None:
            body = str(self._structure(tree, _ANSWER_NAMES)).encode("utf-8", "surrogatepass")
        return replace(
            found,
            status=found.status if self._random.random() < 0.6 else self._pick(corpus.STATUSES),
            body=body,
            retry_after=self._pick(corpus.HEADER_VALUES),
            request_id=self._pick(corpus.HEADER_VALUES),
            correlation_id=self._pick(corpus.HEADER_VALUES),
            cv=self._pick(corpus.HEADER_VALUES),
        )

    # --- by the byte ----------------------------------------------------------------------------------------

    def _bytes(self, body: bytes, times: int) -> bytes:
        for _ in range(times):
            body = self._pick(_BY_THE_BYTE)(self, body)
        return body

    def _flip(self, body: bytes) -> bytes:
        at = self._at(body)
        return body[:at] + bytes([self._random.randrange(256)]) + body[at + 1 :]

    def _cut(self, body: bytes) -> bytes:
        begin, end = sorted((self._at(body), self._at(body)))
        return body[:begin] + body[end:]

    def _truncate(self, body: bytes) -> bytes:
        return body[: self._at(body)]

    def _repeat(self, body: bytes) -> bytes:
        begin, end = sorted((self._at(body), self._at(body)))
        return body[:end] + body[begin:end][:2_000] + body[end:]

    def _splice(self, body: bytes) -> bytes:
        other = self._pick(corpus.SHAPES)
        return body[: self._at(body)] + other[self._at(other) :]

    def _drop_in(self, body: bytes) -> bytes:
        at = self._at(body)
        return body[:at] + self._pick(corpus.FRAGMENTS) + body[at:]

    # --- by the structure -----------------------------------------------------------------------------------

    def _structure(self, tree: Node, names: Sequence[str] = corpus.NAMES) -> Node:
        changed = tree.copy()
        for _ in range(self._few()):
            node = changed
            while inner := [each for _, each in node.members if each.brackets]:
                if self._random.random() < 0.4:
                    break
                node = self._pick(inner)
            self._change(node, names)
        return changed

    def _change(self, node: Node, names: Sequence[str]) -> None:
        """One change of an object or array: some keep every member, so that many a body is still a request."""
        members, rng = node.members, self._random.random()
        at = self._random.randrange(len(members)) if members else 0
        name = text_of(self._pick(names)) if node.brackets == "{}" else ""
        hostile = Node("", text=self._pick(corpus.HOSTILE))
        if not members or rng < 0.15:
            members.insert(at, (name, hostile))
        elif rng < 0.5:
            members[at] = members[at][0], hostile
        elif rng < 0.6:
            del members[at]
        elif rng < 0.65:
            members[at] = name, members[at][1]
        elif rng < 0.7:
            members.append(members[at])
        elif rng < 0.75:
            members[at] = self._pick(corpus.HOSTILE) if name else "", members[at][1]
        elif rng < 0.9:
            node.members = [each for each in members if each[0] != '"context"'] + [('"context"', hostile)]
        else:
            self._random.shuffle(members)

    # --- by the wrapping ------------------------------------------------------------------------------------

    def _wrap(self, text: bytes) -> bytes:
        for _ in range(self._random.choice((1, 1, 1, 2))):
            text = self._pick(_WRAPPINGS)(text)
        return text

    # --- dice -----------------------------------------------------------------------------------------------

    def _few(self) -> int:
        return self._random.choice((1, 1, 1, 2, 2, 3, 5))

    def _at(self, body: bytes) -> int:
        return self._random.randrange(len(body) + 1)

    def _pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._random.random() * len(choices))]


def _is_small_object(body: bytes) -> bool:
    try:
        return len(body) < 4_000 and isinstance(jsontext.load(body), dict)
    except jsontext.NotJson:
        return False


def _stray(text: bytes) -> bytes:
    encoded = base64.b64encode(text)
    return encoded[:8] + b"\n" + encoded[8:]


def _loose_bits(text: bytes) -> bytes:
    """The same bytes in base64 whose last, unused bits are not zero: a second text with one reading."""
    encoded = base64.b64encode(text + b" " * ((1 - len(text)) % 3))
    return encoded[:-3] + bytes([encoded[-3] + 1]) + b"=="


_BY_THE_BYTE: tuple[Callable[[Mutator, bytes], bytes], ...] = (
    Mutator._flip,
    Mutator._flip,
    Mutator._cut,
    Mutator._truncate,
    Mutator._repeat,
    Mutator._splice,
    Mutator._drop_in,
    Mutator._drop_in,
    Mutator._drop_in,
)
_WRAPPINGS: tuple[Callable[[bytes], bytes], ...] = (
    base64.b64encode,
    base64.b64encode,
    base64.b64encode,
    base64.urlsafe_b64encode,
    base64.encodebytes,
    base64.b32encode,
    _stray,
    _loose_bits,
    lambda text: base64.b64encode(text).rstrip(b"="),
    lambda text: base64.b64encode(text) + b"=",
    lambda text: base64.b64encode(corpus.BOM + text),
    lambda text: corpus.BOM + text,
    lambda text: corpus.BOM + corpus.BOM + text,
    lambda text: b" \r\n" + text + b"\n",
    lambda text: text + text,
    lambda text: b"[" + text + b"]",
    lambda text: text.decode("utf-8", "replace").encode("utf-16"),
    lambda text: b'{"specversion":"1.0","id":"1","source":"/","type":"t","data":' + text + b"}",
)
_ANSWER_NAMES = ("orders", "orderErrors", "code", "description", "data", "status", "message", "source", "items")
