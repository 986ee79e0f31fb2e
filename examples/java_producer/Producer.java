// Request a checkout: java -cp ... Producer CUSTOMER_ID CART_ID REQUEST_ID
// Needs com.azure:azure-storage-queue and com.fasterxml.jackson.core:jackson-databind.

import com.azure.storage.queue.QueueClient;
import com.azure.storage.queue.QueueClientBuilder;
import com.azure.storage.queue.QueueMessageEncoding;
import com.azure.core.util.Context;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.Map;

final class Producer {
    private record CheckoutRequest(
            String customerId, String cartId, String requestId, Map<String, Object> context) {}

    public static void main(String[] args) throws Exception {
        if (args.length != 3) {
            System.err.println("Producer CUSTOMER_ID CART_ID REQUEST_ID");
            System.exit(2);
        }
        QueueClient queue = new QueueClientBuilder()
                .connectionString(System.getenv("CheckoutStorage"))
                .queueName(System.getenv("CARTS_QUEUE"))
                // control characters would break the queue's XML
                .messageEncoding(QueueMessageEncoding.BASE64)
                .buildClient();
        // A repeat with the same request id is answered by the same event.
        CheckoutRequest request =
                new CheckoutRequest(args[0], args[1], args[2], Map.of("sentBy", "java_producer"));
        String text = new ObjectMapper().writeValueAsString(request);
        // It must not expire before it is answered.
        queue.sendMessageWithResponse(text, null, Duration.ofSeconds(-1), null, Context.NONE);
    }
}
