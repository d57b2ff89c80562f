"""A schema registry for tests: the part of the Confluent API that reads schemas, over HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class RegisteredSchemas:
    """Schemas by number, and by subject; each is what the API answers."""

    url: str = ""
    by_number: dict[int, dict[str, object]] = field(default_factory=dict)
    by_subject: dict[str, dict[str, object]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, text: str, kind: str, *references: str, subject: str = "") -> int:
        """Registers a schema; ``references`` are subjects, which are their names, too."""
        number = 1_000 + len(self.by_number)
        answer: dict[str, object] = {
            "id": number,
            "schema": text,
            "schemaType": kind,
            "references": [{"name": one, "subject": one, "version": 1} for one in references],
        }
        self.by_number[number] = answer
        if subject:
            self.by_subject[subject] = {**answer, "subject": subject, "version": 1}
        return number


@contextmanager
def registry_server() -> Iterator[RegisteredSchemas]:
    """A registry on loopback."""
    schemas = RegisteredSchemas()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            schemas.asked.append(self.path)
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            found = None
            if parts[:2] == ["schemas", "ids"]:
                found = schemas.by_number.get(int(parts[2]))
            elif parts[0] == "subjects" and parts[2] == "versions":
                found = schemas.by_subject.get(parts[1])
            answer = found or {"error_code": 40403, "message": "not found"}
            body = json.dumps(answer).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    schemas.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield schemas
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
