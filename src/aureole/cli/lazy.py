"""Commands that are imported when they are used, so that `aureole --help` does not wait for torch."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("aureole.cli.demo:demo", "Three scenes and three networks from start to picture, in two minutes."),
    "labels": (
        "aureole.cli.labels:labels",
        "Say of every label whether it is always, never or sometimes among the k highest.",
    ),
    "neighborhood": (
        "aureole.cli.neighborhood:neighborhood",
        "Find the largest radii around an object for which a label provably survives.",
    ),
    "neighborhoods": (
        "aureole.cli.batch:neighborhoods",
        "The same for many scenes and networks; says which network is the more robust.",
    ),
    "prove": ("aureole.cli.prove:prove", "Decide whether a label survives every image within given radii."),
    "report": ("aureole.cli.report:report", "Draw the pictures of a record again."),
    "reproduce": ("aureole.cli.reproduce:app", "Redo figures of the literature: layer-neighborhoods."),
    "scenes": ("aureole.cli.scenes:app", "Make scenes of two or three digits, or look at one."),
    "train": ("aureole.cli.train:train", "Train a network on generated scenes."),
    "verify": ("aureole.cli.verify:verify_property", "Decide a VNN-LIB property of an ONNX network."),
}


class Deferred(TyperCommand):
    """A command known by name and help text alone; parsing its arguments imports and builds the real one."""

    def __init__(self, name: str, target: str, text: str) -> None:
        super().__init__(name=name, callback=None, params=[], help=text, short_help=text)
        self.target = target

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The context of the real command: from here on this one is out of the way."""
        return self.real().make_context(*args, **kwargs)

    def real(self) -> Any:
        """The command itself."""
        module, _, attribute = self.target.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=self.name)(found)
        return typer.main.get_command(single)


class LazyGroup(TyperGroup):
    """The group of all `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The deferred command of this name."""
        return Deferred(cmd_name, *COMMANDS[cmd_name]) if cmd_name in COMMANDS else None
