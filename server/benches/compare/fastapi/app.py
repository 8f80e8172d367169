"""A webhook receiver as a team would write it first: verify, normalize, add to a stream of Redis, answer.

One worker of uvicorn with uvloop, httptools and hiredis. Redis runs with `appendfsync always`, so an event is on the disk
before its 200, as it is with Hookline; unlike Hookline it does not look for a second copy of an event, and keeps the
body uncompressed.
"""

import hashlib
import hmac
import json
import os
import time
import uuid

import redis.asyncio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

SECRET = os.environ["WEBHOOK_SECRET"].encode()
STREAM = "events"

app = FastAPI()
# By itself the client opens 100 connections and fails the next request; a pool that waits takes them all.
pool = redis.asyncio.BlockingConnectionPool.from_url(os.environ["REDIS_URL"], max_connections=128, timeout=10)
store = redis.asyncio.Redis(connection_pool=pool)


def resource(payload: dict) -> tuple[str, str]:
    """Returns what an event is about: its kind, and which one."""
    repository = (payload.get("repository") or {}).get("full_name", "")
    for kind in ("pull_request", "issue", "discussion"):
        thing = payload.get(kind)
        if isinstance(thing, dict) and "number" in thing:
            return kind, f"{repository}#{thing['number']}"
    return ("repository", repository) if repository else ("", "")


@app.post("/webhooks/github")
async def take(request: Request):
    body = await request.body()
    signature = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature, request.headers.get("x-hub-signature-256", "")):
        return JSONResponse({"error": "unauthorized"}, status_code=401)
    payload = json.loads(body)
    event_type = request.headers.get("x-github-event", "")
    if isinstance(payload.get("action"), str):
        event_type = f"{event_type}.{payload['action']}"
    resource_type, resource_id = resource(payload)
    event_id = str(uuid.uuid4())
    await store.xadd(
        STREAM,
        {
            "id": event_id,
            "source": "github",
            "event_type": event_type,
            "actor": (payload.get("sender") or {}).get("login", ""),
            "resource_type": resource_type,
            "resource_id": resource_id,
            "delivery_key": request.headers.get("x-github-delivery", ""),
            "received_at": repr(time.time()),
            "payload": body,
        },
    )
    return {"status": "accepted", "event_id": event_id}
