// A worker of the queue "payment" in TypeScript, written from docs/wire-format.md alone; its rules are cited by number.
// It handles one command at a time, so no command and its undo run at once (rule 4).
import { Kafka, type KafkaMessage, logLevel } from "kafkajs";

import { forward } from "./slip.js";

export type Headers = Record<string, string>;
export type Outgoing = { topic: string; partition: number; key: Buffer | null; value: Buffer; headers: Headers };
type Json = Record<string, unknown>;
type Reply = { kind: "completed" | "rejected" | "failed"; body: Json };

const namespace = process.env.SAGALINE_NAMESPACE ?? "sagaline";
const brokers = (process.env.SAGALINE_BROKERS ?? "127.0.0.1:9092").split(",");
const queue = "payment";

// The inbox of rule 3, in memory: the reply of an effect by effect key and direction. A real worker keeps it in its
// database and writes an entry in the same transaction as the effect, so that a crash between the two is impossible.
const inbox = new Map<string, Json>();

// The handlers, by contract.
const handlers: Record<string, (command: Json, headers: Headers) => Reply> = {
  "charge-card": (command, headers) => {
    const customer = String(command.customer);
    if (customer.startsWith("declined"))
      return { kind: "rejected", body: { reason: "the bank declined the card", code: "card_declined" } };
    if (customer.startsWith("flaky") && headers.ce_attempt === "1")
      return failed("the bank is not reachable"); // it is retried by the orchestrator, never here (rule 6)
    return { kind: "completed", body: { charge_id: `C-${command.order_id}` } };
  },
  "refund-card": (_command, headers) => ({
    kind: "completed",
    body: { was_charged: inbox.has(`${headers.ce_effectkey} do`) },
  }),
};

function failed(error: string): Reply {
  return { kind: "failed", body: { error } };
}

// The reply, from the inbox or from the handler.
function outcome(headers: Headers, value: Buffer | null, readMs: number): Reply {
  const spanMs = Number(headers.ce_deadline) - Date.parse(headers.ce_time ?? "");
  if (Date.now() - readMs > spanMs) return failed("its deadline passed while it waited"); // rule 6; NaN is false
  const entry = `${headers.ce_effectkey} ${headers.ce_direction}`;
  if (headers.ce_direction === "do" && inbox.has(`${headers.ce_effectkey} undo`))
    return { kind: "rejected", body: { reason: "the step was undone before", code: "fenced" } }; // rule 4
  const stored = inbox.get(entry);
  if (stored !== undefined) return { kind: "completed", body: stored }; // rule 3
  const handler = handlers[headers.ce_type ?? ""];
  if (handler === undefined) return failed(`no handler for ${headers.ce_type}`); // rule 8
  let reply: Reply;
  try {
    reply = handler(JSON.parse(String(value)), headers);
  } catch (error) {
    return failed(`the handler failed: ${error}`);
  }
  if (reply.kind === "completed") inbox.set(entry, reply.body);
  return reply;
}

// What is written about one command, in order.
function answers(message: KafkaMessage, partition: number, topic: string, readMs: number): Outgoing[] {
  const headers: Headers = {};
  for (const [name, text] of Object.entries(message.headers ?? {}))
    headers[name] = String(Array.isArray(text) ? text[text.length - 1] : text);
  const dead = (why: string): Outgoing => ({
    topic: `${namespace}.dead`, partition, key: message.key, value: message.value ?? Buffer.alloc(0),
    headers: { ...headers, "dead-reason": why, "dead-topic": topic, "dead-partition": String(partition),
      "dead-offset": message.offset },
  });
  if (headers.ce_id === undefined) return [dead("it is not a command: it has no ce_id")]; // rule 8
  const { kind, body } = outcome(headers, message.value, readMs);
  if (headers.ce_replytopic === undefined)
    return kind === "completed" ? [] : [dead(`${kind}: ${JSON.stringify(body)}`)]; // rule 10
  const reply = record(headers.ce_replytopic, Number(headers.ce_replypartition), message.key, body, {
    ce_id: `${headers.ce_id}/reply`, ce_type: `sagaline.reply.${kind}`, ce_subject: headers.ce_subject ?? "",
    ce_commandid: headers.ce_id, ce_time: new Date().toISOString(), ...trace(headers),
  });
  const onward = kind === "completed" ? forward(headers, message.key, body, readMs, namespace) : undefined;
  if (onward === undefined) return [reply];
  reply.headers.ce_forwarded = onward.headers.ce_id ?? "";
  return [reply, onward]; // the reply first
}

export function record(topic: string, partition: number, key: Buffer | null, body: Json, headers: Headers): Outgoing {
  const envelope = { ce_specversion: "1.0", "content-type": "application/json" };
  const source = { ce_source: `/${namespace}/workers/payment-ts` };
  return { topic, partition, key, value: Buffer.from(JSON.stringify(body)), headers: { ...envelope, ...source, ...headers } };
}

export function trace(headers: Headers): Headers {
  return headers.traceparent === undefined ? {} : { traceparent: headers.traceparent };
}

const kafka = new Kafka({ clientId: "payment-ts", brokers, logLevel: logLevel.ERROR });
const producer = kafka.producer({ allowAutoTopicCreation: false });
const consumer = kafka.consumer({ // reads committed records only, as is its default
  groupId: `${namespace}.worker.${queue}`, sessionTimeout: 10_000, maxWaitTimeInMs: 200,
});
await producer.connect();
await consumer.connect();
await consumer.subscribe({ topic: `${namespace}.commands.${queue}`, fromBeginning: true });
await consumer.run({
  autoCommit: false,
  eachBatch: async ({ batch, heartbeat, isRunning, isStale }) => {
    const readMs = Date.now();
    for (const message of batch.messages) {
      if (!isRunning() || isStale()) return;
      for (const { topic, ...one } of answers(message, batch.partition, batch.topic, readMs))
        await producer.send({ topic, acks: -1, messages: [one] }); // if it fails, the command is delivered again
      const offset = String(BigInt(message.offset) + 1n);
      await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset }]); // rule 1
      await heartbeat();
    }
  },
});
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, async () => {
    await consumer.disconnect();
    await producer.disconnect();
  });
