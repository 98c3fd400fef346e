// SPDX-License-Identifier: Apache-2.0
package ferrocket.agent;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * `mqadmin` as the operator types it. Its commands run one after another in this JVM through the tool's own start class,
 * with what they print caught; `stock` starts a JVM of its own instead, exactly as the shell script does.
 */
public final class MqAdmin {
    public static void register() {
        Agent.OPS.put("mqadmin", a -> a.flag("stock", false) ? stock(a) : here(a));
    }

    private static String[] arguments(Args a) {
        List<String> words = new ArrayList<>();
        for (Object word : a.list("args")) words.add(word.toString());
        return words.toArray(new String[0]);
    }

    private static synchronized Object here(Args a) throws Exception {
        // The commands are objects that keep their connections: start from none, so that each call speaks to its own server.
        for (Field field : MQAdminStartup.class.getDeclaredFields()) {
            if (List.class.isAssignableFrom(field.getType())) {
                field.setAccessible(true);
                ((List<?>) field.get(null)).clear();
            }
        }
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        ByteArrayOutputStream complained = new ByteArrayOutputStream();
        long start = System.currentTimeMillis();
        try (PrintStream o = new PrintStream(said, true, "UTF-8"); PrintStream e = new PrintStream(complained, true, "UTF-8")) {
            System.setOut(o);
            System.setErr(e);
            MQAdminStartup.main0(arguments(a), null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return answer(said, complained, start);
    }

    private static Object stock(Args a) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(System.getProperty("java.home") + File.separator + "bin" + File.separator + "java");
        command.add("-Xmx128m");
        command.add("-cp");
        command.add(System.getProperty("java.class.path"));
        command.add(MQAdminStartup.class.getName());
        for (String word : arguments(a)) command.add(word);
        long start = System.currentTimeMillis();
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        InputStream in = process.getInputStream();
        byte[] buffer = new byte[8192];
        for (int n; (n = in.read(buffer)) >= 0; ) said.write(buffer, 0, n);
        if (!process.waitFor(60, TimeUnit.SECONDS)) process.destroyForcibly();
        return answer(said, new ByteArrayOutputStream(), start);
    }

    private static Object answer(ByteArrayOutputStream out, ByteArrayOutputStream err, long start) throws Exception {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("out", out.toString("UTF-8"));
        answer.put("err", err.toString("UTF-8"));
        answer.put("millis", System.currentTimeMillis() - start);
        return answer;
    }
}
