"""The smallest agent: works on each new issue, acks it, and hears of it again if it fails."""
import sys

import grpc
from hookline.v1 import subscriber_pb2 as pb
from hookline.v1.subscriber_pb2_grpc import SubscriberServiceStub

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4160"
hub = SubscriberServiceStub(grpc.insecure_channel(address))
request = pb.SubscribeRequest(subscription="triage", patterns=["github/issues.*"])
for message in hub.Subscribe(request):
    if not message.HasField("delivery"):
        continue  # ready, a heartbeat, ...
    delivery = message.delivery
    try:
        event = delivery.event
        print(f"{event.resource_id} by {event.actor}, attempt {delivery.attempt}", flush=True)
        hub.Ack(pb.AckRequest(lease_ids=[delivery.lease_id]))
    except Exception as error:  # the hub sends it again, after a while
        hub.Nack(pb.NackRequest(nacks=[pb.Nack(lease_id=delivery.lease_id, reason=str(error))]))
