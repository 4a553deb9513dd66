"""A real OpenID Connect provider, made of Authlib's server side: a process of its own, asked over HTTP on loopback.

It demands PKCE and the client's secret, asks on a page who signs in, and can be told to issue tokens that are wrong
in one way each.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import requests
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from flask import Flask, jsonify, redirect, request
from flask.typing import ResponseReturnValue
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.support import PROJECT
from tests.support.until import until
from tools.child_process import ChildProcess
from tools.reserved_port import ReservedPort

CLIENT_ID = "signalbox-tests"
CLIENT_SECRET = "a secret of the client's"

PAGE = """<!doctype html><html lang="en"><title>Provider</title>
<form method="post"><label>Subject <input name="sub" required></label><button>Continue</button></form></html>"""


class Client:
    """The one that we know."""

    client_id = CLIENT_ID

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str | None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.endswith("/sign-in/oidc/callback")

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


class Person:
    def __init__(self, sub: str, claims: dict[str, Any]) -> None:
        self.sub, self.claims = sub, claims

    def get_user_id(self) -> str:
        return self.sub


class Code:
    """What was asked for, until it is fetched."""

    def __init__(self, asked: Any, person: Person) -> None:
        data = asked.payload.data
        self.redirect_uri, self.scope, self.person = data["redirect_uri"], data["scope"], person
        self.nonce = data.get("nonce")
        self.code_challenge = data["code_challenge"]
        self.code_challenge_method = data["code_challenge_method"]

    def get_redirect_uri(self) -> str:
        return str(self.redirect_uri)

    def get_scope(self) -> str:
        return str(self.scope)

    def get_nonce(self) -> str | None:
        return str(self.nonce) if self.nonce else None

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


def application(issuer: str) -> Flask:
    """The provider. `PUT /people/SUB` says who somebody is, `PUT /fault` what is wrong with the next tokens."""
    app = Flask(__name__)
    people: dict[str, dict[str, Any]] = {}
    codes: dict[str, Code] = {}
    tokens: dict[str, Person] = {}
    keys = [RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})]
    fault: dict[str, Any] = {"is": None, "requests": 0}

    class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

        def save_authorization_code(self, code: str, request: Any) -> None:
            codes[code] = Code(request, request.user)

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            return codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            for code in [code for code, known in codes.items() if known is authorization_code]:
                del codes[code]

        def authenticate_user(self, authorization_code: Code) -> Person:
            return authorization_code.person

    class IdToken(OpenIDCode):  # type: ignore[misc]
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return False

        def encode_id_token(self, token: Any, request: Any) -> str:
            return signed(request.authorization_code)

    def signed(code: Code) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": issuer, "aud": CLIENT_ID, "sub": code.person.sub, "iat": now, "exp": now + 300,
            "nonce": code.nonce, **({} if fault["is"] == "only in the user info" else code.person.claims),
        }  # fmt: skip
        header, key = {"alg": "RS256", "kid": keys[-1].kid}, keys[-1]
        match fault["is"]:
            case "nonce":
                claims["nonce"] = "of another sign-in"
            case "no nonce":
                del claims["nonce"]
            case "audience":
                claims |= {"aud": "somebody-else", "azp": CLIENT_ID}
            case "party":
                claims |= {"aud": [CLIENT_ID, "somebody-else"], "azp": "somebody-else"}
            case "issuer":
                claims["iss"] = "https://elsewhere.example"
            case "expired":
                claims |= {"iat": now - 900, "exp": now - 600}
            case "subject":
                del claims["sub"]
            case "access token":
                claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA"
            case "none":
                parts = [json.dumps({"alg": "none"}), json.dumps(claims)]
                return ".".join([*(_base64(part.encode()) for part in parts), ""])
            case "public key as secret":
                return _with_public_key(keys[-1], claims)
            case "key":
                key = RSAKey.generate_key(2048, {"kid": "first"})
                header["kid"] = keys[-1].kid
        return jwt.encode(header, claims, key)

    server = AuthorizationServer(
        app,
        query_client=lambda client_id: Client() if client_id == CLIENT_ID else None,
        save_token=lambda token, asked: tokens.__setitem__(token["access_token"], asked.user),
    )
    server.register_grant(CodeGrant, [IdToken(require_nonce=True), CodeChallenge(required=True)])

    @app.before_request
    def count() -> None:
        fault["requests"] += 1

    @app.get("/.well-known/openid-configuration")
    def discovery() -> ResponseReturnValue:
        return jsonify(
            issuer="https://elsewhere.example" if fault["is"] == "discovery" else issuer,
            authorization_endpoint=f"{issuer}/authorize",
            token_endpoint=f"{issuer}/token",
            jwks_uri=f"{issuer}/jwks",
            userinfo_endpoint=f"{issuer}/userinfo",
            end_session_endpoint=f"{issuer}/leave",
            response_types_supported=["code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256", "none", "HS256"],
        )

    @app.get("/jwks")
    def jwks() -> ResponseReturnValue:
        return jsonify(KeySet(keys[-1:]).as_dict(private=False))

    @app.route("/authorize", methods=["GET", "POST"])
    def authorize() -> ResponseReturnValue:
        if fault["is"] == "denied":
            back = request.args
            return redirect(f"{back['redirect_uri']}?error=access_denied&state={back['state']}")
        if request.method == "GET":
            return PAGE
        sub = request.form["sub"]
        person = Person(sub, people.get(sub, {}))
        return server.create_authorization_response(grant_user=person, grant=server.get_consent_grant())

    @app.post("/token")
    def token() -> ResponseReturnValue:
        return server.create_token_response()

    @app.get("/userinfo")
    def userinfo() -> ResponseReturnValue:
        person = tokens[request.headers["Authorization"].removeprefix("Bearer ")]
        sub = "somebody else" if fault["is"] == "user info" else person.sub
        return jsonify({"sub": sub, **person.claims})

    @app.get("/leave")
    def leave() -> ResponseReturnValue:
        return jsonify(request.args)

    @app.put("/people/<sub>")
    def put_person(sub: str) -> ResponseReturnValue:
        people[sub] = request.get_json()
        return "", 204

    @app.put("/fault")
    def put_fault() -> ResponseReturnValue:
        fault["is"] = request.get_json()["is"]
        return "", 204

    @app.post("/new-key")
    def new_key() -> ResponseReturnValue:
        keys.append(RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"}))
        return "", 204

    return app


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _with_public_key(key: RSAKey, claims: dict[str, Any]) -> str:
    """Signed with the public key as if it were a shared secret, which everybody could do."""
    header = {"alg": "HS256", "kid": key.kid}
    text = ".".join(_base64(json.dumps(each).encode()) for each in (header, claims))
    mark = hmac.new(key.as_pem(private=False), text.encode(), hashlib.sha256).digest()
    return f"{text}.{_base64(mark)}"


class OidcProvider:
    """The process, and what a test tells it."""

    def __init__(self, folder: Path) -> None:
        self._port = ReservedPort()
        self.issuer = f"http://{self._port.host}:{self._port.port}"
        self.log = folder / "provider.log"
        self._process: ChildProcess | None = None

    def settings(self, **more: str) -> dict[str, str]:
        """What a server needs to know of it."""
        return {
            "SIGNALBOX_OIDC_ISSUER": self.issuer,
            "SIGNALBOX_OIDC_CLIENT_ID": CLIENT_ID,
            "SIGNALBOX_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "SIGNALBOX_OIDC_LABEL": "Example ID",
            "SIGNALBOX_OIDC_ROLES": json.dumps(
                {"sre": "admin", "staff": "viewer", "team-a": {"role": "editor", "environment": "prod"}}
            ),
            **more,
        }

    def start(self) -> OidcProvider:
        command = [sys.executable, "-m", "tests.support.oidc_provider", str(self._port.port)]
        environment = {**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"}
        self._process = ChildProcess(command, log=self.log, env=environment, cwd=PROJECT)
        until(
            lambda: requests.get(f"{self.issuer}/jwks", timeout=10).ok,
            what="the provider's readiness",
            tolerate=(requests.ConnectionError,),
        )
        return self

    def person(self, sub: str, *groups: str, **claims: Any) -> None:
        """Let somebody be known."""
        about = {"email": f"{sub}@example.org", "email_verified": True, "groups": list(groups), **claims}
        requests.put(f"{self.issuer}/people/{sub}", json=about, timeout=10).raise_for_status()

    def fault(self, name: str | None) -> None:
        """Let the next tokens be wrong in one way; `None`: in none."""
        requests.put(f"{self.issuer}/fault", json={"is": name}, timeout=10).raise_for_status()

    def new_key(self) -> None:
        """Sign with another key from now on."""
        requests.post(f"{self.issuer}/new-key", timeout=10).raise_for_status()

    def suspend(self) -> None:
        """Take connections and answer nothing."""
        assert self._process is not None
        self._process.suspend()

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.resume()

    def close(self) -> None:
        if self._process is not None:
            self._process.stop()
        self._port.release()


if __name__ == "__main__":
    own = int(sys.argv[1])
    application(f"http://127.0.0.1:{own}").run("127.0.0.1", own, threaded=True)
