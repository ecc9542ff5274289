"""A channel of one's own: what users of a chat say, handed to the gateway. The standard library is enough.

    export CHAT_INWARD_SECRET=whsec_...        # what `inward_secret_from` names
    python3 chat_bridge.py https://sign.example.com team bind U123 Ana
    python3 chat_bridge.py https://sign.example.com team approve U123 apr_... SHOWN
    python3 chat_bridge.py https://sign.example.com team reject U123 apr_... SHOWN "not on a Friday"

SHOWN is `data.shown` of the message that the user decided on. A real bridge keeps it with the message it posts (in a button's
value, say), and takes the user's id from what its chat signs; never from what a user types.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid


def sign(secret, delivery, timestamp, body):
    """One signature as Standard Webhooks writes it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{delivery}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def deliver(console, channel, event, delivery, secret):
    """Hands in one event. Tried again after a lost answer it must have the same `delivery`: then it counts once."""
    body = json.dumps(event).encode()
    timestamp = str(int(time.time()))
    request = urllib.request.Request(
        f"{console}/api/v1/channels/{channel}/events",
        data=body,
        headers={
            "Content-Type": "application/json",
            "webhook-id": delivery,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(secret, delivery, timestamp, body),
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def event_of(kind, user, rest):
    if kind == "bind":
        return {"type": "bind", "user": user, "user_name": rest[0] if rest else None}
    event = {"type": kind, "user": user, "approval": rest[0], "shown": rest[1]}
    if kind == "reject":
        event["reason"] = rest[2]
    return event


def main(console, channel, kind, user, *rest):
    secret = os.environ["CHAT_INWARD_SECRET"]
    delivery = os.environ.get("DELIVERY") or f"msg_{uuid.uuid4().hex}"
    try:
        answer = deliver(console, channel, event_of(kind, user, rest), delivery, secret)
    except urllib.error.HTTPError as error:
        # A problem (RFC 9457): the delivery itself was not taken in.
        problem = json.load(error)
        print(f"{error.code} {problem['code']}: {problem['detail']}", file=sys.stderr)
        return 1
    # For the eyes of this user alone: a `bind` answers with a link that only they may open.
    print(json.dumps(answer))
    return 0 if answer["outcome"] == "done" else 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
