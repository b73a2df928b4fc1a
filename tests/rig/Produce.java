import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes records as any Java program would, leaving the partition to the client.
 *
 * Arguments: the brokers, the topic, and settings of the client (name=value). Input: a line for each record, its key
 * and its value in hexadecimal digits. Output: "ready" once it can write at once, then for each record, in the same order,
 * the partition and the offset.
 */
class Produce {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        for (int i = 2; i < arguments.length; i++) {
            String[] setting = arguments[i].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer());
                var lines = new BufferedReader(new InputStreamReader(System.in))) {
            producer.partitionsFor(arguments[1]);
            System.out.println("ready");
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] record = line.split(" ", 2);
                byte[] value = HexFormat.of().parseHex(record[1]);
                sent.add(producer.send(new ProducerRecord<>(arguments[1], record[0], value)));
            }
        }
        for (Future<RecordMetadata> record : sent) {
            System.out.println(record.get().partition() + " " + record.get().offset());
        }
    }
}
