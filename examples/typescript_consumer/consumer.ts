// Decide what to do with outcomes, one in each line of the standard input:
//
//     node consumer.ts < events.jsonl
//
// In your service the messages come from the queue. Store the id of an event and its effect in one transaction, and
// delete the message last: docs/integration.md has the rules.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { type CloudEvent, isCheckoutOutcome, parse } from "./outcomes.ts";

export type Action =
  | { action: "store purchase"; amounts: string[]; corrects?: string; todo?: string }
  | { action: "link"; to: string }
  | { action: "tell customer"; retryable: boolean; reason: string; corrects?: string }
  | { action: "look at the cart"; advice: string }
  | { action: "correct the producer"; path: string; expected: string }
  | { action: "load data"; from: string | undefined }
  | { action: "pass on"; type: string };

export function decide(event: CloudEvent): Action {
  if (!isCheckoutOutcome(event)) {
    return { action: "pass on", type: event.type }; // of a type that was added later
  }
  if (event.type === "partnercenter.cart.checkout.invalid") {
    const { deferred, error } = event.data;
    return deferred
      ? { action: "look at the cart", advice: error.advice }
      : { action: "correct the producer", path: error.path, expected: error.expected };
  }
  if (event.data === undefined) {
    // Too large for a message. Load it from your own container only, then decide({ ...event, data }).
    return { action: "load data", from: event.dataref };
  }
  switch (event.type) {
    case "partnercenter.cart.checkout.completed":
    case "partnercenter.cart.checkout.action_required":
    case "partnercenter.cart.checkout.partial": {
      const { answeredBy, corrects, error, result } = event.data;
      if (answeredBy !== undefined) {
        return { action: "link", to: answeredBy }; // another event has reported this purchase
      }
      return { action: "store purchase", amounts: [...amounts(result)], corrects, todo: error?.advice };
    }
    case "partnercenter.cart.checkout.failed": {
      const { corrects, error } = event.data;
      return { action: "tell customer", retryable: error.retryable, reason: error.class, corrects };
    }
    case "partnercenter.cart.checkout.unknown":
      return { action: "look at the cart", advice: event.data.error.advice };
  }
}

/** The amounts that orders commit the customer to, digit for digit. */
function* amounts(value: unknown): Generator<string> {
  if (typeof value === "object" && value !== null) {
    for (const [name, member] of Object.entries(value)) {
      if (name === "amount") {
        yield JSON.stringify(member);
      } else {
        yield* amounts(member);
      }
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for await (const line of createInterface({ input: process.stdin })) {
    const event = parse(line);
    console.log(JSON.stringify({ ...decide(event), event }));
  }
}
