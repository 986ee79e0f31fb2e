"""`cart-checkout`, the operator's command: one verb a module, loaded when it is asked for."""

import importlib

import click

VERBS = {
    "send": "cli.commands.send",
    "watch": "cli.commands.watch",
    "status": "cli.commands.status",
    "redrive": "cli.commands.redrive",
    "republish": "cli.commands.republish",
    "doctor": "cli.commands.doctor",
}
"""Each verb and the module whose `command` it is."""


class Verbs(click.Group):
    """The verbs. `cart-checkout send` does not pay for the imports of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs' names, in the order of the table."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of this name."""
        del ctx
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[cmd_name]).command
        return command


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cart-checkout-function")
def main() -> None:
    """Operate the Cart Checkout Function: send carts to its queue, see what came of them, mend what went wrong.

    In the night: `doctor` first, then `status`. docs/operations.md says what to do about what they show.

    Every verb reads the app's own settings (CheckoutStorage, CARTS_QUEUE, ...) from the environment, or from
    the Values of a local.settings.json with --settings FILE.
    """


if __name__ == "__main__":
    main()
