"""Who this node is: its token, and how it gets one."""

from __future__ import annotations

import logging

from agent import __version__, host
from agent.api import Api, ApiError
from agent.events import Enrolled, EnrollFailed, Event
from agent.settings import Settings, SettingsError
from agent.store import Store, StoreError

log = logging.getLogger("agent")

ENROLL_DEADLINE_SECONDS = 30.0


class Identity:
    """See the module. Read by every thread; written before they begin, and by the one that enrolls."""

    def __init__(self, settings: Settings, store: Store, api: Api) -> None:
        self._settings = settings
        self._store = store
        self._api = api
        self.token = ""
        self._is_token_unread = False
        """There is a node token, but it cannot be read, and pipelines run that another node might not run."""

    def remember(self, *, runs_something: bool) -> bool:
        """Whether the data folder knows the node's token.

        *runs_something* says whether there are pipelines of an earlier life.

        :raises SettingsError: there is no token of either kind.
        :raises StoreError: there may be one, but it cannot be read, and nothing else to begin with.
        """
        try:
            enrolled = self._is_enrolled()
        except StoreError as error:
            enrolled = False
            self._is_token_unread = runs_something
            if not self._is_token_unread and self._settings.token is None:
                raise
            what = "reading it again" if self._is_token_unread else "enrolling again"
            log.warning("%s; %s", error, what)
        if not enrolled and not self._is_token_unread and self._settings.token is None:
            raise SettingsError(
                "cannot start: SIGNALBOX_TOKEN is not set, and there is no node token in "
                f"{self._store.data_dir}"
            )
        return enrolled

    def enroll(self, labels: dict[str, str], vector_version: str | None) -> Event:
        """Get a token, or read the one that could not be read before; what came of it."""
        settings = self._settings
        if self._is_token_unread:
            # As another node it would be without its labels, and might have to stop what it runs.
            try:
                if self._is_enrolled():
                    self._is_token_unread = False
                    return Enrolled(self._node_id())
            except StoreError as error:
                return EnrollFailed(f"{error}: make it readable, or remove it to enroll as a new node")
            if settings.token is None:
                return EnrollFailed("cannot enroll: SIGNALBOX_TOKEN is not set, and the node token is gone")
        try:
            install_id = self._store.install_id()
        except StoreError as error:
            return EnrollFailed(f"cannot enroll: {error}")
        body: dict[str, object] = {
            "token": settings.token,
            "hostname": host.hostname(),
            "os": host.operating_system(),
            "agentVersion": __version__,
            "labels": labels,
            "installId": install_id,
        }
        if vector_version is not None:
            body["vectorVersion"] = vector_version
        try:
            node_id, token = self._api.enroll(body, ENROLL_DEADLINE_SECONDS)
        except ApiError as error:
            return EnrollFailed(str(error), error.retry_after)
        try:
            self._store.keep_enrollment(token, settings.token)
        except StoreError as error:
            # It serves until the agent ends; then it enrolls anew.
            log.error("%s; this node will enroll again when the agent is restarted", error)
        self.token = token
        return Enrolled(node_id)

    def _is_enrolled(self) -> bool:
        """Whether there is a node token to go on with. StoreError if nobody can tell."""
        self.token = self._store.node_token() or ""
        if not self.token:
            return False
        if self._settings.token is None:
            return True
        matches = self._store.is_enrolled_with(self._settings.token)
        if matches is None:
            # Put there by another agent or by hand: it counts, and from now on a change is noticed.
            try:
                self._store.keep_enrollment_token(self._settings.token)
            except StoreError as error:
                log.warning("%s", error)
        return matches is not False

    def _node_id(self) -> str:
        """What the token says about whose it is; those of other systems say it elsewhere."""
        parts = self.token.split("_")
        return parts[2] if len(parts) == 4 else "-"
