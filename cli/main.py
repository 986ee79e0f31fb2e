"""`cart-checkout`, the operator's command. Each module of `cli.commands` is one verb, as its `command`.

To add a verb, add a module. Its name, one word, is the verb. `--help` lists the verbs alphabetically. A verb's module
is imported only when it is needed, so that `cart-checkout send` does not pay for the imports of the others.
"""

import importlib
import pkgutil

import click

from cli import commands, output

VERBS = tuple(sorted(module.name for module in pkgutil.iter_modules(commands.__path__)))


class VerbGroup(click.Group):
    """A group whose commands are the modules of `cli.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the verbs, in alphabetical order."""
        del ctx
        return [*VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb of this name."""
        del ctx
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"{commands.__name__}.{cmd_name}").command
        return command


@click.command(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cart-checkout-function")
def main() -> None:
    """Operate the Cart Checkout Function: send carts, follow their outcomes, and retry what failed.

    If something is wrong, run `doctor` first, then `status`. The runbook, docs/operations.md, says what to do about
    their findings.

    Every command reads the app's own settings (CheckoutStorage, CARTS_QUEUE, ...) from the environment, or from
    the Values of a local.settings.json with --settings FILE.
    """
    output.prepare()


if __name__ == "__main__":
    main()
