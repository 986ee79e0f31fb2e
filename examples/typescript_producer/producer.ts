// Request a checkout: node producer.ts CUSTOMER_ID CART_ID REQUEST_ID

import { Buffer } from "node:buffer";
import { argv, env } from "node:process";
import { QueueClient } from "@azure/storage-queue";

interface CheckoutRequest {
  customerId: string;
  cartId: string;
  requestId: string;
  context?: unknown;
}

/** Send a request to the carts queue. A repeat with the same request id is answered by the same event. */
export async function send(queue: QueueClient, request: CheckoutRequest): Promise<void> {
  // base64, because control characters would break the queue's XML. It must not expire before it is answered
  const text = Buffer.from(JSON.stringify(request), "utf8").toString("base64");
  await queue.sendMessage(text, { messageTimeToLive: -1 });
}

const [customerId, cartId, requestId] = argv.slice(2);
const { CheckoutStorage, CARTS_QUEUE } = env;
if (!customerId || !cartId || !requestId || !CheckoutStorage || !CARTS_QUEUE) {
  throw new Error("node producer.ts CUSTOMER_ID CART_ID REQUEST_ID, with CheckoutStorage and CARTS_QUEUE set");
}
await send(new QueueClient(CheckoutStorage, CARTS_QUEUE), {
  customerId,
  cartId,
  requestId,
  context: { sentBy: "producer.ts" },
});
