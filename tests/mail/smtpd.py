"""A mail server on a loopback port that answers as it is told and keeps what it is given. Plain blocking sockets in threads."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Sink:
    """`answers`: what RCPT is answered, the last one for ever. `mails`: (sender, recipient, text with LF)."""

    answers: list[str] = field(default_factory=lambda: ["250 ok"])
    mails: list[tuple[str, str, str]] = field(default_factory=list)
    port: int = 0
    server: Any = None

    def start(self) -> Sink:
        sink = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                sink.session(self.rfile, self.wfile)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def session(self, read: Any, write: Any) -> None:
        write.write(b"220 sink.example ESMTP\r\n")
        sender = recipient = ""
        for raw in read:
            line = raw.decode().rstrip("\r\n")
            word = line[:4].upper()
            if word == "DATA":
                write.write(b"354 go on\r\n")
                lines = []
                for data in read:
                    text = data.decode().rstrip("\r\n")
                    if text == ".":
                        break
                    lines.append(text.removeprefix(".") if text.startswith("..") else text)
                self.mails.append((sender, recipient, "\n".join(lines) + "\n"))
            elif word == "MAIL":
                sender = line.partition("<")[2].partition(">")[0]
            elif word == "RCPT":
                recipient = line.partition("<")[2].partition(">")[0]
                answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
                write.write(f"{answer}\r\n".encode())
                continue
            elif word == "QUIT":
                write.write(b"221 bye\r\n")
                return
            write.write(b"250 ok\r\n")
