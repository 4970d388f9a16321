import io.nats.client.Connection;
import io.nats.client.Nats;
import io.nats.streaming.Message;
import io.nats.streaming.MessageHandler;
import io.nats.streaming.Options;
import io.nats.streaming.StreamingConnection;
import io.nats.streaming.StreamingConnectionFactory;
import io.nats.streaming.Subscription;
import io.nats.streaming.SubscriptionOptions;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/** The scenario program for io.nats:java-nats-streaming. It obeys the line protocol of ../../README.md and decides nothing itself. */
public final class Client {
    private Connection nats;
    private StreamingConnection stan;
    private final Map<String, Subscription> subscriptions = new HashMap<>();
    private final Map<String, Message> received = new ConcurrentHashMap<>();

    private static synchronized void emit(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static String hex(byte[] data) {
        if (data == null || data.length == 0) {
            return "-";
        }
        StringBuilder text = new StringBuilder(2 * data.length);
        for (byte each : data) {
            text.append(Character.forDigit(each >> 4 & 15, 16)).append(Character.forDigit(each & 15, 16));
        }
        return text.toString();
    }

    private static byte[] unhex(String word) {
        byte[] data = new byte[word.equals("-") ? 0 : word.length() / 2];
        for (int i = 0; i < data.length; i++) {
            data[i] = (byte) Integer.parseInt(word.substring(2 * i, 2 * i + 2), 16);
        }
        return data;
    }

    private void connect(String url, String cluster, String client, int pingSeconds, int pingMaxOut) throws Exception {
        nats = Nats.connect(new io.nats.client.Options.Builder()
            .server(url).reconnectWait(Duration.ofMillis(100)).maxReconnects(-1).build());
        Options options = new Options.Builder()
            .natsConn(nats)
            .clusterId(cluster)
            .clientId(client)
            .connectWait(Duration.ofSeconds(5))
            .pubAckWait(Duration.ofSeconds(10))
            .pingInterval(Duration.ofSeconds(pingSeconds))
            .maxPingsOut(pingMaxOut)
            .connectionLostHandler((connection, error) -> emit("lost " + error.getMessage()))
            .build();
        try {
            stan = new StreamingConnectionFactory(options).createConnection();
        } catch (Exception error) {
            nats.close();
            throw error;
        }
    }

    private void publishAsync(String channel, int count, byte[] prefix) throws Exception {
        CountDownLatch missing = new CountDownLatch(count);
        AtomicReference<Exception> failure = new AtomicReference<>();
        for (int number = 1; number <= count; number++) {
            ByteArrayOutputStream data = new ByteArrayOutputStream();
            data.write(prefix);
            data.write(Integer.toString(number).getBytes());
            stan.publish(channel, data.toByteArray(), (guid, error) -> {
                if (error != null) {
                    failure.set(error);
                }
                missing.countDown();
            });
        }
        if (!missing.await(10, TimeUnit.SECONDS)) {
            throw new Exception(missing.getCount() + " acks are missing");
        }
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    private static void startAt(SubscriptionOptions.Builder options, String start) {
        String[] parts = start.split(":");
        long value = parts.length > 1 ? Long.parseLong(parts[1]) : 0;
        switch (parts[0]) {
            case "new": break;
            case "last": options.startWithLastReceived(); break;
            case "first": options.deliverAllAvailable(); break;
            case "sequence": options.startAtSequence(value); break;
            case "time": options.startAtTime(Instant.ofEpochMilli(value)); break;
            case "delta": options.startAtTimeDelta(Duration.ofMillis(value)); break;
            default: throw new IllegalArgumentException("no start position " + start);
        }
    }

    private void subscribe(String name, String channel, List<String> words) throws Exception {
        SubscriptionOptions.Builder options = new SubscriptionOptions.Builder();
        String queue = null;
        for (String word : words) {
            String[] parts = word.split("=", 2);
            switch (parts[0]) {
                case "queue": queue = parts[1]; break;
                case "durable": options.durableName(parts[1]); break;
                case "start": startAt(options, parts[1]); break;
                case "max_in_flight": options.maxInFlight(Integer.parseInt(parts[1])); break;
                case "ack_wait": options.ackWait(Duration.ofSeconds(Long.parseLong(parts[1]))); break;
                case "manual": options.manualAcks(); break;
                default: throw new IllegalArgumentException("no subscription option " + word);
            }
        }
        MessageHandler onMessage = message -> {
            received.put(name + " " + message.getSequence(), message);
            String redelivered = message.isRedelivered() ? "1" : "0";
            emit(String.join(" ", "message", name, "" + message.getSequence(), redelivered, hex(message.getData())));
        };
        subscriptions.put(name, queue == null
            ? stan.subscribe(channel, onMessage, options.build())
            : stan.subscribe(channel, queue, onMessage, options.build()));
    }

    private void close() throws Exception {
        stan.close();
        nats.close();
    }

    private void obey(String line) throws Exception {
        String[] words = line.split(" ");
        switch (words[0]) {
            case "connect":
                connect(words[1], words[2], words[3], Integer.parseInt(words[4]), Integer.parseInt(words[5]));
                break;
            case "publish": stan.publish(words[1], unhex(words[2])); break;
            case "publish_async": publishAsync(words[1], Integer.parseInt(words[2]), unhex(words[3])); break;
            case "subscribe": subscribe(words[1], words[2], Arrays.asList(words).subList(3, words.length)); break;
            case "ack": received.get(words[1] + " " + words[2]).ack(); break;
            case "unsubscribe": subscriptions.remove(words[1]).unsubscribe(); break;
            case "close_subscription": subscriptions.remove(words[1]).close(); break;
            case "close": close(); break;
            default: throw new IllegalArgumentException("no command " + line);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Client client = new Client();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                client.obey(line);
                emit("ok");
            } catch (Exception error) {
                emit("error " + String.valueOf(error.getMessage()).replaceAll("\\s+", " "));
            }
        }
        // The libraries' threads would keep the machine alive.
        System.exit(0);
    }
}
