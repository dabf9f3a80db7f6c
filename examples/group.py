#!/usr/bin/env python3
"""A consumer group of its own: reads Stepcast's stream of events, and counts builds by outcome.

It keeps what it has counted and where it stands in one SQLite file, in one transaction: killed at any moment it goes on
without counting twice. Needs pika (Debian and Ubuntu: apt-get install python3-pika).

    STEPCAST_BROKER=amqp://guest:guest@127.0.0.1:5672/ group.py counts.db
    group.py counts.db --until-idle 2      reads what there is, prints {"succeeded": 40, "failed": 2} and ends

Exit status: 0 ended, 2 wrong usage, 3 the broker or the file cannot be used. Any number of such readers stand side by side,
each with a file of its own; two with one file wait for each other.
"""
import argparse, json, logging, os, sqlite3, sys

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

STREAM, INCARNATION, LOCK = "events", "events.incarnation", "events.incarnation.lock"
BATCH = 100  # Messages in one transaction at most.
SECONDS = 0.5  # A transaction waits no longer for more.
DAY = 24 * 3600 * 1_000_000  # Microseconds. A build that ended is remembered for so long: what comes twice comes again before.

SCHEMA = """
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), incarnation TEXT NOT NULL, offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS topics (topic TEXT PRIMARY KEY, epoch INTEGER NOT NULL, last INTEGER NOT NULL, at INTEGER NOT NULL, outcome TEXT);
CREATE TABLE IF NOT EXISTS counts (outcome TEXT PRIMARY KEY, builds INTEGER NOT NULL);
"""


def incarnation(connection):
    """The name of the stream: offsets of another one say nothing. It waits in a queue, and goes back there; who looks holds
    the lock, so that nobody finds the queue empty meanwhile and thinks that the stream must be made."""
    for _ in range(100):
        channel = connection.channel()
        try:
            channel.queue_declare(LOCK, exclusive=True)
            break
        except ChannelClosedByBroker as failure:
            if failure.reply_code != 405:  # RESOURCE_LOCKED: somebody else looks.
                raise
            connection.sleep(0.1)
    else:
        raise OSError(f"another connection holds the queue {LOCK} for too long")
    try:
        method, _, body = channel.basic_get(INCARNATION)
    except ChannelClosedByBroker:
        raise OSError("there is no stream yet: start `stepcast serve` first") from None
    if method is None:
        raise OSError("the stream has no name yet: start `stepcast serve` first")
    channel.basic_nack(method.delivery_tag, requeue=True)
    channel.queue_delete(LOCK)
    channel.close()
    return body.decode()


def count(db, outcome, builds):
    db.execute("INSERT INTO counts VALUES (?, ?) ON CONFLICT (outcome) DO UPDATE SET builds = builds + excluded.builds", (outcome, builds))


def apply(db, message):
    """One event. A writer that was killed may say it again: each topic counts its events, and what is behind is a repeat."""
    topic, event = message.get("topic", ""), message.get("event")
    if not topic.startswith("build.") or event is None:
        return  # What executors say of jobs, and hints.
    known = db.execute("SELECT epoch, last, outcome FROM topics WHERE topic = ?", (topic,)).fetchone()
    if known and (message["epoch"], message["offset"]) <= known[:2]:
        return
    outcome = known[2] if known else None
    if event["kind"] == "build_queued" and event.get("retry"):
        # It ends once more. One that is not remembered any more tells its former end itself.
        former = outcome or (event.get("about", {}).get("end") or {}).get("outcome")
        if former:
            count(db, former, -1)
        outcome = None
    elif event["kind"] == "build_finished" and outcome is None:
        outcome = event["outcome"]
        count(db, outcome, 1)
    db.execute("INSERT OR REPLACE INTO topics VALUES (?, ?, ?, ?, ?)", (topic, message["epoch"], message["offset"], message["at"], outcome))
    db.execute("DELETE FROM topics WHERE outcome IS NOT NULL AND at < ?", (message["at"] - DAY,))


def read(url, db, until_idle):
    connection = pika.BlockingConnection(url)
    name, place = incarnation(connection), db.execute("SELECT incarnation, offset FROM place").fetchone()
    channel = connection.channel()
    channel.basic_qos(prefetch_count=BATCH)  # A stream is only read with acks: they ask for more, and move no place.
    begin = place[1] + 1 if place and place[0] == name else "first"
    waiting, offset, idle = 0, None, 0.0
    for method, about, body in channel.consume(STREAM, arguments={"x-stream-offset": begin}, inactivity_timeout=SECONDS):
        if method is not None:
            offset = about.headers["x-stream-offset"]
            # RabbitMQ gives whole chunks: what is before the place is passed over.
            if begin == "first" or offset >= begin:
                apply(db, json.loads(body))
                waiting += 1
            channel.basic_ack(method.delivery_tag)
        if waiting and (method is None or waiting >= BATCH):
            db.execute("INSERT OR REPLACE INTO place VALUES (1, ?, ?)", (name, offset))
            db.commit()  # The counts and the place are one.
            print(f"at {offset}", file=sys.stderr, flush=True)
            waiting = 0
        idle = 0.0 if method is not None else idle + SECONDS
        if until_idle is not None and idle >= until_idle:
            connection.close()
            return


def main():
    logging.disable()  # pika tells each failure several times; here it is told once.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda sentence: parser.exit(2, f"group.py: {sentence} (--help tells more)\n")
    parser.add_argument("file", help="where the counts and the place are kept; made if it is not there")
    parser.add_argument("--broker", default=os.environ.get("STEPCAST_BROKER"), help="amqp://…; else STEPCAST_BROKER")
    parser.add_argument("--until-idle", type=float, metavar="SECONDS", help="end when no event has come for so long")
    asked = parser.parse_args()
    try:
        url = pika.URLParameters(asked.broker or parser.error("name the broker by --broker or STEPCAST_BROKER"))
    except (ValueError, IndexError):
        parser.error("--broker must be amqp://user:password@host:port/virtual-host")
    try:
        db = sqlite3.connect(asked.file)
        db.executescript(SCHEMA)
        read(url, db, asked.until_idle)
        print(json.dumps(dict(db.execute("SELECT outcome, builds FROM counts WHERE builds > 0 ORDER BY outcome"))))
    except sqlite3.Error as failure:
        return f"{asked.file} cannot be used: {failure}", 3
    except (AMQPError, OSError) as failure:
        cause = getattr(next(iter(failure.args), None), "exception", failure)  # pika wraps what the system said.
        return f"RabbitMQ at {url.host}:{url.port} cannot be used: {cause}", 3
    except KeyboardInterrupt:
        pass  # What is not committed is read again.
    return None, 0


if __name__ == "__main__":
    sentence, status = main()
    if sentence:
        print(f"group.py: {sentence}", file=sys.stderr)
    sys.exit(status)
