"""`cart-checkout doctor`: try everything that the app needs, without buying or changing anything."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.connection import file_option, values_of
from cli.table import COLOURS
from shared.core.jsontext import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cli.checks.configuration import Finding

SOMETHING_FAILED = 1
AREAS = ("settings", "host", "storage", "identity", "service")


@click.command(name="doctor")
@click.option("--skip", type=click.Choice(AREAS[1:]), multiple=True, help="Leave an area out. May be repeated.")
@click.option(
    "--host-json",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The host.json that is deployed. Without it: the one beside this program.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object for each finding.")
@file_option
def command(skip: tuple[str, ...], host_json: Path | None, file: Path | None, *, as_json: bool) -> None:
    """Find out what keeps the app from working: settings, host.json, storage, identity, service.

    Nothing is bought, sent or changed. Rights are tried by calls that cannot take effect: a message that would
    end before it began, the deletion of a message and a blob that do not exist, a write on a condition that
    cannot hold. No token and no key is printed.

    It tries what THIS process may do. Signed in as yourself, it tells of your rights and not of the app's; and on
    a laptop there is no managed identity to be had: --skip identity.

    \b
    Examples:
      cart-checkout doctor
      cart-checkout doctor --settings local.settings.json
      cart-checkout doctor --skip identity
      cart-checkout doctor --json | jq 'select(.status == "failed")'

    \b
    With --json, one object a line: check, status (ok, warning, failed or skipped), found, and todo where there is
    something to do.

    \b
    Exit codes: 0 nothing failed; 1 something failed; 2 wrong usage.
    """  # noqa: D301  \b is click's mark for lines to leave alone
    failed = 0
    values = values_of(file)
    for finding in _findings(values, file, host_json, skip):
        failed += finding.status == "failed"
        print(json.dumps(finding.told())) if as_json else _show(finding)
    if not as_json:
        click.echo()
        click.echo(f"{failed} finding(s) to mend, each with what to do (->)." if failed else "Nothing failed.")
    if failed:
        sys.exit(SOMETHING_FAILED)


def _findings(
    values: "Mapping[str, str]", file: Path | None, host_json: Path | None, skip: tuple[str, ...]
) -> "Iterator[Finding]":
    from cli.checks import configuration as checks  # noqa: PLC0415  a help text must not wait for an SDK
    from cli.checks import rights, sign_in  # noqa: PLC0415  the same

    settings = yield from checks.of_settings(values, str(file or "the environment (or name a file: --settings)"))
    if "host" not in skip:
        yield from checks.of_host(values, host_json)
    if "storage" not in skip:
        yield from rights.of_storage(values)
    if settings is None:
        for area in ("identity", "service"):
            if area not in skip:
                yield checks.Finding(area, "skipped", "not tried", "Correct the settings first.")
        return
    with sign_in.surroundings(values, clean=file is not None):
        token = None
        if "identity" not in skip:
            token = yield from sign_in.of_identity(settings)
        if "service" not in skip:
            yield from sign_in.of_service(settings, with_token=token)


def _show(finding: "Finding") -> None:
    mark = click.style(f"{finding.status:<8}", fg=COLOURS.get(finding.status, "red"))
    click.echo(f"{mark} {finding.check:<18} {printable(finding.found, 600)}")
    if finding.todo:
        click.echo(f"{'':<8} {'':<15} -> {printable(finding.todo, 600)}")
