// The events of the outcomes queue: parsed with every digit kept, and told apart by `type`.
//
// `npm run types` makes the types of docs/schemas/checkout-outcomes.schema.json, one for each outcome.
import type {
  ActionRequiredOutcome,
  CompletedOutcome,
  FailedOutcome,
  InvalidOutcome,
  PartialOutcome,
  UnknownOutcome,
} from "./types/checkout-outcomes.schema.js";

export type CheckoutOutcome =
  | CompletedOutcome
  | ActionRequiredOutcome
  | PartialOutcome
  | FailedOutcome
  | UnknownOutcome
  | InvalidOutcome;

/** An event whose type is not known yet. */
export interface CloudEvent {
  specversion: string;
  id: string;
  source: string;
  type: string;
  [attribute: string]: unknown;
}

/** A number whose digits JavaScript's own numbers would lose: `JSON.stringify` writes it as it came. */
export interface ExactNumber {
  readonly rawJSON: string;
}

// Node has had these since version 21, TypeScript's library does not declare them yet.
declare global {
  interface JSON {
    parse(
      text: string,
      reviver: (this: unknown, name: string, value: unknown, context: { source: string }) => unknown,
    ): any;
    rawJSON(text: string): ExactNumber;
  }
}

/** A safe integer stays a number. Every other one, such as `36.480`, keeps its text. */
function keepDigits(this: unknown, _name: string, value: unknown, { source }: { source: string }): unknown {
  return typeof value !== "number" || (Number.isSafeInteger(value) && String(value) === source)
    ? value
    : JSON.rawJSON(source);
}

/** Parse a queue message: base64 as it lies in the queue, or the text that a client has decoded. */
export function parse(message: string): CloudEvent {
  const text = message.startsWith("{") ? message : Buffer.from(message, "base64").toString("utf8");
  return JSON.parse(text, keepDigits);
}

// A record, so that the compiler notices an outcome that is missing here.
const KNOWN: Record<CheckoutOutcome["type"], true> = {
  "partnercenter.cart.checkout.completed": true,
  "partnercenter.cart.checkout.action_required": true,
  "partnercenter.cart.checkout.partial": true,
  "partnercenter.cart.checkout.failed": true,
  "partnercenter.cart.checkout.unknown": true,
  "partnercenter.cart.checkout.invalid": true,
};

/** Whether this program knows the event's type. Others may be added at any time. */
export function isCheckoutOutcome(event: CloudEvent): event is CheckoutOutcome {
  return Object.hasOwn(KNOWN, event.type);
}
