#!/usr/bin/env python3
"""An agent of Hookline in Python: subscribes, keeps its leases alive, acks and nacks.

It needs `grpcio` and the stubs that README.md, next to this file, shows how to generate.
Prints one JSON object per line for each step, so that programs can read along.

    python agent.py --subscription reviewer --pattern 'github/pull_request.*'

What a long-lived agent does about it:

* It subscribes again, under the same consumer name and without patterns, when the stream breaks:
  so its leases stay its own, and a subscription that somebody deleted stays deleted.
* It extends its lease at a third of `lease_duration`, by its own steady clock.
* A lease of an earlier process under its name comes in `ready.held`: it is nacked, because its work
  is gone.
"""

import argparse
import json
import os
import sys
import threading
import time
import uuid

import grpc
from hookline.v1 import subscriber_pb2 as pb
from hookline.v1 import subscriber_pb2_grpc

# An event may be as large as 25 MiB; Python's own limit is 4 MiB.
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 20_000),
]

# The stream has a heartbeat every 15 s: silence of this many seconds means that it is dead.
SILENCE_SECONDS_MAX = 45
# One ack, nack or extension.
CALL_SECONDS_MAX = 10
# Reconnecting: the first wait and the longest.
RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 0.2, 10

# After these there is no point in coming back: the name was taken over, the subscription is gone,
# or the hub refuses what was asked for.
FINAL_CODES = {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}


def say(step, **facts):
    """Prints one step as a line of JSON."""
    print(json.dumps({"step": step, **facts}), flush=True)


class Lease:
    """Keeps one lease alive while its event is worked on; use it in a `with` block."""

    def __init__(self, hub, delivery, reconnect_grace):
        self.hub = hub
        self.id = delivery.lease_id
        # A third of the lease, so that two extensions in a row may fail. Measured from now: the
        # clock of this machine need not agree with the hub's. And within `reconnect_grace`, since
        # this agent does not see its stream break while it works: an extension, too, tells the hub
        # that it is there.
        self.interval = max(delivery.lease_duration.ToMilliseconds() / 3000, 0.1)
        if reconnect_grace > 0:
            self.interval = min(self.interval, max(reconnect_grace / 3, 0.1))
        self.settled = threading.Event()
        self.lost = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._extend, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.settled.set()
        self.thread.join()

    def _extend(self):
        while not self.settled.wait(self.interval):
            extension = pb.LeaseExtension(lease_id=self.id)  # by the policy's lease_duration
            try:
                answer = self.hub.ExtendLease(
                    pb.ExtendLeaseRequest(extensions=[extension]), timeout=CALL_SECONDS_MAX
                )
            except grpc.RpcError as error:
                say("extend_failed", lease_id=self.id, code=error.code().name)
                continue  # the next round is early enough
            outcome = answer.results[0].outcome
            say("extended", lease_id=self.id, outcome=pb.Outcome.Name(outcome))
            if outcome in (pb.OUTCOME_STALE, pb.OUTCOME_CONFLICT, pb.OUTCOME_INVALID):
                self.lost.set()
                return


def settle(call, request):
    """Sends an ack or a nack until the hub has said what became of it, and returns that.

    A lost answer is no harm: the same lease says the same again, and hears ALREADY_APPLIED.
    """
    wait = 0.1
    for _ in range(8):
        try:
            result = call(request, timeout=CALL_SECONDS_MAX).results[0]
            if result.outcome != pb.OUTCOME_RETRY:
                return pb.Outcome.Name(result.outcome)
        except grpc.RpcError as error:
            if error.code() in FINAL_CODES:
                raise
            say("settle_failed", code=error.code().name)
        time.sleep(wait)
        wait = min(wait * 2, 5)
    return "OUTCOME_RETRY"


def nack(hub, lease_id, reason, error_type, action=pb.NACK_ACTION_RETRY):
    """Says that an event failed, and why: people will read it."""
    item = pb.Nack(lease_id=lease_id, reason=reason, error_type=error_type, action=action)
    return settle(hub.Nack, pb.NackRequest(nacks=[item]))


def work(event):
    """The agent's own work: here it only reads the payload. An exception becomes a nack."""
    if event.payload and event.metadata.get("content_type", "").startswith("application/json"):
        json.loads(event.payload)


def handle(hub, delivery, options, reconnect_grace, before_settle):
    """Works on one delivery and settles it."""
    event = delivery.event
    say(
        "delivery",
        event_id=event.id,
        sequence=event.sequence,
        subject=f"{event.source}/{event.event_type}",
        resource_id=event.resource_id,
        attempt=delivery.attempt,
        max_attempts=delivery.max_attempts,
        previous_reasons=[attempt.reason for attempt in delivery.previous_attempts],
    )
    with Lease(hub, delivery, reconnect_grace) as lease:
        try:
            if options.nack_first and delivery.attempt == 1:
                raise RuntimeError("asked to fail the first attempt")
            work(event)
            failure = None
        except Exception as error:  # whatever it is, the hub is told
            failure = error
    if lease.lost.is_set():
        say("lost", event_id=event.id)
    before_settle()
    if failure is None:
        outcome = settle(hub.Ack, pb.AckRequest(lease_ids=[delivery.lease_id]))
        say("ack", event_id=event.id, attempt=delivery.attempt, outcome=outcome)
    else:
        outcome = nack(hub, delivery.lease_id, str(failure), type(failure).__name__)
        say(
            "nack",
            event_id=event.id,
            attempt=delivery.attempt,
            reason=str(failure),
            outcome=outcome,
        )


class Watchdog:
    """Cancels a stream that was silent for too long."""

    def __init__(self, stream):
        self.stream = stream
        self.timer = None
        self.barked = False

    def hear(self):
        self.stop()
        self.timer = threading.Timer(SILENCE_SECONDS_MAX, self._bark)
        self.timer.daemon = True
        self.timer.start()

    def stop(self):
        if self.timer is not None:
            self.timer.cancel()

    def _bark(self):
        self.barked = True
        self.stream.cancel()


class Agent:
    """One consumer of one subscription."""

    def __init__(self, hub, options):
        self.hub = hub
        self.options = options
        self.handled = 0
        self.patterns = options.pattern
        self.was_ready = False
        self.reconnect_grace = 0.0  # in seconds; `ready` says it
        # Unique to this process, and kept by it when it reconnects.
        self.consumer = f"python-{os.getpid()}-{uuid.uuid4().hex[:12]}"

    def run(self):
        """Works until enough was done, or there is no coming back; returns the exit code."""
        wait = RECONNECT_SECONDS_MIN
        while True:
            try:
                before = self.handled
                if self.stream_once():
                    return 0
                code, details = grpc.StatusCode.UNAVAILABLE, "the hub closed the stream"
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
            say("disconnected", code=code.name, details=details)
            if code in FINAL_CODES or not (self.was_ready or self.options.wait_for_hub):
                return 1
            if self.handled > before:
                wait = RECONNECT_SECONDS_MIN
            time.sleep(wait)
            wait = min(wait * 2, RECONNECT_SECONDS_MAX)

    def stream_once(self):
        """Takes deliveries from one stream; returns whether enough was done."""
        request = pb.SubscribeRequest(
            subscription=self.options.subscription,
            consumer=self.consumer,
            max_in_flight=1,  # this agent works on one event at a time
            patterns=self.patterns,
        )
        stream = self.hub.Subscribe(request)
        watchdog = Watchdog(stream)
        try:
            watchdog.hear()
            for message in stream:
                # Not while the agent works: nobody reads the heartbeats then.
                watchdog.stop()
                if self.take(message, stream):
                    return True
                watchdog.hear()
        except grpc.RpcError:
            if not watchdog.barked:
                raise
        finally:
            watchdog.stop()
            stream.cancel()
        return False

    def take(self, message, stream):
        """Takes one message of the stream; returns whether enough was done."""
        kind = message.WhichOneof("message")
        if kind == "ready":
            ready = message.ready
            say("ready", subscription=ready.subscription, consumer=ready.consumer)
            self.was_ready = True
            self.reconnect_grace = ready.policy.reconnect_grace.ToMilliseconds() / 1000
            if self.options.subscription:
                self.patterns = []  # it exists: if it is deleted it stays deleted
            for held in ready.held:
                outcome = nack(self.hub, held.lease_id, "its process is gone", "process_lost")
                say("held_nacked", event_id=held.event.id, outcome=outcome)
        elif kind == "delivery":
            # The last one is settled after the stream is closed: as long as it holds this lease the
            # agent has no room, so nothing is sent that nobody would work on. The hub keeps the
            # lease for `reconnect_grace`; one of an ephemeral subscription it does not.
            is_last = self.handled + 1 == self.options.count
            closes = is_last and self.options.subscription and self.reconnect_grace > 1
            before_settle = stream.cancel if closes else lambda: None
            handle(
                self.hub, message.delivery, self.options, self.reconnect_grace, before_settle
            )
            self.handled += 1
        elif kind == "lease_lost":
            say("lease_lost", event_id=message.lease_lost.event_id, reason=message.lease_lost.reason)
        elif kind == "draining":
            say("draining")  # the hub closes the stream soon; then reconnect
        return self.options.count is not None and self.handled >= self.options.count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="127.0.0.1:4160", help="host:port of the hub")
    parser.add_argument("--subscription", default="", help="its name; without one it is ephemeral")
    parser.add_argument("--pattern", action="append", default=[], help="may be given several times")
    parser.add_argument("--count", type=int, help="stop after this many deliveries")
    parser.add_argument(
        "--nack-first", action="store_true", help="nack the first attempt of each event"
    )
    parser.add_argument(
        "--wait-for-hub", action="store_true", help="keep trying if the hub is not there yet"
    )
    options = parser.parse_args()
    address = options.address.removeprefix("http://")
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        hub = subscriber_pb2_grpc.SubscriberServiceStub(channel)
        try:
            return Agent(hub, options).run()
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
