// SPDX-License-Identifier: Apache-2.0
// What the original's own parsers make of every input: of 5.5.0's header and body classes, by fastjson2 (which 5.x reads with) and
// by fastjson 1.2.83 (which 4.x reads with).
//
//     java -cp "$(scripts/oracle.sh 5.5.0)/*" compat-tests/tolerance/Tolerance.java INPUTS OUTPUT
import com.alibaba.fastjson2.JSON;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;

public class Tolerance {
    private static final String[] PACKAGES = {"", "body.", "heartbeat.", "subscription.", "route."};
    private static final Pattern TIME = Pattern.compile("(\"(?:timestamp|subVersion)\":)(\\d{13})\\b");
    private static AtomicInteger nextOpaque;

    public static void main(String[] args) throws Exception {
        Field field = RemotingCommand.class.getDeclaredField("requestId");
        field.setAccessible(true);
        nextOpaque = (AtomicInteger) field.get(null);
        List<String> values = new ArrayList<>();
        List<String[]> cases = new ArrayList<>();
        List<String> forWords = new ArrayList<>();
        List<String[]> places = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            String[] words = line.split(" ", 2);
            if (line.isEmpty() || line.startsWith("#")) {
                continue;
            } else if (words[0].equals("value")) {
                values.add(words[1]);
            } else if (words[0].equals("word")) {
                forWords.add(words[1]);
            } else if (words[0].endsWith("place")) {
                places.add(words);
            } else {
                cases.add(words);
            }
        }
        for (String[] place : places) {
            String[] words = place[1].split(" ", 2);
            List<String> all = new ArrayList<>(values);
            if (place[0].equals("wordplace")) {
                all.addAll(forWords);
            }
            all.forEach(value -> cases.add(new String[] {words[0], words[1].replace("@", value)}));
        }
        List<String> out = new ArrayList<>();
        out.add("# Recorded by compat-tests/tolerance/Tolerance.java: the class, the input, what fastjson2 makes of it, what fastjson 1.2.83 does (=: the same).");
        for (String[] one : cases) {
            byte[] input = bytes(one[1]);
            String second = read(one[0], input, false);
            String first = read(one[0], input, true);
            out.add(one[0] + "\t" + one[1] + "\t" + second + "\t" + (first.equals(second) ? "=" : first));
        }
        Files.write(Path.of(args[1]), out);
        System.exit(0);
    }

    /** `~HH` is a byte, everything else the text it is. */
    private static byte[] bytes(String text) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int at = 0; at < text.length(); at++) {
            if (text.charAt(at) == '~') {
                out.write(Integer.parseInt(text.substring(at + 1, at + 3), 16));
                at += 2;
            } else {
                out.write(text.substring(at, at + 1).getBytes(StandardCharsets.UTF_8));
            }
        }
        return out.toByteArray();
    }

    private static String read(String name, byte[] input, boolean first) {
        try {
            Class<?> kind = null;
            for (String in : PACKAGES) {
                try {
                    kind = Class.forName("org.apache.rocketmq.remoting.protocol." + in + name);
                } catch (ClassNotFoundException ignored) {
                    // In another one.
                }
            }
            if (name.equals("TopicConfig")) {
                kind = Class.forName("org.apache.rocketmq.common.TopicConfig");
            }
            nextOpaque.set(0);
            Object read;
            if (first) {
                read = com.alibaba.fastjson.JSON.parseObject(new String(input, StandardCharsets.UTF_8), kind);
            } else {
                read = RemotingSerializable.decode(input, kind);
            }
            if (read == null) {
                return "null";
            }
            Object shown = read instanceof RemotingCommand ? header((RemotingCommand) read) : read;
            return ascii(timeless(JSON.toJSONString(shown)));
        } catch (Throwable refused) {
            return "error";
        }
    }

    private static Map<String, Object> header(RemotingCommand command) {
        Map<String, Object> shown = new LinkedHashMap<>();
        shown.put("code", command.getCode());
        shown.put("flag", command.getFlag());
        shown.put("language", command.getLanguage());
        shown.put("opaque", command.getOpaque());
        shown.put("version", command.getVersion());
        shown.put("remark", command.getRemark());
        shown.put("extFields", command.getExtFields());
        return shown;
    }

    /** Defaults that are the time of the recording. */
    private static String timeless(String text) {
        Matcher matcher = TIME.matcher(text);
        StringBuilder out = new StringBuilder();
        while (matcher.find()) {
            boolean isNow = Math.abs(System.currentTimeMillis() - Long.parseLong(matcher.group(2))) < 3_600_000;
            matcher.appendReplacement(out, isNow ? matcher.group(1) + "0" : matcher.group());
        }
        return matcher.appendTail(out).toString();
    }

    private static String ascii(String text) {
        StringBuilder out = new StringBuilder();
        for (char letter : text.toCharArray()) {
            out.append(letter < 0x20 || letter > 0x7e ? String.format("\\u%04x", (int) letter) : letter);
        }
        return out.toString();
    }
}
