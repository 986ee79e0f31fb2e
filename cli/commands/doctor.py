"""`cart-checkout doctor`: check everything that the app needs, without buying or changing anything."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options, output
from cli.connection import settings_file_option
from cli.table import COLOURS
from shared.core.jsontext import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cli.checks import Finding

SOMETHING_FAILED = 1
AREAS = ("host", "storage", "identity", "service")


@click.command(name="doctor", short_help="Check settings, host.json, storage, identity and service.")
@click.option("--skip", type=click.Choice(AREAS), multiple=True, help="Leave an area out. May be repeated.")
@click.option(
    "--host-json",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The host.json that is deployed. Default: the one beside this program.",
)
@options.as_json
@settings_file_option
def command(
    skip: tuple[str, ...], host_json: Path | None, *, values: "Mapping[str, str]", file: Path | None, as_json: bool
) -> None:
    """Check what the app needs to work: settings, host.json, storage, identity, service.

    Nothing is bought, sent or changed. Permissions are checked with calls that cannot take effect: a message that
    expires before it becomes visible, the deletion of a message and of a blob that do not exist, a write under a
    condition that is never met. Tokens and keys are never printed.

    It checks what THIS process may do, and says as whom. If you are signed in as yourself, it reports your permissions
    and not the app's: to try those, run it with the app's own settings where its identity is. A laptop has no managed
    identity: use --skip identity there.

    \b
    Examples:
      cart-checkout doctor
      cart-checkout doctor --settings local.settings.json
      cart-checkout doctor --skip identity
      cart-checkout doctor --json | jq 'select(.status == "failed")'

    \b
    With --json, one object a line: check, status (ok, warning, failed or skipped), found, and todo if there is
    something to do.

    \b
    Exit codes: 0 nothing failed; 1 something failed; 2 wrong usage.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    failed, unchecked = 0, sorted(skip)
    for finding in _findings(values, file, host_json, skip):
        failed += finding.status == "failed"
        unchecked += [finding.check] if finding.status == "skipped" else []
        output.echo(json.dumps(finding.as_json())) if as_json else _show(finding)
    if not as_json:
        output.echo()
        output.echo(f"{failed} finding(s) to correct, each with what to do (->)." if failed else "Nothing failed.")
    if unchecked:
        output.echo(f"Not checked: {', '.join(unchecked)}.", err=True)
    if failed:
        sys.exit(SOMETHING_FAILED)


def _findings(
    values: "Mapping[str, str]", file: Path | None, host_json: Path | None, skip: tuple[str, ...]
) -> "Iterator[Finding]":
    from cli.checks import Finding  # noqa: PLC0415  --help must not import an SDK
    from cli.checks.host_json import check_host_json  # noqa: PLC0415  as above
    from cli.checks.identity import check_identity  # noqa: PLC0415  as above
    from cli.checks.service import check_service  # noqa: PLC0415  as above
    from cli.checks.settings import check_settings  # noqa: PLC0415  as above
    from cli.checks.storage import check_storage  # noqa: PLC0415  as above

    settings = yield from check_settings(values, str(file or "the environment (or name a file: --settings)"))
    if "host" not in skip:
        yield from check_host_json(values, host_json)
    if "storage" not in skip:
        yield from check_storage(values)
    if settings is None:
        for area in ("identity", "service"):
            if area not in skip:
                yield Finding(area, "skipped", "not checked", "Correct the settings first.")
        return
    tokens = None
    if "identity" not in skip:
        tokens = yield from check_identity(settings)
    if "service" not in skip:
        yield from check_service(settings, tokens)


def _show(finding: "Finding") -> None:
    mark = click.style(f"{finding.status:<8}", fg=COLOURS.get(finding.status, "red"))
    output.echo(f"{mark} {finding.check:<18} {printable(finding.found, 600)}")
    if finding.todo:
        output.echo(f"{'':<8} {'':<15} -> {printable(finding.todo, 600)}")
