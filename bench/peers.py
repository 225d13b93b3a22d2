"""The peers: MariaDB (for both sides), rtpengine, Kamailio, Sippy. Each is started on the server core and counted as a group of processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pymysql

from bench.host import (
    BALANCER,
    BENCH_VENV,
    CALLEE,
    CONTROL_PORT,
    DATABASE,
    DATABASE_PORT,
    HERE,
    KAMAILIO,
    PROXY,
    RTPENGINE,
    SIPPY,
    Processes,
    Unavailable,
    tail,
    until,
)
from bench.load import CALLEE_PORT

REALM = "bench.test"
SCHEMA = Path("/usr/share/kamailio/mysql")
TLSF = ("-x", "tlsf", "-X", "tlsf")
ACC_EXTRA = ("src_user", "src_domain", "src_ip", "dst_ouser", "dst_user", "dst_domain")


class MariaDb:
    """One private server for all that need one, with commits that reach the system but not the disk (`innodb_flush_log_at_trx_commit=2`)."""

    def __init__(self, processes: Processes, directory: Path) -> None:
        if shutil.which("mariadbd") is None and not Path("/usr/sbin/mariadbd").exists():
            raise Unavailable("mariadb-server is not installed")
        self.processes = processes
        self.directory = directory / "mariadb"
        self.directory.mkdir()
        user = ["--user=mysql"] if os.geteuid() == 0 else []
        if user:
            shutil.chown(self.directory, "mysql")
        data = f"--datadir={self.directory / 'data'}"
        made = subprocess.run(
            ["mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", *user],
            capture_output=True,
        )
        if made.returncode:
            raise Unavailable("mariadb-install-db failed: " + made.stderr.decode(errors="replace")[-300:])
        self.socket = self.directory / "s"
        options = [
            *("--no-defaults", data, f"--socket={self.socket}", f"--bind-address={DATABASE}", f"--port={DATABASE_PORT}"),
            *("--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M", "--innodb-flush-log-at-trx-commit=2"),
            *("--skip-name-resolve", "--skip-log-bin", "--performance-schema=off", "--max-connections=200", *user),
        ]
        self.process = processes.start([shutil.which("mariadbd") or "/usr/sbin/mariadbd", *options], directory / "mariadb.log")

        def ready() -> bool:
            if self.process.poll() is not None:
                raise Unavailable("mariadbd ended: " + tail(directory / "mariadb.log"))
            try:
                self.connect().close()
            except pymysql.err.OperationalError:
                return False
            return True

        until(ready, 60, "MariaDB")
        self.execute("CREATE USER bench@'%' IDENTIFIED BY 'bench'")
        self.execute("GRANT ALL ON *.* TO bench@'%'")

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self, database: str | None = None, **options: object) -> pymysql.Connection:
        return pymysql.connect(unix_socket=str(self.socket), user="root", database=database, autocommit=True, **options)  # type: ignore[arg-type]

    def execute(self, statement: str, database: str | None = None) -> list[tuple[object, ...]]:
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())
        finally:
            connection.close()

    def url(self, name: str) -> str:
        """For SQLAlchemy, over TCP like Kamailio's."""
        return f"mysql+pymysql://bench:bench@{DATABASE}:{DATABASE_PORT}/{name}"

    def create(self, name: str) -> str:
        self.execute(f"DROP DATABASE IF EXISTS {name}")
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
        return self.url(name)

    def kamailio(self, users: int) -> None:
        """Kamailio's own tables with `users` callers and callees."""
        self.execute("CREATE DATABASE kamailio CHARACTER SET latin1")
        connection = self.connect("kamailio", client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS)
        try:
            cursor = connection.cursor()
            for name in ("standard", "auth_db", "acc", "dialog", "usrloc"):
                try:
                    text = (SCHEMA / f"{name}-create.sql").read_text()
                except OSError:
                    raise Unavailable("kamailio-mysql-modules is not installed") from None
                cursor.execute(text)
                while cursor.nextset():
                    pass
            columns = ", ".join(f"ADD {name} VARCHAR(128) NOT NULL DEFAULT ''" for name in ACC_EXTRA)
            for table in ("acc", "missed_calls"):
                cursor.execute(f"ALTER TABLE {table} {columns}")
            rows = []
            for n in range(users):
                for name, password in ((caller(n), secret(caller(n))), (callee(n), secret(callee(n)))):
                    rows.append((name, REALM, password, hashlib.md5(f"{name}:{REALM}:{password}".encode()).hexdigest()))
            cursor.executemany("INSERT INTO subscriber (username, domain, password, ha1, ha1b) VALUES (%s, %s, %s, %s, '')", rows)
        finally:
            connection.close()


def caller(n: int) -> str:
    return f"caller{n:06d}"


def callee(n: int) -> str:
    return f"callee{n:06d}"


def secret(name: str) -> str:
    return f"pw-{name}"


def write_users(path: Path, users: int, *, ordered: bool = True, first: int = 0, fixed_caller: str = "") -> Path:
    """The injection file of SIPp: caller, callee, both credentials."""
    with open(path, "w") as file:
        file.write("SEQUENTIAL\n" if ordered else "RANDOM\n")
        for n in range(first, first + users):
            a, b = fixed_caller or caller(n), callee(n)
            credentials = ";".join(f"[authentication username={name} password={secret(name)}]" for name in (a, b))
            file.write(f"{a};{b};{credentials}\n")
    return path


class RtpEngine:
    """rtpengine without its kernel module, as Debian installs it."""

    def __init__(self, processes: Processes, directory: Path) -> None:
        if shutil.which("rtpengine") is None:
            raise Unavailable("rtpengine-daemon is not installed")
        self.control = f"{RTPENGINE}:{CONTROL_PORT}"
        options = [
            *("--foreground", "--log-stderr", "--log-level=2", f"--interface={RTPENGINE}", f"--listen-ng={self.control}", "--table=-1"),
            *("--num-threads=1", "--port-min=16384", "--port-max=65534", "--delete-delay=0"),
        ]
        log = directory / "rtpengine.log"
        self.process = processes.start(["rtpengine", *options], log)
        until(lambda: _udp(RTPENGINE, CONTROL_PORT) or self.process.poll() is not None, 15, "rtpengine")
        if self.process.poll() is not None:
            raise Unavailable("rtpengine ended: " + tail(log))

    @property
    def pid(self) -> int:
        return self.process.pid


class Kamailio:
    """Running Kamailio with some of the words of kamailio/bench.cfg. `groups` are the processes to be counted."""

    def __init__(
        self, processes: Processes, directory: Path, *, listen: str = KAMAILIO, children: int = 8, name: str = "kamailio", **words: str
    ) -> None:
        if shutil.which("kamailio") is None:
            raise Unavailable("kamailio is not installed")
        self.processes = processes
        self.name = name
        self.target = f"{listen}:5060"
        home = directory / f"{name}-run"
        home.mkdir(exist_ok=True)
        text = (HERE / "kamailio" / "bench.cfg").read_text()
        for word, value in {"LISTEN": listen, "CHILDREN": str(children), **words}.items():
            text = text.replace(f"@{word}@", value)
        (home / "cfg").write_text(text)
        command = ["kamailio", "-DD", "-E", "-f", str(home / "cfg"), "-m", "512", "-M", "16", *TLSF, "-Y", str(home), "-P", str(home / "pid")]
        for word in words:
            command += ["-A", word]
        log = directory / f"{name}.log"
        self.process = processes.start(command, log)
        until(lambda: _udp(listen, 5060) or self.process.poll() is not None, 15, name)
        if self.process.poll() is not None:
            raise Unavailable(f"{name} ended: {tail(log)}")

    @property
    def groups(self) -> dict[str, int]:
        return {self.name: self.process.pid}

    def stop(self) -> None:
        self.processes.end(self.process)


def full(database: bool = True) -> dict[str, str]:
    """The words for digest and accounting."""
    return {"DIGEST": "", "ACCOUNT": "", "DATABASE": f"{DATABASE}:{DATABASE_PORT}"} if database else {}


class Chain:
    """Two hops: a balancer in front of the proxy."""

    def __init__(self, processes: Processes, directory: Path, **words: str) -> None:
        self.front = Kamailio(processes, directory, listen=BALANCER, children=1, name="lb", FRONT=PROXY)
        self.proxy = Kamailio(processes, directory, listen=PROXY, children=1, name="proxy", BEHIND=BALANCER, **words)
        self.target = self.front.target

    @property
    def groups(self) -> dict[str, int]:
        return {**self.front.groups, **self.proxy.groups}

    def stop(self) -> None:
        self.proxy.stop()
        self.front.stop()


class Sippy:
    """Sippy's simplest B2BUA: every call goes to the callee, no digest, no accounting, no media."""

    def __init__(self, processes: Processes, directory: Path) -> None:
        script = BENCH_VENV / "bin" / "b2bua_simple"
        if not script.exists():
            raise Unavailable("Sippy is not installed")
        self.processes = processes
        self.target = f"{SIPPY}:5060"
        log = directory / "sippy.log"
        command = [str(script), "-f", "-l", SIPPY, "-p", "5060", "-n", f"{CALLEE}:{CALLEE_PORT}", "-L", "/dev/null"]
        environment = {**os.environ, "SIPLOG_BEND": "none", "SIPLOG_LVL": "CRIT"}
        self.process = processes.start(command, log, env=environment)
        until(lambda: _udp(SIPPY, 5060) or self.process.poll() is not None, 15, "Sippy")
        if self.process.poll() is not None:
            raise Unavailable(f"Sippy ended: {tail(log)}")

    @property
    def groups(self) -> dict[str, int]:
        return {"sippy": self.process.pid}

    def stop(self) -> None:
        self.processes.end(self.process)


def _udp(ip: str, port: int) -> bool:
    packed = "".join(f"{int(part):02X}" for part in reversed(ip.split(".")))
    return f" {packed}:{port:04X} " in Path("/proc/net/udp").read_text()
