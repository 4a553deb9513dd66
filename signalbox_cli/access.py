"""What every command is handed: the server, once it is needed, and which environment is meant."""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from signalbox_cli import names, output, profiles
from signalbox_cli.client import READ_SECONDS, Api, Place, Row
from signalbox_cli.profiles import Wishes


@dataclass
class Access:
    """Made by the program, filled when a command asks."""

    wishes: Wishes = field(default_factory=Wishes)
    read_seconds: float = READ_SECONDS
    _api: Api | None = None
    _environment: str | None = None

    @property
    def api(self) -> Api:
        """The server that is meant.

        :raises Failure: none is known, or there is no token for it.
        """
        if self._api is None:
            place, self._environment = profiles.chosen(self.wishes)
            kept = profiles.file_path()
            if profiles.is_open_to_others(kept):
                output.note(f"signalbox: others can read the token in {kept}; chmod 600 {kept}")
            self._api = self.connect(place)
        return self._api

    def connect(self, place: Place) -> Api:
        """A client of this server, closed when the command ends."""
        api = Api(place, read_seconds=self.read_seconds)
        context = click.get_current_context(silent=True)
        if context is not None:
            context.find_root().call_on_close(api.close)
        return api

    def environment_name(self, given: str | None) -> str | None:
        """The one that was named: on the command line, in the environment's variable or in the profile."""
        _ = self.api
        return given if given is not None else self._environment

    def environment(self, given: str | None) -> Row:
        """The one that is meant, as the API has it.

        :raises Failure: none of the name, or it is not clear which.
        """
        return names.environment(self.api, self.environment_name(given))

    def environment_id(self, given: str | None) -> str | None:
        """The id of the one that was named, if one was."""
        name = self.environment_name(given)
        return None if name is None else str(names.environment(self.api, name)["id"])

    def pipeline(self, wanted: str, environment: str | None) -> Row:
        """See ``names.pipeline``."""
        return names.pipeline(self.api, wanted, environment, self.environment_name(None))

    def node(self, wanted: str, environment: str | None) -> Row:
        """See ``names.node``."""
        return names.node(self.api, wanted, self.environment_name(environment))


pass_access = click.make_pass_decorator(Access, ensure=True)
