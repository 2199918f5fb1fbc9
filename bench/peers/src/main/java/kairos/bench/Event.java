package kairos.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;

/** One input record, read by Jackson's streaming parser: the cheapest way in this language. */
public final class Event {
    public static final byte VIEW = 0, SEARCH = 1, CART_ADD = 2, WISHLIST = 3, PURCHASE = 4, TICK = -1;
    private static final JsonFactory JSON = new JsonFactory();

    public String user = "";
    public byte kind;
    public long ms;
    public long cents;

    public Event() {}

    /** Fields that no workload uses are skipped. Throws IOException when the bytes are no event. */
    public static Event parse(byte[] json) throws IOException {
        Event event = new Event();
        try (JsonParser parser = JSON.createParser(json)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                parser.nextToken();
                switch (name) {
                    case "user_id" -> event.user = parser.getText();
                    case "event_type" -> event.kind = kind(parser.getText());
                    case "event_ms" -> event.ms = parser.getLongValue();
                    case "value_cents" -> event.cents = parser.getLongValue();
                    default -> parser.skipChildren();
                }
            }
        }
        return event;
    }

    private static byte kind(String name) throws IOException {
        return switch (name) {
            case "view" -> VIEW;
            case "search" -> SEARCH;
            case "cart_add" -> CART_ADD;
            case "wishlist" -> WISHLIST;
            case "purchase" -> PURCHASE;
            case "tick" -> TICK;
            default -> throw new IOException("unknown event_type " + name);
        };
    }

    /** The output record of a firing. */
    public static byte[] firing(String user, long ms) {
        return ("{\"user_id\":\"" + user + "\",\"event_ms\":" + ms + "}")
                .getBytes(java.nio.charset.StandardCharsets.US_ASCII);
    }
}
