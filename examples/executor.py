#!/usr/bin/env python3
"""An executor of Stepcast in another language: takes jobs over RabbitMQ, runs their steps, tells every line.

It knows the broker and nothing else, and runs one job at a time. docs/asyncapi.yaml describes each message. Needs pika
(Debian and Ubuntu: apt-get install python3-pika).

    STEPCAST_BROKER=amqp://guest:guest@127.0.0.1:5672/ executor.py --labels linux,python

What it leaves out of `stepcast serve --roles executor`:
- No guard process. It ends its steps when it loses the lease or the broker, but killed with -9 it leaves them behind, and they
  may run beside the next attempt; so may what leaves its process group. What a step leaves in the background ends with the step.
- No source and no artifacts: a job that asks for either fails with a sentence that says so.
- `stderr: marked` is merged; a line is told when it ends, and split every few KiB, also within a character; carriage returns stay.
- It does not connect again. When the broker goes it ends its steps and itself, and its job runs again as the next attempt.
"""
import argparse, base64, collections, hashlib, hmac, json, logging, os, platform, signal, struct, subprocess, sys, tempfile, time
import uuid

import pika
from pika.exceptions import AMQPError, NackError, UnroutableError

PATIENCE = 3  # Seconds until a request that was not answered is sent again.
TRUST = 0.8  # The part of a lease in which it is trusted, counted from before it was asked for.
KILL_AFTER = 10  # Seconds between SIGTERM and SIGKILL.
READ_BYTES = 8 << 10  # What is read of a step's output at once; a line is split when it is longer.
PASSED_ON = "PATH HOME USER LOGNAME SHELL LANG LC_ALL TZ TMPDIR".split()


class LeaseLost(Exception):
    """The job is another's, or not trusted any more: end its steps, and say nothing."""


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # Counts the machine's sleep.


def properties(**more):
    return pika.BasicProperties(content_type="application/json", message_id=str(uuid.uuid4()), **more)


class Executor:
    def __init__(self, url, name, labels):
        self.id, self.name, self.labels, self.job = str(uuid.uuid4()), name, labels, None
        self.secret = uuid.uuid4().hex  # Nobody else can take this executor's place. Like the id it would be kept across restarts.
        self.about = {"version": 1, "executor": self.id, "incarnation": str(uuid.uuid4())}
        self.wanted, self.consumers, self.hints = set(), {}, collections.deque()
        self.waiting_for = self.answer = self.lease_s = None
        self.tend_at = 0
        url.heartbeat = url.blocked_connection_timeout = 5  # Shorter than a lease: a broker that hangs is a broker lost.
        self.connection = pika.BlockingConnection(url)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()  # From here on, publishing returns when the broker has the message, and raises if not.
        self.channel.basic_qos(prefetch_count=1)
        self.reply_to = f"reply.{uuid.uuid4()}"
        for private, hear in [(self.reply_to, self.hear_answer), (f"executor.{self.id}", self.hear_notice)]:
            self.channel.queue_declare(private, exclusive=True, auto_delete=True)
            self.channel.basic_consume(private, hear, auto_ack=True, exclusive=True)

    def send(self, request, **more):
        """Asks control. The correlation id is ours to choose: it says when we asked, for that is what trust counts from."""
        asked = f"{now()} {uuid.uuid4()}"
        body = json.dumps({**self.about, "request": request, **more}).encode()
        self.channel.basic_publish("", "control", body, properties(correlation_id=asked, reply_to=self.reply_to), mandatory=True)
        return asked

    def ask(self, request, **more):
        """The answer, or None after a while: then ask again, every request may be repeated."""
        self.waiting_for, self.answer, until = self.send(request, **more), None, now() + PATIENCE
        while not self.answer and now() < until:
            self.tend(until - now())
        return self.answer

    def hear_answer(self, _channel, _delivery, about, text):
        answer, asked_at = json.loads(text), float(about.correlation_id.split()[0])
        self.lease_s = answer.get("lease_ms", 0) / 1000 or self.lease_s
        if about.correlation_id == self.waiting_for:
            self.answer = answer
        elif answer["answer"] == "registered":
            self.wanted.update(answer["label_sets"])  # It may be older than a notice: it takes no queue away.
        elif answer["answer"] == "renewed" and self.job:
            if self.job.lease in answer["lost"]:
                self.job.trusted_until = 0
            if self.job.lease in answer["held"] + answer["cancelled"]:
                self.job.trusted_until = max(self.job.trusted_until, asked_at + self.lease_s * TRUST)
            self.job.is_cancelled |= self.job.lease in answer["cancelled"]

    def hear_notice(self, _channel, _delivery, about, text):
        notice = json.loads(text)
        if notice["notice"] == "queues":
            self.wanted = set(notice["label_sets"])
        elif notice["notice"] == "cancel" and self.job and self.job.lease == notice["lease"]:
            self.job.is_cancelled = True
        elif notice["notice"] == "now" and about.reply_to:
            running = {"version": 1, "executor": self.id, "slots": 1, "running": [self.job.lease] if self.job else []}
            body, to = json.dumps(running).encode(), properties(correlation_id=about.correlation_id)
            self.channel.basic_publish("", about.reply_to, body, to)

    def tend(self, seconds):
        """Hears what comes, for `seconds` at most. Registers and renews every third of a lease."""
        if now() >= self.tend_at:
            self.tend_at = now() + (self.lease_s or PATIENCE) / 3
            self.send("register", name=self.name, labels=self.labels, slots=1, secret=self.secret)
            if self.job:
                self.send("renew", leases=[self.job.lease])
        self.connection.process_data_events(max(0, min(seconds, self.tend_at - now())))

    def listen(self, label_sets):
        for gone in self.consumers.keys() - label_sets:
            self.channel.basic_cancel(self.consumers.pop(gone))
        for new in label_sets - self.consumers.keys():
            take = lambda _channel, delivery, _about, _text: self.hints.append(delivery)
            self.consumers[new] = self.channel.basic_consume(f"tasks.{new}", take)

    def serve(self):
        while not self.lease_s:
            self.tend(1)
        print(f"Running executor {self.name} {self.id}", flush=True)
        while True:
            self.listen(self.wanted)
            self.tend(1)
            if self.hints:
                self.take(self.hints.popleft())

    def take(self, hint):
        self.listen(set())  # While we are busy, hints stay in their queues for executors that are free.
        while self.hints:
            self.channel.basic_nack(self.hints.popleft().delivery_tag, requeue=True)
        claim = {"claim_id": str(uuid.uuid4()), "label_set": hint.routing_key, "patience_ms": PATIENCE * 1000}
        asked_at, answer = now(), None
        for _ in range(3):  # Under one id: the first may be granted and its answer lost, so trust counts from the first.
            answer = answer or self.ask("claim", **claim)
        if not answer:
            return self.channel.basic_nack(hint.delivery_tag, requeue=True)
        self.channel.basic_ack(hint.delivery_tag)
        if answer["answer"] == "granted":
            self.job, self.tend_at = Job(self, answer, asked_at + self.lease_s * TRUST), 0
            try:
                self.job.run()
            except LeaseLost:
                print(f"executor.py: the lease of job {self.job.lease['job']} was lost", file=sys.stderr)
            self.job = None


class Job:
    """One attempt of one job: its steps, its events, its end."""

    def __init__(self, executor, grant, trusted_until):
        self.executor, self.grant, self.lease, self.trusted_until = executor, grant, grant["lease"], trusted_until
        self.is_cancelled, self.next_offset, self.next_line = False, 0, 0
        self.time_up = now() + grant["timeout_seconds"]

    def tend(self, seconds):
        self.executor.tend(seconds)
        if now() >= self.trusted_until:
            raise LeaseLost

    def publish(self, kind, **more):
        """Tells an event; returns when the broker has it. These very bytes are signed, so they stand in the body unchanged."""
        self.tend(0)
        job, epoch, offset, reply = self.lease["job"], self.lease["attempt"], self.next_offset, self.grant["reply"]
        topic, event = f"job.{job}", json.dumps({"kind": kind, **more})
        mac = hmac.new(self.grant["event_key"].encode(), digestmod=hashlib.sha256)
        for part in topic.encode(), struct.pack(">I", epoch), struct.pack(">Q", offset), event.encode():
            mac.update(struct.pack(">Q", len(part)) + part)
        head = {"version": 1, "topic": topic, "build": self.grant["build"], "epoch": epoch, "offset": offset,
                "at": time.time_ns() // 1000, "mac": base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")}
        head.update({"client_id": reply["client_id"]} if reply else {})
        key, headers = (reply["server_id"], {"CC": [topic]}) if reply else (topic, None)
        body = f'{json.dumps(head)[:-1]}, "event": {event}}}'
        try:
            self.executor.channel.basic_publish("utils", key, body.encode(), properties(delivery_mode=2, headers=headers), mandatory=True)
        except NackError:  # By a watcher whose node is down, perhaps; what counts is that the stream has it.
            self.executor.channel.basic_publish("", "events", body.encode(), properties(delivery_mode=2), mandatory=True)
        self.next_offset += 1

    def run(self):
        outcome, reason = "succeeded", None
        if self.grant["source"] or self.grant["artifacts"]:
            outcome, reason = "failed", "examples/executor.py checks out no source and keeps no artifacts"
        with tempfile.TemporaryDirectory(prefix="stepcast-job-", ignore_cleanup_errors=True) as folder:
            os.mkdir(f"{folder}/workspace")
            for index, step in enumerate(self.grant["steps"]):
                if outcome == "succeeded":
                    outcome, reason = self.step(index, step, folder) if not self.is_cancelled else ("cancelled", None)
        end = {"outcome": outcome, "reason": reason, "last_offset": self.next_offset - 1 if self.next_offset else None}
        while not (answer := self.executor.ask("finish", lease=self.lease, **end)):
            self.tend(0)
        if answer["answer"] == "refused":
            print(f"executor.py: control refused the end of job {self.lease['job']}: {answer['reason']}", file=sys.stderr)

    def step(self, index, step, folder):
        self.publish("step_started", step=index, name=step["name"], command=step["run"])
        grant, env = self.grant, {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env.update({"TERM": "dumb", **grant["env"], "CI": "true", "STEPCAST_BUILD": grant["build"],
                    "STEPCAST_NUMBER": str(grant["number"]), "STEPCAST_PIPELINE": grant["pipeline"],
                    "STEPCAST_JOB": self.lease["job"], "STEPCAST_JOB_NAME": grant["job_name"],
                    "STEPCAST_ATTEMPT": str(self.lease["attempt"]), **step.get("env", {})})
        script = f"{folder}/step-{index}"
        with open(script, "w", encoding="utf-8") as file:
            file.write(step["run"])
        shell = subprocess.Popen(["bash", "-eo", "pipefail", script], cwd=f"{folder}/workspace", env=env, start_new_session=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            ending = self.follow(index, shell)
        finally:
            end(shell, signal.SIGKILL)
            code = shell.wait()
        outcome = ending or ("failed" if code else "succeeded")
        reason = f"ended by signal {-code}" if code < 0 and not ending else None
        if outcome == "timed_out":
            reason = f"the job's time of {grant['timeout_seconds']} s was up"
        self.publish("step_finished", step=index, outcome=outcome, exit_code=code if code >= 0 else None, reason=reason)
        return outcome, f"step {step['name']!r}: {reason}" if reason else None

    def follow(self, index, shell):
        """Tells the lines of a step until it has ended; gives `cancelled` or `timed_out` where it was ended before."""
        ending, kill_at, rest, pipe = None, None, b"", shell.stdout.fileno()
        os.set_blocking(pipe, False)
        while True:
            if not ending and (self.is_cancelled or now() >= self.time_up):
                ending, kill_at = "cancelled" if self.is_cancelled else "timed_out", now() + KILL_AFTER
                end(shell, signal.SIGTERM)
            if kill_at and now() >= kill_at:
                end(shell, signal.SIGKILL)
            has_ended = shell.poll() is not None
            try:
                read = os.read(pipe, READ_BYTES)
            except BlockingIOError:
                read = b"" if has_ended else None
            if read is None:
                self.tend(0.02)
                continue
            *lines, rest = (rest + read).split(b"\n")
            is_cut = len(rest) >= READ_BYTES
            if rest and (is_cut or not read):
                lines, rest = [*lines, rest], b""
            texts = [text.decode(errors="replace").removesuffix("\r") for text in lines]
            told = [{"n": n, "t": time.time_ns() // 1000, "text": text} for n, text in enumerate(texts, self.next_line)]
            self.next_line += len(told)
            if is_cut:
                told[-1]["split"] = True
            if told:
                self.publish("log", step=index, lines=told)
            if not read:
                return ending


def end(shell, number):
    try:
        os.killpg(shell.pid, number)
    except ProcessLookupError:
        pass  # All of it has ended.


def main():
    logging.disable()  # pika tells each failure several times; here it is told once.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda sentence: parser.exit(2, f"executor.py: {sentence} (--help tells more)\n")
    parser.add_argument("--broker", default=os.environ.get("STEPCAST_BROKER"), help="amqp://…; else STEPCAST_BROKER")
    parser.add_argument("--name", default=f"{platform.node()}-python", help="for people")
    parser.add_argument("--labels", default=f"{sys.platform},{platform.machine()}", help="separated by commas")
    asked = parser.parse_args()
    try:
        url = pika.URLParameters(asked.broker or parser.error("name the broker by --broker or STEPCAST_BROKER"))
    except (ValueError, IndexError):
        parser.error("--broker must be amqp://user:password@host:port/virtual-host")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        executor = Executor(url, asked.name, "+".join(sorted(set(asked.labels.split(",")))))
        try:
            executor.serve()
        except (KeyboardInterrupt, SystemExit):
            if not executor.job:
                executor.send("deregister")  # A courtesy: control notices the silence as well.
    except UnroutableError:
        return f"there is no queue `control` at {url.host}:{url.port}: start `stepcast serve` first"
    except (AMQPError, OSError) as failure:
        cause = getattr(next(iter(failure.args), None), "exception", failure)  # pika wraps what the system said.
        return f"RabbitMQ at {url.host}:{url.port} cannot be used: {cause}"


if __name__ == "__main__":
    if sentence := main():
        print(f"executor.py: {sentence}", file=sys.stderr)
        sys.exit(3)
