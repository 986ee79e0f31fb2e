"""Just enough Bicep to know what a deployment would create. tree-sitter parses; what is not known here raises.

`deploy` works a template out as Azure would: parameters under their decorators, variables, loops, conditions, modules
with their parameters and outputs. What only Azure can know (an identity's client id, a storage account's endpoints) is
made up, in the form that Azure gives it. It is no compiler: whether a resource has such a property is not asked.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

TENANT = "7e000000-0000-4000-8000-00000000000a"
SUBSCRIPTION = "/subscriptions/5b000000-0000-4000-8000-00000000000b"
CLIENT = "c1000000-0000-4000-8000-00000000000c"
PRINCIPAL = "9a000000-0000-4000-8000-00000000000d"

_PARSER = Parser(Language(tree_sitter_bicep.language()))
_TYPES = {"string": str, "int": int, "bool": bool, "object": dict, "array": list, "string[]": list}
_DECLARATIONS = frozenset(f"{kind}_declaration" for kind in ("parameter", "variable", "resource", "module", "output"))


class BicepError(Exception):
    """The template is wrong, or uses what is not known here."""


@dataclass(eq=False)
class Resource:
    """A resource of the deployment; `existing`: one that another template creates."""

    symbol: str
    type: str
    api_version: str
    existing: bool
    file: str
    body: dict[str, Any]
    owner: "Resource | None" = None
    children: "dict[str, Resource]" = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its own name, without its parents'."""
        return str(self.body["name"])

    @property
    def parent(self) -> "Resource | None":
        """The resource that it is part of."""
        return self.body.get("parent", self.owner)

    @property
    def id(self) -> str:
        """What identifies it among all resources, in whichever file it is referred to."""
        parent = self.parent
        return f"{parent.id}/{self.type.rpartition('/')[2]}/{self.name}" if parent else f"/{self.type}/{self.name}"

    @property
    def properties(self) -> dict[str, Any]:
        """The properties that the template sets."""
        return dict(self.body.get("properties", {}))


@dataclass
class Deployment:
    """What a template comes to."""

    resources: list[Resource]
    outputs: dict[str, Any]

    def of(self, type_: str) -> list[Resource]:
        """The resources of a type that are created."""
        return [each for each in self.resources if each.type == type_ and not each.existing]


@dataclass
class _AtRunTime:
    """A property that only Azure knows."""

    resource: Resource
    path: tuple[str, ...] = ()

    def then(self, name: str) -> Any:
        path = (*self.path, name)
        made_up: dict[str, Callable[[Resource], str]] = {
            "primaryEndpoints.blob": lambda account: f"https://{account.name}.blob.core.windows.net/",
            "primaryEndpoints.queue": lambda account: f"https://{account.name}.queue.core.windows.net/",
            "clientId": lambda _: CLIENT,
            "principalId": lambda _: PRINCIPAL,
            "ConnectionString": lambda insights: f"InstrumentationKey={insights.name}",
        }
        known = made_up.get(".".join(path))
        return known(self.resource) if known else _AtRunTime(self.resource, path)


def parse(path: Path) -> Node:
    """The syntax tree of a file; raises where the text is no Bicep."""
    root = _PARSER.parse(path.read_bytes()).root_node
    if root.has_error:
        raise BicepError(f"{path.name} cannot be parsed: {_first_error(root)}")
    return root


def deploy(path: Path, parameters: Mapping[str, Any]) -> Deployment:
    """Work out what this template creates."""
    template = Template(path)
    return template.run(parameters)


@dataclass
class Parameter:
    """A declared parameter; a decorator is a name and its arguments."""

    name: str
    type: str
    default: Node | None
    decorators: dict[str, list[Any]]


class Template:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = parse(path)
        self.parameters: dict[str, Parameter] = {}
        self._declared: dict[str, Node] = {}
        self._outputs: dict[str, Node] = {}
        decorators: Node | None = None
        for node in self.root.named_children:
            if node.type == "decorators":
                decorators = node
            elif node.type in _DECLARATIONS:
                self._declare(node, decorators)
                decorators = None

    def _declare(self, node: Node, decorators: Node | None) -> None:
        name = _first(node, "identifier")
        if node.type == "output_declaration":
            self._outputs[name] = node
            return
        if name in self._declared:
            raise BicepError(f"{self.path.name} declares {name} twice")
        self._declared[name] = node
        if node.type == "parameter_declaration":
            type_ = next(_text(child) for child in node.named_children if child.type == "type")
            values = [child for child in node.named_children if child.type not in ("identifier", "type")]
            calls = [each.named_children[0] for each in decorators.named_children] if decorators else []
            made = {
                _first(call, "identifier"): [_Run(self, {}).value(each) for each in _arguments(call)] for call in calls
            }
            self.parameters[name] = Parameter(name, type_, values[0] if values else None, made)

    @property
    def unused(self) -> set[str]:
        """The parameters and variables that nothing refers to."""
        named = [_text(node) for node in _walk(self.root) if node.type == "identifier"]
        kinds = ("parameter_declaration", "variable_declaration")
        matching = [name for name, node in self._declared.items() if node.type in kinds]
        # an object's member may be called like a parameter: it is no use of it
        members = [
            _text(node.named_children[0])
            for node in _walk(self.root)
            if node.type == "object_property" and node.named_children[0].type == "identifier"
        ]
        return {name for name in matching if named.count(name) - members.count(name) < 2}

    def run(self, given: Mapping[str, Any]) -> Deployment:
        """Work it out under these parameters."""
        if unknown := set(given) - set(self.parameters):
            raise BicepError(f"{self.path.name} has no parameter {', '.join(sorted(unknown))}")
        run = _Run(self, given)
        for name, parameter in self.parameters.items():
            _check(parameter, run.named(name))
        for name in self._declared:
            run.named(name)
        outputs = {name: run.value(node.named_children[-1]) for name, node in self._outputs.items()}
        return Deployment(run.resources, outputs)

    def declaration(self, name: str) -> Node:
        """Where a name is declared."""
        if name not in self._declared:
            raise BicepError(f"{self.path.name} refers to {name}, which it does not declare")
        return self._declared[name]


class _Run:
    """A template under its parameters: names are worked out when they are first needed."""

    def __init__(self, template: Template, given: Mapping[str, Any]) -> None:
        self._template = template
        self._given = given
        self._known: dict[str, Any] = {}
        self._loops: list[dict[str, Any]] = []
        self.resources: list[Resource] = []

    def named(self, name: str) -> Any:
        for loop in reversed(self._loops):
            if name in loop:
                return loop[name]
        if name not in self._known:
            with self._outside_loops():
                self._known[name] = self._work_out(name, self._template.declaration(name))
        return self._known[name]

    def _work_out(self, name: str, node: Node) -> Any:
        if node.type == "parameter_declaration":
            if name in self._given:
                return self._given[name]
            default = self._template.parameters[name].default
            if default is None:
                raise BicepError(f"{self._template.path.name}: {name} is not given")
            return self.value(default)
        if node.type == "variable_declaration":
            return self.value(node.named_children[-1])
        if node.type == "module_declaration":
            return self._module(node)
        return self._resource(node, None)

    def _module(self, node: Node) -> dict[str, Any]:
        file = self.value(next(child for child in node.named_children if child.type == "string"))
        body = self._object(node.named_children[-1])
        made = deploy(self._template.path.parent / file, body.get("params", {}))
        self.resources.extend(made.resources)
        return {"name": body["name"], "outputs": made.outputs}

    def _resource(self, node: Node, owner: Resource | None) -> Any:
        symbol = _first(node, "identifier")
        written = self.value(next(child for child in node.named_children if child.type == "string"))
        type_, _, version = written.partition("@")
        if owner is not None:
            type_, version = f"{owner.type}/{type_}", version or owner.api_version
        existing = any(child.type == "existing" for child in node.children)

        def make(body: Node) -> Resource:
            here = {}
            nested = []
            for member in body.named_children:
                if member.type == "object_property" and member.named_children[0].type == "resource_declaration":
                    nested.append(member.named_children[0])
                elif member.type == "object_property":
                    name, value = self._member(member)
                    here[name] = value
            made = Resource(symbol, type_, version, existing, self._template.path.name, here, owner)
            self.resources.append(made)
            made.children = {_first(each, "identifier"): self._resource(each, made) for each in nested}
            return made

        body = node.named_children[-1]
        if body.type == "if_statement":
            condition, body = body.named_children
            if not self.value(condition):
                return Resource(symbol, type_, version, True, self._template.path.name, {"name": "absent"}, owner)
        if body.type == "for_statement":
            return [make(body.named_children[-1]) for _ in self._loop(body)]
        return make(body)

    def _loop(self, node: Node) -> Iterator[None]:
        variable, over, _ = node.named_children
        for each in self.value(over):
            self._loops.append({_text(variable): each})
            yield
            self._loops.pop()

    @contextmanager
    def _outside_loops(self) -> Iterator[None]:
        loops, self._loops = self._loops, []
        try:
            yield
        finally:
            self._loops = loops

    def _member(self, node: Node) -> tuple[str, Any]:
        key, value = node.named_children
        return (self.value(key) if key.type == "string" else _text(key)), self.value(value)

    def _object(self, node: Node) -> dict[str, Any]:
        return dict(self._member(each) for each in node.named_children if each.type == "object_property")

    def value(self, node: Node) -> Any:  # noqa: C901, PLR0911, PLR0912  one case for each kind of expression
        """What an expression comes to."""
        parts = [child for child in node.named_children if child.type != "comment"]
        match node.type:
            case "string":
                return "".join(self._piece(child) for child in parts)
            case "number":
                return int(_text(node))
            case "boolean":
                return _text(node) == "true"
            case "null":
                return None
            case "identifier":
                return self.named(_text(node))
            case "object":
                return self._object(node)
            case "array":
                return [self.value(child) for child in parts]
            case "for_statement":
                return [self.value(parts[-1]) for _ in self._loop(node)]
            case "parenthesized_expression" | "interpolation":
                return self.value(parts[0])
            case "ternary_expression":
                return self.value(parts[1 if self.value(parts[0]) else 2])
            case "unary_expression" if node.children[0].type == "!":
                return not self.value(parts[0])
            case "binary_expression" if node.children[1].type in ("==", "+"):
                left, right = (self.value(part) for part in parts)
                return left == right if node.children[1].type == "==" else left + right
            case "member_expression":
                return _member_of(self.value(parts[0]), _text(parts[1]))
            case "resource_expression":
                return self.value(parts[0]).children[_text(parts[1])]
            case "call_expression":
                return self._call(_text(parts[0]), [self.value(each) for each in _arguments(node)])
        raise BicepError(f"not known here: {node.type} in {_text(node)!r}")

    def _piece(self, node: Node) -> str:
        if node.type == "string_content":
            return _text(node)
        if node.type == "escape_sequence":
            return {"\\'": "'", "\\\\": "\\", "\\n": "\n", "\\$": "$"}[_text(node)]
        value = self.value(node)
        if not isinstance(value, str | int):
            raise BicepError(f"{_text(node)} is no text: {value!r}")
        # white space before an interpolation is part of its opening token
        return _text(node.children[0]).removesuffix("${") + str(value)

    def _call(self, name: str, arguments: list[Any]) -> Any:
        folder = self._template.path.parent
        functions: dict[str, Callable[..., Any]] = {
            "empty": lambda value: not value,
            "environment": lambda: {
                "name": "AzureCloud",
                "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
            },
            "guid": lambda *seeds: str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(seeds))),
            "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
            "loadJsonContent": lambda path, inside: _inside(json.loads((folder / path).read_text("utf-8")), inside),
            "loadTextContent": lambda path: (folder / path).read_text("utf-8"),
            "replace": lambda text, old, new: text.replace(old, new),
            "string": str,
            "subscription": lambda: {"id": SUBSCRIPTION},
            "subscriptionResourceId": lambda type_, which: f"{SUBSCRIPTION}/providers/{type_}/{which}",
            "tenant": lambda: {"tenantId": TENANT},
            "toLower": str.lower,
            "union": lambda first, second: {**first, **second},
            "uniqueString": lambda *seeds: hashlib.sha256(json.dumps(seeds).encode()).hexdigest()[:13],
        }
        if name not in functions:
            raise BicepError(f"not known here: the function {name}")
        return functions[name](*arguments)


def _member_of(value: Any, name: str) -> Any:
    if isinstance(value, _AtRunTime):
        return value.then(name)
    if isinstance(value, Resource):
        return {"id": value.id, "name": value.name, "properties": _AtRunTime(value)}[name]
    if name not in value:
        raise BicepError(f"there is no {name} among {', '.join(value)}")
    return value[name]


def _check(parameter: Parameter, value: Any) -> None:
    limits: dict[str, Callable[[Any], bool]] = {
        "allowed": lambda wanted: value in wanted,
        "minValue": lambda least: value >= least,
        "maxValue": lambda most: value <= most,
        "minLength": lambda least: len(value) >= least,
        "maxLength": lambda most: len(value) <= most,
    }
    if not isinstance(value, _TYPES[parameter.type]):
        raise BicepError(f"{parameter.name} must be {parameter.type}: {value!r}")
    for name, arguments in parameter.decorators.items():
        if name in limits and not limits[name](arguments[0]):
            raise BicepError(f"{parameter.name} breaks @{name}({arguments[0]}): {value!r}")


def _inside(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[name]
    return value


def _arguments(call: Node) -> list[Node]:
    (found,) = [child for child in call.named_children if child.type == "arguments"]
    return found.named_children


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _first(node: Node, type_: str) -> str:
    return _text(next(child for child in node.named_children if child.type == type_))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _first_error(root: Node) -> str:
    wrong = next(node for node in _walk(root) if node.type == "ERROR" or node.is_missing)
    return f"line {wrong.start_point[0] + 1}: {_text(wrong)[:60]!r}"
