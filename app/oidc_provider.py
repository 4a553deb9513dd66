"""Asking an OpenID Connect provider who somebody is: the authorization code flow with PKCE, state and nonce.

Authlib makes the requests and the claims' checks; what a token may be signed with, and what must stand in it, is said
here. Every request has a deadline, none follows a redirect, and what goes wrong is a sentence.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from app.errors import UnavailableError
from app.oidc import Attempt, Identity, Rejected
from app.oidc_settings import OidcSettings
from app.push.deadlines import deadline

Result = TypeVar("Result")

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Those of key pairs. Never ``none``, and none whose key is a secret: that could be the provider's public key."""
LEEWAY_SECONDS = 60
"""Clocks may be this far apart."""
STEP_SECONDS = 4.0
TOTAL_SECONDS = 9.0
"""For all requests of one step of a sign-in: two at the start, up to three at the end."""
METADATA_SECONDS = 600.0

log = logging.getLogger("signalbox.oidc")


class _Registry(JWSRegistry):
    """Some providers put whole certificates into the header."""

    max_header_length = 8192


class Provider:
    """One provider. Its metadata and keys are asked for when they are needed, and kept for ten minutes."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._metadata_until = 0.0
        self._keys: KeySet | None = None
        self._keys_until = 0.0

    def begin(self, redirect_uri: str, wanted: str, *, choose: bool = False) -> tuple[str, Attempt]:
        """The address at the provider to send a browser to; *choose* lets it ask for another account.

        :raises UnavailableError: the provider cannot be asked.
        """
        metadata = self._ask(self._load_metadata)
        attempt = Attempt(
            state=generate_token(32),
            nonce=generate_token(32),
            code_verifier=generate_token(64),
            redirect_uri=redirect_uri,
            wanted=wanted,
            begun_at=int(time.time()),
        )
        more = {"prompt": "select_account"} if choose else {}
        with self._session(redirect_uri=redirect_uri) as client:
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
                **more,
            )
        return str(address), attempt

    def finish(self, attempt: Attempt, state: str, code: str) -> Identity:
        """Who has come back from *attempt* with *state* and *code*.

        :raises Rejected: the state, the code or the ID token is not good.
        :raises UnavailableError: the provider cannot be asked.
        """
        if not hmac.compare_digest(attempt.state.encode(), state.encode("utf-8", "replace")):
            raise Rejected("This answer belongs to no sign-in of this browser; start again.")
        if attempt.is_over:
            raise Rejected("The sign-in took too long; start again.")
        return self._ask(lambda: self._finish(attempt, code))

    def look(self) -> None:
        """Ask for its metadata and its keys.

        :raises UnavailableError: the provider cannot be asked.
        """
        self._ask(self._load_keys)

    def leaving_address(self, back: str) -> str | None:
        """Where somebody signs out at the provider, which may lead *back*; ``None``: it has no such page.

        :raises UnavailableError: the provider cannot be asked.
        """
        endpoint = self._ask(self._load_metadata).get("end_session_endpoint")
        if not isinstance(endpoint, str):
            return None
        query = urlencode({"client_id": self.settings.client_id, "post_logout_redirect_uri": back})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def _finish(self, attempt: Attempt, code: str) -> Identity:
        metadata = self._load_metadata()
        with self._session(redirect_uri=attempt.redirect_uri, metadata=metadata) as client:
            try:
                token = client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.code_verifier,
                    allow_redirects=False,
                )
            except OAuthError as error:
                raise self._rejected(f"it refused the code ({_plain(error.error)})") from error
            claims = self._checked(token.get("id_token"), token.get("access_token"), attempt.nonce)
            claims = self._completed(client, metadata, claims)
        email, groups = claims.get("email"), _inside(claims, self.settings.groups_claim)
        return Identity(
            issuer=self.settings.issuer,
            subject=str(claims["sub"]),
            email=email.strip().lower() if isinstance(email, str) and email.strip() else None,
            is_email_verified=claims.get("email_verified") in (True, "true"),
            groups=frozenset(
                str(each) for each in (groups if isinstance(groups, list) else [groups]) if each
            ),
        )

    def _checked(self, id_token: Any, access_token: Any, nonce: str) -> dict[str, Any]:
        """The claims of *id_token*, once all of them hold."""
        if not isinstance(id_token, str):
            raise self._rejected("it sent no ID token")
        registry = _Registry(algorithms=ALGORITHMS, strict_check_header=False)
        try:
            try:
                decoded = jwt.decode(id_token, self._load_keys(), registry=registry)
            except InvalidKeyIdError:  # it may have changed its keys just now
                decoded = jwt.decode(id_token, self._load_keys(afresh=True), registry=registry)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": self.settings.issuer},
                    "aud": {"essential": True, "value": self.settings.client_id},
                    "sub": {"essential": True},
                },
                {"nonce": nonce, "client_id": self.settings.client_id, "access_token": access_token},
            )
            claims.validate(leeway=LEEWAY_SECONDS)
        except ExpiredTokenError as error:
            raise self._rejected("its ID token has expired; is this server's clock right?") from error
        except (JoseError, ValueError, TypeError) as error:
            raise self._rejected("its ID token is not good", error) from error
        return dict(claims)

    def _completed(
        self, client: OAuth2Session, metadata: Mapping[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """*claims*, with those that only the user info has where the ID token lacks some that we need."""
        endpoint = metadata.get("userinfo_endpoint")
        is_whole = "email" in claims and _inside(claims, self.settings.groups_claim) is not None
        if is_whole or not isinstance(endpoint, str):
            return claims
        answer = client.get(endpoint, allow_redirects=False)
        answer.raise_for_status()
        told = answer.json()
        if not isinstance(told, dict) or told.get("sub") != claims["sub"]:
            raise self._rejected("its user info is about somebody else")
        if "email" in claims:  # an address, and whether it is verified, come from one place
            told.pop("email_verified", None)
        return {**told, **claims}

    def _load_metadata(self) -> dict[str, Any]:
        with self._lock:
            if time.monotonic() < self._metadata_until:
                return self._metadata
            address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = self._get_json(address)
            if found.get("issuer") != self.settings.issuer:
                raise ValueError(f"its discovery document is of another issuer: {found.get('issuer')!r}")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not str(found.get(name, "")).startswith(("https://", "http://")):
                    raise ValueError(f"its discovery document has no {name}")
            self._metadata, self._metadata_until = found, time.monotonic() + METADATA_SECONDS
            return found

    def _load_keys(self, *, afresh: bool = False) -> KeySet:
        metadata = self._load_metadata()
        with self._lock:
            if self._keys is None or afresh or time.monotonic() >= self._keys_until:
                self._keys = KeySet.import_key_set(self._get_json(metadata["jwks_uri"]))  # type: ignore[arg-type]
                self._keys_until = time.monotonic() + METADATA_SECONDS
            return self._keys

    def _get_json(self, address: str) -> dict[str, Any]:
        with self._session() as client:
            answer = client.get(address, withhold_token=True, allow_redirects=False)
        answer.raise_for_status()
        found = answer.json()
        if answer.status_code != 200 or not isinstance(found, dict):
            raise ValueError(f"{address} is no JSON object")
        return found

    def _session(
        self, *, redirect_uri: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> OAuth2Session:
        own, method = self.settings, None
        methods = (metadata or {}).get("token_endpoint_auth_methods_supported")
        if own.client_secret and isinstance(methods, list) and "client_secret_basic" not in methods:
            method = "client_secret_post" if "client_secret_post" in methods else None
        return OAuth2Session(
            own.client_id,
            own.client_secret,
            token_endpoint_auth_method=method,
            scope=" ".join(own.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            default_timeout=STEP_SECONDS,
        )

    def _ask(self, work: Callable[[], Result]) -> Result:
        """What *work* returns, within a deadline."""
        try:
            with deadline(TOTAL_SECONDS):
                return work()
        except (
            requests.RequestException,
            TimeoutError,
            ValueError,
            KeyError,
            JoseError,
            AuthlibBaseError,
        ) as error:
            log.warning("provider not usable issuer=%s: %s", self.settings.issuer, error)
            raise UnavailableError(
                f"You cannot sign in with {self.settings.label} just now: the provider does not answer as it should."
                " Whoever runs the server finds more in its log.",
                retry_after=10,
            ) from error

    def _rejected(self, why: str, error: Exception | None = None) -> Rejected:
        log.warning(
            "sign-in refused issuer=%s: %s%s", self.settings.issuer, why, f" ({error})" if error else ""
        )
        return Rejected(f"The answer of {self.settings.label} was not accepted: {why}.")


def _inside(claims: Mapping[str, Any], name: str) -> Any:
    """The claim *name*, or what lies where its dots lead; ``None`` where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _plain(text: object) -> str:
    """What a stranger's answer says, fit for a sentence."""
    return "".join(each for each in str(text) if each.isprintable())[:80]
