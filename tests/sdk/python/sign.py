"""Signs requests with the libraries of those who send them, and posts them to a hub.

    python sign.py 127.0.0.1:4150 < ../requests.json

The hub must have the sources of that file. Each request is posted as it was signed, with one flipped
bit in its body, and with one in its signature: library and hub must take the first and refuse the
others. Prints a line for each in the form of TAP, and exits with 1 if one is `not ok`.
"""

import base64
import http.client
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs

import standardwebhooks
import stripe
import svix
from slack_sdk.signature import SignatureVerifier
from twilio.request_validator import RequestValidator

UNAUTHORIZED = (401, '{"error":"unauthorized"}')
SECONDS_MAX = 10


@dataclass(frozen=True)
class Post:
    """What is posted, and at which address the sender believes to post it."""

    base: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def url(self) -> str:
        return self.base + self.target

    @property
    def is_form(self) -> bool:
        return self.headers["content-type"].startswith("application/x-www-form-urlencoded")


class Library(ABC):
    """Signs and checks as a provider's library does."""

    package: str
    # The header with the signature, what stands there before the signature, and how it is written.
    header: str
    separator: str
    encoding: str

    @abstractmethod
    def __init__(self, secret: str) -> None: ...

    @abstractmethod
    def sign(self, post: Post) -> Post: ...

    @abstractmethod
    def accepts(self, post: Post) -> bool: ...


class StandardWebhooks(Library):
    package, separator, encoding = "standardwebhooks", ",", "base64"
    prefix = "webhook"
    webhook: type[standardwebhooks.Webhook] | type[svix.Webhook] = standardwebhooks.Webhook

    def __init__(self, secret: str) -> None:
        self.header = f"{self.prefix}-signature"
        self.checks = self.webhook(secret)

    def sign(self, post: Post) -> Post:
        now = datetime.now(timezone.utc)
        message = f"msg_{self.prefix}"
        return with_headers(
            post,
            {
                f"{self.prefix}-id": message,
                f"{self.prefix}-timestamp": str(int(now.timestamp())),
                self.header: self.checks.sign(message, now, post.body.decode()),
            },
        )

    def accepts(self, post: Post) -> bool:
        try:
            self.checks.verify(post.body, post.headers)
        except standardwebhooks.WebhookVerificationError:
            return False
        return True


class Svix(StandardWebhooks):
    package, prefix = "svix", "svix"
    webhook = svix.Webhook


class Stripe(Library):
    package, header = "stripe", "stripe-signature"
    separator, encoding = "=", "hex"

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def sign(self, post: Post) -> Post:
        body = post.body.decode()
        header = stripe.WebhookSignature.generate_signature_header(body, self.secret)
        return with_headers(post, {self.header: header})

    def accepts(self, post: Post) -> bool:
        try:
            stripe.Webhook.construct_event(post.body, post.headers[self.header], self.secret)
        except stripe.SignatureVerificationError:
            return False
        return True


class Slack(Library):
    package, header = "slack_sdk", "x-slack-signature"
    separator, encoding = "=", "hex"

    def __init__(self, secret: str) -> None:
        self.verifier = SignatureVerifier(secret)

    def sign(self, post: Post) -> Post:
        now = str(int(self.verifier.clock.now()))
        signature = self.verifier.generate_signature(timestamp=now, body=post.body)
        assert signature is not None
        return with_headers(post, {"x-slack-request-timestamp": now, self.header: signature})

    def accepts(self, post: Post) -> bool:
        return self.verifier.is_valid_request(post.body, post.headers)


class Fields(dict[str, list[str]]):
    """The fields of a form, as web frameworks give them to Twilio's library."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


def fields_of(post: Post) -> Fields:
    return Fields(parse_qs(post.body.decode(), keep_blank_values=True))


class Twilio(Library):
    package, header = "twilio", "x-twilio-signature"
    separator, encoding = ",", "base64"

    def __init__(self, secret: str) -> None:
        self.validator = RequestValidator(secret)

    def sign(self, post: Post) -> Post:
        if not post.is_form:
            hashed = self.validator.compute_hash(post.body.decode())
            post = replace(post, target=f"{post.target}?bodySHA256={hashed}")
        fields = fields_of(post) if post.is_form else {}
        signature = self.validator.compute_signature(post.url, fields)
        return with_headers(post, {self.header: signature})

    def accepts(self, post: Post) -> bool:
        content = fields_of(post) if post.is_form else post.body.decode()
        return bool(self.validator.validate(post.url, content, post.headers[self.header]))


LIBRARIES: dict[str, type[Library]] = {
    "standardwebhooks": StandardWebhooks,
    "svix": Svix,
    "stripe": Stripe,
    "slack": Slack,
    "twilio": Twilio,
}


def with_headers(post: Post, headers: dict[str, str]) -> Post:
    return replace(post, headers=post.headers | headers)


def flipped(raw: bytes, at: int) -> bytes:
    """Flips the lowest bit of one byte."""
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def with_flipped_body(post: Post) -> Post:
    """Flips a bit of the word `hello`, so that the body stays one of its kind."""
    return replace(post, body=flipped(post.body, post.body.index(b"hello")))


def with_flipped_signature(library: Library, post: Post) -> Post:
    """Flips a bit of the decoded signature, so that it stays well written."""
    before, separator, text = post.headers[library.header].rpartition(library.separator)
    if library.encoding == "hex":
        changed = flipped(bytes.fromhex(text), 0).hex()
    else:
        changed = base64.b64encode(flipped(base64.b64decode(text), 0)).decode()
    return with_headers(post, {library.header: before + separator + changed})


def answer_of(hub: http.client.HTTPConnection, post: Post) -> tuple[int, str]:
    hub.request("POST", post.target, post.body, post.headers)
    answer = hub.getresponse()
    body = answer.read().decode()
    if answer.status == 200 and body:
        # Beside its status it has the event's id, which nobody knows before.
        body = json.loads(body)["status"]
    return answer.status, body


def cases(asked: dict[str, Any], hub: http.client.HTTPConnection) -> Iterator[tuple[bool, str]]:
    """Posts all there is, and tells of each post whether it went well."""
    for request in asked["requests"]:
        source = request["source"]
        library = LIBRARIES[request["signer"]](asked["sources"][source]["secret"])
        unsigned = Post(
            base=request.get("signed_at", asked["public_url"]),
            target=f"/webhooks/{source}",
            headers={"content-type": request["type"]},
            body=request["body"].encode(),
        )
        signed = library.sign(unsigned)
        taken = (request["answer"]["status"], request["answer"]["body"])
        for what, post, accepts, expected in [
            ("as signed", signed, True, taken),
            ("a flipped bit in the body", with_flipped_body(signed), False, UNAUTHORIZED),
            (
                "a flipped bit in the signature",
                with_flipped_signature(library, signed),
                False,
                UNAUTHORIZED,
            ),
        ]:
            accepted, answer = library.accepts(post), answer_of(hub, post)
            name = f"{request['name']}: {library.package}, {what}"
            well = accepted == accepts and answer == expected
            verdict = "accepts" if accepted else "refuses"
            yield well, f"{name}: the library {verdict} it, the hub answers {answer}"


def main() -> int:
    hub = http.client.HTTPConnection(sys.argv[1], timeout=SECONDS_MAX)
    asked = json.load(sys.stdin)
    failed = number = 0
    for number, (well, line) in enumerate(cases(asked, hub), start=1):
        failed += not well
        print(f"{'ok' if well else 'not ok'} {number} - {line}", flush=True)
    print(f"1..{number}")
    return 1 if failed or not number else 0


if __name__ == "__main__":
    sys.exit(main())
