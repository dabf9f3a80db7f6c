#!/usr/bin/env python3
"""Calls a browser back: publishes a payload for one client of Stepcast, and waits until that client has it.

The page (or any client of the socket) is told its socket meta by the first frame, `hello`: client_id and server_id.
Whoever has both can call it back over RabbitMQ. Needs pika (Debian and Ubuntu: apt-get install python3-pika).

    STEPCAST_BROKER=amqp://guest:guest@127.0.0.1:5672/ callback.py north-2 0b9c4f2e-6c1e-4c0e-9d55-1f0d6a7c3b11 '{"done": 3}'

Exit status: 0 the client has it, 1 it has not (yet), 2 wrong usage, 3 the broker cannot be used. What a client does not
take now is kept for a day, and delivered when it comes back: a message that timed out here is late, not lost.
"""
import argparse, json, logging, os, re, sys, time, uuid

import pika
from pika.exceptions import AMQPError, NackError, UnroutableError


def server_id(text):
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}-(0|[1-9][0-9]*)", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no server id: it must be <instance>-<number>")
    return text


def any_json(text):
    try:
        return json.loads(text)
    except ValueError as failure:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {failure}") from None


def call_back(url, key, body, patience):
    """Gives the receipt, or None where none came in time."""
    connection = pika.BlockingConnection(url)
    channel = connection.channel()
    channel.confirm_delivery()  # From here on, publishing returns when the broker has the message, and raises if not.
    message_id, receipts = str(uuid.uuid4()), []
    # Direct reply-to: the receipt comes back on this channel, and no queue is made for it.
    channel.basic_consume("amq.rabbitmq.reply-to", lambda _c, _d, about, text: receipts.append((about, text)), auto_ack=True)
    properties = pika.BasicProperties(content_type="application/json", message_id=message_id,
                                      reply_to="amq.rabbitmq.reply-to", delivery_mode=2)
    channel.basic_publish("utils", key, json.dumps(body).encode(), properties, mandatory=True)
    until = time.monotonic() + patience
    while not receipts and time.monotonic() < until:
        connection.process_data_events(time_limit=until - time.monotonic())
    connection.close()
    return next((json.loads(text) for about, text in receipts if about.correlation_id == message_id), None)


def main():
    logging.disable()  # pika tells each failure several times; here it is told once.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda sentence: parser.exit(2, f"callback.py: {sentence} (--help tells more)\n")
    parser.add_argument("server_id", type=server_id, help="the worker that holds the socket: the routing key")
    parser.add_argument("client_id", type=uuid.UUID, help="the client, a UUID")
    parser.add_argument("payload", type=any_json, nargs="?", default={}, help="any JSON; {} unless given")
    parser.add_argument("--broker", default=os.environ.get("STEPCAST_BROKER"), help="amqp://…; else STEPCAST_BROKER")
    parser.add_argument("--wait", type=float, default=30, metavar="SECONDS", help="for the receipt, at most; 30 unless given")
    asked = parser.parse_args()
    try:
        url = pika.URLParameters(asked.broker or parser.error("name the broker by --broker or STEPCAST_BROKER"))
    except (ValueError, IndexError):
        parser.error("--broker must be amqp://user:password@host:port/virtual-host")
    body = {"client_id": str(asked.client_id), "payload": asked.payload}
    try:
        receipt = call_back(url, asked.server_id, body, asked.wait)
    except (UnroutableError, NackError):
        return f"RabbitMQ at {url.host}:{url.port} did not take the message", 1
    except (AMQPError, OSError) as failure:
        cause = getattr(next(iter(failure.args), None), "exception", failure)  # pika wraps what the system said.
        return f"RabbitMQ at {url.host}:{url.port} cannot be used: {cause}", 3
    if receipt is None:
        return f"no receipt came within {asked.wait:g} s: client {asked.client_id} is not connected to {asked.server_id} now, or slow", 1
    print(json.dumps(receipt))
    return None, 0


if __name__ == "__main__":
    sentence, status = main()
    if sentence:
        print(f"callback.py: {sentence}", file=sys.stderr)
    sys.exit(status)
