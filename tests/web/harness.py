"""The REST interface over real TLS. Imported when the reactor is there: klein takes it at import."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from ngcpd.provisioning import Env, Rules
from ngcpd.provisioning.registry import standard
from ngcpd.runtime.real import ReactorClock, SystemRng, ThreadExecutor
from ngcpd.store.changes import ChangeFeed
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from ngcpd.store.seed import seed
from ngcpd.store.tables.runtime import changes
from ngcpd.web.login import Logins
from ngcpd.web.rest.api import Api
from ngcpd.web.site import AdminSite, site
from ngcpd.web.tls import ServerContext, ensure_pair, load
from tests.noticed import Watch, noticed

JSON = "application/json"
PATCH = "application/json-patch+json"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    links: list[str] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> int:
        """Of what a POST made."""
        assert self.status == 201, (self.status, self.body)
        return int(self.headers["location"].rstrip("/").rpartition("/")[2])


class Client:
    """An administrator with a connection of its own."""

    def __init__(self, port: int, login: str = "administrator", password: str = "administrator", certificate: str | None = None) -> None:
        self.port = port
        self.auth = "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        if certificate is not None:
            self.context.load_cert_chain(certificate)
            self.auth = ""
        self.connection: http.client.HTTPSConnection | None = None

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        if self.connection is None:
            self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=30)
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            data = answer.read()
        except Exception:
            self.connection.close()
            self.connection = None
            raise
        pairs = answer.getheaders()
        return Reply(answer.status, {k.lower(): v for k, v in pairs}, data, [v for k, v in pairs if k.lower() == "link"])

    async def raw(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        if self.auth and "Authorization" not in named:
            named["Authorization"] = self.auth
        return await deferToThread(self._send, method, path, body, named)

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.raw("GET", path, **headers)

    async def doc(self, path: str) -> Any:
        found = await self.get(path)
        assert found.status == 200, (path, found.status, found.body)
        return found.json()

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        return await self.raw("POST", path, json.dumps(body).encode(), Content_Type=JSON, **headers)

    async def put(self, path: str, body: Any, **headers: str) -> Reply:
        return await self.raw("PUT", path, json.dumps(body).encode(), Content_Type=JSON, **headers)

    async def patch(self, path: str, body: Any, **headers: str) -> Reply:
        return await self.raw("PATCH", path, json.dumps(body).encode(), Content_Type=PATCH, **headers)

    async def delete(self, path: str) -> Reply:
        return await self.raw("DELETE", path)


@dataclass
class Web:
    """A running interface with its store."""

    database: Database
    env: Env
    api: Api
    logins: Logins
    port: int
    directory: Path
    authority: tuple[str, str]
    site: AdminSite
    clients: list[Client] = field(default_factory=list)
    watch: Watch = field(init=False)

    def client(self, login: str = "administrator", password: str = "administrator", **kwargs: Any) -> Client:
        made = Client(self.port, login, password, **kwargs)
        self.clients.append(made)
        return made

    def rows(self, statement: Any) -> list[Any]:
        return self.database.read_here(lambda conn: list(conn.execute(statement).all()))

    def count(self, table: sa.Table) -> int:
        return int(self.rows(sa.select(sa.func.count()).select_from(table))[0][0])

    def notices(self) -> set[tuple[str, str]]:
        """Change notices since the last call."""
        rows = self.rows(sa.select(changes.c.kind, changes.c.key))
        self.database.run_here(lambda conn: conn.execute(sa.delete(changes)))
        return {tuple(row) for row in rows}

    def rules(self, **kwargs: Any) -> None:
        env = replace(self.env, rules=replace(self.env.rules, **kwargs))
        self.env = env
        self.api._served = replace(self.api._served, env=env)

    async def reseller(self, name: str) -> tuple[int, Client]:
        """A reseller with an administrator."""
        root = self.client()
        contact = (await root.post("/api/systemcontacts/", {"email": f"{name}@example.org"})).id
        contract = {"contact_id": contact, "type": "reseller", "status": "active", "billing_profile_id": 1}
        contract_id = (await root.post("/api/contracts/", contract)).id
        key = (await root.post("/api/resellers/", {"contract_id": contract_id, "name": name, "status": "active"})).id
        login = {"reseller_id": key, "login": f"{name}-admin", "password": "correct-horse"}
        assert (await root.post("/api/admins/", login)).status == 201
        return key, self.client(f"{name}-admin", "correct-horse")

    async def customer(self, root: Client, reseller_id: int = 1, profile: int = 1, **more: Any) -> int:
        contact = (await root.post("/api/customercontacts/", {"reseller_id": reseller_id, "email": "c@example.org"})).id
        body = {"contact_id": contact, "type": "sipaccount", "status": "active", "billing_profile_id": profile, **more}
        return (await root.post("/api/customers/", body)).id

    async def subscriber(self, root: Client, customer_id: int, domain: str, username: str, **more: Any) -> int:
        body = {"customer_id": customer_id, "domain": domain, "username": username, "password": "s3cret-pw", **more}
        return (await root.post("/api/subscribers/", body)).id


def certificate(web: Web, name: str, serial: int, authority: bool = True) -> str:
    """Path of a client certificate with its key, signed by the authority of the interface or by itself."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    ca = x509.load_pem_x509_certificate(Path(web.authority[0]).read_bytes())
    ca_key = serialization.load_pem_private_key(Path(web.authority[1]).read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(ca_key if authority else key, hashes.SHA256())
    )
    path = web.directory / f"{serial}.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + secret)
    return str(path)


def serve(store_url: str, tmp_path: Path) -> Iterator[Web]:
    """A fixture's body: an interface on a store."""
    clock, rng = ReactorClock(reactor), SystemRng()
    argon = Argon(rng, time_cost=1, memory_cost=8, parallelism=1)
    env = Env(clock, rng, Vault(bytes(32), rng), argon, Rules())
    executor = ThreadExecutor(reactor, 4, name="test-db")
    database = Database(store_url, executor, clock)
    database.run_here(seed, rng, env.vault, env.argon)
    threads = ThreadExecutor(reactor, 2, name="test-argon")
    feed = ChangeFeed(database, clock)
    pair = ensure_pair("/nowhere/a", "/nowhere/b", str(tmp_path), "web", clock, rng, ["127.0.0.1"])
    authority = ensure_pair("/nowhere/c", "/nowhere/d", str(tmp_path), "api_ca", clock, rng)
    logins = Logins(database, threads, clock, rng, argon, authority=load(authority[0]))
    feed.subscribe(logins.changed)
    pytest_twisted.blockon(feed.start())
    api = Api(database, env, standard(), logins)
    served = site(api)
    port = reactor.listenSSL(0, served, ServerContext(*pair, authority=authority[0]), interface="127.0.0.1")
    made = Web(database, env, api, logins, port.getHost().port, tmp_path, authority, served)
    with noticed(database.engine) as made.watch:
        yield made
    for client in made.clients:
        if client.connection is not None:
            client.connection.close()
    pytest_twisted.blockon(port.stopListening())
    feed.stop()
    pytest_twisted.blockon(executor.stop())
    pytest_twisted.blockon(threads.stop())
    database.close()


def subscriber_ada(customer_id: int) -> dict[str, Any]:
    """The subscriber of the workflows (REST API 3.3), for a POST."""
    return {
        "customer_id": customer_id,
        "domain": "voice.brook.example",
        "username": "ada",
        "password": "bR00k-mill",
        "webusername": "ada",
        "webpassword": "w3b-mill",
        "primary_number": {"cc": "43", "ac": "7700", "sn": "41001"},
        "alias_numbers": [{"cc": "43", "ac": "7700", "sn": "41002"}],
        "status": "active",
        "administrative": True,
        "email": "ada.brook@example.net",
        "external_id": "BM-0058-1",
    }
