import { type Headers, type Outgoing, record, trace } from "./worker.js";

type Json = Record<string, unknown>;
type Stop = {
  place: string; contract: string; queue: string; attempt: number; deadline_ms: number;
  takes: Record<string, string>; into: string | null; revises: string | null;
};
type Slip = { variables: Json; into: string | null; revises: string | null; incarnation: string; ahead: Stop[] };

// The command of the next stop of a routing slip; undefined: the slip returns to the orchestrator. JSON.parse rounds
// numbers of more than 15 digits: a worker whose slips carry such numbers uses a parser that keeps their text.
export function forward(
  headers: Headers, key: Buffer | null, reply: Json, readMs: number, namespace: string,
): Outgoing | undefined {
  if (headers.ce_slip === undefined || headers.ce_time === undefined) return undefined;
  const slip: Slip = JSON.parse(headers.ce_slip);
  const [stop, ...ahead] = slip.ahead;
  const revised = slip.revises !== null && (reply[slip.revises] ?? null) !== null;
  if (stop === undefined || revised) return undefined;
  const variables = slip.into === null ? slip.variables : { ...slip.variables, [slip.into]: reply };
  const payload: Json = {};
  for (const [field, path] of Object.entries(stop.takes)) {
    const value = path.split(".").reduce<unknown>((found, name) => (found as Json | null | undefined)?.[name], variables);
    if (value !== undefined) payload[field] = value;
  }
  const effect = `${headers.ce_subject}/${stop.place}~${slip.incarnation}`;
  const rest: Slip = { ...slip, variables, into: stop.into, revises: stop.revises, ahead };
  return record(`${namespace}.commands.${stop.queue}`, Number(headers.ce_replypartition), key, payload, {
    ce_id: `${effect}/${stop.attempt}`, ce_type: stop.contract, ce_subject: headers.ce_subject ?? "",
    ce_effectkey: effect, ce_direction: "do", ce_attempt: String(stop.attempt),
    ce_time: new Date(Date.parse(headers.ce_time) + Date.now() - readMs).toISOString(),
    ce_deadline: String(stop.deadline_ms), ce_replytopic: headers.ce_replytopic ?? "",
    ce_replypartition: headers.ce_replypartition ?? "", ...trace(headers),
    ...(ahead.length > 0 ? { ce_slip: JSON.stringify(rest) } : {}),
  });
}
